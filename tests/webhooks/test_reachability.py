"""Who came and who went: node/reachability.py. [rest-api 8.2]"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from starlings.core.errors import Fault, Reason
from starlings.core.limits import OFF
from starlings.core.objects import Service
from starlings.core.webhook_rules import Webhook
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.reachability import Change, Reachability, ReachabilityState
from starlings.storage.outbox import Reached
from starlings.storage.sqlite.store import SqliteStore
from tests.webhooks.samples import a_service

WINDOW = 5.0


def came(endpoint: str) -> Change:
    return Change(1, "bob", endpoint, True)


def went(endpoint: str) -> Change:
    return Change(1, "bob", endpoint, False)


class Desk:
    """One identity's endpoints and a clock."""

    def __init__(self) -> None:
        self.state = ReachabilityState()
        self.now = 0.0

    def connect(self, endpoint: str) -> list[Change]:
        return self.state.connect(1, "bob", endpoint)

    def drop(self, endpoint: str, *, debounced: bool = True) -> list[Change]:
        return self.state.disconnect(1, "bob", endpoint, self.now + WINDOW if debounced else None)

    def wait(self, seconds: float) -> list[Change]:
        self.now += seconds
        return self.state.tick(self.now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_without_debouncing_each_change_is_told_at_once(desk: Desk) -> None:
    assert desk.connect("E1") == [came("E1")]
    assert desk.connect("E2") == [came("E2")]
    assert desk.drop("E1", debounced=False) == [went("E1")]
    assert desk.drop("E2", debounced=False) == [went("E2")]
    assert desk.wait(100) == []


def test_the_going_of_the_last_endpoint_waits_for_the_window(desk: Desk) -> None:
    desk.connect("E1")
    assert desk.drop("E1") == []
    assert desk.wait(WINDOW - 0.001) == []
    assert desk.wait(0.001) == [went("E1")]
    assert desk.wait(100) == []


def test_the_going_of_another_endpoint_than_the_last_is_told_at_once(desk: Desk) -> None:
    desk.connect("E1")
    desk.connect("E2")
    assert desk.drop("E1") == [went("E1")]
    assert desk.drop("E2") == []


def test_who_comes_back_within_the_window_was_never_gone(desk: Desk) -> None:
    desk.connect("E1")
    desk.drop("E1")
    desk.wait(WINDOW / 2)
    assert desk.connect("E1") == []
    assert desk.wait(100) == []
    assert desk.drop("E1") == []
    assert desk.wait(WINDOW) == [went("E1")]


def test_who_comes_back_after_the_window_is_told_anew(desk: Desk) -> None:
    desk.connect("E1")
    desk.drop("E1")
    assert desk.wait(WINDOW) == [went("E1")]
    assert desk.connect("E1") == [came("E1")]


def test_a_newcomer_within_the_window_stands_in_under_the_id_that_was_told(desk: Desk) -> None:
    desk.connect("E1")
    desk.drop("E1")
    assert desk.connect("E2") == []
    assert desk.drop("E2", debounced=False) == [went("E1")]


def test_who_finds_its_id_in_use_gets_it_back(desk: Desk) -> None:
    desk.connect("E1")
    desk.drop("E1")
    desk.connect("E2")  # stands in for E1
    assert desk.connect("E1") == [came("E2")]
    assert desk.drop("E1") == [went("E1")]
    assert desk.drop("E2", debounced=False) == [went("E2")]


def test_two_connections_of_one_endpoint_are_one(desk: Desk) -> None:
    assert desk.connect("E1") == [came("E1")]
    assert desk.connect("E1") == []
    assert desk.drop("E1", debounced=False) == []
    assert desk.drop("E1", debounced=False) == [went("E1")]


def test_identities_and_services_are_apart(desk: Desk) -> None:
    desk.connect("E1")
    desk.drop("E1")
    assert desk.state.connect(1, "eve", "E1") == [Change(1, "eve", "E1", True)]
    assert desk.state.connect(2, "bob", "E1") == [Change(2, "bob", "E1", True)]
    assert desk.wait(WINDOW) == [went("E1")]


def test_after_a_restart_only_those_who_stay_away_are_told_to_be_gone(desk: Desk) -> None:
    for endpoint in ("E1", "E2"):
        desk.state.restore(1, "bob", endpoint, WINDOW)
    assert desk.connect("E2") == []
    assert desk.wait(WINDOW) == [went("E1")]
    assert desk.drop("E2", debounced=False) == [went("E2")]


class ReachabilityMachine(RuleBasedStateMachine):
    """Any connections, drops and waits of one identity, debounced as the run says or not."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ReachabilityState()
        self.now = 0.0
        self.open: Counter[str] = Counter()
        self.told: set[str] = set()
        self.emptied_at: float | None = None
        """When the last connection was dropped, if none was opened since; debounced only."""

    def hear(self, changes: list[Change]) -> None:
        """Rule 2: coming and going are told in turns."""
        for change in changes:
            if change.is_connected:
                assert change.endpoint not in self.told, f"{change} was told twice"
                self.told.add(change.endpoint)
            else:
                assert change.endpoint in self.told, f"{change} was never told to have come"
                self.told.remove(change.endpoint)

    @rule(endpoint=st.sampled_from("ABCD"))
    def connect(self, endpoint: str) -> None:
        changes = self.state.connect(1, "bob", endpoint)
        if self.emptied_at is not None and self.now < self.emptied_at + WINDOW:
            assert changes == [], "a return within the window was told"
        self.emptied_at = None
        self.open[endpoint] += 1
        self.hear(changes)

    @precondition(lambda self: self.open.total() > 0)
    @rule(data=st.data(), debounced=st.booleans())
    def drop(self, data: st.DataObject, debounced: bool) -> None:
        endpoint = data.draw(st.sampled_from(sorted(self.open)))
        deadline = self.now + WINDOW if debounced else None
        changes = self.state.disconnect(1, "bob", endpoint, deadline)
        self.open -= Counter(endpoint)
        if not self.open and debounced:
            assert changes == [], "the last one's going was told before the window had passed"
            self.emptied_at = self.now
        self.hear(changes)

    @rule(seconds=st.sampled_from([0.0, 1.0, WINDOW - 0.5, WINDOW, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.hear(self.state.tick(self.now))

    @invariant()
    def as_many_are_told_to_be_there_as_are_there(self) -> None:
        if self.open or self.emptied_at is None:
            assert len(self.told) == len(self.open)
        else:
            assert len(self.told) == (self.now < self.emptied_at + WINDOW) or (
                # The window has passed, and no tick came yet.
                self.state.next_deadline is not None and self.state.next_deadline <= self.now
            )

    def teardown(self) -> None:
        """Once all are gone and the time is up, nobody is told to be there, nothing is kept."""
        for endpoint in list(self.open.elements()):
            self.hear(self.state.disconnect(1, "bob", endpoint, self.now + WINDOW))
        self.hear(self.state.tick(self.now + WINDOW))
        assert self.told == set()
        assert self.state._presences == {}


TestReachabilityMachine = ReachabilityMachine.TestCase
TestReachabilityMachine.settings = settings(max_examples=200, stateful_step_count=30)


# The driver


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)
    yield store
    await store.close()


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0


async def told(store: SqliteStore, service: Service) -> list[tuple[str, str]]:
    found: list[Webhook] = []
    for lane in await store.outbox.list_lanes(service.oid, -(1 << 63), 10):
        found += [one.webhook for one in await store.outbox.read_lane(service.oid, lane.lane, 99)]
    return [(one.type.removeprefix("endpoint_"), one.endpoint or "") for one in found]


def a_driver(store: SqliteStore, service: Service, clock: Clock | None = None) -> Reachability:
    async def find_service(oid: int) -> Service | None:
        return service if oid == service.oid else None

    moved = clock or Clock()
    sources = SYSTEM_SOURCES._replace(monotonic=lambda: moved.seconds)
    return Reachability(store.outbox, find_service, sources)


async def run_shortly(driver: Reachability) -> None:
    """Let a driver run until it has nothing to do now, then stop it."""
    task = asyncio.get_running_loop().create_task(driver.run())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_changes_go_to_the_outbox_in_order(store: SqliteStore) -> None:
    service = a_service(reachability=True)
    driver = a_driver(store, service)
    one, two = object(), object()
    driver.connected(one, service, "bob", "E1")
    driver.connected(two, service, "bob", "E2")
    driver.disconnected(one, service)
    driver.disconnected(one, service)  # a second end of the same connection is none
    await run_shortly(driver)
    assert await told(store, service) == [
        ("connected", "E1"),
        ("connected", "E2"),
        ("disconnected", "E1"),
    ]
    assert await store.outbox.list_reached() == [Reached(7, "bob", "E2")]


async def test_a_service_without_reachability_costs_no_write(store: SqliteStore) -> None:
    service = a_service()
    driver = a_driver(store, service)
    driver.connected(1, service, "bob", "E1")
    driver.disconnected(1, service)
    await run_shortly(driver)
    assert await told(store, service) == []
    assert store.statistics().commits == 0


async def test_after_a_crash_who_does_not_come_back_is_told_to_be_gone(
    store: SqliteStore,
) -> None:
    service = a_service(reachability=True, window_ms=30_000)
    before = a_driver(store, service)
    for endpoint in ("E1", "E2"):
        before.connected(endpoint, service, endpoint, endpoint)
    await run_shortly(before)
    clock = Clock()
    after = a_driver(store, service, clock)
    await after.restore()
    after.connected(1, service, "E1", "E1")
    clock.seconds += 29.9
    await run_shortly(after)
    assert len(await told(store, service)) == 2
    clock.seconds += 0.1
    await run_shortly(after)
    assert sorted(await told(store, service)) == [
        ("connected", "E1"),
        ("connected", "E2"),
        ("disconnected", "E2"),
    ]
    assert await store.outbox.list_reached() == [Reached(7, "E1", "E1")]


async def test_a_service_that_wants_no_more_is_not_told_after_the_next_start_either(
    store: SqliteStore,
) -> None:
    service = a_service(reachability=True)
    driver = a_driver(store, service)
    driver.connected(1, service, "bob", "E1")
    driver.disconnected(1, service._replace(has_reachability_webhooks=False))
    await run_shortly(driver)
    assert await told(store, service) == [("connected", "E1")]
    assert await store.outbox.list_reached() == []


async def test_changes_wait_for_a_store_that_can_not_write(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = a_service(reachability=True)
    driver = a_driver(store, service)
    add = store.outbox.add
    failures = 0

    async def fail_once(*arguments: object) -> None:
        nonlocal failures
        if failures == 0:
            failures += 1
            raise Fault(Reason.UNAVAILABLE)
        await add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store.outbox, "add", fail_once)
    driver.connected(1, service, "bob", "E1")
    driver.disconnected(1, service)
    await run_shortly(driver)
    assert failures == 1
    assert await told(store, service) == [("connected", "E1"), ("disconnected", "E1")]
