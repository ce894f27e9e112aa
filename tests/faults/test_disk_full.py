"""A disk that takes no more: writes answer 503, reads go on, and writing resumes by itself.

The disk is played by the process' own limit on the size of files (``RLIMIT_FSIZE``), which can be
lowered and lifted while it runs. Python ignores the signal that goes with it, so that a write fails
with an error, as it does on a full disk.
"""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.raw import assert_refused, raw_client
from tests.e2e.server import ServerProcess, check_data

PAYLOAD = '{"t":"' + "x" * 16000 + '"}'
MOST_WRITES = 4000
"""About 64 MB: far more than a disk with room for 256 KiB can take."""

RECOVERY_SECONDS = 10.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as server:
        yield server


@contextmanager
def _disk_with_room(server: ServerProcess, room: int) -> Iterator[None]:
    """No file may grow more than ``room`` bytes past the largest one's present size."""
    largest = max(path.stat().st_size for path in server.data.rglob("*") if path.is_file())
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (largest + room, before[1]))
    try:
        yield
    finally:
        if server.is_running:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


def _append_until_refused(raw: httpx.Client, items: str, acknowledged: list[int]) -> httpx.Response:
    for _ in range(MOST_WRITES):
        response = raw.post(items, data={"Data": PAYLOAD})
        if response.status_code != 201:
            return response
        acknowledged.append(response.json()["index"])
    raise AssertionError("the disk was never full")


def _all_indexes(raw: httpx.Client, items: str) -> list[int]:
    found: list[int] = []
    url: str | None = f"{items}?PageSize=100"
    while url is not None:
        page = raw.get(url).json()
        found += [item["index"] for item in page["items"]]
        url = page["meta"]["next_page_url"]
    return found


def _new_list(raw: httpx.Client) -> str:
    return f"/Lists/{raw.post('/Lists').json()['sid']}/Items"


def _wait_until_writable(raw: httpx.Client, items: str, acknowledged: list[int]) -> None:
    deadline = time.monotonic() + RECOVERY_SECONDS
    while True:
        response = raw.post(items, data={"Data": "{}"})
        if response.status_code == 201:
            acknowledged.append(response.json()["index"])
            return
        assert_refused(response, 503, 20503)
        assert time.monotonic() < deadline, "writing did not resume"
        time.sleep(0.1)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_log_copied(database: Path) -> bool:
    """Copy the write-ahead log into the database; whether nothing is left to be copied."""
    with closing(sqlite3.connect(database)) as connection:
        busy, log_pages, copied_pages = connection.execute("PRAGMA wal_checkpoint").fetchone()
    return (busy, log_pages) == (0, copied_pages)


def _assert_nothing_lost(
    server: ServerProcess, items: str, acknowledged: list[int], unknown: int
) -> None:
    """After a restart all acknowledged items are there, and at most so many others."""
    with raw_client(server) as raw:
        found = _all_indexes(raw, items)
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= unknown
    server.stop()
    checked = check_data(server.data)
    assert checked.returncode == 0, f"{checked.stdout}\n{checked.stderr}"


@pytest.mark.parametrize("room", [0, 256 * 1024])
def test_writes_are_refused_reads_are_served_and_writing_resumes(
    server: ServerProcess, room: int
) -> None:
    acknowledged: list[int] = []
    with raw_client(server) as raw:
        items = _new_list(raw)
        document = f"/Documents/{raw.post('/Documents', data={'Data': PAYLOAD}).json()['sid']}"
        acknowledged.append(raw.post(items, data={"Data": PAYLOAD}).json()["index"])

        with _disk_with_room(server, room):
            assert_refused(_append_until_refused(raw, items, acknowledged), 503, 20503)

            for path in (document, f"{items}/0", items, "/Lists"):
                assert raw.get(path).status_code == 200
            assert raw.get(document).json()["data"] == {"t": "x" * 16000}
            # A refused write is neither shown now nor counted.
            assert _all_indexes(raw, items) == acknowledged
            assert raw.get(items.removesuffix("/Items")).json()["revision"] == (
                f"{len(acknowledged):x}"
            )
            for path in (items, "/Documents"):
                response = raw.post(path, data={"Data": PAYLOAD})
                if response.status_code == 201:  # a checkpoint may have made room
                    acknowledged += [response.json()["index"]] if path == items else []
                else:
                    assert_refused(response, 503, 20503)
            assert_refused(raw.post(items, data={"Data": "no json"}), 400, 54008)

        _wait_until_writable(raw, items, acknowledged)
    server.restart()
    _assert_nothing_lost(server, items, acknowledged, unknown=0)


def test_concurrent_writers_on_a_filling_disk_lose_nothing_acknowledged(
    server: ServerProcess,
) -> None:
    acknowledged: list[int] = []
    refused: list[httpx.Response] = []
    with raw_client(server) as raw:
        items = _new_list(raw)
        acknowledged.append(raw.post(items, data={"Data": PAYLOAD}).json()["index"])
        with _disk_with_room(server, 256 * 1024), ThreadPoolExecutor(16) as pool:
            refused += pool.map(
                lambda _: _append_until_refused(raw, items, acknowledged), range(16)
            )
        for response in refused:
            assert_refused(response, 503, 20503)
        assert len(set(acknowledged)) == len(acknowledged)
        _wait_until_writable(raw, items, acknowledged)

    # Crash and come back: what was refused must not appear either.
    server.kill()
    server.start()
    _assert_nothing_lost(server, items, acknowledged, unknown=0)


def test_a_kill_on_a_full_disk_loses_nothing_acknowledged(server: ServerProcess) -> None:
    acknowledged: list[int] = []
    with raw_client(server) as raw:
        items = _new_list(raw)
        acknowledged.append(raw.post(items, data={"Data": PAYLOAD}).json()["index"])
        with _disk_with_room(server, 64 * 1024):
            _append_until_refused(raw, items, acknowledged)
            server.kill()

    server.start()

    _assert_nothing_lost(server, items, acknowledged, unknown=0)


def test_what_is_removed_gives_its_space_back_on_a_disk_with_little_room(tmp_path: Path) -> None:
    retention = {"STARLINGS_LOG_RETENTION": "0", "STARLINGS_TOMBSTONE_RETENTION": "0"}
    with ServerProcess(tmp_path / "data", environment=retention) as server:
        database = server.data / "starlings.db"
        with raw_client(server) as raw:
            kept, items = _new_list(raw), _new_list(raw)
            acknowledged = [raw.post(kept, data={"Data": PAYLOAD}).json()["index"]]
            with ThreadPoolExecutor(16) as pool:
                form = {"Data": PAYLOAD}
                for answer in pool.map(lambda _: raw.post(items, data=form), range(MOST_WRITES)):
                    assert answer.status_code == 201
            # Else what the log holds may need more room in the file than there will be.
            _wait_until(lambda: _is_log_copied(database))
            full_bytes = database.stat().st_size
            assert full_bytes > 64_000_000
            with _disk_with_room(server, 1024 * 1024):
                assert raw.delete(items.removesuffix("/Items")).status_code == 204
                _wait_until(lambda: database.stat().st_size < full_bytes / 2)
                acknowledged.append(raw.post(kept, data={"Data": PAYLOAD}).json()["index"])
        server.restart()
        _assert_nothing_lost(server, kept, acknowledged, unknown=0)


def test_a_server_on_a_full_disk_stops_properly(server: ServerProcess) -> None:
    with raw_client(server) as raw:
        items = _new_list(raw)
        with _disk_with_room(server, 0):
            _append_until_refused(raw, items, [])
            server.stop()
