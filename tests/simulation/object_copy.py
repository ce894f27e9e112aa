"""One object as a client keeps it, and what the server promised about it. [wire-protocol 8]

With replies and events a copy does what the JavaScript SDK does: it ignores what it knows, item by
item; subscribes again from the newest event it has when told ``interrupted`` and after each
reconnect; never asks again for what failed for good.

Beside its data it keeps, per subscription, a *track* of what the server sent, and accuses the
server of whatever breaks the promises of wire-protocol 8.4 and 8.5: a gap, a step back, an event
before the reply to its own change, the echo of its own removal.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple, Protocol

from starlings.core.objects import ItemKey
from tests.simulation.history import History

__all__ = ["Copy", "Keeper"]

_MUTED = "_item_dropped"
"""What an own removal, told by its reply, ends in."""


class Keeper(Protocol):
    """The client, as its copies need it."""

    @property
    def address(self) -> str: ...

    @property
    def history(self) -> History: ...

    @property
    def counts(self) -> Mapping[str, int]: ...

    @property
    def own_requests(self) -> Set[str]:
        """As ``ClientSession.own_requests``; the next one as well."""

    @property
    def own_answered(self) -> Set[str]: ...

    def has_closed(self, sid: str) -> bool:
        """True if that was open before on this connection."""

    def accuse(self, name: str, sentence: str) -> None: ...


class Entry(NamedTuple):
    """What is known of one item; ``data`` None: it was removed."""

    data: Any
    last_id: int
    revision: str


class Track:
    """What was sent for one request to subscribe, on one connection."""

    def __init__(self, after_id: int | None) -> None:
        self.after_id = after_id
        self.last_id = after_id
        self.is_live = False


class Copy:
    """One open object of a client.

    Args:
        body: The answer that it was opened with.
        from_start: Don't read the items; have all of them replayed.
    """

    def __init__(
        self, kind: str, body: dict[str, Any], keeper: Keeper, *, from_start: bool
    ) -> None:
        self.kind = kind
        self.sid: str = body["sid"]
        self.name: str = body["unique_name"]
        self.url: str = body["url"]
        self.data = body.get("data")
        self.revision: str = body.get("revision", "")
        self.last_id: int = body.get("last_event_id", -1)
        self.has_items = kind in ("document", "stream")
        if from_start and not self.has_items:
            self.last_id = -1
            self.has_items = True
        self.items: dict[ItemKey, Entry] = {}
        self.is_removed = False
        self.is_failed = False
        self.is_established = False
        self.pending: int | None = None
        self.asked_at = 0.0
        self.messages: list[str] = []
        self._keeper = keeper
        self._tracks: dict[int, Track] = {}
        self._track: Track | None = None
        """The one whose events are live now."""

    @property
    def path(self) -> str:
        return self.url.split("//", 1)[1].partition("/")[2].join(("/", ""))

    @property
    def is_wanted(self) -> bool:
        return not self.is_removed and not self.is_failed

    def entry(self) -> dict[str, Any]:
        """What asks for the subscription."""
        after_id = None if self.kind == "stream" else self.last_id
        return {"object_sid": self.sid, "object_type": self.kind, "last_event_id": after_id}

    def ask(self, correlation_id: int, now: float) -> None:
        """A subscription is asked for."""
        self.pending, self.asked_at = correlation_id, now
        self._tracks[correlation_id] = Track(None if self.kind == "stream" else self.last_id)

    def live_items(self) -> dict[ItemKey, Any]:
        return {key: entry.data for key, entry in self.items.items() if entry.data is not None}

    def store(self, key: ItemKey, data: Any, event_id: int, revision: str) -> None:
        """Take over an item's state, or its removal, unless a newer one is known."""
        known = self.items.get(key)
        if known is None or known.last_id < event_id:
            self.items[key] = Entry(data, event_id, revision)

    def forget_connection(self) -> None:
        self.is_established = False
        self.pending = None
        self._tracks.clear()
        self._track = None

    # What the server says of the subscription

    def fail(self, error: dict[str, Any]) -> None:
        """The subscription failed; also without a request under way: access was taken away."""
        if error["status"] == 404:
            self.is_removed = True  # may only be about to expire: checked at the end
            return
        if error["status"] != 403:  # whether there was a reason for that is the witness's to say
            self._accuse(f"failed: {error}")
        self.is_failed = True

    def confirm(self, correlation_id: int, event: dict[str, Any]) -> None:
        track = self._tracks.get(correlation_id)
        if track is None:
            if not self._keeper.has_closed(self.sid):  # else it is for the copy closed before
                self._accuse(f"was confirmed for an unknown request {correlation_id}")
            return
        if event["replay_status"] == "completed":
            if self.kind != "stream":
                if track.last_id is not None:
                    self._check_skipped(track.last_id, event["last_event_id"])
                    if event["last_event_id"] < track.last_id:
                        self._accuse(f"confirmed {event}, behind {track.last_id}")
                track.last_id = event["last_event_id"]
            track.is_live = True
            self._track = track
        if self.pending != correlation_id:
            return
        self.pending = None
        if event["replay_status"] == "completed":
            self.is_established = True
            if self.kind in ("list", "map"):
                self.last_id = max(self.last_id, event["last_event_id"])
        elif track.last_id == track.after_id:
            self._accuse("was interrupted without an event")

    # What the server says of the object

    def take_event(
        self, event_type: str, correlation_id: int | None, event: dict[str, Any]
    ) -> None:
        if event_type == f"{self.kind}_removed":
            if not self._keeper.history.is_removed(self.sid):
                self._accuse("was told removed, and is not")
            self.is_removed = True
        elif self.kind == "stream":
            self._take_message(event)
        else:
            self._follow(event_type, correlation_id, event["id"])
            self._apply(event_type, event)

    def _follow(self, event_type: str, correlation_id: int | None, event_id: int) -> None:
        """Compare an event with what its subscription promises."""
        keeper = self._keeper
        event = keeper.history.find(self.sid, event_id)
        if event is None:
            self._accuse(f"{event_type} {event_id} never happened")
            return
        # A repair reads the log, which may be ahead of the replies.
        is_live = correlation_id is None and not keeper.counts["repairs"]
        if event.request_id is not None and is_live:
            if event.request_id in keeper.own_requests:
                self._accuse(f"own event {event_id} came before its reply")
            is_own = event.request_id in keeper.own_answered
            is_muted = event_type.endswith(_MUTED)
            if is_muted and not is_own:
                self._accuse(f"removal {event_id} of somebody else was muted")
        track = self._track if correlation_id is None else self._tracks.get(correlation_id)
        if track is None:
            if not keeper.has_closed(self.sid):  # else it was sent before the cancel was read
                self._accuse(f"{event_type} {event_id} came outside of any subscription")
            return
        if correlation_id is not None and track.is_live:
            self._accuse(f"{event_type} {event_id} was replayed after its confirmation")
        if track.last_id is None:
            track.last_id = event_id
        elif event_id <= track.last_id:
            self._accuse(f"{event_type} {event_id} came after {track.last_id}")
        else:
            self._check_skipped(track.last_id, event_id - 1)
            track.last_id = event_id

    def _check_skipped(self, after_id: int, last_id: int) -> None:
        """Every event in between must be obsolete."""
        history = self._keeper.history
        for event_id in range(after_id + 1, last_id + 1):
            event = history.find(self.sid, event_id)
            if event is None or history.is_superseded(self.sid, event_id):
                continue
            self._accuse(f"event {event_id} was left out: {event}")

    def _apply(self, event_type: str, event: dict[str, Any]) -> None:
        event_id = event["id"]
        if self.kind == "document":
            if event_id > self.last_id:
                self.last_id = event_id
                self.data = event["document_data"]
                self.revision = event["document_revision"]
            return
        self.last_id = max(self.last_id, event_id)
        if event_type.endswith(_MUTED):
            return  # a type that no client knows: only its id counts
        key = event["item_index"] if self.kind == "list" else event["item_key"]
        data = None if event_type.endswith("_removed") else event["item_data"]
        self.store(key, data, event_id, event["item_revision"])

    def _take_message(self, event: dict[str, Any]) -> None:
        if self._track is None and not self._keeper.has_closed(self.sid):
            self._accuse("a message came outside of any subscription")
        if event["message_sid"] in self.messages:
            self._accuse(f"message {event['message_sid']} came twice")
        if event["message_data"].get("by") == self._keeper.address:
            self._accuse("an own message was echoed")
        self.messages.append(event["message_sid"])

    def _accuse(self, sentence: str) -> None:
        self._keeper.accuse(self.name, sentence)
