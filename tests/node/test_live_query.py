"""A live query without a loop: every order of reading and hearing ends in the same result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.errors import Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.objects import Item, Kind, SyncObject
from starlings.core.query import parse_query
from starlings.node import live_query
from starlings.node.hub import Delivery
from starlings.node.live_query import Allowance, Index, LiveQuery, Member, Phase, cost_of
from starlings.node.node import Message

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


# Changes


def test_an_item_that_begins_to_match_enters() -> None:
    bench = a_live_query()
    follower = bench.follow()
    bench.hear(10, "a", red())
    bench.hear(11, "a", blue(1))
    assert follower.frames == [["updated", "QR1", "a", 11, {"team": "blue", "n": 1}]]
    assert bench.keys == ["a"]


def test_a_member_that_changes_is_told_anew() -> None:
    bench = a_live_query(item("a", 3, blue(1)))
    follower = bench.follow()
    bench.hear(10, "a", blue(2))
    assert follower.told == [("updated", "a")]


def test_a_member_that_no_longer_matches_leaves_once() -> None:
    bench = a_live_query(item("a", 3, blue()))
    follower = bench.follow()
    bench.hear(10, "a", red())
    bench.hear(11, "a", red())
    bench.hear(12, "a", None)
    assert follower.frames == [["removed", "QR1", "a", 10]]
    assert bench.keys == []


def test_a_removed_member_leaves_and_other_removals_are_not_told() -> None:
    bench = a_live_query(item("a", 3, blue()))
    follower = bench.follow()
    bench.hear(10, "other", None)
    bench.hear(11, "a", None)
    assert follower.told == [("removed", "a")]


def test_a_frame_is_made_once_for_all_and_not_at_all_for_nobody() -> None:
    bench = a_live_query()
    bench.hear(10, "a", blue())
    assert bench.frames.made == 0
    followers = [bench.follow() for _ in range(100)]
    bench.hear(11, "b", blue())
    assert bench.frames.made == 1
    assert all(follower.told == [("updated", "b")] for follower in followers)


def test_who_is_released_hears_nothing() -> None:
    bench = a_live_query()
    follower = bench.follow()
    bench.live.release(follower)
    bench.hear(10, "a", blue())
    assert follower.frames == []


def test_a_repeated_event_is_passed_over() -> None:
    bench = a_live_query(event_id=9)
    follower = bench.follow()
    bench.hear(9, "a", blue())
    assert follower.frames == []
    assert bench.keys == []


# What a client misses


def test_changes_elsewhere_in_the_map_are_no_news_for_the_result() -> None:
    bench = a_live_query(item("a", 3, blue()), event_id=9)
    bench.hear(10, "other", red())
    assert bench.live.misses_nothing_since(9)
    assert bench.live.misses_nothing_since(10)
    bench.hear(11, "a", red())
    assert not bench.live.misses_nothing_since(10)
    assert bench.live.misses_nothing_since(11)


def test_a_client_of_the_future_or_of_before_the_reading_may_miss_something() -> None:
    bench = a_live_query(event_id=9)
    assert not bench.live.misses_nothing_since(8)
    assert not bench.live.misses_nothing_since(10)


def test_the_result_frame_is_made_once_for_each_event() -> None:
    bench = a_live_query(item("a", 3, blue()), event_id=9)
    assert bench.live.result_frame is bench.live.result_frame
    assert json.loads(bench.live.result_frame) == [
        "result",
        "QR1",
        {"a": [3, {"team": "blue", "n": None}]},
        9,
    ]
    bench.hear(10, "other", red())
    assert json.loads(bench.live.result_frame)[3] == 10


# Reading while events go on


def test_what_was_heard_during_the_reading_lies_over_what_was_read() -> None:
    bench = Bench()
    bench.hear(10, "came", blue())
    bench.hear(11, "went", None)
    bench.hear(12, "left", red())
    assert bench.live.load(9, [item("went", 3, blue()), item("left", 4, blue())])
    assert bench.keys == ["came"]
    assert bench.live.event_id == 12


def test_what_was_read_later_than_heard_stays() -> None:
    bench = Bench()
    bench.hear(10, "a", red())
    assert bench.live.load(9, [item("a", 12, blue(2))])
    assert bench.live.members["a"] == Member(blue(2), 12)


def test_news_that_the_reading_was_ahead_of_change_nothing() -> None:
    bench = a_live_query(item("a", 12, blue(2)), event_id=9)
    follower = bench.follow()
    bench.hear(10, "a", red())
    bench.hear(11, "a", blue(1))
    bench.hear(12, "a", blue(2))
    assert follower.frames == []
    assert bench.live.members["a"] == Member(blue(2), 12)


def test_who_has_what_a_reading_was_ahead_of_needs_its_result() -> None:
    bench = Bench()
    assert bench.live.load(9, [item("a", 10, blue())], seen_id=11)
    assert not bench.live.misses_nothing_since(9)
    follower = bench.follow()
    bench.hear(10, "a", blue())
    bench.hear(11, "gone before it was read", None)
    assert follower.frames == []
    assert bench.live.misses_nothing_since(11)


@pytest.mark.parametrize(
    "heard", [[(10, "a"), (12, "b")], [(11, "a")]], ids=["between", "at the beginning"]
)
def test_a_gap_during_the_reading_demands_another(heard: list[tuple[int, str]]) -> None:
    bench = Bench()
    for event_id, key in heard:
        bench.hear(event_id, key, blue())
    assert not bench.live.load(9, [])
    assert bench.live.load(12, [item("a", 11, blue())])
    assert bench.keys == ["a"]


def test_too_many_keys_during_the_reading_demand_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_query, "MOST_HELD_KEYS", 2)
    bench = Bench()
    for event_id in range(10, 14):
        bench.hear(event_id, f"k{event_id}", red())
    assert not bench.live.load(9, [])
    assert bench.live.load(13, [])


def test_a_gap_when_live_has_all_read_anew_and_told_at_once() -> None:
    bench = a_live_query(item("a", 3, blue()), item("b", 4, blue()), event_id=9)
    follower = bench.follow()
    bench.hear(12, "c", blue())
    assert (bench.gaps, bench.live.phase) == (1, Phase.LOADING)
    assert follower.frames == []
    bench.hear(13, "d", red())
    assert bench.live.load(12, [item("b", 4, blue()), item("c", 12, blue())])
    assert follower.told == [
        ("result", {"b": [4, {"team": "blue", "n": None}], "c": [12, {"team": "blue", "n": None}]})
    ]
    assert bench.live.event_id == 13


# Bounds


def test_a_result_that_is_too_large_is_refused_when_it_is_read() -> None:
    bench = Bench(most_bytes=100)
    with pytest.raises(Refusal) as caught:
        bench.live.load(9, [item("a", 1, blue()), item("b", 2, blue())])
    assert caught.value.reason is Reason.DATA_TOO_LARGE
    assert bench.allowance.used == 0


def test_a_result_that_grows_too_large_ends_the_query() -> None:
    bench = a_live_query(item("a", 3, blue()), most_bytes=150)
    follower = bench.follow()
    bench.hear(10, "b", blue())
    assert [refusal.reason for refusal in follower.refusals] == [Reason.DATA_TOO_LARGE]
    assert (bench.live.phase, bench.allowance.used) == (Phase.ENDED, 0)
    bench.hear(11, "a", None)
    assert follower.frames == []


def test_all_results_share_one_allowance_and_give_back_what_they_no_longer_need() -> None:
    allowance = Allowance(200)
    first = a_live_query(item("a", 1, blue()), allowance=allowance)
    assert allowance.used == cost_of("a", blue())
    second = Bench(allowance=allowance)
    with pytest.raises(Refusal):
        second.live.load(9, [item("b", 1, blue()), item("c", 2, blue())])
    first.hear(10, "a", None)
    assert allowance.used == 0
    assert second.live.load(9, [item("b", 1, blue()), item("c", 2, blue())])
    second.live.end(Refusal(Reason.QUERY_INDEX_NOT_FOUND))
    assert allowance.used == 0


# The index


class NoFrames:
    """The Map's own subscribers are none of ours."""

    def encode_event(self, target: SyncObject, event: Event, service_sid: str) -> bytes:
        return b""

    def mute_removal(self, frame: bytes) -> bytes:
        return frame

    def encode_message(self, message: Message, service_sid: str) -> bytes:
        raise AssertionError("Maps have no messages")


