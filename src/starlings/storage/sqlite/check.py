"""Is a database what the store's rules say it must be?

Reads one snapshot in one transaction, so it can look at a database that a server is writing. Each
rule is a query for the rows that break it. What may be there for a while in a healthy store (rows
of removed objects that wait to be purged, what expired and waits for the sweep) is counted, not
complained of.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from starlings.core.events import VISIBLE, EventType
from starlings.core.objects import Kind
from starlings.storage.sqlite.check_webhooks import WEBHOOK_COUNTS, WEBHOOK_RULES, WEBHOOK_SCHEMA
from starlings.storage.sqlite.cuts import CUT_IDS
from starlings.storage.sqlite.database import DatabaseError, is_damage, open_reader, refuse_unknown

__all__ = ["CheckReport", "Finding", "check_database"]

MOST_FINDINGS: Final = 20
"""Shown of each rule."""

_SOUND: Final = "the file is sound"
_VISIBLE: Final = ", ".join(str(int(kind)) for kind in sorted(VISIBLE))


class Finding(NamedTuple):
    """A rule that is broken, at one place."""

    rule: str
    place: str


class CheckReport(NamedTuple):
    """What was found. ``counts``: rows by what they are."""

    findings: list[Finding]
    counts: dict[str, int]


class _Rule(NamedTuple):
    """``query`` yields one column, a text that says where the rule is broken."""

    name: str
    query: str
    since: int = 1
    """The schema that brought the tables."""


_RULES: Final = (
    _Rule(
        "the store has an epoch",
        "SELECT 'meta' WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = 'epoch' AND value <> '')",
    ),
    _Rule(
        "the log of an object has no gaps",
        "SELECT printf('object %d: %d events between sequences %d and %d', oid, count(*), min(seq),"
        " max(seq)) FROM event GROUP BY oid HAVING count(*) <> max(seq) - min(seq) + 1",
    ),
    _Rule(
        "the log of an object ends at the object's sequence",
        "SELECT printf('object %d: log ends at %d, object says %d', object.oid, last, object.seq)"
        " FROM object JOIN (SELECT oid, max(seq) AS last FROM event GROUP BY oid) USING (oid)"
        " WHERE last <> object.seq",
    ),
    _Rule(
        "the log of an object ends at the object's event id",
        "SELECT printf('object %d: log ends at event %d, object says %d', object.oid,"
        " event.event_id, object.event_id)"
        " FROM object JOIN event ON event.oid = object.oid AND event.seq = object.seq"
        " WHERE event.event_id <> object.event_id AND NOT (event.event_id < object.event_id"
        f" AND object.event_id IN {CUT_IDS})",
    ),
    _Rule(
        "visible events take consecutive event ids, others none",
        "SELECT printf('object %d: sequence %d has event id %d after %d', oid, seq, event_id,"
        " before) FROM (SELECT oid, seq, event_id, event_id - (type IN"
        f" ({_VISIBLE})) AS expected, lag(event_id) OVER (PARTITION BY oid ORDER BY seq) AS before"
        " FROM event) WHERE before IS NOT NULL AND before <> expected"
        f" AND NOT (before < expected AND expected IN {CUT_IDS})",
    ),
    _Rule(
        "an object in the log exists or was removed",
        "SELECT printf('object %d', oid) FROM event AS newest WHERE seq ="
        " (SELECT max(seq) FROM event WHERE event.oid = newest.oid)"
        f" AND type <> {int(EventType.OBJECT_REMOVED)}"
        " AND NOT EXISTS (SELECT 1 FROM object WHERE object.oid = newest.oid)",
    ),
    _Rule(
        "an object counts its items rightly",
        "SELECT printf('object %d: %d items, object says %d', oid, found, item_count) FROM"
        " (SELECT oid, item_count, (SELECT count(*) FROM item WHERE item.oid = object.oid) AS found"
        " FROM object WHERE is_removed = 0) WHERE found <> item_count",
    ),
    _Rule(
        "a list's next index is above those of its items",
        "SELECT printf('object %d: index %d, next index %d', oid, top, next_index) FROM"
        " (SELECT oid, next_index, (SELECT max(key) FROM item WHERE item.oid = object.oid) AS top"
        f" FROM object WHERE kind = {int(Kind.LIST)} AND is_removed = 0) WHERE top >= next_index",
    ),
    _Rule(
        "an item is of its object's kind",
        "SELECT printf('object %d: %s', oid, key) FROM item JOIN object USING (oid)"
        " WHERE typeof(key) <> CASE kind"
        f" WHEN {int(Kind.LIST)} THEN 'integer' WHEN {int(Kind.MAP)} THEN 'text' ELSE '' END",
    ),
    _Rule(
        "an item's event is not above its object's",
        "SELECT printf('object %d: item %s has event %d, object %d', oid, key, item.event_id,"
        " object.event_id) FROM item JOIN object USING (oid) WHERE is_removed = 0"
        " AND (item.event_id > object.event_id OR added_id > item.event_id)",
    ),
    *(
        _Rule(
            f"a row of {table} has its object",
            f"SELECT DISTINCT printf('object %d', oid) FROM {table}"
            " WHERE NOT EXISTS (SELECT 1 FROM object WHERE object.oid = "
            f"{table}.oid)",
        )
        for table in ("item", "permission", "tombstone")
    ),
    _Rule(
        "a unique name is unique",
        "SELECT printf('service %d, kind %d: %s', service_oid, kind, unique_name) FROM object"
        " NOT INDEXED WHERE unique_name IS NOT NULL AND is_removed = 0"
        " GROUP BY service_oid, kind, unique_name HAVING count(*) > 1",
    ),
    _Rule(
        "an API key has its account",
        "SELECT sid FROM api_key WHERE account_sid NOT IN (SELECT sid FROM account)",
    ),
    _Rule(
        "a service has its account",
        "SELECT sid FROM service WHERE account_sid NOT IN (SELECT sid FROM account)",
    ),
    *(_Rule(name, query, WEBHOOK_SCHEMA) for name, query in WEBHOOK_RULES.items()),
)

_COUNTS: Final = {
    "services": "SELECT count(*) FROM service",
    "objects": "SELECT count(*) FROM object WHERE is_removed = 0",
    "items": "SELECT count(*) FROM item",
    "events": "SELECT count(*) FROM event",
    "removed objects to purge": "SELECT count(*) FROM object WHERE is_removed = 1",
    "objects of removed services": "SELECT count(*) FROM object WHERE is_removed = 0"
    " AND service_oid NOT IN (SELECT oid FROM service)",
    "expired objects to sweep": "SELECT count(*) FROM object WHERE is_removed = 0"
    " AND expires_at <= :now",
    "expired items to sweep": "SELECT count(*) FROM item WHERE expires_at <= :now",
    **WEBHOOK_COUNTS,
}


def check_database(database: Path, now: int) -> CheckReport:
    """Check one database file.

    Args:
        now: Milliseconds since 1970: what expired before is counted.

    Raises:
        DatabaseError: It is of a newer version, or none of ours.
        sqlite3.Error: It can't be opened, for another reason than damage.
    """
    try:
        with contextlib.closing(open_reader(database)) as connection:
            return _check(connection, now)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return CheckReport([Finding(_SOUND, str(error))], {})


def _check(connection: sqlite3.Connection, now: int) -> CheckReport:
    connection.execute("BEGIN")
    version = refuse_unknown(connection)
    if version < 1:
        raise DatabaseError("it has schema 0, so it is no database of starlings")
    findings = list(_check_file(connection))
    for rule in _RULES:
        if version >= rule.since:
            findings += _check_rule(connection, rule)
    return CheckReport(findings, _count(connection, now))


def _check_file(connection: sqlite3.Connection) -> Iterator[Finding]:
    """SQLite's own check: pages, indexes, constraints, column types."""
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({MOST_FINDINGS})"):
            if line != "ok":
                yield Finding(_SOUND, line)
    except sqlite3.Error as error:
        yield Finding(_SOUND, str(error))


def _check_rule(connection: sqlite3.Connection, rule: _Rule) -> list[Finding]:
    try:
        rows = connection.execute(rule.query).fetchmany(MOST_FINDINGS + 1)
    except sqlite3.DatabaseError as error:
        return [Finding(rule.name, f"could not be checked: {error}")]
    findings = [Finding(rule.name, place) for (place,) in rows[:MOST_FINDINGS]]
    if len(rows) > MOST_FINDINGS:
        findings.append(Finding(rule.name, "and more"))
    return findings


def _count(connection: sqlite3.Connection, now: int) -> dict[str, int]:
    counts = {}
    for name, query in _COUNTS.items():
        with contextlib.suppress(sqlite3.DatabaseError):  # told among the findings
            counts[name] = int(connection.execute(query, {"now": now}).fetchone()[0])
    return counts
