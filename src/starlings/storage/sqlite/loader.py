"""The rows that the writing thread decides by: loaded many at a time, before a batch, or one by one
when a rule asks for what was not foreseen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from starlings.core.commands import Command, CreateObject
from starlings.core.objects import (
    Item,
    ItemKey,
    Kind,
    Match,
    ObjectRef,
    Permission,
    Service,
    SyncObject,
)
from starlings.core.rules import is_text
from starlings.core.sids import find_oid
from starlings.storage.sqlite import rows as r
from starlings.storage.working_set import WorkingSet

__all__ = ["Loader"]

_LOAD_CHUNKS = (64, 8, 1)
_LOAD_OBJECTS = {
    size: f"SELECT {r.OBJECT_COLUMNS} FROM object WHERE oid IN ({', '.join('?' * size)})"
    for size in _LOAD_CHUNKS
}
# A join in this order looks each key up; "(oid, key) IN (VALUES ...)" would scan the whole table.
_LOAD_ITEMS = {
    size: f"WITH wanted (oid, key) AS (VALUES {', '.join(['(?, ?)'] * size)})"
    f" SELECT {', '.join('item.' + name for name in r.ITEM_COLUMNS.split(', '))}"
    " FROM wanted CROSS JOIN item ON item.oid = wanted.oid AND item.key = wanted.key"
    for size in _LOAD_CHUNKS
}


class Loader:
    """Implements ``Rows`` for the working set. Lives in the writing thread.

    ``connection`` is the writer's, set once that is open: what it has written and not yet committed
    is seen.
    """

    connection: sqlite3.Connection

    # Many at a time

    def load_ahead(self, working_set: WorkingSet, commands: Sequence[Command]) -> None:
        """Tell the working set of the objects and items that the commands name."""
        oids: dict[int, None] = {}
        for command in commands:
            ref = getattr(command, "ref", None)
            if ref is None:
                oid = command.oid if isinstance(command, CreateObject) else None
            else:
                oid = find_oid(ref.name)
            if oid is not None and oid < 1 << 63 and not working_set.knows_object(oid):
                oids[oid] = None
        if oids:
            found = self._select_chunks(_LOAD_OBJECTS, [(oid,) for oid in oids])
            for row in found:
                working_set.know_object(r.object_of(row))
                oids.pop(row[0], None)
            for oid in oids:
                working_set.know_no_object(oid)
        places: dict[tuple[int, ItemKey], None] = {}
        for command in commands:
            key = getattr(command, "key", None)
            ref = getattr(command, "ref", None)
            if key is None or ref is None:
                continue
            oid = _find_oid(working_set, ref)
            if oid is not None and _fits(key) and not working_set.knows_item((oid, key)):
                places[oid, key] = None
        if places:
            for row in self._select_chunks(_LOAD_ITEMS, list(places)):
                item = r.item_of(row)
                place = (item.oid, item.key)
                places.pop(place, None)
                working_set.know_item(place, item)
            for place in places:
                working_set.know_item(place, None)

    def _select_chunks(
        self, statements: dict[int, str], keys: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Rows of many keys; a chunk that isn't full repeats its last key."""
        found: list[tuple[Any, ...]] = []
        start = 0
        while start < len(keys):
            left = len(keys) - start
            size = 64 if left > 8 else 8 if left > 1 else 1
            chunk = list(keys[start : start + size])
            chunk += [chunk[-1]] * (size - len(chunk))
            values = [value for key in chunk for value in key]
            found += self.connection.execute(statements[size], values).fetchall()
            start += size
        return found

    # One by one

    def select_one(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self.connection.execute(statement, values).fetchone()
        except (OverflowError, UnicodeEncodeError):  # a value that no row can have
            return None
        return row

    def load_service(self, oid: int) -> Service | None:
        row = self.select_one(f"SELECT {r.SERVICE_COLUMNS} FROM service WHERE oid = ?", (oid,))
        return None if row is None else r.service_of(row)

    def load_default_service(self, account_sid: str) -> Service | None:
        row = self.select_one(
            f"SELECT {r.SERVICE_COLUMNS} FROM service"
            " WHERE account_sid = ? AND unique_name IS NOT NULL",
            (account_sid,),
        )
        return None if row is None else r.service_of(row)

    def count_services(self, account_sid: str) -> int:
        row = self.select_one(
            "SELECT count(*) FROM service WHERE account_sid = ? AND unique_name IS NULL",
            (account_sid,),
        )
        assert row is not None
        return int(row[0])

    def load_object(self, oid: int) -> SyncObject | None:
        row = self.select_one(f"SELECT {r.OBJECT_COLUMNS} FROM object WHERE oid = ?", (oid,))
        return None if row is None else r.object_of(row)

    def load_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None:
        row = self.select_one(
            f"SELECT {r.OBJECT_COLUMNS} FROM object WHERE service_oid = ? AND kind = ?"
            " AND unique_name = ? AND is_removed = 0",
            (service_oid, kind, name),
        )
        return None if row is None else r.object_of(row)

    def load_item(self, oid: int, key: ItemKey) -> Item | None:
        row = self.select_one(
            f"SELECT {r.ITEM_COLUMNS} FROM item WHERE oid = ? AND key = ?", (oid, key)
        )
        return None if row is None else r.item_of(row)

    def load_permission(self, oid: int, identity: str, match: Match) -> Permission | None:
        row = self.select_one(
            f"SELECT {r.PERMISSION_COLUMNS} FROM permission"
            " WHERE oid = ? AND identity = ? AND match = ?",
            (oid, identity, match),
        )
        return None if row is None else r.permission_of(row)

    def load_patterns(self, oid: int) -> list[Permission]:
        rows = self.connection.execute(
            f"SELECT {r.PERMISSION_COLUMNS} FROM {r.PATTERNS} WHERE oid = ? AND match > 1", (oid,)
        )
        return [r.permission_of(row) for row in rows]


def _find_oid(working_set: WorkingSet, ref: ObjectRef) -> int | None:
    oid = find_oid(ref.name)
    if oid is None:
        return working_set.find_known_oid(ref.service_oid, ref.kind, ref.name)
    return oid if oid < 1 << 63 else None


def _fits(key: ItemKey) -> bool:
    """False for what is no item's key, and what SQLite can't even compare with."""
    return is_text(key) if isinstance(key, str) else key < 1 << 63
