"""What a node remembers of services must not outlive a change of them."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from starlings.core import commands as c
from starlings.core.access import Right
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import OFF
from starlings.core.objects import Actor, Kind, Service
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ADMIN, Clock, Desk, reason_of, ref_of

ZOE = Actor("zoe", "EP1", is_unrestricted=False)


class SlowStore(MemoryStore):
    """Answers with services as they were when it was asked, once it may."""

    gate: asyncio.Event | None = None

    async def find_service(self, oid: int) -> Service | None:
        found = await super().find_service(oid)
        if self.gate is not None:
            await self.gate.wait()
        return found


async def test_a_service_that_changed_while_it_was_read_is_not_remembered_as_it_was() -> None:
    clock = Clock()
    store = SlowStore(OFF, clock)
    desk = Desk(store, clock)
    service = await desk.create_service()
    target = await desk.create(service, Kind.MAP)
    node = Node(store, OFF, Sources(clock, lambda: 0.0, Random(7).getrandbits))
    store.gate = asyncio.Event()
    reading = asyncio.create_task(node.get_object(ref_of(target), ZOE, Right.WRITE))
    await asyncio.sleep(0)

    settings = c.ServiceSettings(has_acl=True)
    await store.execute(c.UpdateService(service.oid, settings, ADMIN))
    await asyncio.sleep(0)
    store.gate.set()

    assert await reading == target  # it was asked before the change
    with pytest.raises(Refusal) as refusal:
        await node.get_object(ref_of(target), ZOE, Right.WRITE)
    assert reason_of(refusal.value) is Reason.ACCESS_DENIED
