"""The write-ahead log: given back between commits, never during one, and bounded."""

from __future__ import annotations

from pathlib import Path

from starlings.core import commands as c
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.writer import Writer
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock
from tests.contracts.store_contract import LIMITS


def test_commits_write_to_the_log_only(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    writer = Writer(path, LIMITS, Clock(), "epoch")
    writer.open()
    writer.rest()
    before = path.read_bytes()
    for oid in range(1, 200):
        writer.commit([_creation(oid) for oid in range(oid * 10, oid * 10 + 10)])
    log = path.with_name(FILE_NAME + "-wal")
    assert log.stat().st_size > 1024 * 1024
    assert path.read_bytes() == before
    writer.rest()
    assert path.stat().st_size > len(before)
    writer.close()
    assert not log.exists() or log.stat().st_size == 0


def test_the_log_is_used_again_after_a_rest(tmp_path: Path) -> None:
    writer = Writer(tmp_path / FILE_NAME, LIMITS, Clock(), "epoch")
    writer.open()
    log = tmp_path / (FILE_NAME + "-wal")
    sizes = []
    for turn in range(1, 6):
        for part in range(60):
            first = (turn * 60 + part) * 20
            writer.commit([_creation(oid) for oid in range(first, first + 20)])
        writer.rest()
        sizes.append(log.stat().st_size)
    assert max(sizes) < 3 * sizes[0]
    writer.close()


def test_the_log_stays_bounded_under_a_load_that_never_rests(tmp_path: Path) -> None:
    writer = Writer(tmp_path / FILE_NAME, LIMITS, Clock(), "epoch")
    writer.open()
    log = tmp_path / (FILE_NAME + "-wal")
    assert not writer.checkpoint_if_long()
    sizes: list[int] = []
    number = 1
    while len(sizes) < 2:  # the server asks each second, between two batches
        writer.commit([_creation(oid) for oid in range(number, number + 500)])
        number += 500
        if writer.checkpoint_if_long():
            sizes.append(log.stat().st_size)
            assert number < 100_000
    assert sizes[1] < 1.5 * sizes[0]
    assert not writer.checkpoint_if_long()
    writer.close()


def _creation(oid: int) -> c.Command:
    settings = c.ServiceSettings(friendly_name="x" * 200)
    return c.CreateService(oid, f"IS{oid:032x}", ACCOUNT_SID, None, settings, ADMIN)
