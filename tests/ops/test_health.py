"""Readiness is the writing thread's to say, and is said in time."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from starlings.app.health import Health, Readiness
from starlings.core.errors import Fault, Reason
from starlings.core.limits import OFF
from starlings.storage.sqlite.store import SqliteStore
from tests.contracts.desk import Clock, Desk


class Writer:
    """A store's part in readiness, held."""

    def __init__(self) -> None:
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.commits = 0
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def check_writable(self) -> bool:
        self.asked += 1
        self.was_asked.set()
        return await self.answer

    def health(self, answer_seconds: float = 30.0) -> Health:
        return Health(self.check_writable, lambda: self.commits, answer_seconds)


@pytest.mark.parametrize(
    ("is_writable", "expected"), [(True, Readiness.READY), (False, Readiness.NOT_WRITABLE)]
)
async def test_the_writer_says_whether_it_writes(is_writable: bool, expected: Readiness) -> None:
    writer = Writer()
    writer.answer.set_result(is_writable)
    assert await writer.health().check() is expected


async def test_a_closed_store_is_not_ready() -> None:
    writer = Writer()
    writer.answer.set_exception(Fault(Reason.UNAVAILABLE))
    assert await writer.health().check() is Readiness.NOT_WRITABLE


async def test_all_who_ask_meanwhile_share_one_turn() -> None:
    writer = Writer()
    health = writer.health()
    asking = [asyncio.create_task(health.check()) for _ in range(50)]
    await writer.was_asked.wait()
    writer.answer.set_result(True)
    assert await asyncio.gather(*asking) == [Readiness.READY] * 50
    assert writer.asked == 1
    await health.check()
    assert writer.asked == 2


async def test_a_writer_that_hangs_is_not_ready_and_asked_only_once() -> None:
    writer = Writer()
    health = writer.health(answer_seconds=0.001)
    assert [await health.check() for _ in range(3)] == [Readiness.NOT_WRITABLE] * 3
    assert writer.asked == 1
    writer.answer.set_result(True)
    assert await health.check() is Readiness.READY


async def test_a_writer_that_is_busy_is_ready() -> None:
    writer = Writer()
    health = writer.health(answer_seconds=0.02)
    asking = asyncio.create_task(health.check())
    await writer.was_asked.wait()
    writer.commits += 1
    assert await asking is Readiness.READY
    assert await health.check() is Readiness.NOT_WRITABLE  # none since


async def test_a_thread_that_hangs_in_the_disk_is_told_in_time(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, OFF, Clock())
    health = Health(store.check_writable, lambda: store.statistics().commits, 0.05)
    assert await health.check() is Readiness.READY
    let_go = threading.Event()
    stuck = asyncio.create_task(store._batcher.run(let_go.wait))
    await asyncio.sleep(0)
    began = time.monotonic()
    assert await health.check() is Readiness.NOT_WRITABLE
    assert time.monotonic() - began < 5
    let_go.set()
    await stuck
    while await health.check() is not Readiness.READY:
        pass
    await store.close()


async def test_who_only_asks_writes_nothing(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, OFF, Clock())
    await Desk(store, Clock()).create_service()
    log = tmp_path / "starlings.db-wal"
    before = (log.stat().st_mtime_ns, log.read_bytes())
    health = Health(store.check_writable, lambda: store.statistics().commits)
    for _ in range(20):
        assert await health.check() is Readiness.READY
    assert (log.stat().st_mtime_ns, log.read_bytes()) == before
    await store.close()
