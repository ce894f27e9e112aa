"""One process for one data directory."""

import os
from pathlib import Path

import pytest

from starlings.storage.sqlite.lock import DirectoryInUse, DirectoryLock


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    with (
        DirectoryLock(tmp_path),
        pytest.raises(DirectoryInUse, match=rf"in use.*pid {os.getpid()}"),
        DirectoryLock(tmp_path),
    ):
        pass


def test_it_can_be_taken_again_once_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with DirectoryLock(tmp_path):
            pass


def test_a_file_left_by_a_process_that_died_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("pid 1\n")
    with DirectoryLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"pid {os.getpid()}\n"
