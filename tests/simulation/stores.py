"""Stores that take their time, in one thread, and can die.

Both real stores, with the writing thread replaced by a batcher of the held loop: commands wait,
are committed together, and their outcomes and events are told some time after the commit, in order.
Reads are answered late. What was committed but not told when the server dies stays committed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from starlings.core.commands import Command
from starlings.core.decide import decide
from starlings.core.errors import Fault, IdTaken, Reason, Refusal
from starlings.core.events import VISIBLE, Committed, Event, ServiceChanged
from starlings.core.limits import Limits
from starlings.core.objects import Item, ItemKey, Permission, Service, SyncObject
from starlings.core.state import Outcome
from starlings.core.webhook_rules import Webhook
from starlings.storage.batcher import Batcher, BatcherStatistics, Committer, Results
from starlings.storage.memory import MemoryStore
from starlings.storage.outbox import Outbox
from starlings.storage.sqlite.backlog import WEBHOOK_COLUMNS
from starlings.storage.sqlite.outbox import SqliteOutbox
from starlings.storage.sqlite.reader import Reader
from starlings.storage.sqlite.store import SqliteStore
from starlings.storage.store import Batch, CommitListener, Snapshot, Store
from tests.simulation.chance import Chance
from tests.simulation.history import History
from tests.simulation.late_outbox import LateOutbox, OutboxRows

__all__ = ["Disk", "LateMemoryStore", "MemoryDisk", "SqliteDisk"]

_T = TypeVar("_T")
_Order = tuple[Command, "asyncio.Future[Outcome]"]


class Disk(Protocol):
    """What outlives a server."""

    async def open(self) -> Store:
        """The store, for the next server."""
        ...

    async def kill(self) -> None:
        """The server dies: what it was about to commit or to tell is lost."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The present server's."""
        ...

    async def list_webhooks(self) -> list[Webhook]:
        """Of comings and goings: all that were ever added, in order."""
        ...


