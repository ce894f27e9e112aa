"""Cut ids in the database: see ``storage.cuts``. The newest ones are kept in ``meta``, as JSON."""

from __future__ import annotations

import json
import sqlite3

from starlings.core.objects import Kind
from starlings.storage.cuts import make_cut_id

__all__ = ["CUT_IDS", "cut_history", "newest_cut_id", "skip_log"]

CUT_IDS = "(SELECT value FROM json_each((SELECT value FROM meta WHERE name = 'cut_ids')))"
"""All that are kept, for queries."""

_MOST_CUTS = 100
"""That are kept: enough for as far as the log reaches back, where the check of it meets them."""


def cut_history(connection: sqlite3.Connection, now: int) -> None:
    """Raise the event ids of a database that nobody serves; ``now`` in milliseconds since 1970."""
    connection.execute("BEGIN IMMEDIATE")
    highest_id = connection.execute("SELECT max(event_id) FROM object").fetchone()[0] or 0
    cut_id = make_cut_id(now, highest_id)
    connection.execute(
        "UPDATE object SET event_id = ? WHERE is_removed = 0 AND kind <> ?",
        (cut_id, int(Kind.STREAM)),
    )
    kept = [*_list_cut_ids(connection), cut_id][-_MOST_CUTS:]
    connection.execute(
        "INSERT INTO meta VALUES ('cut_ids', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
        (json.dumps(kept),),
    )
    connection.execute("COMMIT")


def newest_cut_id(connection: sqlite3.Connection) -> int:
    """0: it was never restored."""
    return (_list_cut_ids(connection) or [0])[-1]


def skip_log(connection: sqlite3.Connection, oid: int, after_id: int, cut_id: int) -> int:
    """A sequence of an object's log that has no visible event above ``after_id`` before it, and
    none but such right behind it.

    It is searched for by halving: ids rise with the sequence, which has no gaps. To go on from what
    is sure (a visible event's sequence is above its id, but for what came after a cut) would be to
    read every event that is not visible: of an object with many permissions they are many.
    """
    low, high = connection.execute(
        "SELECT (SELECT min(seq) FROM event WHERE oid = ?1),"
        " (SELECT max(seq) FROM event WHERE oid = ?1)",
        (oid,),
    ).fetchone()
    if low is None:
        return 0
    low, high = low - 1, high + 1  # up to low there is none, from high on there are only such
    if not 0 < cut_id <= after_id:
        low = max(low, after_id)
    while high - low > 1:
        middle = (low + high) // 2
        (event_id,) = connection.execute(
            "SELECT event_id FROM event WHERE oid = ? AND seq = ?", (oid, middle)
        ).fetchone()
        if event_id <= after_id:
            low = middle
        else:
            high = middle
    return int(low)


def _list_cut_ids(connection: sqlite3.Connection) -> list[int]:
    """Oldest first."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'cut_ids'").fetchone()
    return [] if row is None else [int(one) for one in json.loads(row[0])]
