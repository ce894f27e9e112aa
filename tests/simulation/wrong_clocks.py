"""Clocks that are set: ahead by an hour, back again, in the middle of everything.

What is written meanwhile lives as long as its time to live by the clock of that moment, and once
the clock is right nothing that is due stays, and the log is trimmed as ever. The copies of clients,
which other checks compare with the store, must not mind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlings.core import commands as c
from starlings.core.errors import StarlingsError
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef
from starlings.core.state import ItemOutcome
from tests.simulation.client import Client
from tests.simulation.part import Step

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["WrongClocks"]

_ADMIN = Actor(SYSTEM)
_NAME = "clocks"
_ERRORS_MS = [-3_600_000, -2_000, 0, 0, 700, 3_600_000]


class WrongClocks:
    """Implements ``Part``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sentences: list[str] = []
        self._newest_before_mending = 0
        world.kept_names.add(_NAME)
        world.has_acl = False  # who may do what when is noted by the same clock

    @property
    def _ref(self) -> ObjectRef:
        return ObjectRef(self._world.service.oid, Kind.MAP, _NAME)

    def make_data(self) -> dict[str, Any]:
        return {}

    async def begin(self) -> None:
        world = self._world
        await world.server.node.create_object(
            world.service, Kind.MAP, _NAME, None, None, _ADMIN, None
        )

    def steps(self) -> list[Step]:
        return [(6, self._set_clock), (40, self._write)]

    def mend(self) -> None:
        self._world.clock_error_ms = 0

    def is_settled(self) -> bool:
        return True

    async def finish(self) -> None:
        target = await self._world.server.node.get_object(self._ref, _ADMIN)
        self._newest_before_mending = target.seq
        await self._put(ttl=None)

    async def compare(self) -> list[str]:
        world = self._world
        target = await world.server.node.get_object(self._ref, _ADMIN)
        store, now = world.server.store, world.now()
        if await store.list_due(now - 2_000, 10):
            self._sentences.append("what has expired is still there")
        log = await store.read_log(target.oid, 0, 10_000)
        if world.log_seconds == 1.0 and log and log[0].seq <= self._newest_before_mending:
            self._sentences.append(f"the log of seconds ago is not trimmed: {log[0]}")
        return [f"clocks: {sentence}" for sentence in self._sentences]

    # Steps

    def _set_clock(self, client: Client) -> None:
        del client
        self._world.clock_error_ms = self._world.chance.choice(_ERRORS_MS)

    async def _write(self, client: Client) -> None:
        del client
        await self._put(ttl=self._world.chance.choice([None, 1, 3]))

    async def _put(self, ttl: int | None) -> None:
        world = self._world
        key = f"k{world.chance.randint(0, 3)}"
        error_ms, earliest = world.clock_error_ms, world.now()
        try:
            outcome = await world.server.node.execute(
                c.PutMapItem(self._ref, key, b"{}", ttl, None, _ADMIN)
            )
        except StarlingsError:
            return
        assert isinstance(outcome, ItemOutcome)
        if error_ms != world.clock_error_ms:
            return  # set meanwhile: which one it was stays open
        latest = world.now()
        if not earliest <= outcome.item.updated_at <= latest:
            self._sentences.append(f"not of its time, {earliest} to {latest}: {outcome.item}")
        expires_at = outcome.item.expires_at
        if ttl is not None and (
            expires_at is None or not earliest <= expires_at - ttl * 1000 <= latest
        ):
            self._sentences.append(f"lives not for {ttl} s from {latest}: {outcome.item}")
