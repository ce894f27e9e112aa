"""The operator's look at what happened to one object."""

from __future__ import annotations

import sqlite3

from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError
from starlings.core.events import Event
from starlings.core.objects import Kind
from starlings.core.sids import is_sid
from starlings.settings import Settings
from starlings.storage.sqlite.database import DatabaseError
from starlings.storage.sqlite.history import has_service, read_history

__all__ = ["find_history"]


def find_history(
    settings: Settings, service: str, kind: Kind, name: str, limit: int
) -> list[Event]:
    """The newest events of an object, oldest first.

    Raises:
        OperatorError: There is no such service or object, no event of it is kept, or no database.
    """
    database = DataDirectory(settings.data).find_database()
    try:
        events = read_history(database, service, kind, name, limit)
        is_service_known = events is not None or is_sid(name) or has_service(database, service)
    except (DatabaseError, sqlite3.Error) as error:
        raise OperatorError(f"{database} can't be read: {error}") from error
    if not is_service_known:
        raise OperatorError(f"There is no service {service!r}")
    if events is None:
        raise OperatorError(f"There is no {kind.word} {name!r}, or nothing of it is kept")
    return events