def deliver(index: Index, one: Event) -> None:
    target = SyncObject(
        1, "MP1", 2, Kind.MAP, "m", None, one.seq, one.event_id, 0, 1, 0, 0, None, "alice"
    )
    index.hear(Delivery(target, one, "IS1", NoFrames()))


def test_an_index_gives_each_event_to_all_its_queries() -> None:
    index = Index(1, lambda _: None)
    benches = [a_live_query(text=text) for text in (BLUE, 'team == "red"', "")]
    index.queries = {bench.text: bench.live for bench in benches}
    deliver(index, event(10, "a", blue()))
    assert [bench.keys for bench in benches] == [["a"], [], ["a"]]
    deliver(index, event(11, "a", None))
    assert [bench.keys for bench in benches] == [[], [], []]


def test_when_its_map_is_removed_the_result_becomes_empty_and_ends() -> None:
    removed: list[Index] = []
    index = Index(1, removed.append)
    bench = a_live_query(item("a", 3, blue()))
    follower = bench.follow()
    index.queries = {BLUE: bench.live}
    deliver(index, event(9, "", None)._replace(type=EventType.OBJECT_REMOVED))
    assert follower.told == [("result", {})]
    assert [refusal.reason for refusal in follower.refusals] == [Reason.QUERY_INDEX_NOT_FOUND]
    assert removed == [index]


