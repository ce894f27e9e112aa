"""Rows and values: the columns of each table in the order of its value's fields, and back.

Rows are written several at a time: a statement that inserts 64 rows gives the interpreter lock away
once, not 64 times, so that the event loop and the writing thread hinder each other less.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from starlings.core.events import Event, EventType
from starlings.core.objects import Item, Kind, Match, Permission, Service, SyncObject, Tombstone

__all__ = [
    "EVENT_COLUMNS",
    "ITEM_COLUMNS",
    "OBJECT_COLUMNS",
    "PATTERNS",
    "PERMISSION_COLUMNS",
    "SERVICE_COLUMNS",
    "TOMBSTONE_COLUMNS",
    "Insert",
    "event_of",
    "item_of",
    "object_of",
    "permission_of",
    "service_of",
    "tombstone_of",
]

OBJECT_COLUMNS = (
    "oid, sid, service_oid, kind, unique_name, data, seq, event_id, next_index, item_count,"
    " created_at, updated_at, expires_at, created_by, is_removed"
)
ITEM_COLUMNS = "oid, key, data, event_id, added_id, created_at, updated_at, expires_at, created_by"
EVENT_COLUMNS = (
    "oid, seq, event_id, type, at, key, data, expires_at, identity, endpoint, request_id"
)
PERMISSION_COLUMNS = "oid, identity, match, may_read, may_write, may_manage, expires_at"
PATTERNS = "permission INDEXED BY permission_pattern"
"""To be read with ``match > 1``. SQLite would rather go through all permissions of the object."""
SERVICE_COLUMNS = (
    "oid, sid, account_sid, unique_name, friendly_name, created_at, updated_at, webhook_url,"
    " has_webhooks_from_rest, has_reachability_webhooks, has_acl, has_debouncing,"
    " debouncing_window_ms"
)
TOMBSTONE_COLUMNS = "oid, event_id, key, data, at, endpoint"

_KINDS = {kind.value: kind for kind in Kind}
_MATCHES = {match.value: match for match in Match}
_TYPES = {kind.value: kind for kind in EventType}
_make_object = SyncObject._make
_make_event = Event._make


def object_of(row: Sequence[Any]) -> SyncObject:
    values = list(row)
    values[3] = _KINDS[values[3]]
    values[14] = bool(values[14])
    return _make_object(values)


def item_of(row: Sequence[Any]) -> Item:
    return Item._make(row)


def event_of(row: Sequence[Any]) -> Event:
    values = list(row)
    values[3] = _TYPES[values[3]]
    return _make_event(values)


def tombstone_of(row: Sequence[Any]) -> Tombstone:
    return Tombstone._make(row)


def permission_of(row: Sequence[Any]) -> Permission:
    values = list(row)
    values[2] = _MATCHES[values[2]]
    values[3:6] = map(bool, values[3:6])
    return Permission._make(values)


def service_of(row: Sequence[Any]) -> Service:
    values = list(row)
    values[8:12] = map(bool, values[8:12])
    return Service._make(values)


class Insert:
    """Inserts rows of one table, many with one statement."""

    _CHUNKS = (64, 16, 4, 1)

    def __init__(self, table: str, columns: str, on_conflict: str = "") -> None:
        places = ", ".join("?" * len(columns.split(",")))
        self._statements = [
            (
                size,
                f"INSERT INTO {table} ({columns}) VALUES "
                + ", ".join([f"({places})"] * size)
                + on_conflict,
            )
            for size in self._CHUNKS
        ]

    def run(self, connection: sqlite3.Connection, rows: Sequence[Iterable[Any]]) -> None:
        """Insert the rows in order."""
        start = 0
        for size, statement in self._statements:
            while len(rows) - start >= size:
                values: list[Any] = []
                for row in rows[start : start + size]:
                    values += row
                connection.execute(statement, values)
                start += size
