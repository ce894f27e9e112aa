"""Copies of a database, and putting them back."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from starlings.app.care import back_up_data, restore_data
from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError
from starlings.core.limits import OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite import backup
from starlings.storage.sqlite.backup import put_back
from starlings.storage.sqlite.check import check_database
from starlings.storage.sqlite.lock import DirectoryLock
from starlings.storage.sqlite.store import SqliteStore
from tests.ops.killing import kill_at_every_line
from tests.ops.stores import DATABASE, epoch_of, fill, run_sql


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    await fill(tmp_path / "data")
    return tmp_path / "data"


def count_of(directory: Path, suffix: str = "") -> object:
    connection = sqlite3.connect(directory / f"{DATABASE}{suffix}")
    try:
        return connection.execute("SELECT count(*) FROM object").fetchone()[0]
    finally:
        connection.close()


def leave_log(database: Path, statement: str) -> None:
    """Change a database as a process that is killed does: the change is in its log only."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(statement)
    log = database.with_name(f"{database.name}-wal")
    left, content = database.read_bytes(), log.read_bytes()
    connection.close()
    database.write_bytes(left)
    log.write_bytes(content)


def test_a_copy_is_clean_whole_and_private(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    size_bytes = back_up_data(Settings(data=data), file, may_replace=False)
    assert size_bytes == file.stat().st_size > 0
    assert check_database(file, 0).findings == []
    assert check_database(file, 0).counts == check_database(data / DATABASE, 0).counts
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_file_that_exists_is_replaced_only_when_told(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    file.write_text("precious")
    with pytest.raises(OperatorError, match="--force"):
        back_up_data(Settings(data=data), file, may_replace=False)
    assert file.read_text() == "precious"
    back_up_data(Settings(data=data), file, may_replace=True)
    assert check_database(file, 0).findings == []


@pytest.mark.parametrize("may_replace", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "starlings.db",
        "starlings.db-wal",
        "starlings.db-shm",
        "starlings.db-journal",
        "secret.key",
        "credentials.json",
        "lock",
    ],
)
@pytest.mark.parametrize("way", ["itself", "symlink", "hard link", "through a symlink", "missing"])
def test_a_file_of_the_server_is_never_the_target(
    data: Path, tmp_path: Path, name: str, way: str, may_replace: bool
) -> None:
    own = data / name
    if not own.exists():
        own.write_text("in use")
    file = own
    if way == "symlink":
        file = tmp_path / "copy.db"
        file.symlink_to(own)
    elif way == "hard link":
        file = tmp_path / "copy.db"
        file.hardlink_to(own)
    elif way == "through a symlink":
        (tmp_path / "other").symlink_to(data)
        file = tmp_path / "other" / "." / name
    elif way == "missing" and name != DATABASE:  # without it there is nothing to copy
        own.unlink()
    before = own.read_bytes() if own.exists() else None
    with pytest.raises(OperatorError, match=f"FILE is where the copy goes; .*{name} is ") as said:
        back_up_data(Settings(data=data), file, may_replace=may_replace)
    assert "--force" not in str(said.value)
    assert (own.read_bytes() if own.exists() else None) == before
    assert way not in ("symlink", "hard link") or file.samefile(own)


def test_a_database_behind_a_symlink_is_never_the_target(data: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.db"
    (data / DATABASE).rename(real)
    (data / DATABASE).symlink_to(real)
    for file in (real, tmp_path / "real.db-wal"):
        with pytest.raises(OperatorError, match="FILE is where the copy goes"):
            back_up_data(Settings(data=data), file, may_replace=True)
    assert count_of(data) == 5


async def test_the_database_of_another_server_is_never_the_target(
    data: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    await fill(other)
    run_sql(other, "DELETE FROM object")
    with DirectoryLock(other), pytest.raises(OperatorError, match="the database itself"):
        back_up_data(Settings(data=data), other / DATABASE, may_replace=True)
    assert count_of(other) == 0


def test_a_copy_may_lie_in_the_data_directory_or_have_the_databases_name(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    for file in (data / "copy.db", tmp_path / "elsewhere" / DATABASE):
        for _ in range(2):
            back_up_data(Settings(data=data), file, may_replace=file.exists())
            assert check_database(file, 0).findings == []


@pytest.mark.parametrize("may_replace", [False, True])
def test_only_a_file_is_replaced(data: Path, tmp_path: Path, may_replace: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path, Path(), tmp_path / "pipe"):
        with pytest.raises(OperatorError, match=r"is a directory|pipe"):
            back_up_data(Settings(data=data), file, may_replace=may_replace)
    assert (tmp_path / "pipe").is_fifo()


def test_the_log_of_a_file_that_is_replaced_goes_with_it(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    leave_log(file, "DELETE FROM object")
    os.remove(file)
    with pytest.raises(OperatorError, match=r"copy\.db-wal exists: .*--force"):
        back_up_data(Settings(data=data), file, may_replace=False)
    back_up_data(Settings(data=data), file, may_replace=True)
    with sqlite3.connect(file) as copy:
        assert copy.execute("SELECT count(*) FROM object").fetchone() == (5,)
    copy.close()


def test_a_copy_that_cannot_be_written_is_an_error_and_leaves_nothing(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError, match="could not be made"):
        back_up_data(Settings(data=data), tmp_path / "missing" / "copy.db", may_replace=False)


def test_without_a_database_there_is_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no database"):
        back_up_data(Settings(data=tmp_path), tmp_path / "copy.db", may_replace=False)


async def test_a_restored_store_has_everything_and_a_new_epoch(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    restored = restore_data(Settings(data=tmp_path / "new"), file, may_replace=False)
    assert restored.kept is None
    assert restored.is_key_missing
    assert epoch_of(tmp_path / "new") != epoch_of(data)
    assert check_database(tmp_path / "new" / DATABASE, 0).findings == []
    store = await SqliteStore.open(tmp_path / "new", OFF, SYSTEM_SOURCES.now)
    try:
        assert store.epoch == epoch_of(tmp_path / "new")
        assert len(await store.list_services(None, False, 10)) == 1
    finally:
        await store.close()


def test_a_database_that_is_there_is_replaced_only_when_told_and_kept(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    run_sql(data, "DELETE FROM object")
    with pytest.raises(OperatorError, match="--force"):
        restore_data(Settings(data=data), file, may_replace=False)
    assert count_of(data) == 0
    restored = restore_data(Settings(data=data), file, may_replace=True)
    assert count_of(data) == 5
    assert restored.kept is not None
    with sqlite3.connect(restored.kept) as kept:
        assert kept.execute("SELECT count(*) FROM object").fetchone() == (0,)
    kept.close()


def test_a_log_left_by_a_crash_is_not_taken_for_the_restored_database(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    leave_log(data / DATABASE, "DELETE FROM object")
    put_back(file, data / DATABASE, "epoch", 0)
    assert count_of(data) == 5
    assert epoch_of(data) == "epoch"


def test_what_is_in_the_log_of_the_file_is_restored_too(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    leave_log(file, "INSERT INTO meta VALUES ('late', 'x')")
    restore_data(Settings(data=tmp_path / "new"), file, may_replace=False)
    assert run_sql(tmp_path / "new", "SELECT value FROM meta WHERE name = 'late'") == [("x",)]
    assert stat.S_IMODE((tmp_path / "new" / DATABASE).stat().st_mode) == 0o600
    assert {entry.name for entry in (tmp_path / "new").iterdir()} == {"lock", DATABASE}


def test_a_file_that_has_everything_in_its_log_is_restored(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    whole = sqlite3.connect(data / DATABASE)
    begun = sqlite3.connect(file, isolation_level=None)
    begun.execute("PRAGMA journal_mode = WAL")
    whole.backup(begun)
    log = (tmp_path / "copy.db-wal").read_bytes()
    content = file.read_bytes()
    begun.close()
    whole.close()
    file.write_bytes(content)
    (tmp_path / "copy.db-wal").write_bytes(log)
    assert len(content) < len(log)
    restore_data(Settings(data=tmp_path / "new"), file, may_replace=False)
    assert count_of(tmp_path / "new") == 5


def test_what_a_killed_restore_left_is_not_taken_for_the_next_ones(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    left = data / f".{DATABASE}.new"
    left.write_bytes(file.read_bytes())
    leave_log(left, "DELETE FROM object")
    restore_data(Settings(data=data), file, may_replace=True)
    assert count_of(data) == 5
    assert [entry.name for entry in data.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.parametrize("lack", ["missing", "empty"])
def test_a_restore_where_the_database_was_lost_needs_no_force_and_keeps_its_log(
    data: Path, tmp_path: Path, lack: str
) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    leave_log(data / DATABASE, "DELETE FROM object")
    log = (data / f"{DATABASE}-wal").read_bytes()
    (data / DATABASE).unlink()
    if lack == "empty":
        (data / DATABASE).touch()
    (data / f"{DATABASE}.replaced").write_text("kept by an earlier restore")
    assert restore_data(Settings(data=data), file, may_replace=False).kept is None
    assert count_of(data) == 5
    assert (data / f"{DATABASE}-wal.replaced").read_bytes() == log
    assert (data / f"{DATABASE}.replaced").read_text() == "kept by an earlier restore"
    assert not (data / f"{DATABASE}.replaced-wal").exists()


@pytest.mark.parametrize("name", [f"{DATABASE}.replaced", f".{DATABASE}.new"])
def test_what_a_restore_would_remove_on_its_way_is_not_restored(data: Path, name: str) -> None:
    file = data / name
    back_up_data(Settings(data=data), file, may_replace=False)
    content = file.read_bytes()
    with pytest.raises(OperatorError, match="rename it first"):
        restore_data(Settings(data=data), file, may_replace=True)
    assert file.read_bytes() == content


def test_a_restore_that_was_cut_short_can_be_turned_back(data: Path) -> None:
    kept = data / f"{DATABASE}.replaced"
    (data / DATABASE).rename(kept)
    assert restore_data(Settings(data=data), kept, may_replace=False).kept is None
    assert count_of(data) == 5


def restore_over_another(directory: Path) -> None:
    """What is there has six rows, one of them in its log only, and the backup five."""
    (directory / "data").mkdir()
    prepared = directory.parent.parent / "prepared"
    for file in prepared.iterdir():
        shutil.copy(file, directory / "data")
    restore_data(Settings(data=directory / "data"), prepared.parent / "copy.db", may_replace=True)


def test_a_restore_killed_at_any_line_loses_neither_database(data: Path, tmp_path: Path) -> None:
    back_up_data(Settings(data=data), tmp_path / "copy.db", may_replace=False)
    leave_log(
        data / DATABASE,
        "INSERT INTO object SELECT oid + 1, sid || 'x', service_oid, kind,"
        " NULL, data, seq, event_id, next_index, 0, created_at, updated_at, expires_at, created_by,"
        " 1 FROM object WHERE kind = 1",
    )
    (data / f"{DATABASE}.replaced").write_text("kept by an earlier restore")
    data.rename(tmp_path / "prepared")
    functions: list[Callable[..., object]] = [
        restore_data,
        put_back,
        *(backup._copy, backup._set_aside, backup._remove),
    ]
    *killed, ended = kill_at_every_line(restore_over_another, functions, tmp_path / "runs")
    seen = set()
    for directory in [*killed, ended]:
        where = directory / "data"
        if not where.exists() or not (where / "lock").exists():
            continue
        try:
            DataDirectory(where).refuse_lost_database()
        except OperatorError:
            seen.add("none")
            assert count_of(where, ".replaced") == 6
            restore_data(Settings(data=where), tmp_path / "copy.db", may_replace=False)
            assert (count_of(where), count_of(where, ".replaced")) == (5, 6)
            continue
        found = count_of(where)
        seen.add(str(found))
        assert found == 6 or count_of(where, ".replaced") == 6
        restore_data(Settings(data=where), tmp_path / "copy.db", may_replace=True)
        assert count_of(where) == 5
    assert seen == {"6", "none", "5"}


def test_a_directory_in_use_is_left_alone(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    before = epoch_of(data)
    with DirectoryLock(data), pytest.raises(OperatorError, match="in use"):
        restore_data(Settings(data=data), file, may_replace=True)
    assert epoch_of(data) == before


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100])
def test_what_is_no_backup_is_not_restored(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "copy.db"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OperatorError, match=r"copy\.db"):
        restore_data(Settings(data=tmp_path / "new"), file, may_replace=False)
    assert not (tmp_path / "new" / DATABASE).exists()


def test_a_damaged_backup_is_not_restored(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    back_up_data(Settings(data=data), file, may_replace=False)
    with sqlite3.connect(file, isolation_level=None) as damaged:
        damaged.execute("UPDATE object SET item_count = 77")
    damaged.close()
    with pytest.raises(OperatorError, match="damaged"):
        restore_data(Settings(data=tmp_path / "new"), file, may_replace=False)
