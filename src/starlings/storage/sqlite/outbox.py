"""The outbox of webhooks in the database.

Rows of events are inserted by ``writer`` in the events' own transaction. Everything else that
changes the table comes through ``SqliteOutbox``: what is asked for while a transaction runs makes
the next one, and two follow each other at a distance, so that deliveries cost the writers of
objects at most a few short transactions a second.

``list_webhooks``, ``retry_webhooks`` and ``drop_webhooks`` are the operator's, on a connection of
their own, beside a running server too.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from starlings.core.webhook_rules import Webhook
from starlings.storage.outbox import Entry, FailedAttempt, Lane, OutboxCounts, Reached
from starlings.storage.sqlite.backlog import WEBHOOK_COLUMNS, Backlog
from starlings.storage.sqlite.database import refuse_unknown

__all__ = [
    "SqliteOutbox",
    "StoredWebhook",
    "drop_webhooks",
    "list_webhooks",
    "retry_webhooks",
]

_T = TypeVar("_T")

_PAUSE_SECONDS = 0.005
"""Between two transactions of ours, so that many deliveries share one."""
_BUSY_SECONDS = 5.0

_LIST_LANES = """
    WITH RECURSIVE found (lane) AS (
        SELECT min(lane) FROM webhook WHERE service_oid = ?1 AND is_dead = 0 AND lane > ?2
        UNION ALL
        SELECT (SELECT min(lane) FROM webhook
                WHERE service_oid = ?1 AND is_dead = 0 AND lane > found.lane)
        FROM found WHERE found.lane IS NOT NULL
        LIMIT ?3
    )
    SELECT lane, (SELECT due_at FROM webhook WHERE service_oid = ?1 AND is_dead = 0
                  AND webhook.lane = found.lane ORDER BY id LIMIT 1)
    FROM found WHERE lane IS NOT NULL
"""
"""Jumps from lane to lane in the index, however many rows each has."""

_LIST_SERVICES = """
    WITH RECURSIVE found (oid) AS (
        SELECT min(service_oid) FROM webhook WHERE is_dead = 0
        UNION ALL
        SELECT (SELECT min(service_oid) FROM webhook
                WHERE is_dead = 0 AND service_oid > found.oid)
        FROM found WHERE found.oid IS NOT NULL
    )
    SELECT oid FROM found WHERE oid IS NOT NULL
