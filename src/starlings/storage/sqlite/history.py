"""An object's log, read from the database file beside a running server."""

from __future__ import annotations

import contextlib
from pathlib import Path

from starlings.core.events import Event
from starlings.core.objects import Kind
from starlings.core.sids import is_sid, oid_of
from starlings.storage.sqlite import rows as r
from starlings.storage.sqlite.database import open_reader

__all__ = ["has_service", "read_history"]


def read_history(
    database: Path, service: str, kind: Kind, name: str, limit: int
) -> list[Event] | None:
    """The newest events of an object, oldest first; None if there is no such object.

    Args:
        service: SID or unique name of the service; looked at only if ``name`` is no SID.
        name: SID or unique name of the object; by SID also of one that is gone.

    Raises:
        sqlite3.Error, DatabaseError: The file can't be read.
    """
    with contextlib.closing(open_reader(database)) as connection:
        if is_sid(name):
            oid = oid_of(name)
        else:
            row = connection.execute(
                "SELECT object.oid FROM object JOIN service ON service.oid = object.service_oid"
                " WHERE (service.sid = ?1 OR service.unique_name = ?1) AND object.kind = ?2"
                " AND object.unique_name = ?3 AND object.is_removed = 0",
                (service, kind, name),
            ).fetchone()
            if row is None:
                return None
            oid = row[0]
        events = connection.execute(
            f"SELECT {r.EVENT_COLUMNS} FROM event WHERE oid = ? ORDER BY seq DESC LIMIT ?",
            (min(oid, (1 << 63) - 1), limit),
        ).fetchall()
        if not events and is_sid(name):
            return None
        return [r.event_of(row) for row in reversed(events)]


def has_service(database: Path, service: str) -> bool:
    """Whether there is a service of this SID or unique name. Raises as ``read_history``."""
    with contextlib.closing(open_reader(database)) as connection:
        row = connection.execute(
            "SELECT 1 FROM service WHERE sid = ?1 OR unique_name = ?1", (service,)
        ).fetchone()
    return row is not None
