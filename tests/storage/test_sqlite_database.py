"""The file: its settings and its migrations."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from starlings.core.objects import Kind
from starlings.storage.sqlite import database
from starlings.storage.sqlite.database import (
    FILE_NAME,
    LOG_KEPT_BYTES,
    SCHEMA_VERSION,
    DatabaseError,
    migrate,
    open_reader,
    open_writer,
)
from starlings.storage.sqlite.store import SqliteStore
from tests.contracts.desk import Clock, Desk
from tests.contracts.store_contract import LIMITS

_OLD = Path(__file__).parent.parent / "data" / "schema-1.db"


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_the_writer_syncs_every_commit_and_leaves_checkpoints_to_the_store(tmp_path: Path) -> None:
    with closing(open_writer(tmp_path / "x.db")) as connection:
        assert pragma(connection, "journal_mode") == "wal"
        assert pragma(connection, "synchronous") == 2  # FULL
        assert pragma(connection, "wal_autocheckpoint") == 0
        assert pragma(connection, "journal_size_limit") == LOG_KEPT_BYTES
        assert pragma(connection, "auto_vacuum") == 2  # INCREMENTAL
        assert pragma(connection, "busy_timeout") == 5_000


def test_a_file_that_can_not_have_a_write_ahead_log_is_refused() -> None:
    with pytest.raises(DatabaseError, match="journal_mode is 'memory', 'wal' is needed"):
        open_writer(Path(":memory:"))


def test_a_reader_can_not_write(tmp_path: Path) -> None:
    with closing(open_writer(tmp_path / "x.db")) as writer:
        migrate(writer, "epoch")
        with closing(open_reader(tmp_path / "x.db")) as reader:
            assert pragma(reader, "query_only") == 1
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("DELETE FROM meta")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_writer(tmp_path / "x.db")


def test_a_new_file_gets_every_migration_and_its_epoch(tmp_path: Path) -> None:
    with closing(open_writer(tmp_path / "x.db")) as connection:
        migrate(connection, "epoch-1")
        migrate(connection, "epoch-2")  # nothing is left to do
        assert pragma(connection, "user_version") == SCHEMA_VERSION
        found = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        assert found == ("epoch-1",)


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with closing(open_writer(tmp_path / "x.db")) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        with pytest.raises(DatabaseError, match="newer version"):
            migrate(connection, "epoch")


@pytest.mark.parametrize("version", [0, 3])
def test_another_programs_database_is_refused_and_left_as_it_is(
    tmp_path: Path, version: int
) -> None:
    file = tmp_path / "x.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    before = file.read_bytes()
    for open_file in (open_writer, open_reader):
        with pytest.raises(DatabaseError, match="no database of starlings"):
            open_file(file)
    assert file.read_bytes() == before


def test_a_migration_that_fails_leaves_the_schema_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_writer(tmp_path / "x.db")) as connection:
        migrate(connection, "epoch")
        bad = "CREATE TABLE more (a) STRICT;\n"
        scripts = [(n, "") for n in range(1, SCHEMA_VERSION + 1)] + [(SCHEMA_VERSION + 1, bad)]
        monkeypatch.setattr(database, "_list_migrations", lambda: scripts)
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, "epoch")
        assert pragma(connection, "user_version") == SCHEMA_VERSION
        assert not connection.in_transaction
        tables = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'more'")
        assert tables.fetchone() is None


async def test_a_file_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    shutil.copy(_OLD, tmp_path / FILE_NAME)
    clock = Clock(1_900_000_000_000)
    store = await SqliteStore.open(tmp_path, LIMITS, clock)
    assert store.epoch == "0123456789abcdef"
    [service] = await store.list_services(None, False, 10)
    target = await store.find_object_named(service.oid, Kind.MAP, "players")
    assert target is not None
    assert (target.revision, target.item_count) == ("3", 1)
    item = await store.find_item(target.oid, "alice")
    assert item is not None
    assert (item.data, item.revision) == (b'{"hp":100}', "0")
    assert len(await store.replay(target.oid, -1, 10) or []) == 3
    assert (await Desk(store, clock).put(target, "alice", b"{}")).item.revision == "3"
    await store.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert pragma(connection, "user_version") == SCHEMA_VERSION
        assert pragma(connection, "integrity_check") == "ok"


async def test_an_open_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(DatabaseError):
        await SqliteStore.open(tmp_path, LIMITS, Clock())
    with closing(sqlite3.connect(tmp_path / FILE_NAME, timeout=0)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
