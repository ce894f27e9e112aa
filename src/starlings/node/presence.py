"""Who is there, as the entries of a Map: the rules, without clock and without I/O.

A service with presence has a Map in which every identity that is connected has an entry.
Connections come and go, clients publish something about themselves, time passes; out come the
writes that make the Map tell the truth again.

Rules:

1. An entry appears when the first endpoint of its identity connects. ``since`` is that moment.
2. It is removed when the last endpoint has been gone for the window. Whoever comes back within it
   keeps the entry, ``since`` and the published part, and nothing at all is written.
3. ``endpoints`` is the number of endpoints now. While the last one's going is held back it keeps
   its value: it is never 0.
4. Changes wait per identity, not one by one: however often an identity comes and goes between two
   calls of ``take``, at most one write comes of it, and none if all is as it was written.
5. At most one write of an identity is under way, so the order of writes is that of the changes.
6. After a restart the entries of the former run count as if their endpoints had just gone.

An endpoint is a client, not a connection: one that comes back by a new connection, or has two for a
moment, counts once.
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from starlings.core.objects import Item
from starlings.wire.timestamps import format_timestamp

__all__ = ["PresenceEntry", "PresenceState", "PresenceWrite", "published_part"]


_ABSENT = msgspec.Raw(b"")


class PresenceEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of an item."""

    endpoints: int
    since: str
    """When the identity came, as every date on the wire is written."""
    client: msgspec.Raw = _ABSENT
    """What the client published about itself."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PresenceEntry).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWN_MEMBERS = frozenset(PresenceEntry.__struct_fields__)


def published_part(data: bytes) -> bytes | None:
    """What a client publishes by writing ``data`` under its identity.

    That is ``data`` as a whole; but of an entry that was read, changed and written back, as the
    SDK's ``mutate`` and ``update`` do, only ``client``: the rest is the server's.
    """
    members = _decode_members(data)
    if "endpoints" in members and "since" in members and members.keys() <= _OWN_MEMBERS:
        part = members.get("client")
        return None if part is None else bytes(part)
    return data


def _parse_timestamp(text: str) -> int:
    """Milliseconds since 1970. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say which zone")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


class PresenceWrite(NamedTuple):
    """What to do to the item of an identity: put it, or (``data`` None) remove it."""

    identity: str
    data: bytes | None


class _Presence:
    """One identity."""

    __slots__ = (
        "connections",
        "deadline",
        "event_id",
        "is_busy",
        "is_leaving",
        "published",
        "since",
        "written",
    )

    def __init__(self, since: int) -> None:
        self.connections: dict[str, int] = {}
        """Open ones of each endpoint."""
        self.since = since
        self.published: bytes | None = None
        self.deadline: float | None = None
        """When the entry goes, if nobody comes back."""
        self.is_leaving = False
        """The deadline has passed: the entry is to be removed."""
        self.written: bytes | None = None
        """What the Map has; None: no entry."""
        self.event_id = -1
        """Of the event that wrote it."""
        self.is_busy = False
        """A write is under way."""


