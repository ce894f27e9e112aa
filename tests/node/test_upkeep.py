"""What a node does on its own: expire, purge, trim, shrink."""

from __future__ import annotations

import asyncio

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.events import EventType
from starlings.core.objects import Kind, SyncObject
from starlings.core.state import Outcome
from starlings.node.clock import Sources
from starlings.node.upkeep import Retention, Upkeep
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ADMIN, Clock, Desk
from tests.contracts.store_contract import LIMITS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(LIMITS, clock)


@pytest.fixture
def desk(store: MemoryStore, clock: Clock) -> Desk:
    return Desk(store, clock)


@pytest.fixture
def upkeep(store: MemoryStore, clock: Clock) -> Upkeep:
    return Upkeep(store, Sources(clock, lambda: 0.0, lambda bits: 0), Retention(60, 600))


async def test_a_sweep_removes_what_expired_and_nothing_else(
    upkeep: Upkeep, desk: Desk, store: MemoryStore, clock: Clock
) -> None:
    service = await desk.create_service()
    target = await desk.create(service, Kind.MAP)
    short = await desk.create(service, Kind.DOCUMENT, ttl=5)
    await desk.add(target, key="short", ttl=5)
    await desk.add(target, key="long", ttl=6)
    assert await upkeep.sweep() == 0
    clock.pass_seconds(5)
    assert await upkeep.sweep() == 2
    assert await upkeep.sweep() == 0
    assert await store.find_object(short.oid) is None
    assert [item.key for item in await desk.list_all(target)] == ["long"]
    [event] = await store.replay(target.oid, 1, 9) or []
    assert (event.type, event.key, event.identity) == (EventType.ITEM_REMOVED, "short", "system")


async def test_what_expires_together_is_removed_a_part_at_a_time(
    upkeep: Upkeep, desk: Desk, store: MemoryStore, clock: Clock
) -> None:
    service = await desk.create_service()
    for _ in range(450):
        await desk.create(service, Kind.DOCUMENT, ttl=1)
    clock.pass_seconds(1)
    parts = []
    while done := await upkeep.sweep():
        parts.append(done)
    assert sum(parts) == 450
    assert max(parts) <= 200, "writers wait for each part"


async def test_two_sweepers_at_once_remove_each_thing_once(
    upkeep: Upkeep, desk: Desk, store: MemoryStore, clock: Clock
) -> None:
    target = await desk.create(await desk.create_service(), Kind.LIST)
    for _ in range(20):
        await desk.add(target, ttl=1)
    clock.pass_seconds(1)
    await asyncio.gather(upkeep.sweep(), upkeep.sweep())
    events = await store.replay(target.oid, 19, 99)
    assert events is not None
    assert [event.key for event in events] == list(range(20))


async def test_what_a_removed_service_owned_is_removed_and_purged(
    upkeep: Upkeep, desk: Desk, store: MemoryStore
) -> None:
    service = await desk.create_service()
    target = await desk.create(service, Kind.MAP)
    await desk.add(target, key="k")
    await store.execute(c.RemoveService(service.oid, ADMIN))
    while await upkeep.purge():
        pass
    assert await store.find_object(target.oid) is None
    assert await store.find_item(target.oid, "k") is None
    log = await store.read_log(target.oid, 0, 9)
    assert log[-1].type is EventType.OBJECT_REMOVED


async def test_while_a_large_object_goes_writers_have_their_turn_and_services_are_left_alone(
    upkeep: Upkeep, desk: Desk, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    looks: list[int] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def list_orphans(limit: int) -> list[SyncObject]:
        looks.append(limit)
        return []

    target = await desk.create(await desk.create_service(), Kind.MAP)
    for number in range(20):
        await desk.add(target, key=f"{number}")
    await desk.remove(target)
    monkeypatch.setattr("starlings.node.upkeep._PURGE_ROWS", 5)
    monkeypatch.setattr("starlings.node.upkeep.asyncio.sleep", sleep)
    monkeypatch.setattr(store, "list_orphans", list_orphans)
    chunks = 0
    while await upkeep.purge():
        chunks += 1
    assert chunks >= 4
    assert len(pauses) == chunks
    assert min(pauses) > 0
    assert len(looks) == 1


async def test_the_log_is_kept_for_its_time_and_tombstones_for_theirs(
    upkeep: Upkeep, desk: Desk, store: MemoryStore, clock: Clock
) -> None:
    target = await desk.create(await desk.create_service(), Kind.MAP)
    await desk.add(target, key="k")
    await desk.remove_item(target, "k")
    clock.pass_seconds(60)
    assert await upkeep.trim() == 0
    clock.pass_seconds(1)
    assert await upkeep.trim() == 3
    snapshot = await store.snapshot(target.oid, -1, 9)
    assert snapshot is not None
    assert [one.key for one in snapshot.tombstones] == ["k"]
    clock.pass_seconds(600)
    assert await upkeep.trim() == 1


async def test_space_is_given_back_chunk_by_chunk(
    upkeep: Upkeep, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = iter([64, 64, 7, 0])
    is_done = asyncio.Event()

    async def shrink() -> int:
        given = next(chunks)
        if given == 0:
            is_done.set()
        return given

    monkeypatch.setattr("starlings.node.upkeep._SHRINK_PAUSE_SECONDS", 0)
    monkeypatch.setattr(store, "shrink", shrink)
    async with asyncio.timeout(10):
        running = asyncio.create_task(upkeep.run())
        await is_done.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_fault_does_not_end_the_loops(
    upkeep: Upkeep,
    desk: Desk,
    store: MemoryStore,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = await desk.create(await desk.create_service(), Kind.DOCUMENT, ttl=1)
    clock.pass_seconds(1)
    monkeypatch.setattr("starlings.node.upkeep.SWEEP_SECONDS", 0)
    execute, failures = store.execute, 2

    async def execute_later(command: c.Command) -> Outcome:
        nonlocal failures
        if failures:
            failures -= 1
            raise Fault(Reason.UNAVAILABLE)
        return await execute(command)

    monkeypatch.setattr(store, "execute", execute_later)
    gone = asyncio.Event()
    store.listen(lambda batch: gone.set())
    async with asyncio.timeout(10):
        running = asyncio.create_task(upkeep.run())
        await gone.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert await store.find_object(target.oid) is None
    assert "Upkeep will try again" in caplog.text
