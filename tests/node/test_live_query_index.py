"""The live queries on one Map, which share each of its events."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from starlings.core.errors import Reason
from starlings.core.events import Event, EventType
from starlings.core.objects import Kind, SyncObject
from starlings.node import live_query
from starlings.node.hub import Delivery
from starlings.node.live_query import Allowance, Index, Phase
from starlings.node.node import Message
from tests.node.live_queries import BLUE, Bench, a_live_query, blue, event, item


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
    index = Index(1, lambda _: None, lambda _: None)
    benches = [a_live_query(text=text) for text in (BLUE, 'team == "red"', "")]
    index.queries = {bench.text: bench.live for bench in benches}
    deliver(index, event(10, "a", blue()))
    assert [bench.keys for bench in benches] == [["a"], [], ["a"]]
    deliver(index, event(11, "a", None))
    assert [bench.keys for bench in benches] == [[], [], []]


def test_when_its_map_is_removed_the_result_becomes_empty_and_ends() -> None:
    removed: list[Index] = []
    index = Index(1, removed.append, lambda _: None)
    bench = a_live_query(item("a", 3, blue()))
    follower = bench.follow()
    index.queries = {BLUE: bench.live}
    deliver(index, event(9, "", None)._replace(type=EventType.OBJECT_REMOVED))
    assert follower.told == [("result", {})]
    assert [refusal.reason for refusal in follower.refusals] == [Reason.QUERY_INDEX_NOT_FOUND]
    assert removed == [index]


def test_a_changed_permission_is_told_to_all_who_hold() -> None:
    index = Index(1, lambda _: None, lambda _: None)
    bench = a_live_query()
    follower = bench.follow()
    index.queries = {BLUE: bench.live}
    for kind in (EventType.PERMISSION_SET, EventType.PERMISSION_REMOVED):
        deliver(index, event(9, "bob", None)._replace(type=kind))
    assert follower.permissions == ["bob", "bob"]


# Much work


LARGE = json.dumps({"team": "blue", "n": -1, "text": "x" * 16_000}).encode()


@dataclass
class Busy:
    """An index with many queries, whose work is done when a test says so."""

    calls: int = 0

    def __post_init__(self) -> None:
        self.index = Index(1, lambda _: None, self._note)
        self.benches = [
            a_live_query(text=f'team == "blue" AND n != {n}', most_bytes=10**7) for n in range(30)
        ]
        self.index.queries = {bench.text: bench.live for bench in self.benches}

    def _note(self, index: Index) -> None:
        assert index is self.index
        self.calls += 1

    @property
    def ids(self) -> list[int]:
        """Up to which event each query has heard."""
        return [bench.live.event_id for bench in self.benches]

    def work(self) -> int:
        """Until nothing waits; in how many steps."""
        steps = 1
        while self.index.step():
            steps += 1
        return steps


def test_an_event_that_is_much_work_is_evaluated_in_steps_and_those_behind_it_wait() -> None:
    busy = Busy()
    deliver(busy.index, event(10, "a", LARGE))
    assert busy.ids[0] == 10
    assert busy.ids[-1] == 9
    deliver(busy.index, event(11, "b", LARGE))
    deliver(busy.index, event(12, "a", None))
    assert 12 not in busy.ids
    assert busy.calls == 1
    assert busy.work() >= 5
    assert busy.ids == [12] * 30
    assert [bench.keys for bench in busy.benches] == [["b"]] * 30
    assert [bench.gaps for bench in busy.benches] == [0] * 30


def test_after_much_work_events_are_heard_at_once_again() -> None:
    busy = Busy()
    deliver(busy.index, event(10, "a", LARGE))
    busy.work()
    deliver(busy.index, event(11, "b", blue()))
    assert busy.ids == [11] * 30
    deliver(busy.index, event(12, "c", LARGE))
    assert busy.calls == 2


def test_of_too_many_events_that_wait_some_are_dropped_which_is_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_query, "MOST_WAITING_EVENTS", 3)
    busy = Busy()
    for number in range(10, 20):
        deliver(busy.index, event(number, "a", LARGE))
    busy.work()
    assert [bench.gaps for bench in busy.benches] == [1] * 30
    assert busy.benches[0].live.load(19, [item("a", 19, blue())])


def test_a_query_that_comes_while_events_wait_misses_nothing() -> None:
    busy = Busy()
    deliver(busy.index, event(10, "a", LARGE))
    deliver(busy.index, event(11, "b", LARGE))
    late = Bench(text=BLUE, most_bytes=10**7, allowance=Allowance(10**7))
    busy.index.queries["late"] = late.live
    assert late.live.load(10, [item("a", 10, LARGE)])
    busy.work()
    assert (late.keys, late.live.event_id, late.gaps) == (["a", "b"], 11, 0)


def test_what_waits_is_dropped_with_its_map() -> None:
    busy = Busy()
    deliver(busy.index, event(10, "a", LARGE))
    deliver(busy.index, event(11, "", None)._replace(type=EventType.OBJECT_REMOVED))
    assert not busy.index.step()
    assert {bench.live.phase for bench in busy.benches} == {Phase.ENDED}
