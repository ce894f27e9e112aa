"""The live queries on one Map, which share each of its events."""

from __future__ import annotations

from starlings.core.errors import Reason
from starlings.core.events import Event, EventType
from starlings.core.objects import Kind, SyncObject
from starlings.node.hub import Delivery
from starlings.node.live_query import Index
from starlings.node.node import Message
from tests.node.live_queries import BLUE, a_live_query, blue, event, item


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
