"""The operator's care of a data directory: check it, back it up, put a backup in place."""

from __future__ import annotations

import os
import secrets
import sqlite3
from pathlib import Path
from typing import NamedTuple

from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite.backup import (
    back_up,
    companions_of,
    is_begun,
    is_in_the_way,
    put_back,
)
from starlings.storage.sqlite.check import CheckReport, check_database
from starlings.storage.sqlite.database import DatabaseError, is_damage
from starlings.storage.sqlite.lock import LOCK_NAME

__all__ = ["Restored", "back_up_data", "check_data", "restore_data"]


class Restored(NamedTuple):
    """What came of a restore."""

    kept: Path | None
    """The database that was there before."""
    is_key_missing: bool
    """True if the directory has nothing to open the backup's secrets with."""


def check_data(settings: Settings) -> CheckReport:
    """Look for damage in the data directory, beside a running server too.

    Raises:
        OperatorError: There is no database that could be checked.
    """
    database = DataDirectory(settings.data).find_database()
    return _check(database)


def back_up_data(settings: Settings, file: Path, *, may_replace: bool) -> int:
    """Copy the database to a file while a server may write; the size of the copy in bytes.

    Raises:
        OperatorError: The file exists and ``may_replace`` is False, it is one that a server uses,
            or it can't be made.
    """
    directory = DataDirectory(settings.data)
    database = directory.find_database()
    try:
        _refuse_target(directory, file, may_replace)
        back_up(database, file)
        return file.stat().st_size
    except DatabaseError as error:
        raise OperatorError(f"{database} can't be backed up: {error}") from error
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, sqlite3.Error) and is_damage(error):
            raise OperatorError(
                f"{database} is damaged and can't be backed up: restore the last good backup"
            ) from error
        raise OperatorError(f"{file} could not be made: {error}") from error


def restore_data(settings: Settings, file: Path, *, may_replace: bool) -> Restored:
    """Make a backup the data directory's database, with a new epoch and a cut id.

    Raises:
        OperatorError: The backup is damaged; a server uses the directory; it has a database and
            ``may_replace`` is False.
    """
    if not file.is_file():
        raise OperatorError(f"There is no file {file}")
    findings = _check(file).findings
    if findings:
        raise OperatorError(f"{file} is damaged: {findings[0].rule}: {findings[0].place}")
    directory = DataDirectory(settings.data)
    directory.make()
    with directory.lock():
        try:
            if is_begun(directory.database) and not may_replace:
                raise OperatorError(f"{settings.data} has a database: replace it with --force")
            if is_in_the_way(file, directory.database):
                raise OperatorError(f"{file} would be replaced on the way: rename it first")
            now = SYSTEM_SOURCES.now()
            kept = put_back(file, directory.database, secrets.token_hex(8), now)
        except (sqlite3.Error, OSError) as error:
            raise OperatorError(f"{file} could not be put in place: {error}") from error
    return Restored(kept, settings.secret_key is None and not directory.secret_key.exists())


def _refuse_target(directory: DataDirectory, file: Path, may_replace: bool) -> None:
    """A copy must not take the place of what it was made from, nor of anything but a file."""
    used = [directory]
    if (file.parent / LOCK_NAME).is_file():
        used.append(DataDirectory(file.parent))  # of another server, if not of this one
    for one in used:
        use = one.find_use(file)
        if use is not None:
            raise OperatorError(f"FILE is where the copy goes; {use}")
    if file.is_dir():
        raise OperatorError(f"{file} is a directory: name a file in it")
    there = [one for one in (file, *companions_of(file)) if os.path.lexists(one)]
    if there and not may_replace:
        raise OperatorError(f"{there[0]} exists: name another file, or replace it with --force")
    for path in there:
        if not (path.is_file() or path.is_symlink()):
            raise OperatorError(f"{path} is no file that a copy could replace")


def _check(database: Path) -> CheckReport:
    try:
        return check_database(database, SYSTEM_SOURCES.now())
    except (DatabaseError, sqlite3.Error) as error:
        raise OperatorError(f"{database} can't be checked: {error}") from error
