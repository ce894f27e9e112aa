"""The SQLite store keeps the contract, and what it acknowledged outlives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from starlings.core.objects import Kind
from starlings.storage.sqlite.store import SqliteStore
from tests.contracts.desk import Clock, Desk
from tests.contracts.store_contract import LIMITS, StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, clock: Clock, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = await SqliteStore.open(tmp_path, LIMITS, clock)
        yield store
        await store.close()


async def test_1_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    store = await SqliteStore.open(tmp_path, LIMITS, clock)
    desk = Desk(store, clock)
    service = await desk.create_service()
    target = await desk.create(service, Kind.MAP, "room")
    await desk.add(target, b'{"a":1}', key="k")
    added = await desk.add(target, b'{"a":2}', key="l", ttl=60)
    await desk.grant(target, "zoe")
    log = await store.read_log(target.oid, 0, 10)
    epoch = store.epoch
    await store.close()

    clock.pass_seconds(-3600)  # a clock that was set back meanwhile
    store = await SqliteStore.open(tmp_path, LIMITS, clock)
    assert store.epoch == epoch
    assert await store.read_log(target.oid, 0, 10) == log
    assert await store.find_item(target.oid, "l") == added.item
    assert await store.find_service(service.oid) == service
    later = await Desk(store, clock).add(target, key="m")
    assert later.event.event_id == 2
    assert later.event.at == clock.at
    await store.close()


async def test_two_directories_have_two_epochs(tmp_path: Path) -> None:
    epochs = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        store = await SqliteStore.open(tmp_path / name, LIMITS, Clock())
        epochs.add(store.epoch)
        await store.close()
    assert len(epochs) == 2
