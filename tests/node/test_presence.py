"""The rules of presence: whatever happens, in the end the Map tells who is there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from starlings.core.objects import Item
from starlings.node.presence import PresenceState, PresenceWrite, published_part

START = 1_750_000_000_000
WINDOW = 2.0


class Desk:
    """A state, the Map that its writes make, and a clock."""

    def __init__(self) -> None:
        self.state = PresenceState()
        self.map: dict[str, bytes] = {}
        self.events = 0
        self.seconds = 0.0

    @property
    def now(self) -> int:
        return START + round(self.seconds * 1000)

    def connect(self, identity: str, endpoint: str = "EP1") -> None:
        self.state.connect(identity, endpoint, self.now)

    def disconnect(self, identity: str, endpoint: str = "EP1") -> None:
        self.state.disconnect(identity, endpoint, self.seconds + WINDOW)

    def take(self, limit: int = 100) -> list[PresenceWrite]:
        return self.state.take(self.seconds, limit)

    def apply(self, write: PresenceWrite) -> None:
        self.events += 1
        if write.data is None:
            del self.map[write.identity]
        else:
            self.map[write.identity] = write.data
        self.state.settle(write, self.events)

    def work(self) -> int:
        """Write until nothing is due; how many writes."""
        count = 0
        while writes := self.take():
            for write in writes:
                self.apply(write)
                count += 1
        return count

    def restart(self) -> None:
        items = [
            Item(1, identity, data, 7, 7, 0, 0, None, "system")
            for identity, data in self.map.items()
        ]
        self.state = PresenceState()
        for item in items:
            self.state.restore(item, self.now, self.seconds + WINDOW)

    def entry(self, identity: str) -> dict[str, Any]:
        entry = json.loads(self.map[identity])
        assert isinstance(entry, dict)
        return entry


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_entry_appears_with_the_first_endpoint(desk: Desk) -> None:
    desk.connect("alice")
    assert desk.work() == 1
    assert desk.entry("alice") == {"endpoints": 1, "since": "2025-06-15T15:06:40.000Z"}


def test_endpoints_are_counted_and_connections_are_not(desk: Desk) -> None:
    desk.connect("alice", "EP1")
    desk.connect("alice", "EP1")
    desk.connect("alice", "EP2")
    desk.work()
    assert desk.entry("alice")["endpoints"] == 2
    desk.disconnect("alice", "EP1")
    assert desk.work() == 0
    desk.disconnect("alice", "EP2")
    desk.work()
    assert desk.entry("alice")["endpoints"] == 1


def test_an_entry_is_removed_exactly_when_the_window_has_passed(desk: Desk) -> None:
    desk.connect("alice")
    desk.work()
    desk.disconnect("alice")
    desk.seconds += WINDOW - 0.001
    assert desk.work() == 0
    assert desk.state.next_deadline == WINDOW
    desk.seconds += 0.001
    assert desk.work() == 1
    assert desk.map == {}


def test_who_comes_back_within_the_window_causes_no_write(desk: Desk) -> None:
    desk.connect("alice")
    desk.work()
    before = desk.entry("alice")
    for number in range(50):
        desk.disconnect("alice", f"EP{number or 1}" if number < 2 else f"EP{number}")
        desk.seconds += WINDOW / 2
        desk.connect("alice", f"EP{number + 1}")
        assert desk.work() == 0
    assert desk.entry("alice") == before


def test_a_storm_of_one_identity_is_one_write(desk: Desk) -> None:
    for number in range(1000):
        desk.connect("alice", f"EP{number}")
    assert desk.work() == 1
    assert desk.entry("alice")["endpoints"] == 1000


def test_who_came_and_went_between_two_ticks_is_told_of_until_the_window_ends(desk: Desk) -> None:
    desk.connect("alice")
    desk.disconnect("alice")
    assert desk.work() == 1
    desk.seconds += WINDOW
    desk.work()
    assert desk.map == {}


def test_a_batch_is_bounded_and_the_rest_comes_next(desk: Desk) -> None:
    for number in range(25):
        desk.connect(f"id-{number}")
    first = desk.take(10)
    second = desk.take(10)
    assert len(first) == len(second) == 10
    assert desk.state.has_changes
    third = desk.take(10)
    identities = [write.identity for write in first + second + third]
    assert sorted(identities) == sorted(f"id-{number}" for number in range(25))


def test_a_new_write_waits_for_the_one_under_way(desk: Desk) -> None:
    desk.connect("alice", "EP1")
    (write,) = desk.take()
    desk.connect("alice", "EP2")
    assert desk.take() == []
    desk.apply(write)
    desk.work()
    assert desk.entry("alice")["endpoints"] == 2


def test_a_failed_write_is_taken_again(desk: Desk) -> None:
    desk.connect("alice")
    (write,) = desk.take()
    desk.state.fail(write, is_final=False)
    assert desk.take() == [write]


def test_a_refused_write_is_not_taken_again_until_something_changes(desk: Desk) -> None:
    desk.connect("alice")
    (write,) = desk.take()
    desk.state.fail(write, is_final=True)
    assert desk.take() == []
    desk.connect("alice", "EP2")
    assert len(desk.take()) == 1


def test_entries_of_a_former_run_go_unless_their_identity_is_back_in_time(desk: Desk) -> None:
    for identity in ("alice", "bob"):
        desk.connect(identity)
    desk.work()
    desk.seconds += 5
    desk.restart()
    desk.connect("alice", "EP9")
    desk.seconds += WINDOW
    desk.work()
    assert desk.map.keys() == {"alice"}
    assert desk.entry("alice")["since"] == "2025-06-15T15:06:40.000Z"


@pytest.mark.parametrize(
    "data", [b"{}", b'{"endpoints":1,"since":"?"}', b'{"endpoints":1,"since":"2025-06-15T15:06"}']
)
def test_an_entry_that_cannot_be_read_is_written_anew_or_removed(desk: Desk, data: bytes) -> None:
    desk.map = {"alice": data, "bob": data}
    desk.restart()
    desk.connect("alice")
    desk.seconds += WINDOW
    desk.work()
    assert desk.map.keys() == {"alice"}
    assert desk.entry("alice")["since"] == "2025-06-15T15:06:40.000Z"


def publish(desk: Desk, identity: str, part: bytes | None) -> None:
    data, _ = desk.state.begin_publishing(identity, part)
    desk.events += 1
    desk.map[identity] = data
    desk.state.end_publishing(identity, part, data, desk.events)


def test_the_published_part_stays_with_the_entry(desk: Desk) -> None:
    desk.connect("alice")
    desk.work()
    publish(desk, "alice", b'{"mood":"merry"}')
    desk.connect("alice", "EP2")
    desk.work()
    desk.restart()
    desk.connect("alice", "EP3")
    assert desk.work() == 1
    assert desk.entry("alice")["client"] == {"mood": "merry"}
    assert desk.entry("alice")["endpoints"] == 1


def test_no_write_is_taken_while_an_identity_publishes(desk: Desk) -> None:
    desk.connect("alice")
    desk.work()
    data, event_id = desk.state.begin_publishing("alice", b"{}")
    assert event_id == desk.events
    assert desk.state.is_busy("alice")
    desk.connect("alice", "EP2")
    desk.disconnect("alice", "EP1")
    desk.disconnect("alice", "EP2")
    desk.seconds += WINDOW
    assert desk.take() == []
    desk.map["alice"] = data
    desk.state.end_publishing("alice", b"{}", data, 9)
    desk.work()
    assert desk.map == {}


def test_a_refused_publication_changes_nothing(desk: Desk) -> None:
    desk.connect("alice")
    desk.work()
    publish(desk, "alice", b'{"n":1}')
    desk.state.begin_publishing("alice", b'{"n":2}')
    desk.state.end_publishing("alice", b'{"n":2}', None, -1)
    desk.connect("alice", "EP2")
    desk.work()
    assert desk.entry("alice")["client"] == {"n": 1}


def test_who_comes_anew_begins_anew(desk: Desk) -> None:
    desk.connect("alice")
    desk.work()
    publish(desk, "alice", b'{"n":1}')
    desk.disconnect("alice")
    desk.seconds += WINDOW
    (removal,) = desk.take()
    desk.connect("alice", "EP2")
    desk.apply(removal)
    desk.work()
    assert desk.entry("alice") == {"endpoints": 1, "since": "2025-06-15T15:06:42.000Z"}


@pytest.mark.parametrize(
    ("written", "published"),
    [
        (b'{"mood":"merry"}', b'{"mood":"merry"}'),
        (b"{}", b"{}"),
        (b'{"endpoints":1,"since":"x","client":{"n":1}}', b'{"n":1}'),
        (b'{"endpoints":1,"since":"x"}', None),
        (b'{"endpoints":1,"since":"x","mood":1}', b'{"endpoints":1,"since":"x","mood":1}'),
    ],
)
def test_of_an_entry_written_back_only_the_client_part_counts(
    written: bytes, published: bytes | None
) -> None:
    assert published_part(written) == published


class AnyHistory(RuleBasedStateMachine):
    """Connections, time, faults and restarts in any order, against the plain truth."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.open: list[tuple[str, str]] = []
        self.until: dict[str, float] = {}
        """When who is gone stops counting as there."""
        self.under_way: list[PresenceWrite] = []

    @initialize()
    def begin(self) -> None:
        self.desk.connect("zero")
        self.open.append(("zero", "EP1"))

    @rule(
        identity=st.sampled_from(["alice", "bob", "carol"]), endpoint=st.sampled_from(["E1", "E2"])
    )
    def connect(self, identity: str, endpoint: str) -> None:
        self.desk.connect(identity, endpoint)
        self.open.append((identity, endpoint))
        self.until.pop(identity, None)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        identity, endpoint = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.desk.disconnect(identity, endpoint)
        if all(other != identity for other, _ in self.open):
            self.until[identity] = self.desk.seconds + WINDOW

    @rule(seconds=st.sampled_from([0.1, 0.7, 2.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        self.desk.seconds += seconds

    @rule(limit=st.integers(1, 3))
    def take(self, limit: int) -> None:
        writes = self.desk.take(limit)
        busy = {write.identity for write in self.under_way}
        taken = [write.identity for write in writes]
        assert len(taken) <= limit
        assert len({*taken}) == len(taken)
        assert busy.isdisjoint(taken)
        self.under_way += writes

    @precondition(lambda self: self.under_way)
    @rule(is_done=st.booleans())
    def end_write(self, is_done: bool) -> None:
        write = self.under_way.pop(0)
        if is_done:
            self.desk.apply(write)
        else:
            self.desk.state.fail(write, is_final=False)

    @rule()
    def crash(self) -> None:
        """What was under way may have been committed, or not."""
        for place, write in enumerate(self.under_way):
            if place % 2 and write.data is not None:
                self.desk.map[write.identity] = write.data
        self.under_way.clear()
        self.open.clear()
        self.desk.restart()
        self.until = dict.fromkeys(self.desk.map, self.desk.seconds + WINDOW)

    @precondition(lambda self: not self.under_way)
    @rule()
    def check(self) -> None:
        """Once written, the Map has who is connected or went less than a window ago."""
        self.desk.work()
        seconds = self.desk.seconds
        there = {identity for identity, _ in self.open}
        assert self.desk.map.keys() == there | {
            identity for identity, until in self.until.items() if until > seconds
        }
        for identity in there:
            endpoints = {endpoint for other, endpoint in self.open if other == identity}
            assert self.desk.entry(identity)["endpoints"] == len(endpoints)

    @invariant()
    def nobody_there_is_forgotten(self) -> None:
        there = {identity for identity, _ in self.open}
        known = there | self.until.keys()
        assert {one for one in known if self.desk.state.is_connected(one)} == there

    def teardown(self) -> None:
        for write in self.under_way:
            self.desk.apply(write)
        self.desk.seconds += WINDOW
        self.desk.work()
        assert self.desk.map.keys() == {identity for identity, _ in self.open}
        assert not self.desk.state.has_changes


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
