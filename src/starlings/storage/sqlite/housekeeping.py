"""What is done between batches, in chunks: purging, trimming; and what is due to expire."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from starlings.core.events import EventType
from starlings.storage.sqlite.rows import TOMBSTONE_COLUMNS
from starlings.storage.store import Due

__all__ = ["list_due", "purge", "trim_log"]


def list_due(connection: sqlite3.Connection, now: int, limit: int) -> list[Due]:
    """What expired by ``now``, longest ago first. Items of a due object go with it."""
    objects = connection.execute(
        "SELECT oid, NULL, expires_at FROM object"
        " WHERE expires_at IS NOT NULL AND is_removed = 0 AND expires_at <= ?"
        " ORDER BY expires_at LIMIT ?",
        (now, limit),
    ).fetchall()
    items = connection.execute(
        "SELECT item.oid, item.key, item.expires_at FROM item CROSS JOIN object USING (oid)"
        " WHERE item.expires_at IS NOT NULL AND item.expires_at <= ? AND object.is_removed = 0"
        " AND (object.expires_at IS NULL OR object.expires_at > ?)"
        " ORDER BY item.expires_at LIMIT ?",
        (now, now, limit),
    ).fetchall()
    due = [Due(*row) for row in objects + items]
    due.sort(key=lambda one: one.expires_at)
    return due[:limit]


def purge(connection: sqlite3.Connection, limit: int, forget_object: Callable[[int], None]) -> int:
    """Delete rows of removed objects, at most about ``limit``; the object's own row goes last."""
    deleted = 0
    removed = connection.execute(
        "SELECT oid FROM object WHERE is_removed = 1 ORDER BY oid LIMIT ?", (limit,)
    ).fetchall()
    for (oid,) in removed:
        if deleted >= limit:
            break
        for table, key in (("item", "key"), ("permission", "identity"), ("tombstone", "event_id")):
            deleted += connection.execute(
                f"DELETE FROM {table} WHERE oid = ?1 AND {key} IN"
                f" (SELECT {key} FROM {table} WHERE oid = ?1 LIMIT ?2)",
                (oid, max(1, limit - deleted)),
            ).rowcount
        if deleted < limit:
            connection.execute("DELETE FROM object WHERE oid = ?", (oid,))
            forget_object(oid)
            deleted += 1
    return deleted


def trim_log(
    connection: sqlite3.Connection, before: int, tombstones_before: int, limit: int
) -> int:
    """Forget events from the front of the log, and old tombstones."""
    newest = connection.execute(
        "SELECT max(id) FROM (SELECT id, at FROM event ORDER BY id LIMIT ?) WHERE at < ?",
        (limit, before),
    ).fetchone()[0]
    forgotten = 0
    if newest is not None:
        connection.execute(
            f"INSERT OR REPLACE INTO tombstone ({TOMBSTONE_COLUMNS})"
            " SELECT event.oid, event.event_id, event.key, event.data, event.at, event.endpoint"
            " FROM event JOIN object USING (oid)"
            " WHERE event.id <= ? AND event.type = ? AND object.is_removed = 0 AND event.at >= ?",
            (newest, EventType.ITEM_REMOVED, tombstones_before),
        )
        forgotten = connection.execute("DELETE FROM event WHERE id <= ?", (newest,)).rowcount
    forgotten += connection.execute(
        "DELETE FROM tombstone WHERE (oid, event_id) IN"
        " (SELECT oid, event_id FROM tombstone WHERE at < ? ORDER BY at LIMIT ?)",
        (tombstones_before, limit),
    ).rowcount
    return forgotten
