"""What a client has of lists and maps, as far as one connection can tell: what it has opened and
read.

The SDK subscribes a tenth of a second after it has opened an object, and its request does not tell
two things that matter then. After a page was loaded again, the client has the object from its cache
without an event id: it subscribes from nothing on, and what happened since it read the items would
be lost. And of the removals since, it knows its own by their replies, unless it has opened the
object anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from starlings.core.objects import Kind, SyncObject
from starlings.node.subscription import Subscription

__all__ = ["Hold", "Holds"]


class Hold(NamedTuple):
    """What a client has of one object: it is the same if either part is."""

    subscription: Subscription | None
    opening: int | None
    """Another number each time that this connection opens an object; None: it never did."""

    def is_of(self, other: Hold) -> bool:
        return (self.opening is not None and self.opening == other.opening) or (
            self.subscription is not None and self.subscription is other.subscription
        )


class Holds:
    """Belongs to a session. Implements ``requests.Reader``.

    Args:
        subscriptions: Those of the session, by SID of the object.
        most: Objects to keep in mind; the oldest are forgotten, and told of as if never opened.
    """

    __slots__ = ("_most", "_openings", "_opens", "_read", "_subscriptions")

    def __init__(self, subscriptions: Mapping[str, Subscription], most: int) -> None:
        self._subscriptions = subscriptions
        self._most = most
        self._openings: dict[str, int] = {}
        self._opens = 0
        self._read: dict[str, int] = {}
        """By SID, the newest event when items were first read without a subscription."""

    def note_open(self, target: SyncObject) -> None:
        """The client makes anew what it keeps of an object."""
        if target.kind not in (Kind.LIST, Kind.MAP):
            return
        self._openings.pop(target.sid, None)
        self._forget(self._openings)
        self._opens += 1
        self._openings[target.sid] = self._opens

    def note_read(self, target: SyncObject) -> None:
        """Items of a list or map are about to be read."""
        if target.sid in self._subscriptions or target.sid in self._read:
            return
        self._forget(self._read)
        self._read[target.sid] = target.event_id

    def take_read(self, sid: str) -> int | None:
        """The newest event when the client began to read, if it did; only once."""
        return self._read.pop(sid, None)

    def hold_of(self, sid: str) -> Hold:
        """What the client has of an object now."""
        return Hold(self._subscriptions.get(sid), self._openings.get(sid))

    def _forget(self, known: dict[str, int]) -> None:
        while len(known) >= self._most:
            del known[next(iter(known))]
