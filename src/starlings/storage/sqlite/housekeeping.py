"""What is done between batches, in chunks: purging, trimming; and what is due to expire."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from starlings.core.events import EventType
from starlings.storage.sqlite.rows import TOMBSTONE_COLUMNS
from starlings.storage.store import Due

__all__ = ["Retained", "list_due", "purge", "trim_log"]


class Retained(NamedTuple):
    """What is kept, in milliseconds since 1970: events and tombstones of ``before`` and later."""

    before: int
    tombstones_before: int
    now: int


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
                f" (SELECT {key} FROM {table} WHERE oid = ?1 ORDER BY {key} LIMIT ?2)",
                (oid, max(1, limit - deleted)),
            ).rowcount
        if deleted < limit:
            connection.execute("DELETE FROM object WHERE oid = ?", (oid,))
            forget_object(oid)
            deleted += 1
    return deleted


def trim_log(connection: sqlite3.Connection, retained: Retained, limit: int) -> int:
    """Forget events from the front of the log, and old tombstones.

    The clock may have been wrong: what has a date to come is as old as what was committed after it
    tells, and what has a date too early hides nothing that is before it and young. So events are
    forgotten up to the newest that is too old, and only as far as none is too young.
    """
    newest = _find_newest_old(connection, retained, limit)
    forgotten = 0
    if newest is not None:
        connection.execute(
            f"INSERT OR REPLACE INTO tombstone ({TOMBSTONE_COLUMNS})"
            " SELECT event.oid, event.event_id, event.key, event.data, min(event.at, ?),"
            " event.endpoint FROM event JOIN object USING (oid)"
            " WHERE event.id <= ? AND event.type = ? AND object.is_removed = 0 AND event.at >= ?",
            (retained.now, newest, EventType.ITEM_REMOVED, retained.tombstones_before),
        )
        forgotten = connection.execute("DELETE FROM event WHERE id <= ?", (newest,)).rowcount
    _date_tombstones(connection, retained.now, limit)
    forgotten += connection.execute(
        "DELETE FROM tombstone WHERE (oid, event_id) IN"
        " (SELECT oid, event_id FROM tombstone WHERE at < ? ORDER BY at LIMIT ?)",
        (retained.tombstones_before, limit),
    ).rowcount
    return forgotten


def _find_newest_old(connection: sqlite3.Connection, retained: Retained, limit: int) -> int | None:
    """The id of the event up to which the log may be forgotten now, at most ``limit`` rows."""
    newest: int | None = None
    last: int | None = None
    rows = connection.execute("SELECT id, at FROM event ORDER BY id LIMIT ?", (limit,))
    for last, at in rows:
        if at < retained.before:
            newest = last
        elif at <= retained.now:
            rows.close()
            return newest
    if newest is None and last is not None:
        following = _find_date_after(connection, last, retained.now)
        if following is not None and following < retained.before:
            return last
    return newest


def _find_date_after(connection: sqlite3.Connection, last: int, now: int) -> int | None:
    """The date of the event that follows on a run of such with dates to come; None if none does.

    The run may be as long as the clock was wrong, so its end is searched by halving.

    Args:
        last: The id of an event in the run.
    """
    end, end_at = connection.execute("SELECT id, at FROM event ORDER BY id DESC LIMIT 1").fetchone()
    if end_at > now:
        return None
    while end - last > 1:
        middle = (last + end) // 2
        found, at = connection.execute(
            "SELECT id, at FROM event WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if at > now:
            last = found
        else:
            end, end_at = middle, at
    return int(end_at)


def _date_tombstones(connection: sqlite3.Connection, now: int, limit: int) -> None:
    """Let tombstones with dates to come age from now on.

    Not as long as the log begins with such a date as well: then it may be the clock that is wrong.
    """
    first = connection.execute("SELECT at FROM event ORDER BY id LIMIT 1").fetchone()
    if first is not None and first[0] <= now:
        connection.execute(
            "UPDATE tombstone SET at = ?1 WHERE (oid, event_id) IN"
            " (SELECT oid, event_id FROM tombstone WHERE at > ?1 LIMIT ?2)",
            (now, limit),
        )
