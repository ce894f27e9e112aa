"""Services that are remembered until they change."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from starlings.core import commands as c
from starlings.core.objects import Service
from starlings.node import known_services
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.known_services import KnownServices
from starlings.node.minting import Minter
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock
from tests.contracts.store_contract import LIMITS

_STRANGER = "AC" + "1" * 32


class CountingStore(MemoryStore):
    """Counts what is asked for, and can answer late, with what it had found before."""

    def __init__(self) -> None:
        super().__init__(LIMITS, Clock())
        self.asked: Counter[object] = Counter()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def find_service(self, oid: int) -> Service | None:
        self.asked[oid] += 1
        found = await super().find_service(oid)
        await self.may_answer.wait()
        return found

    async def find_default_service(self, account_sid: str) -> Service | None:
        self.asked[account_sid] += 1
        return await super().find_default_service(account_sid)


@pytest.fixture
async def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def minter(store: CountingStore) -> Minter:
    return Minter(store, SYSTEM_SOURCES)


@pytest.fixture
def services(store: CountingStore, minter: Minter) -> KnownServices:
    return KnownServices(store, minter)


async def a_service(minter: Minter) -> Service:
    made = await minter.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None, None)
    await asyncio.sleep(0)
    return made


async def change(store: CountingStore, service: Service) -> None:
    await store.execute(c.UpdateService(service.oid, c.ServiceSettings(has_acl=True), ADMIN))
    await asyncio.sleep(0)


async def test_a_service_is_read_once_until_it_changes(
    store: CountingStore, minter: Minter, services: KnownServices
) -> None:
    service = await a_service(minter)
    for _ in range(3):
        assert await services.find(service.oid) == service
    assert store.asked[service.oid] == 1
    await change(store, service)
    found = await services.find(service.oid)
    assert found is not None
    assert found.has_acl
    assert store.asked[service.oid] == 2


async def test_what_changes_while_it_is_read_is_read_again(
    store: CountingStore, minter: Minter, services: KnownServices
) -> None:
    service = await a_service(minter)
    store.may_answer.clear()
    reading = asyncio.create_task(services.find(service.oid))
    await asyncio.sleep(0)
    await change(store, service)
    store.may_answer.set()
    assert await reading == service, "as it was when it was asked for"
    found = await services.find(service.oid)
    assert found is not None
    assert found.has_acl


async def test_a_default_service_is_read_once_until_it_is_removed(
    store: CountingStore, services: KnownServices
) -> None:
    first = await services.get(ACCOUNT_SID, "default")
    await asyncio.sleep(0)
    for _ in range(3):
        assert await services.get(ACCOUNT_SID, "default") == first
    asked = store.asked[ACCOUNT_SID]
    assert await services.get(ACCOUNT_SID, "default") == first
    assert store.asked[ACCOUNT_SID] == asked
    await services.get(_STRANGER, "default")
    await store.execute(c.RemoveService(first.oid, ADMIN))
    await asyncio.sleep(0)
    assert (await services.get(ACCOUNT_SID, "default")).oid != first.oid


async def test_what_is_not_there_is_asked_for_each_time(
    store: CountingStore, minter: Minter, services: KnownServices
) -> None:
    assert await services.find(7) is None
    assert await services.find(7) is None
    assert store.asked[7] == 2


async def test_only_so_many_are_remembered(
    store: CountingStore,
    minter: Minter,
    services: KnownServices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_services, "_MOST_REMEMBERED", 2)
    made = [await a_service(minter) for _ in range(3)]
    for service in made:
        await services.find(service.oid)
    await services.find(made[2].oid)
    assert store.asked[made[2].oid] == 1
    await services.find(made[0].oid)
    assert store.asked[made[0].oid] == 2


async def test_a_default_service_that_was_removed_is_forgotten_among_many(
    store: CountingStore,
    minter: Minter,
    services: KnownServices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_services, "_MOST_REMEMBERED", 2)
    await services.get(ACCOUNT_SID, "default")
    await asyncio.sleep(0)
    first = await services.get(ACCOUNT_SID, "default")
    for service in [await a_service(minter) for _ in range(3)]:
        await services.find(service.oid)
    await store.execute(c.RemoveService(first.oid, ADMIN))
    await asyncio.sleep(0)
    assert (await services.get(ACCOUNT_SID, "default")).oid != first.oid
