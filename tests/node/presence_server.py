"""A node with presence on a store that outlives it."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.core.state import Outcome
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.node.presence_keeper import SHORT_WINDOW_SECONDS, PresenceKeeper
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ACCOUNT_SID, Clock

__all__ = ["SYSTEM_ACTOR", "FaultyStore", "Server", "refusal_of"]

SYSTEM_ACTOR = Actor(SYSTEM)


class FaultyStore(MemoryStore):
    """Can be made to refuse writes for a while, or from the n-th on."""

    is_broken = False
    breaks_after: int | None = None

    async def execute(self, command: c.Command) -> Outcome:
        if self.breaks_after is not None:
            self.breaks_after -= 1
            self.is_broken = self.breaks_after < 0
        await asyncio.sleep(0)  # as a commit takes time, others have their turn
        if self.is_broken:
            raise Fault(Reason.UNAVAILABLE)
        return await super().execute(command)


class Server:
    """A node with its keeper on a store that outlives them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = FaultyStore(OFF, self.clock)
        self._bits = itertools.count(1)
        self._connections = itertools.count(1)
        self.boot()

    def boot(self) -> None:
        sources = Sources(self.clock, lambda: self.clock.at / 1000, self._random_bits)
        self.node = Node(self.store, OFF, sources)
        self.keeper = PresenceKeeper(self.node)

    def _random_bits(self, count: int) -> int:
        return next(self._bits) * 0x9E3779B97F4A7C15 % (1 << count)

    async def restart(self) -> None:
        self.boot()
        await self.keeper.restore()

    async def create_service(self, **settings: Any) -> Service:
        return await self.node.create_service(
            ACCOUNT_SID, c.ServiceSettings(**settings), SYSTEM_ACTOR, None
        )

    def connect(self, service: Service, identity: str, endpoint: str | None = None) -> Actor:
        """A new connection of an endpoint; by default of a new one."""
        number = next(self._connections)
        name = f"EP{number}"
        self.keeper.connected(name, service, identity, endpoint or f"C{number}", name)
        return Actor(identity, name, is_unrestricted=False)

    def disconnect(self, service: Service, actor: Actor) -> None:
        self.keeper.disconnected(actor.endpoint, service)

    async def work(self) -> None:
        """Until nothing is due."""
        for _ in range(5):
            assert await self.keeper.work()
            await asyncio.sleep(0)  # listeners of the store run in the loop's next step

    async def pass_window(self, seconds: float = SHORT_WINDOW_SECONDS) -> None:
        self.clock.pass_seconds(seconds)
        await self.work()

    async def items(self, service: Service, name: str) -> dict[str, Any]:
        found = await self.store.find_object_named(service.oid, Kind.MAP, name)
        assert found is not None
        rows = await self.store.list_items(found.oid, None, False, False, 9999, 0)
        return {str(row.key): json.loads(row.data) for row in rows}

    async def set(self, service: Service, name: str, key: str, data: object, actor: Actor) -> Any:
        ref = ObjectRef(service.oid, Kind.MAP, name)
        text = json.dumps(data, separators=(",", ":")).encode()
        return await self.node.execute(c.PutMapItem(ref, key, text, None, None, actor))


async def refusal_of(awaitable: Any) -> Reason:
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value.reason
