"""The operator's work on webhooks that wait and on dead letters, beside a running server too."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite import outbox
from starlings.storage.sqlite.database import DatabaseError
from starlings.storage.sqlite.outbox import StoredWebhook

__all__ = ["StoredWebhook", "drop_webhooks", "list_webhooks", "retry_webhooks"]


def list_webhooks(
    settings: Settings, is_dead: bool | None, after: int, limit: int
) -> list[StoredWebhook]:
    """Webhooks by id, from above ``after``; ``is_dead`` None for all. Raises OperatorError."""
    database = DataDirectory(settings.data).find_database()
    try:
        return outbox.list_webhooks(database, is_dead, after, limit)
    except (DatabaseError, sqlite3.Error) as error:
        raise OperatorError(f"The webhooks can't be read: {error}") from error


def retry_webhooks(settings: Settings, ids: Sequence[int] | None) -> int:
    """Have webhooks delivered now; ``ids`` None for all dead letters. How many there were.

    Raises:
        OperatorError: There is no database, or it can't be written.
    """
    database = DataDirectory(settings.data).find_database()
    try:
        return outbox.retry_webhooks(database, ids, SYSTEM_SOURCES.now())
    except (DatabaseError, sqlite3.Error) as error:
        raise OperatorError(f"The webhooks can't be changed: {error}") from error


def drop_webhooks(settings: Settings, ids: Sequence[int] | None) -> int:
    """Delete webhooks; ``ids`` None for all dead letters. How many there were.

    Raises:
        OperatorError: There is no database, or it can't be written.
    """
    database = DataDirectory(settings.data).find_database()
    try:
        return outbox.drop_webhooks(database, ids)
    except (DatabaseError, sqlite3.Error) as error:
        raise OperatorError(f"The webhooks can't be changed: {error}") from error
