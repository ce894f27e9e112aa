"""File space that nothing uses is given back, in chunks, and not all of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from starlings.core.errors import Fault, Reason
from starlings.storage.sqlite import shrinking
from starlings.storage.sqlite import writer as writer_module
from starlings.storage.sqlite.check import check_database
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.shrinking import STEP_PAGES
from starlings.storage.sqlite.writer import Writer
from tests.contracts.desk import Clock
from tests.contracts.store_contract import LIMITS

PAGE_BYTES = 4096
KEPT_PAGES = 100
NOW = 4_000_000_000_000


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(shrinking, "_KEPT_PAGES", KEPT_PAGES)
    writer = Writer(tmp_path / FILE_NAME, LIMITS, Clock(), "epoch")
    writer.open()
    yield writer
    writer.close()


def fill(writer: Writer, pages: int) -> None:
    """Tombstones of about a page each, of which the even ones can be removed."""

    def job(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT OR IGNORE INTO object VALUES" + OBJECT)
        connection.executemany(
            "INSERT INTO tombstone VALUES (1, ?, 'k', ?, 1, NULL)",
            ((number, b"x" * 3_800) for number in range(pages)),
        )
        return pages

    writer.transact(job)
    writer.checkpoint()


OBJECT = "(1, 'MP', 1, 3, NULL, NULL, 1, -1, 0, 0, 1, 1, NULL, 'x', 0)"


def remove(writer: Writer, condition: str = "TRUE") -> None:
    statement = f"DELETE FROM tombstone WHERE {condition}"  # noqa: S608
    writer.transact(lambda connection: connection.execute(statement).rowcount)
    writer.checkpoint()


def shrink(writer: Writer) -> list[int]:
    """What was given back, chunk by chunk."""
    given = []
    while pages := writer.shrink():
        given.append(pages)
    return given


def pages_of(directory: Path) -> int:
    return (directory / FILE_NAME).stat().st_size // PAGE_BYTES


def test_a_file_whose_content_has_gone_is_cut_to_little(writer: Writer, tmp_path: Path) -> None:
    fill(writer, 1000)
    assert pages_of(tmp_path) > 1000
    assert writer.shrink() == 0
    remove(writer)
    given = shrink(writer)
    assert max(given) == STEP_PAGES
    assert KEPT_PAGES <= pages_of(tmp_path) < KEPT_PAGES + 100
    assert check_database(tmp_path / FILE_NAME, NOW).findings == []


def test_what_is_left_between_is_moved_and_kept(writer: Writer, tmp_path: Path) -> None:
    fill(writer, 1000)
    remove(writer, "event_id % 2 = 0")
    before = pages_of(tmp_path)
    assert sum(shrink(writer)) > 300
    assert pages_of(tmp_path) < before - 300
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        rows = connection.execute("SELECT event_id, length(data) FROM tombstone").fetchall()
    assert rows == [(number, 3_800) for number in range(1, 1000, 2)]
    assert check_database(tmp_path / FILE_NAME, NOW).findings == []


def test_little_free_space_is_kept_for_what_comes(writer: Writer, tmp_path: Path) -> None:
    fill(writer, 1000)
    remove(writer, f"event_id < {2 * KEPT_PAGES - 50}")
    before = pages_of(tmp_path)
    assert writer.shrink() == 0
    assert pages_of(tmp_path) == before
    # Once it has begun it goes on to the end, and then begins no sooner than before.
    remove(writer, f"event_id < {2 * KEPT_PAGES + 50}")
    assert KEPT_PAGES - 20 < sum(shrink(writer)) < KEPT_PAGES + 100
    remove(writer, f"event_id < {2 * KEPT_PAGES + 100}")
    assert writer.shrink() == 0


def test_of_a_large_file_a_tenth_is_kept(writer: Writer, tmp_path: Path) -> None:
    fill(writer, 4000)
    remove(writer, "event_id < 1200")
    assert shrink(writer)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    assert 0.09 < free / pages_of(tmp_path) < 0.11
    remove(writer, "event_id < 1500")
    assert shrink(writer) == []


def test_the_file_is_cut_while_it_goes_on_too(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_CHECKPOINT_GIVEN_PAGES", 2 * STEP_PAGES)
    fill(writer, 1000)
    remove(writer)
    sizes = [pages_of(tmp_path)]
    for _ in range(4):
        assert writer.shrink() == STEP_PAGES
        sizes.append(pages_of(tmp_path))
    assert [one - sizes[0] for one in sizes] == [0, 0, -128, -128, -256]


def test_a_crash_in_the_middle_leaves_a_sound_file(writer: Writer, tmp_path: Path) -> None:
    fill(writer, 1000)
    remove(writer, "event_id % 3 > 0")
    for copy in range(5):
        assert writer.shrink() == STEP_PAGES
        # Without a checkpoint part of it is in the log, as a kill would leave it.
        crashed = tmp_path / f"crashed-{copy}"
        crashed.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(tmp_path / f"{FILE_NAME}{suffix}", crashed / f"{FILE_NAME}{suffix}")
        again = Writer(crashed / FILE_NAME, LIMITS, Clock(), "epoch")
        again.open()
        shrink(again)
        again.close()
        assert check_database(crashed / FILE_NAME, NOW).findings == []
        with closing(sqlite3.connect(crashed / FILE_NAME)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM tombstone").fetchone()
        assert count == 334


def test_a_disk_that_takes_nothing_is_a_fault_and_it_goes_on_later(
    writer: Writer, tmp_path: Path
) -> None:
    fill(writer, 1000)
    remove(writer)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer._connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(Fault) as caught:
            writer.shrink()
        assert caught.value.reason is Reason.UNAVAILABLE
        other.execute("ROLLBACK")
    assert sum(shrink(writer)) > 700