class PresenceState:
    """The rules for one service. ``now`` is milliseconds since 1970; deadlines are seconds of any
    clock that never goes back.
    """

    def __init__(self) -> None:
        self._presences: dict[str, _Presence] = {}
        self._changed: dict[str, None] = {}
        """Whose entry may have to be written, in the order in which it changed."""
        self._deadlines: list[tuple[float, str]] = []

    @property
    def next_deadline(self) -> float | None:
        """When ``take`` may have something because time has passed."""
        return self._deadlines[0][0] if self._deadlines else None

    @property
    def has_changes(self) -> bool:
        """True if ``take`` may have something at once."""
        return bool(self._changed)

    def is_connected(self, identity: str) -> bool:
        presence = self._presences.get(identity)
        return presence is not None and bool(presence.connections)

    # What happens

    def restore(self, item: Item, now: int, deadline: float) -> None:
        """An entry of the former run. [6] One that can't be read is written anew if its identity
        comes back.
        """
        identity = str(item.key)
        presence = self._presences[identity] = _Presence(now)
        presence.written = item.data
        presence.event_id = item.event_id
        try:
            entry = _decode(item.data)
            presence.since = _parse_timestamp(entry.since)
        except ValueError:  # msgspec's errors are ValueErrors too
            pass
        else:
            presence.published = bytes(entry.client) or None
        self._hold_back(identity, presence, deadline)

    def connect(self, identity: str, endpoint: str, now: int) -> None:
        """A connection was opened."""
        presence = self._presences.get(identity)
        if presence is None:
            presence = self._presences[identity] = _Presence(now)
        elif presence.is_leaving:
            presence.since = now
            presence.published = None
            presence.is_leaving = False
        presence.deadline = None
        presence.connections[endpoint] = presence.connections.get(endpoint, 0) + 1
        self._changed[identity] = None

    def disconnect(self, identity: str, endpoint: str, deadline: float) -> None:
        """A connection that was opened is closed; if it was the last, the entry goes at
        ``deadline``.
        """
        presence = self._presences[identity]
        presence.connections[endpoint] -= 1
        if presence.connections[endpoint]:
            return
        del presence.connections[endpoint]
        if presence.connections:
            self._changed[identity] = None
        else:
            self._hold_back(identity, presence, deadline)

    # Writes

    def take(self, now: float, limit: int) -> list[PresenceWrite]:
        """Up to ``limit`` writes that are due, each of another identity. Each must be settled."""
        self._let_go(now)
        writes: list[PresenceWrite] = []
        done: list[str] = []
        for identity in self._changed:
            if len(writes) >= limit:
                break
            presence = self._presences[identity]
            if presence.is_busy:
                continue
            done.append(identity)
            data = self._wanted(presence)
            if data != presence.written:
                presence.is_busy = True
                writes.append(PresenceWrite(identity, data))
            elif data is None:
                del self._presences[identity]
        for identity in done:
            del self._changed[identity]
        return writes

    def settle(self, write: PresenceWrite, event_id: int) -> None:
        """A write is durable, by this event."""
        presence = self._presences[write.identity]
        presence.is_busy = False
        presence.written = write.data
        presence.event_id = event_id
        self._changed[write.identity] = None

    def fail(self, write: PresenceWrite, *, is_final: bool) -> None:
        """A write was not carried out. It is tried again, or (``is_final``) counts as carried out:
        the Map will not have it.
        """
        presence = self._presences[write.identity]
        presence.is_busy = False
        if is_final:
            presence.written = write.data
        self._changed[write.identity] = None

    # Publishing

    def is_busy(self, identity: str) -> bool:
        presence = self._presences.get(identity)
        return presence is not None and presence.is_busy

    def begin_publishing(self, identity: str, part: bytes | None) -> tuple[bytes, int]:
        """The whole data with this published part, and the event that wrote the entry before.

        Until ``end_publishing`` no other write of this identity is taken. The identity must be
        connected and not busy.
        """
        presence = self._presences[identity]
        assert presence.connections
        assert not presence.is_busy
        presence.is_busy = True
        return self._render(presence, part), presence.event_id

    def end_publishing(
        self, identity: str, part: bytes | None, written: bytes | None, event_id: int
    ) -> None:
        """``written`` None: it was refused, all is as before."""
        presence = self._presences[identity]
        presence.is_busy = False
        if written is not None:
            presence.published = part
            presence.written = written
            presence.event_id = event_id
        self._changed[identity] = None

    # Within

    def _hold_back(self, identity: str, presence: _Presence, deadline: float) -> None:
        presence.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, identity))

    def _let_go(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, identity = heapq.heappop(self._deadlines)
            presence = self._presences.get(identity)
            if presence is None or presence.deadline != deadline:
                continue  # came back meanwhile
            presence.deadline = None
            presence.is_leaving = True
            self._changed[identity] = None

    def _wanted(self, presence: _Presence) -> bytes | None:
        """What the Map should have."""
        if presence.is_leaving:
            return None
        if not presence.connections and presence.written is not None:
            return presence.written
        return self._render(presence)

    def _render(self, presence: _Presence, *part: bytes | None) -> bytes:
        published = part[0] if part else presence.published
        return _encode(
            PresenceEntry(
                max(1, len(presence.connections)),
                format_timestamp(presence.since),
                _ABSENT if published is None else msgspec.Raw(published),
            )
        )
