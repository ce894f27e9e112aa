"""Copies of a database: made while a server writes, and put back with a new epoch and cut id.

A copy is one file, made by ``VACUUM INTO`` in one read transaction, so it is one moment of the
store, compact, and needs no write-ahead log beside it. Writers are not held up; only the
write-ahead log can't be cut while it runs.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import sqlite3
from pathlib import Path

from starlings.storage.sqlite.cuts import cut_history
from starlings.storage.sqlite.database import refuse_unknown

__all__ = ["back_up", "companions_of", "is_begun", "is_in_the_way", "put_back"]

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
            refuse_unknown(connection)
            connection.execute("VACUUM INTO ?", (str(temporary),))
        _sync(temporary)
        for companion in companions_of(file):
            companion.unlink(missing_ok=True)
        temporary.replace(file)
        _sync(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def is_begun(database: Path) -> bool:
    """False if there is no database, or only the empty file that a full disk leaves."""
    return database.exists() and database.stat().st_size > 0


def is_in_the_way(file: Path, database: Path) -> bool:
    """True if ``put_back`` would remove ``file`` before its copy is in place."""
    kept, temporary = _places_of(database)
    places = [temporary, kept] if is_begun(database) else [temporary]
    return any(place.exists() and place.samefile(file) for place in places)


def put_back(file: Path, database: Path, epoch: str, now: int) -> Path | None:
    """Put a copy in the place of a database, with another epoch: its history was cut.

    The caller holds the directory's lock and has checked ``file``; ``now`` is in milliseconds since
    1970.

    Returns:
        Where the database that was there before is kept; None if there was none.

    Raises:
        sqlite3.Error, OSError: It could not be written; the old database is in place or kept.
    """
    _, temporary = _places_of(database)
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


def _places_of(database: Path) -> tuple[Path, Path]:
    """Where a replaced database is kept, and where the one to come is prepared."""
    return (
        database.with_name(f"{database.name}.replaced"),
        database.with_name(f".{database.name}.new"),
    )


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
    """Rename a database with its log: a log left behind would be taken for the new one's.

    Whoever is cut short here leaves a database with its log, under the old name or the new one. A
    log whose database is gone is kept too, under a name that makes it nobody's.
    """
    kept, _ = _places_of(database)
    is_there = is_begun(database)
    if is_there:
        _remove(kept)
    for source, target in zip(companions_of(database), companions_of(kept), strict=True):
        if not source.exists() or source.name.endswith("-shm"):
            continue
        if is_there:
            shutil.copyfile(source, target)
            target.chmod(0o600)
            _sync(target)
        elif not (target.exists() and filecmp.cmp(source, target, shallow=False)):
            source.replace(f"{source}.replaced")
    if is_there:
        _sync(database.parent)
        database.replace(kept)
        _sync(database.parent)
    _remove(database)
    _sync(database.parent)
    return kept if is_there else None


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
