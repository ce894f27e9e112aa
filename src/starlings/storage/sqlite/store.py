"""The embedded store: one SQLite file in the data directory.

One thread writes (``writer``, by way of the ``Batcher``), several connections read (``reader``).
``housekeeping`` and ``shrinking`` hold what is done between batches: purging removed objects,
trimming the log and giving space back, in chunks that keep nobody waiting for long.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from starlings.core.commands import Command
from starlings.core.events import VISIBLE, Event, EventType
from starlings.core.limits import Limits
from starlings.core.objects import Item, ItemKey, Kind, Permission, Service, SyncObject
from starlings.core.state import Outcome
from starlings.storage.batcher import Batcher
from starlings.storage.sqlite import rows as r
from starlings.storage.sqlite.backlog import MOST_WAITING
from starlings.storage.sqlite.cuts import skip_log
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.housekeeping import list_due, purge
from starlings.storage.sqlite.outbox import SqliteOutbox
from starlings.storage.sqlite.reader import Reader
from starlings.storage.sqlite.writer import Writer
from starlings.storage.store import (
    CommitListener,
    Due,
    GrantPlace,
    Place,
    Snapshot,
    StoreStatistics,
)

__all__ = ["SqliteStore"]

_COMMAND_BYTES = 200
_ITEM_REMOVED = EventType.ITEM_REMOVED.value
_VISIBLE = ", ".join(str(kind.value) for kind in sorted(VISIBLE))


class SqliteStore:
    """Implements ``Store``. Made by ``open``."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        now: Callable[[], int],
        most_webhooks: int = MOST_WAITING,
    ) -> None:
        self._path = path
        self._log_path = path.with_name(path.name + "-wal")
        self._writer = Writer(path, limits, now, secrets.token_hex(8), most_webhooks)
        self._batcher = Batcher(self._writer)

    @classmethod
    async def open(
        cls,
        directory: Path,
        limits: Limits,
        now: Callable[[], int],
        most_webhooks: int = MOST_WAITING,
    ) -> SqliteStore:
        """Open the store in a directory that exists, making the file if it isn't there.

        The caller holds the directory's lock: two writers must not share it.

        Args:
            most_webhooks: That may wait for one service, 1 or more; beyond, the oldest are dropped.

        Raises:
            DatabaseError, sqlite3.Error, OSError: It can't be opened; the message tells why.
        """
        store = cls(directory / FILE_NAME, limits, now, most_webhooks)
        await store._batcher.start()
        try:
            store._reader = Reader(store._path)
            store.outbox = SqliteOutbox(store._reader.run, store._transact, store._writer.backlog)
        except BaseException:
            await store._batcher.close()
            raise
        return store

    _reader: Reader
    outbox: SqliteOutbox
    """Webhooks that wait, those that committed events have fired among them."""

    @property
    def epoch(self) -> str:
        return self._writer.epoch

    @property
    def cut_id(self) -> int:
        return self._writer.cut_id

    @property
    def is_writable(self) -> bool:
        """False after the disk refused a batch, until one succeeds."""
        return self._writer.is_writable

    async def check_writable(self) -> bool:
        """Whether the disk takes writes, by the writing thread's own account: waits for its turn
        there. While it doesn't, each second's first call tries it.

        Raises:
            Fault: UNAVAILABLE: the store is closed.
        """
        return cast(bool, await self._batcher.run(self._writer.check_writable))

    async def execute(self, command: Command) -> Outcome:
        data = getattr(command, "data", None)
        size_bytes = _COMMAND_BYTES + (0 if data is None else len(data))
        return await self._batcher.submit(command, size_bytes)

    def listen(self, listener: CommitListener) -> None:
        self._batcher.listen(listener)

    @property
    def has_untold(self) -> bool:
        return self._batcher.has_untold

    # Single rows

    async def find_service(self, oid: int) -> Service | None:
        row = self._reader.find(f"SELECT {r.SERVICE_COLUMNS} FROM service WHERE oid = ?", (oid,))
        return None if row is None else r.service_of(row)

    async def find_default_service(self, account_sid: str) -> Service | None:
        row = self._reader.find(
            f"SELECT {r.SERVICE_COLUMNS} FROM service"
            " WHERE account_sid = ? AND unique_name IS NOT NULL",
            (account_sid,),
        )
        return None if row is None else r.service_of(row)

    async def find_object(self, oid: int) -> SyncObject | None:
        row = self._reader.find(
            f"SELECT {r.OBJECT_COLUMNS} FROM object WHERE oid = ? AND is_removed = 0", (oid,)
        )
        return None if row is None else r.object_of(row)

    async def find_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None:
        row = self._reader.find(
            f"SELECT {r.OBJECT_COLUMNS} FROM object WHERE service_oid = ? AND kind = ?"
            " AND unique_name = ? AND is_removed = 0",
            (service_oid, kind, name),
        )
        return None if row is None else r.object_of(row)

    async def find_item(self, oid: int, key: ItemKey) -> Item | None:
        row = self._reader.find(
            f"SELECT {r.ITEM_COLUMNS} FROM item WHERE oid = ? AND key = ?", (oid, key)
        )
        return None if row is None else r.item_of(row)

    async def list_grants(self, oid: int, identity: str) -> list[Permission]:
        # In one statement, so that both halves are as of one moment.
        rows = self._reader.find_all(
            f"SELECT {r.PERMISSION_COLUMNS} FROM permission"
            " WHERE oid = ?1 AND identity = ?2 AND match = 1 UNION ALL"
            f" SELECT {r.PERMISSION_COLUMNS} FROM {r.PATTERNS} WHERE oid = ?1 AND match > 1",
            (oid, identity),
        )
        return [r.permission_of(row) for row in rows]

    # Pages

    async def list_services(
        self,
        start: Place | None,
        is_descending: bool,
        limit: int,
        account_sid: str | None = None,
    ) -> list[Service]:
        where, order = _after("(created_at, oid)", start, is_descending, "(?, ?)")
        whose, owner = ("TRUE", ()) if account_sid is None else ("account_sid = ?", (account_sid,))
        statement = f"SELECT {r.SERVICE_COLUMNS} FROM service WHERE {whose}{where} {order} LIMIT ?"
        rows = await self._select(statement, (*owner, *map(_fitting, start or ()), limit))
        return [r.service_of(row) for row in rows]

    async def list_objects(
        self,
        service_oid: int,
        kind: Kind,
        start: Place | None,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[SyncObject]:
        where, order = _after("(created_at, oid)", start, is_descending, "(?, ?)")
        statement = (
            f"SELECT {r.OBJECT_COLUMNS} FROM object WHERE service_oid = ? AND kind = ?"
            f" AND is_removed = 0 AND (expires_at IS NULL OR expires_at > ?){where} {order} LIMIT ?"
        )
        values = (service_oid, kind, now, *map(_fitting, start or ()), limit)
        return [r.object_of(row) for row in await self._select(statement, values)]

    async def list_items(
        self,
        oid: int,
        start: ItemKey | None,
        is_inclusive: bool,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[Item]:
        where, order = _after("key", start, is_descending, "?", is_inclusive)
        statement = (
            f"SELECT {r.ITEM_COLUMNS} FROM item WHERE oid = ?"
            f" AND (expires_at IS NULL OR expires_at > ?){where} {order} LIMIT ?"
        )
        edge = () if start is None else (_fitting_key(start),)
        rows = await self._select(statement, (oid, now, *edge, limit))
        return [r.item_of(row) for row in rows]

    async def list_permissions(
        self,
        oid: int,
        start: GrantPlace | None,
        is_descending: bool,
        limit: int,
        now: int = 0,
    ) -> list[Permission]:
        where, order = _after("(identity, match)", start, is_descending, "(?, ?)")
        statement = (
            f"SELECT {r.PERMISSION_COLUMNS} FROM permission WHERE oid = ?"
            f" AND (expires_at IS NULL OR expires_at > ?){where} {order} LIMIT ?"
        )
        edge = () if start is None else (_fitting_key(start[0]), start[1])
        rows = await self._select(statement, (oid, now, *edge, limit))
        return [r.permission_of(row) for row in rows]

    # The log

    async def read_log(
        self, oid: int, start: int, limit: int, is_descending: bool = False
    ) -> list[Event]:
        where, order = _after("seq", start, is_descending, "?")
        statement = f"SELECT {r.EVENT_COLUMNS} FROM event WHERE oid = ?{where} {order} LIMIT ?"
        rows = await self._select(statement, (_fitting(oid), _fitting(start), limit))
        return [r.event_of(row) for row in rows]

    async def replay(self, oid: int, after_id: int, limit: int) -> list[Event] | None:
        def query(connection: sqlite3.Connection) -> list[Event] | None:
            seq = skip_log(connection, oid, _fitting(after_id), self.cut_id)
            statement = (
                f"SELECT {r.EVENT_COLUMNS} FROM event WHERE oid = ? AND seq > ? AND event_id > ?"
                f" AND type IN ({_VISIBLE}) ORDER BY seq LIMIT ?"
            )
            values = (oid, seq, _fitting(after_id), limit)
            rows = connection.execute(statement, values).fetchall()
            if rows:
                events = [r.event_of(row) for row in rows]
                return events if events[0].event_id == after_id + 1 else None
            present = connection.execute(
                "SELECT event_id FROM object WHERE oid = ? AND is_removed = 0", (oid,)
            ).fetchone()
            return None if present is not None and present[0] > after_id else []

        return await self._reader.run(query)

    async def snapshot(self, oid: int, after_id: int, limit: int) -> Snapshot | None:
        after_id = _fitting(after_id)

        def query(connection: sqlite3.Connection) -> Snapshot | None:
            row = connection.execute(
                f"SELECT {r.OBJECT_COLUMNS} FROM object WHERE oid = ? AND is_removed = 0", (oid,)
            ).fetchone()
            if row is None:
                return None
            items = connection.execute(
                f"SELECT {r.ITEM_COLUMNS} FROM item WHERE oid = ? AND event_id > ?"
                " ORDER BY event_id LIMIT ?",
                (oid, after_id, limit + 1),
            ).fetchall()
            buried = connection.execute(
                f"SELECT {r.TOMBSTONE_COLUMNS} FROM tombstone WHERE oid = ? AND event_id > ?"
                " UNION ALL SELECT oid, event_id, key, data, at, endpoint FROM event"
                f" WHERE oid = ? AND event_id > ? AND type = {_ITEM_REMOVED}"
                " ORDER BY event_id LIMIT ?",
                (oid, after_id, oid, after_id, limit + 1),
            ).fetchall()
            changed: list[Any] = [r.item_of(row) for row in items]
            changed += (r.tombstone_of(row) for row in buried)
            changed.sort(key=lambda one: one.event_id)
            chosen = changed[:limit]
            return Snapshot(
                r.object_of(row),
                [one for one in chosen if isinstance(one, Item)],
                [one for one in chosen if not isinstance(one, Item)],
                len(changed) <= limit,
            )

        return await self._reader.run(query)

    # Housekeeping

    async def list_due(self, now: int, limit: int) -> list[Due]:
        return await self._reader.run(partial(list_due, now=now, limit=limit))

    async def list_due_permissions(self, now: int, limit: int) -> list[Permission]:
        columns = ", ".join(f"permission.{name}" for name in r.PERMISSION_COLUMNS.split(", "))
        rows = await self._select(
            f"SELECT {columns} FROM permission CROSS JOIN object USING (oid)"
            " WHERE permission.expires_at IS NOT NULL AND permission.expires_at <= ?"
            " AND object.is_removed = 0 ORDER BY permission.expires_at LIMIT ?",
            (now, limit),
        )
        return [r.permission_of(row) for row in rows]

    async def list_orphans(self, limit: int) -> list[SyncObject]:
        # Goes from service to service along the index, instead of over all objects.
        statement = (
            "WITH RECURSIVE owner (oid) AS ("
            "SELECT min(service_oid) FROM object WHERE is_removed = 0 UNION ALL"
            " SELECT (SELECT min(service_oid) FROM object WHERE is_removed = 0"
            " AND service_oid > owner.oid) FROM owner WHERE owner.oid IS NOT NULL)"
            f" SELECT {r.OBJECT_COLUMNS} FROM object WHERE is_removed = 0 AND service_oid IN"
            " (SELECT oid FROM owner WHERE oid IS NOT NULL EXCEPT SELECT oid FROM service) LIMIT ?"
        )
        return [r.object_of(row) for row in await self._select(statement, (limit,))]

    async def purge(self, limit: int) -> int:
        return await self._transact(
            partial(purge, limit=limit, forget_object=self._writer.forget_object)
        )

    async def trim_log(self, before: int, tombstones_before: int, limit: int) -> int:
        trim = partial(self._writer.trim_log, before, tombstones_before, limit)
        return cast(int, await self._batcher.run(trim))

    async def shrink(self) -> int:
        return cast(int, await self._batcher.run(self._writer.shrink))

    async def checkpoint_if_long(self) -> bool:
        """Under a steady load the writer never rests: copy a long log between two batches."""
        return cast(bool, await self._batcher.run(self._writer.checkpoint_if_long))

    def statistics(self) -> StoreStatistics:
        counted = self._batcher.statistics()
        return StoreStatistics(
            counted.commits,
            counted.commands,
            self._writer.refusals,
            self._writer.faults,
            counted.waiting,
            counted.largest_batch,
            self._writer.commit_seconds,
            _size_of(self._path),
            self._log_bytes(),
            self._writer.clock_behind_seconds(),
        )

    async def close(self) -> None:
        await self._batcher.close()
        await self._reader.close()

    async def _transact(self, job: Callable[[sqlite3.Connection], int]) -> int:
        """Run a job in the writing thread, in a transaction of its own."""
        return cast(int, await self._batcher.run(lambda: self._writer.transact(job)))

    async def _select(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return await self._reader.run(
            lambda connection: connection.execute(statement, values).fetchall()
        )

    def _log_bytes(self) -> int:
        return _size_of(self._log_path)


def _after(
    column: str, start: object, is_descending: bool, places: str, is_inclusive: bool = False
) -> tuple[str, str]:
    """The condition and the order of a page that starts at or after ``start`` in a direction."""
    sign = ("<" if is_descending else ">") + ("=" if is_inclusive else "")
    where = "" if start is None else f" AND {column} {sign} {places}"
    word = " DESC" if is_descending else ""
    columns = column.strip("()").split(", ")
    return where, "ORDER BY " + ", ".join(f"{name}{word}" for name in columns)


def _fitting(number: int) -> int:
    """A whole number that SQLite can compare with: those past 63 bits can't be stored anyway."""
    return max(-(1 << 63), min(number, (1 << 63) - 1))


def _fitting_key(key: ItemKey) -> ItemKey:
    """The same for keys: half a surrogate pair can't be stored either."""
    return key.encode(errors="replace").decode() if isinstance(key, str) else _fitting(key)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