class LateBatcher:
    """Stands in for ``storage.batcher.Batcher``, without its thread."""

    def __init__(self, committer: Committer, chance: Chance, history: History) -> None:
        self._committer = committer
        self.chance = chance
        self._history = history
        self._orders: list[_Order] = []
        self._told: deque[tuple[list[_Order], Results]] = deque()
        self._tell_at = 0.0
        self._listeners: list[CommitListener] = []
        self._is_dead = False

    async def start(self) -> None:
        self._committer.open()

    def listen(self, listener: CommitListener) -> None:
        self._listeners.append(listener)

    @property
    def has_untold(self) -> bool:
        return bool(self._orders or self._told)

    def submit(self, command: Command, size_bytes: int) -> asyncio.Future[Outcome]:
        del size_bytes
        self.chance.raise_fault()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if not self._orders:
            loop.call_later(self.chance.delay(), self._commit)
        self._orders.append((command, future))
        return future

    async def run(self, job: Callable[[], Any]) -> Any:
        await self.chance.pause()
        if self._is_dead:
            raise Fault(Reason.UNAVAILABLE, "The server is dead")
        return job()

    def kill(self) -> None:
        self._is_dead = True
        self._orders.clear()
        self._told.clear()

    def statistics(self) -> BatcherStatistics:
        return BatcherStatistics(0, 0, len(self._orders), 0)

    def _commit(self) -> None:
        orders, self._orders = self._orders, []
        if self._is_dead or not orders:
            return
        results = self._committer.commit([command for command, _ in orders])
        self._history.add(results.batch)
        loop = asyncio.get_running_loop()
        self._tell_at = max(self._tell_at, loop.time() + self.chance.delay())
        self._told.append((orders, results))
        loop.call_at(self._tell_at, self._tell)

    def _tell(self) -> None:
        if not self._told:
            return
        orders, results = self._told.popleft()
        for (_, future), outcome in zip(orders, results.outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        batch = results.batch
        if self.chance.lost_share:
            batch = batch._replace(events=[one for one in batch.events if not self._loses(one)])
        for listener in self._listeners:
            asyncio.get_running_loop().call_soon(listener, batch)

    def _loses(self, committed: Committed) -> bool:
        return committed.event.type in VISIBLE and self.chance.is_so(self.chance.lost_share)


class _MemoryCommitter:
    """A memory store's part in committing."""

    def __init__(self, commit: Callable[[Sequence[Command]], Results]) -> None:
        self.commit = commit

    def open(self) -> None:
        """Nothing to do."""

    def rest(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class LateMemoryStore(MemoryStore):
    """The rows are kept from server to server, the batcher is each one's own."""

    def __init__(
        self, limits: Limits, now: Callable[[], int], chance: Chance, history: History
    ) -> None:
        super().__init__(limits, now)
        self.chance = chance
        self._history = history
        self.start_anew()

    def start_anew(self) -> None:
        self.batcher = LateBatcher(_MemoryCommitter(self.commit), self.chance, self._history)

    def commit(self, commands: Sequence[Command]) -> Results:
        outcomes: list[Outcome | Exception] = []
        events: list[Committed] = []
        services: list[ServiceChanged] = []
        for command in commands:
            try:
                decision = decide(self._rows, command, self._now(), self._limits)
            except (Refusal, IdTaken) as error:
                outcomes.append(error)
                continue
            applied = [self._rows.apply(change) for change in decision.changes]
            services += [changed for changed in applied if changed is not None]
            self._log += (event for _, event in decision.events)
            events += (Committed(*pair) for pair in decision.events)
            outcomes.append(decision.outcome)
        return Results(outcomes, Batch(events, services))

    # Store

    async def execute(self, command: Command) -> Outcome:
        return await self.batcher.submit(command, 0)

    def listen(self, listener: CommitListener) -> None:
        self.batcher.listen(listener)

    @property
    def has_untold(self) -> bool:
        return self.batcher.has_untold

    async def find_object(self, oid: int) -> SyncObject | None:
        self.chance.raise_fault()
        return await self._late(await super().find_object(oid))

    async def find_item(self, oid: int, key: ItemKey) -> Item | None:
        return await self._late(await super().find_item(oid, key))

    async def list_grants(self, oid: int, identity: str) -> list[Permission]:
        return await self._late(await super().list_grants(oid, identity))

    async def find_service(self, oid: int) -> Service | None:
        return await self._late(await super().find_service(oid))

    async def list_items(
        self,
        oid: int,
        start: ItemKey | None,
        is_inclusive: bool,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[Item]:
        self.chance.raise_fault()
        return await self._late(
            await super().list_items(oid, start, is_inclusive, is_descending, limit, now)
        )

    async def replay(self, oid: int, after_id: int, limit: int) -> list[Event] | None:
        self.chance.raise_fault()
        return await self._late(await super().replay(oid, after_id, limit))

    async def snapshot(self, oid: int, after_id: int, limit: int) -> Snapshot | None:
        self.chance.raise_fault()
        return await self._late(await super().snapshot(oid, after_id, limit))

    async def _late(self, answer: _T) -> _T:
        """An answer as of now, a while later."""
        await self.chance.pause()
        return answer


class MemoryDisk:
    """A memory store that is thought to be durable."""

    def __init__(
        self, limits: Limits, now: Callable[[], int], chance: Chance, history: History
    ) -> None:
        self._store = LateMemoryStore(limits, now, chance, history)
        self._chance = chance
        self._rows = OutboxRows()

    async def open(self) -> Store:
        self._store.start_anew()
        self._outbox = LateOutbox(self._rows, self._chance)
        return self._store

    async def kill(self) -> None:
        self._store.batcher.kill()
        self._outbox.kill()

    @property
    def outbox(self) -> Outbox:
        return cast(Outbox, self._outbox)

    async def list_webhooks(self) -> list[Webhook]:
        return self._rows.webhooks


class _LateReader(Reader):
    """Answers longer queries on the loop's own connection, late."""

    def __init__(self, path: Path, chance: Chance) -> None:
        super().__init__(path)
        self.chance = chance

    async def run(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        self.chance.raise_fault()
        await self.chance.pause()
        answer = self._query(query)
        await self.chance.pause()
        return answer

    def close_at_once(self) -> None:
        self._threads.shutdown()
        for connection in (self._connection, *self._opened):
            connection.close()


class _LateSqliteStore(SqliteStore):
    chance: Chance


class SqliteDisk:
    """A directory with the embedded store's file."""

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        now: Callable[[], int],
        chance: Chance,
        history: History,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._now = now
        self.chance = chance
        self._history = history
        self._store: SqliteStore | None = None

    async def open(self) -> Store:
        store = _LateSqliteStore(self._directory / "starlings.db", self._limits, self._now)
        store.chance = self.chance
        self._batcher = LateBatcher(store._writer, self.chance, self._history)
        store._batcher = cast(Batcher, self._batcher)
        await self._batcher.start()
        self._reader = _LateReader(store._path, self.chance)
        store._reader = self._reader
        store.outbox = SqliteOutbox(self._reader.run, store._transact, store._writer.backlog)
        self._store = store
        return store

    async def kill(self) -> None:
        assert self._store is not None
        self._batcher.kill()
        self._reader.close_at_once()
        # Not Writer.close: a killed process doesn't tidy up its log.
        self._store._writer._connection.close()

    @property
    def outbox(self) -> Outbox:
        assert self._store is not None
        return self._store.outbox

    async def list_webhooks(self) -> list[Webhook]:
        def query(connection: sqlite3.Connection) -> list[Webhook]:
            rows = connection.execute(
                f"SELECT {WEBHOOK_COLUMNS} FROM webhook"  # noqa: S608  # a constant
                " WHERE type LIKE 'endpoint%' ORDER BY id"
            )
            return [Webhook._make(row) for row in rows]

        return await self._reader.run(query)
