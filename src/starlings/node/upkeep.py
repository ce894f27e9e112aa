"""What a node does on its own, in the background: expire, purge, trim, shrink.

Three loops, each of its own pace. Reads hide what has expired at the very moment; the sweep only
makes it final: each object and item is removed by a command like any other, exactly once, so
subscribers hear of it as of a removal. Whatever a loop can't do now (disk full) it tries again at
its next turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlings.core.commands import ExpireItem, ExpireObject, ExpirePermission
from starlings.core.errors import Fault, Refusal
from starlings.node.clock import Sources
from starlings.storage.store import Store

__all__ = ["Retention", "Upkeep"]

logger = logging.getLogger("starlings.node")

SWEEP_SECONDS = 0.5
"""How long something expired may wait for its removal event, when the sweep is not behind."""
_SWEEP_ENTRIES = 200
"""Removed in one batch: some 10 ms, for which writers wait when much expires at once."""
_PURGE_ROWS = 500
"""Deleted in one transaction: some 5 ms in which writers wait."""
_PURGE_PAUSE_SECONDS = 0.005
"""Between two of them: without it, every write would wait for one as long as a large object goes.
"""
_TRIM_ROWS = 2_000
_IDLE_SECONDS = 5.0
_SHRINK_PAUSE_SECONDS = 0.02
"""Between two chunks given back: there is no hurry, writers go first."""


class Retention(NamedTuple):
    """How long history is kept, in seconds."""

    log_seconds: float
    tombstone_seconds: float


class Upkeep:
    """The loops of one node. ``run`` runs until it is cancelled."""

    def __init__(self, store: Store, sources: Sources, retention: Retention) -> None:
        self._store = store
        self._sources = sources
        self._retention = retention

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.sweep, SWEEP_SECONDS), name="sweep")
            group.create_task(self._repeat(self.purge, _IDLE_SECONDS), name="purge")
            group.create_task(self._repeat(self.tidy, _IDLE_SECONDS), name="tidy")

    async def sweep(self) -> int:
        """Remove what has expired; how much there was. Permissions go first: who listens by one
        listens until then.
        """
        now = self._sources.now()
        grants = await self._store.list_due_permissions(now, _SWEEP_ENTRIES)
        await self._execute_all(
            [ExpirePermission(one.oid, one.identity, one.match) for one in grants]
        )
        due = await self._store.list_due(now, _SWEEP_ENTRIES)
        await self._execute_all(
            [
                ExpireObject(one.oid) if one.key is None else ExpireItem(one.oid, one.key)
                for one in due
            ]
        )
        return len(grants) + len(due)

    async def purge(self) -> int:
        """Delete a chunk of what was removed; how many rows.

        What removed services owned is looked for when nothing is left to be deleted: that goes over
        all services, which is too much for every chunk of a large object.
        """
        deleted = await self._store.purge(_PURGE_ROWS)
        if deleted:
            await asyncio.sleep(_PURGE_PAUSE_SECONDS)
            return deleted
        orphans = await self._store.list_orphans(_SWEEP_ENTRIES)
        await self._execute_all([ExpireObject(one.oid) for one in orphans])
        return len(orphans)

    async def trim(self) -> int:
        """Forget a chunk of the log that is past its retention; how many rows."""
        now = self._sources.now()
        return await self._store.trim_log(
            now - int(self._retention.log_seconds * 1000),
            now - int(self._retention.tombstone_seconds * 1000),
            _TRIM_ROWS,
        )

    async def tidy(self) -> int:
        """Trim; when nothing is left to be forgotten, shrink."""
        return await self.trim() or await self.shrink()

    async def shrink(self) -> int:
        """Give back a chunk of disk space that all this has freed; 0 when that is done."""
        given = await self._store.shrink()
        if given:
            await asyncio.sleep(_SHRINK_PAUSE_SECONDS)
        return given

    async def _execute_all(
        self, commands: Sequence[ExpireObject | ExpireItem | ExpirePermission]
    ) -> None:
        """Carry out commands together, so that they share commits; one that fails keeps no other
        from its effect. Raises the first failure."""
        results = await asyncio.gather(
            *(self._store.execute(command) for command in commands), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _repeat(self, step: Callable[[], Awaitable[int]], pause_seconds: float) -> None:
        """Take steps as long as there is something to do, with a pause whenever there isn't."""
        while True:
            try:
                done = await step()
            except (Fault, Refusal) as error:
                logger.warning("Upkeep will try again step=%s error=%s", step.__name__, error)
                done = 0
            except Exception:  # callers are still served: what is damaged is told, each time
                logger.exception("Upkeep failed step=%s", step.__name__)
                done = 0
            if done == 0:
                await asyncio.sleep(pause_seconds)
            else:
                await asyncio.sleep(0)
