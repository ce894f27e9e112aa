"""Opening the database file: settings that durability rests on, and the migrations.

Every connection reads its settings back and refuses to work with others: with ``synchronous`` below
FULL, or without the write-ahead log, an acknowledged write could be lost with the power.
"""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from pathlib import Path

__all__ = [
    "FILE_NAME",
    "LOG_KEPT_BYTES",
    "SCHEMA_VERSION",
    "DatabaseError",
    "is_damage",
    "migrate",
    "open_reader",
    "open_writer",
    "refuse_unknown",
]

FILE_NAME = "starlings.db"
_BUSY_MILLISECONDS = 5_000
_CACHE_KIBIBYTES = 65_536
LOG_KEPT_BYTES = 64 * 1024 * 1024
"""After a checkpoint a write-ahead log above this size is cut back to it; below, its file is used
again as it is, because to grow a file costs more than to write over it."""
_READER_CACHE_KIBIBYTES = 16_384


class DatabaseError(Exception):
    """The database can't be used as it must be; the message tells an operator why."""


def _list_migrations() -> list[tuple[int, str]]:
    """Numbered SQL scripts, in order, without gaps."""
    scripts = []
    for entry in resources.files(__package__).joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", entry.name)
        if match:
            scripts.append((int(match[1]), entry.read_text(encoding="utf-8")))
    scripts.sort()
    assert [number for number, _ in scripts] == list(range(1, len(scripts) + 1))
    return scripts


SCHEMA_VERSION = len(_list_migrations())


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection that may write; makes the file if it isn't there.

    Raises:
        DatabaseError: A setting that durability rests on can't be had; or as ``refuse_unknown``.
        sqlite3.Error: The file can't be opened or is no database.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        refuse_unknown(connection)  # before anything is changed in the file
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # the writer's rest() does it
        connection.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA foreign_keys = OFF")
        expected = {
            "journal_mode": "wal",
            "synchronous": 2,
            "wal_autocheckpoint": 0,
            "journal_size_limit": LOG_KEPT_BYTES,
        }
        for name, value in expected.items():
            found = connection.execute(f"PRAGMA {name}").fetchone()[0]
            if found != value:
                raise DatabaseError(f"{path}: PRAGMA {name} is {found!r}, {value!r} is needed")
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, of committed state.

    Raises:
        DatabaseError: As ``open_writer``, or as ``refuse_unknown``.
        sqlite3.Error: As ``open_writer``.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIBIBYTES}")
        if connection.execute("PRAGMA query_only").fetchone()[0] != 1:
            raise DatabaseError(f"{path}: a read-only connection can't be had")
        refuse_unknown(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_unknown(connection: sqlite3.Connection) -> int:
    """See that we know the tables; the version of their schema, 0 if there are none yet.

    Raises:
        DatabaseError: The file was written by a newer version, or by another program.
        sqlite3.Error: It can't be read or is no database.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if tables and "meta" not in tables:
        raise DatabaseError("The file is no database of starlings: move it away")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise DatabaseError(
            f"The database has schema {version}, this version knows {SCHEMA_VERSION}:"
            " it was written by a newer version of starlings"
        )
    return version


def is_damage(error: sqlite3.Error) -> bool:
    """True if the file is broken or no database at all; False if it is only out of reach."""
    code = getattr(error, "sqlite_errorcode", 0)  # absent where the module itself complains
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def migrate(connection: sqlite3.Connection, epoch: str) -> None:
    """Bring the schema up to date, each step in a transaction; a new database gets ``epoch``.

    Raises:
        DatabaseError: The file was written by a newer version, or by another program.
    """
    version = refuse_unknown(connection)
    for number, script in _list_migrations()[version:]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _split(script):
                connection.execute(statement)
            if number == 1:
                connection.execute("INSERT INTO meta VALUES ('epoch', ?)", (epoch,))
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _split(script: str) -> list[str]:
    """The statements of a script."""
    statements, lines = [], ""
    for line in script.splitlines(keepends=True):
        lines += line
        if sqlite3.complete_statement(lines):
            statements.append(lines)
            lines = ""
    return statements
