"""The data directory: what it is when its database is gone."""

from pathlib import Path

import pytest

from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError

TRACES = [
    "starlings.db-wal",
    "starlings.db-shm",
    "starlings.db.replaced",
    ".starlings.db.new",
    "credentials.json",
]


@pytest.mark.parametrize("is_empty", [False, True])
@pytest.mark.parametrize("trace", TRACES)
def test_a_lost_database_is_noticed_by_each_of_its_traces(
    tmp_path: Path, trace: str, is_empty: bool
) -> None:
    (tmp_path / trace).write_bytes(b"")
    if is_empty:
        (tmp_path / "starlings.db").touch()
    with pytest.raises(OperatorError, match=rf"trace.*\({trace}\): put it back, restore a backup"):
        DataDirectory(tmp_path).refuse_lost_database()


def test_all_traces_are_named(tmp_path: Path) -> None:
    for trace in TRACES:
        (tmp_path / trace).touch()
    with pytest.raises(OperatorError) as said:
        DataDirectory(tmp_path).refuse_lost_database()
    assert all(trace in str(said.value) for trace in TRACES)


def test_a_database_that_is_there_has_companions(tmp_path: Path) -> None:
    (tmp_path / "starlings.db").write_bytes(b"x")
    for trace in TRACES:
        (tmp_path / trace).touch()
    DataDirectory(tmp_path).refuse_lost_database()


@pytest.mark.parametrize(
    "name",
    [
        "lock",  # of a first start that was refused or killed
        "secret.key",  # given by the operator
        "starlings.db",  # empty: left by a full disk
        "starlings.db-journal",  # left by a kill while the file got its first page
        ".credentials.json.new",
        "lost+found",
    ],
)
def test_a_first_start_may_find_other_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    DataDirectory(tmp_path).refuse_lost_database()


def test_a_disk_that_is_not_mounted_is_noticed_by_the_traces_beside_the_link(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "starlings.db").symlink_to(tmp_path / "disk" / "real.db")
    (tmp_path / "data" / "credentials.json").touch()
    with pytest.raises(OperatorError, match="There is no database"):
        DataDirectory(tmp_path / "data").refuse_lost_database()


def test_the_log_of_a_database_behind_a_link_is_a_trace(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "starlings.db").symlink_to(tmp_path / "real.db")
    DataDirectory(tmp_path / "data").refuse_lost_database()
    (tmp_path / "real.db-wal").touch()
    with pytest.raises(OperatorError, match=r"\(real\.db-wal\)"):
        DataDirectory(tmp_path / "data").refuse_lost_database()
