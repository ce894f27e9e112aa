"""The file: its settings, its migrations, and which indexes its statements use."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from starlings.core import commands as c
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
from tests.contracts.desk import ADMIN, Clock, Desk, ref_of
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


class Statements:
    """Every statement that any connection of a store runs, by its text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: set[str] = set()
        connect = sqlite3.connect

        def watched(*arguments: object, **options: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
            connection.set_trace_callback(self.seen.add)
            return connection

        monkeypatch.setattr(sqlite3, "connect", watched)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Statements:
    return Statements(monkeypatch)


async def test_no_statement_scans_a_large_table(
    tmp_path: Path, statements: Statements, clock: Clock
) -> None:
    """A scan is fast in every test and stops the writer for seconds in a large database."""
    store = await SqliteStore.open(tmp_path, LIMITS, clock)
    desk = Desk(store, clock)
    service = await desk.create_service()
    target = await desk.create(service, Kind.MAP, "m", ttl=60)
    entries = await desk.create(service, Kind.LIST)
    statements.seen.clear()
    for size in (1, 8, 70):  # the writer has statements of several sizes
        for number in range(size):
            await desk.put(target, f"{size}/{number}", ttl=5)
        store._writer._working_set.forget()
        await store.execute(c.UpdateService(service.oid, c.ServiceSettings(has_acl=False), ADMIN))
        names = [f"{size}/{number}" for number in range(size)]
        await _put_together(desk, store, target.oid, names)
    await desk.add(entries)
    await desk.set_ttl(entries, 60)
    await desk.grant(target, "zoe")
    await store.execute(c.RemovePermission(ref_of(target), "zoe", ADMIN))
    await desk.remove_item(entries, 0)
    edge = (target.created_at, target.oid)
    for is_descending in (False, True):
        await store.list_services(edge, is_descending, 5)
        for kind in Kind:
            await store.list_objects(service.oid, kind, None, is_descending, 5, clock.at)
            await store.list_objects(service.oid, kind, edge, is_descending, 5, clock.at)
        for start in (None, "k"):
            await store.list_items(target.oid, start, True, is_descending, 5, clock.at)
        for place in (None, ("k", 0)):
            await store.list_permissions(target.oid, place, is_descending, 5)
    await store.find_object_named(service.oid, Kind.MAP, "m")
    await store.read_log(target.oid, 0, 5)
    await store.replay(target.oid, 0, 5)
    await store.snapshot(target.oid, 0, 5)
    clock.pass_seconds(30)
    await store.list_due(clock.at, 5)
    await store.trim_log(clock.at - 1, clock.at - 1, 5)
    await store.trim_log(clock.at, clock.at + 1, 5)
    await store.list_orphans(5)
    await desk.remove(target)
    await store.purge(100)
    await store.execute(c.RemoveService(service.oid, ADMIN))
    await store.list_orphans(5)
    seen = {one for one in statements.seen if re.match(r"SELECT|INSERT|UPDATE|DELETE|WITH", one)}
    await store.close()

    scans = []
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        for statement in seen:
            for *_, plan in connection.execute("EXPLAIN QUERY PLAN " + statement):
                if _is_a_scan_that_grows(plan, statement):
                    scans.append((plan, statement))
    assert scans == []
    assert len(seen) > 40


def _is_a_scan_that_grows(plan: str, statement: str) -> bool:
    """True for a step that reads all of a table; the front of one, in its order, is no such."""
    found = re.match(r"SCAN (object|item|event|tombstone|permission)\b", plan)
    if found is None:
        return False
    is_front = "LIMIT" in statement and "TEMP B-TREE" not in plan
    return not (is_front and (found[1] == "event" or "USING" in plan))


async def _put_together(desk: Desk, store: SqliteStore, oid: int, keys: list[str]) -> None:
    found = await store.find_object(oid)
    assert found is not None
    store._writer._working_set.forget()
    await asyncio.gather(*(desk.put(found, key, b'{"n":1}') for key in keys))


@pytest.fixture
def clock() -> Clock:
    return Clock()