"""

_MOVE_VERSION = """
    INSERT INTO meta (name, value) VALUES ('webhooks_version', '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
"""

_Change = Callable[[sqlite3.Connection], int]


class _Read(Protocol):
    def __call__(self, query: Callable[[sqlite3.Connection], _T]) -> Awaitable[_T]: ...


class _Transact(Protocol):
    def __call__(self, job: _Change) -> Awaitable[int]: ...


class SqliteOutbox:
    """Implements ``Outbox`` over the store's connections. Belongs to the store's event loop.

    Args:
        read: Runs a query on a connection that reads.
        transact: Runs a change on the connection that writes, in a transaction of its own.
        backlog: The writer's, in whose thread all changes run.
    """

    def __init__(self, read: _Read, transact: _Transact, backlog: Backlog) -> None:
        self._read = read
        self._transact = transact
        self._backlog = backlog
        self._pending: list[tuple[_Change, asyncio.Future[int]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[Sequence[Webhook]], None]] = []

    @property
    def dropped(self) -> int:
        return self._backlog.dropped

    def listen(self, listener: Callable[[Sequence[Webhook]], None]) -> None:
        self._listeners.append(listener)

    async def add(
        self,
        webhooks: Sequence[Webhook],
        came: Sequence[Reached] = (),
        went: Sequence[Reached] = (),
    ) -> None:
        def change(connection: sqlite3.Connection) -> int:
            self._backlog.insert(connection, webhooks)
            connection.executemany("INSERT OR IGNORE INTO reached_endpoint VALUES (?, ?, ?)", came)
            connection.executemany(
                "DELETE FROM reached_endpoint"
                " WHERE service_oid = ? AND identity = ? AND endpoint = ?",
                went,
            )
            return len(webhooks)

        await self._write(change)
        for listener in self._listeners:
            listener(webhooks)

    async def list_reached(self) -> list[Reached]:
        return [Reached(*row) for row in await self._select("SELECT * FROM reached_endpoint", ())]

    async def list_services(self) -> list[int]:
        return [oid for (oid,) in await self._select(_LIST_SERVICES, ())]

    async def list_lanes(self, service_oid: int, after: int, limit: int) -> list[Lane]:
        return [Lane(*row) for row in await self._select(_LIST_LANES, (service_oid, after, limit))]

    async def read_lane(self, service_oid: int, lane: int, limit: int) -> list[Entry]:
        rows = await self._select(
            "SELECT id, lower(hex(token)), attempts, due_at, coalesce(retried_at, at),"
            f" {WEBHOOK_COLUMNS} FROM webhook"
            " WHERE service_oid = ? AND lane = ? AND is_dead = 0 ORDER BY id LIMIT ?",
            (service_oid, lane, limit),
        )
        return [Entry._make((*row[:5], Webhook._make(row[5:]))) for row in rows]

    async def settle(self, delivered: Sequence[int], failed: Sequence[FailedAttempt]) -> None:
        def change(connection: sqlite3.Connection) -> int:
            connection.executemany(
                "DELETE FROM webhook WHERE id = ?", [(id_,) for id_ in delivered]
            )
            connection.executemany(
                "UPDATE webhook SET attempts = attempts + 1, due_at = ?, error = ?, is_dead = ?"
                " WHERE id = ?",
                [(one.due_at, one.error, one.is_dead, one.id) for one in failed],
            )
            return len(delivered)

        await self._write(change)

    async def bury(self, service_oid: int, before: int, error: str, limit: int) -> int:
        # Found by a reader: the search may be long, and the writing thread has better to do.
        found = await self._select(
            "SELECT id FROM webhook WHERE service_oid = ? AND is_dead = 0"
            " AND coalesce(retried_at, at) < ? LIMIT ?",
            (service_oid, before, limit),
        )
        if not found:
            return 0

        def change(connection: sqlite3.Connection) -> int:
            connection.executemany(
                "UPDATE webhook SET is_dead = 1, error = coalesce(error, ?) WHERE id = ?",
                [(error, id_) for (id_,) in found],
            )
            return len(found)

        return await self._write(change)

    async def forget_dead(self, before: int, limit: int) -> int:
        found = await self._select(
            "SELECT id FROM webhook WHERE is_dead = 1 AND coalesce(retried_at, at) < ?"
            " ORDER BY coalesce(retried_at, at) LIMIT ?",
            (before, limit),
        )
        if not found:
            return 0

        def change(connection: sqlite3.Connection) -> int:
            # One that an operator retried meanwhile is not dead any more.
            connection.executemany("DELETE FROM webhook WHERE id = ? AND is_dead = 1", found)
            return len(found)

        return await self._write(change)

    async def read_version(self) -> int:
        rows = await self._select("SELECT value FROM meta WHERE name = 'webhooks_version'", ())
        return int(rows[0][0]) if rows else 0

    async def count(self) -> OutboxCounts:
        rows = await self._select(
            "SELECT (SELECT count(*) FROM webhook WHERE is_dead = 0),"
            " (SELECT count(*) FROM webhook WHERE is_dead = 1)",
            (),
        )
        return OutboxCounts(*rows[0])

    # Within

    async def _select(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        def query(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return connection.execute(statement, values).fetchall()

        return await self._read(query)

    async def _write(self, change: _Change) -> int:
        """Carry out a change together with all others that wait; its answer, once durable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._pending.append((change, future))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush(), name="outbox")
        return await future

    async def _flush(self) -> None:
        try:
            while self._pending:
                pending, self._pending = self._pending, []
                answers: list[int] = []

                def job(
                    connection: sqlite3.Connection,
                    changes: Sequence[tuple[_Change, Any]] = pending,
                    answers: list[int] = answers,
                ) -> int:
                    answers += [change(connection) for change, _ in changes]
                    return len(answers)

                try:
                    await self._transact(job)
                except Exception as error:
                    for _, future in pending:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), answer in zip(pending, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._flushing = None


# For the operator


class StoredWebhook(NamedTuple):
    """One row as an operator sees it."""

    id: int
    type: str
    service_sid: str | None
    """None if the service was removed."""
    at: int
    sid: str | None
    identity: str
    attempts: int
    due_at: int
    error: str | None
    is_dead: bool


def list_webhooks(
    database: Path, is_dead: bool | None, after: int, limit: int
) -> list[StoredWebhook]:
    """What waits and what is dead, by id, from above ``after``.

    Args:
        is_dead: Only dead letters, or only what waits; None for both.

    Raises:
        DatabaseError: The database is of a newer version.
        sqlite3.Error: The database can't be read.
    """
    which = "" if is_dead is None else f" AND webhook.is_dead = {int(is_dead)}"
    with _open(database) as connection:
        rows = connection.execute(
            "SELECT webhook.id, webhook.type, service.sid, webhook.at, webhook.sid,"
            " webhook.identity, webhook.attempts, webhook.due_at, webhook.error, webhook.is_dead"
            " FROM webhook LEFT JOIN service ON service.oid = webhook.service_oid"
            f" WHERE webhook.id > ?{which} ORDER BY webhook.id LIMIT ?",
            (after, limit),
        ).fetchall()
    return [StoredWebhook._make((*row[:9], bool(row[9]))) for row in rows]


def retry_webhooks(database: Path, ids: Sequence[int] | None, now: int) -> int:
    """Make dead letters wait again, and what waits be due now; how many there were.

    Args:
        ids: Which; None for all dead letters.
        now: Milliseconds since 1970, from which the age of the retried counts.

    Raises:
        DatabaseError: The database is of a newer version.
        sqlite3.Error: The database can't be written.
    """
    change = "UPDATE webhook SET is_dead = 0, due_at = 0, attempts = 0, retried_at = ? WHERE"
    return _change(database, change, (now,), ids)


def drop_webhooks(database: Path, ids: Sequence[int] | None) -> int:
    """Delete webhooks undelivered; how many there were.

    Args:
        ids: Which, waiting ones too; None for all dead letters.

    Raises:
        DatabaseError: The database is of a newer version.
        sqlite3.Error: The database can't be written.
    """
    return _change(database, "DELETE FROM webhook WHERE", (), ids)


def _change(database: Path, change: str, values: tuple[int, ...], ids: Sequence[int] | None) -> int:
    with _open(database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if ids is None:
            count = connection.execute(f"{change} is_dead = 1", values).rowcount
        else:
            count = sum(
                connection.execute(f"{change} id = ?", (*values, id_)).rowcount
                for id_ in dict.fromkeys(ids)
            )
        connection.execute(_MOVE_VERSION)
        connection.execute("COMMIT")
    return count


@contextlib.contextmanager
def _open(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that waits for the server's transactions rather than fail.

    Raises:
        DatabaseError: The database is of a newer version.
    """
    connection = sqlite3.connect(
        f"{database.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        refuse_unknown(connection)
        yield connection
    finally:
        connection.close()