def test_a_changed_permission_is_told_to_all_who_hold() -> None:
    index = Index(1, lambda _: None)
    bench = a_live_query()
    follower = bench.follow()
    index.queries = {BLUE: bench.live}
    for kind in (EventType.PERMISSION_SET, EventType.PERMISSION_REMOVED):
        deliver(index, event(9, "bob", None)._replace(type=kind))
    assert follower.permissions == ["bob", "bob"]


# Any order


class Client:
    """What the SDK makes of the frames. [LiveQueryImpl, ItemsCache]"""

    def __init__(self, rows: dict[str, tuple[int, object]]) -> None:
        self.entries: dict[str, tuple[int, object]] = dict(rows)
        self.removed_unknown: list[str] = []

    def take(self, frame: list[object]) -> None:
        match frame:
            case ["updated", _, str(key), int(revision), data]:
                self._update(key, revision, data)
            case ["removed", _, str(key), int(revision)]:
                if key not in self.items:
                    self.removed_unknown.append(key)
                if self.entries.get(key, (-1, None))[0] < revision:
                    self.entries[key] = (revision, None)
            case ["result", _, dict(rows), _]:
                for key in self.items:
                    if key not in rows:
                        self.entries[key] = (-1, None)
                for key, (revision, data) in rows.items():
                    self._update(key, revision, data)
            case _:
                raise AssertionError(frame)

    def _update(self, key: str, revision: int, data: object) -> None:
        if self.entries.get(key, (-1, None))[0] < revision:
            self.entries[key] = (revision, data)

    @property
    def items(self) -> dict[str, object]:
        return {key: data for key, (_, data) in self.entries.items() if data is not None}


_KEYS = "abcd"
_Change = tuple[str, bytes | None]
_changes = st.lists(
    st.tuples(st.sampled_from(_KEYS), st.sampled_from([blue(1), blue(2), red(), None])),
    max_size=30,
)


def test_old_news_heard_after_the_reading_brings_nothing_back() -> None:
    bench = Bench()
    bench.live.hear(event(0, "a", blue(1)), json.loads(blue(1)))
    assert bench.live.load(1, [])  # event 1 had removed it before the reading began
    bench.live.hear(event(1, "a", None), None)
    assert bench.keys == []


@given(_changes, st.data())
def test_whenever_it_is_read_and_heard_the_client_has_the_truth_at_the_end(
    wanted: list[_Change], data: st.DataObject
) -> None:
    """Events commit, are heard later in order, and the keys are read one by one in between."""
    truth: dict[str, tuple[int, bytes]] = {}
    committed: list[Event] = []

    def commit() -> None:
        key, value = wanted[len(committed)]
        event_id = len(committed)
        committed.append(event(event_id, key, value))
        if value is None:
            truth.pop(key, None)
        else:
            truth[key] = (event_id, value)

    def commit_some() -> None:
        for _ in range(data.draw(st.integers(0, len(wanted) - len(committed)))):
            commit()

    bench = Bench()
    heard = 0

    def hear_some(most: int | None = None) -> None:
        nonlocal heard
        left = len(committed) - heard
        for _ in range(left if most is None else data.draw(st.integers(0, min(left, most)))):
            one = committed[heard]
            heard += 1
            bench.live.hear(one, None if one.data is None else json.loads(one.data))

    commit_some()
    heard = data.draw(st.integers(0, len(committed)))  # before anybody listened
    last_id = len(committed) - 1
    found: list[Item] = []
    for key in _KEYS:
        commit_some()
        hear_some(len(wanted))
        if key in truth and b"blue" in truth[key][1]:
            found.append(item(key, *truth[key]))
    assert bench.live.load(last_id, found)
    follower = bench.follow()
    client = Client(
        {key: (one.event_id, json.loads(one.data)) for key, one in bench.live.members.items()}
    )
    while len(committed) < len(wanted):
        commit()
    hear_some()
    for frame in follower.frames:
        client.take(frame)
    expected = {key: json.loads(value) for key, (_, value) in truth.items() if b"blue" in value}
    assert client.items == expected
    assert bench.keys == sorted(expected)
    assert client.removed_unknown == []
