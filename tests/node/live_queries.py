"""One live query without a loop, and those who follow it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlings.core.errors import Refusal
from starlings.core.events import Event, EventType
from starlings.core.objects import Item
from starlings.core.query import parse_query
from starlings.node.live_query import Allowance, LiveQuery, Member

__all__ = [
    "BLUE",
    "Bench",
    "Follower",
    "Frame",
    "Frames",
    "a_live_query",
    "blue",
    "event",
    "item",
    "red",
]

BLUE = 'team == "blue"'
Frame = tuple[object, ...]


class Frames:
    """Encodes to tuples, so that tests can read them; counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def encode_item_updated(self, query_id: str, key: str, member: Member) -> bytes:
        return self._make("updated", query_id, key, member.event_id, json.loads(member.data))

    def encode_item_removed(self, query_id: str, key: str, event_id: int) -> bytes:
        return self._make("removed", query_id, key, event_id)

    def encode_result(
        self, query_id: str, members: Iterable[tuple[str, Member]], event_id: int
    ) -> bytes:
        rows = {key: [one.event_id, json.loads(one.data)] for key, one in members}
        return self._make("result", query_id, rows, event_id)

    def _make(self, *parts: object) -> bytes:
        self.made += 1
        return json.dumps(parts).encode()


class Follower:
    """A holder with a client at its end that believes what the SDK would believe."""

    def __init__(self) -> None:
        self.frames: list[list[object]] = []
        self.permissions: list[str] = []
        self.refusals: list[Refusal] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def on_permission(self, identity: str) -> None:
        self.permissions.append(identity)

    def on_ended(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    @property
    def told(self) -> list[object]:
        """What came, in short: the kind and the key."""
        return [(frame[0], frame[2]) for frame in self.frames]


def blue(data: object = None) -> bytes:
    return json.dumps({"team": "blue", "n": data}).encode()


def red() -> bytes:
    return b'{"team":"red"}'


def event(event_id: int, key: str, data: bytes | None) -> Event:
    """An item event; ``data`` None removes the item."""
    kind = EventType.ITEM_REMOVED if data is None else EventType.ITEM_UPDATED
    return Event(1, event_id + 1, event_id, kind, 0, key, data, None, "alice", None, None)


def item(key: str, event_id: int, data: bytes) -> Item:
    return Item(1, key, data, event_id, event_id, 0, 0, None, "alice")


@dataclass
class Bench:
    """One live query and what surrounds it."""

    text: str = BLUE
    most_bytes: int = 10_000
    allowance: Allowance = field(default_factory=lambda: Allowance(100_000))

    def __post_init__(self) -> None:
        self.frames = Frames()
        self.gaps = 0
        self.live = LiveQuery(
            "QR1",
            1,
            parse_query(self.text),
            self.frames,
            self.most_bytes,
            self.allowance,
            self._on_gap,
        )

    def _on_gap(self, live: LiveQuery) -> None:
        assert live is self.live
        self.gaps += 1

    def hear(self, event_id: int, key: str, data: bytes | None) -> None:
        self.live.hear(event(event_id, key, data), None if data is None else json.loads(data))

    def follow(self) -> Follower:
        follower = Follower()
        self.live.holders[follower] = None
        self.live.listen(follower)
        return follower

    @property
    def keys(self) -> list[str]:
        return sorted(self.live.members)


def a_live_query(*items: Item, event_id: int = 9, **options: object) -> Bench:
    bench = Bench(**options)  # type: ignore[arg-type]  # as in Bench
    assert bench.live.load(event_id, items)
    return bench
