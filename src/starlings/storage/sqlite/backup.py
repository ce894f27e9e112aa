"""Copies of a database: made while a server writes, and put back with a new epoch and cut id.

A copy is one file, made by ``VACUUM INTO`` in one read transaction, so it is one moment of the
store, compact, and needs no write-ahead log beside it. Writers are not held up; only the
write-ahead log can't be cut while it runs.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from starlings.storage.sqlite.cuts import cut_history
from starlings.storage.sqlite.database import refuse_newer

__all__ = ["back_up", "companions_of", "put_back"]

_BUSY_SECONDS = 30.0
_COMPANIONS = ("-wal", "-shm", "-journal")


def companions_of(database: Path) -> list[Path]:
    """Where SQLite looks for the rest of a database: a file there is taken for a part of it."""
    return [database.with_name(f"{database.name}{suffix}") for suffix in _COMPANIONS]


def back_up(database: Path, file: Path) -> None:
    """Copy a database to ``file``, whole or not at all; a file of that name is replaced, and
    so are its companions.

    Raises:
        DatabaseError: It is of a newer version.
        sqlite3.Error, OSError: It could not be read or written; ``file`` is as it was.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    try:
        # VACUUM INTO fills an empty file, which keeps the mode that we give it.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(_connect(database, "ro")) as connection:
            refuse_newer(connection)
            connection.execute("VACUUM INTO ?", (str(temporary),))
        _sync(temporary)
        for companion in companions_of(file):
            companion.unlink(missing_ok=True)
        temporary.replace(file)
        _sync(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def put_back(file: Path, database: Path, epoch: str, now: int) -> Path | None:
    """Put a copy in the place of a database, with another epoch: its history was cut.

    The caller holds the directory's lock and has checked ``file``; ``now`` is in milliseconds since
    1970.

    Returns:
        Where the database that was there before is kept; None if there was none.

    Raises:
        sqlite3.Error, OSError: It could not be written; the old database is in place or kept.
    """
    temporary = database.with_name(f".{database.name}.new")
    _remove(temporary)
    try:
        _copy(file, temporary)
        with contextlib.closing(_connect(temporary, "rw")) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (epoch,))
            cut_history(connection, now)
        _sync(temporary)
        kept = _set_aside(database)
        temporary.replace(database)
        _sync(database.parent)
    finally:
        _remove(temporary)
    return kept


def _copy(file: Path, target: Path) -> None:
    """Copy a database as SQLite sees it: what is in its write-ahead log, too."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        contextlib.closing(_connect(file, "ro")) as source,
        contextlib.closing(_connect(target, "rw")) as copy,
    ):
        source.backup(copy)


def _remove(database: Path) -> None:
    for one in (database, *companions_of(database)):
        one.unlink(missing_ok=True)


def _set_aside(database: Path) -> Path | None:
    """Rename a database with its companions: a log left behind would be taken for the new one's."""
    if not database.exists():
        return None
    kept = database.with_name(f"{database.name}.replaced")
    for suffix in (*_COMPANIONS, ""):
        source, target = Path(f"{database}{suffix}"), Path(f"{kept}{suffix}")
        target.unlink(missing_ok=True)
        if source.exists():
            source.replace(target)
    return kept


def _connect(database: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{database.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
    )


def _sync(path: Path) -> None:
    """Write a file or a directory through to the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
