"""Tools on a data directory that is missing, lost, damaged, newer or another's."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from starlings.storage.sqlite.database import SCHEMA_VERSION
from tests.ops.in_process import Run
from tests.ops.stores import contents_of, fill, run_sql


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "create"),
        ("keys", "list"),
        ("keys", "revoke", "SK1"),
        ("token", "--identity", "zoe"),
        ("check",),
        ("backup", "copy.db"),
    ],
)
def test_without_a_database_every_tool_says_so_in_one_line(
    starlings: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    refused = starlings(*command, "--data", tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"There is no database in {tmp_path}" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "command", [("keys", "create"), ("check",), ("backup", "copy.db"), ("webhooks", "list")]
)
@pytest.mark.parametrize("lack", ["missing", "empty"])
def test_where_a_database_was_lost_nobody_is_told_to_start_anew(
    starlings: Run, data: Path, command: tuple[str, ...], lack: str
) -> None:
    (data / "starlings.db").unlink()
    if lack == "empty":
        (data / "starlings.db").touch()
    refused = starlings(*command, "--data", data)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "traces of" in refused.stderr
    assert "starlings serve" not in refused.stderr


@contextlib.contextmanager
def without_rights(directory: Path) -> Iterator[None]:
    """This process as somebody whom ``directory`` doesn't belong to."""
    if os.geteuid() == 0:
        os.setresuid(65_534, 65_534, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
    else:
        mode = directory.stat().st_mode
        directory.chmod(0)
        try:
            yield
        finally:
            directory.chmod(mode)


@pytest.mark.parametrize("is_directory_open", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ("check",),
        ("backup", "copy.db"),
        ("history", "map", "x"),
        ("webhooks", "list"),
        ("webhooks", "drop", "1"),
        ("keys", "list"),
        ("keys", "create"),
        ("identities", "revoked"),
        ("token", "--identity", "zoe"),
    ],
)
def test_somebody_without_rights_is_told_whose_work_it_is(
    starlings: Run, data: Path, command: tuple[str, ...], is_directory_open: bool
) -> None:
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(shutil.copytree(data, Path(parent) / "data"))
        Path(parent).chmod(0o755)
        database = directory / "starlings.db"
        directory.chmod(0o755 if is_directory_open else 0o700)
        database.chmod(0o600)
        with without_rights(database if is_directory_open else directory):
            refused = starlings(*command, "--data", directory)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"starlings: {directory} can't be read: run this as the ser")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "create"),
        ("keys", "list"),
        ("keys", "revoke", "@key"),
        ("identities", "revoke", "zoe"),
        ("identities", "revoked"),
        ("token", "--identity", "zoe"),
        ("check",),
        ("backup", "@copy"),
        ("restore", "--force", "@database"),
        ("history", "map", "a"),
        ("webhooks", "list"),
        ("webhooks", "retry", "--all"),
        ("webhooks", "drop", "--all"),
    ],
)
def test_a_database_of_a_newer_version_is_refused_by_every_command(
    starlings: Run, data: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    run_sql(data, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    shown = json.loads((data / "credentials.json").read_text())
    places = {
        "@key": shown["api_key_sid"],
        "@copy": tmp_path / "copy.db",
        "@database": data / "starlings.db",
    }
    before = contents_of(data)
    refused = starlings(*(places.get(word, word) for word in command), "--data", data)
    assert (refused.returncode, refused.stdout) == (2, "")
    [line] = refused.stderr.splitlines()
    assert f"The database has schema {SCHEMA_VERSION + 1}, this version knows" in line
    assert contents_of(data) == before
    assert not (tmp_path / "copy.db").exists()


async def test_check_tells_clean_from_damaged_by_its_exit_status(
    starlings: Run, tmp_path: Path
) -> None:
    await fill(tmp_path)
    clean = starlings("check", "--data", tmp_path)
    assert clean.returncode == 0, clean.stdout
    assert "items: 5\n" in clean.stdout
    assert clean.stdout.endswith("No damage was found\n")
    run_sql(tmp_path, "UPDATE object SET item_count = 77 WHERE kind = 2")
    damaged = starlings("check", "--data", tmp_path)
    assert damaged.returncode == 1
    assert "an object counts its items rightly" in damaged.stdout


def break_header(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"X" * 20)


def break_first_page(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff" * 3996)


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_short(file: Path) -> None:
    os.truncate(file, 300)


def fill_with_nothing(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize(
    "damage", [break_header, break_first_page, cut_in_half, cut_short, fill_with_nothing]
)
def test_a_file_damaged_beyond_reading_is_damage(
    starlings: Run, data: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(data / "starlings.db")
    checked = starlings("check", "--data", data)
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "WRONG: not so: the file is sound: " in checked.stdout
    assert checked.stdout.endswith("Damage was found\n")
    backed_up = starlings("backup", tmp_path / "copy.db", "--data", data)
    assert (backed_up.returncode, backed_up.stdout) == (2, "")
    assert backed_up.stderr.startswith(f"starlings: {data / 'starlings.db'} is damaged and ")
    restored = starlings("restore", data / "starlings.db", "--data", tmp_path / "new")
    assert (restored.returncode, "is damaged: the file is sound" in restored.stderr) == (2, True)
    assert not (tmp_path / "copy.db").exists()
    assert not (tmp_path / "new" / "starlings.db").exists()
    assert len(restored.stderr.splitlines()) == len(backed_up.stderr.splitlines()) == 1


def test_a_file_that_can_not_be_reached_is_no_damage(starlings: Run, tmp_path: Path) -> None:
    (tmp_path / "starlings.db").mkdir()
    refused = starlings("check", "--data", tmp_path)
    assert (refused.returncode, "can't be checked" in refused.stderr) == (2, True)


def test_another_programs_database_is_not_judged(starlings: Run, tmp_path: Path) -> None:
    run_sql(tmp_path, "CREATE TABLE other (a)")
    refused = starlings("check", "--data", tmp_path)
    assert (refused.returncode, "no database of starlings" in refused.stderr) == (2, True)
