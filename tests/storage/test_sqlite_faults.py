"""What can go wrong with the disk or a row, and that nothing acknowledged is lost by it. [8]"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.objects import Actor, Kind, SyncObject
from starlings.core.state import ItemOutcome
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.store import SqliteStore
from tests.contracts.desk import ADMIN, Clock, Desk, ref_of
from tests.contracts.store_contract import LIMITS

_LARGE = b'{"x":"' + b"x" * 16_000 + b'"}'


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path, LIMITS, Clock())
    yield store
    await store.close()


@pytest.fixture
def desk(store: SqliteStore) -> Desk:
    return Desk(store, Clock())


async def a_map(desk: Desk) -> SyncObject:
    return await desk.create(await desk.create_service(), Kind.MAP)


async def run_pragma(store: SqliteStore, pragma: str) -> int:
    """Set something on the connection that writes."""
    connection = store._writer._connection
    found = await store._batcher.run(lambda: connection.execute(f"PRAGMA {pragma}").fetchone())
    return cast(int, found[0]) if found else 0


def put_connection(store: SqliteStore, connection: object) -> None:
    """Have the writing thread use another connection, for its reads too."""
    given = cast(sqlite3.Connection, connection)
    store._writer._connection = store._writer._loader.connection = given


class FailingConnection:
    """Passes on to a real connection, but for one statement, which fails as a broken disk does."""

    def __init__(self, connection: sqlite3.Connection, fail_at: int) -> None:
        self._connection = connection
        self._fail_at = fail_at
        self.statements = 0
        self.failed: str | None = None

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        self._count(statement)
        return self._connection.execute(statement, *values)  # type: ignore[arg-type]

    def executemany(self, statement: str, *values: object) -> sqlite3.Cursor:
        self._count(statement)
        return self._connection.executemany(statement, *values)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def _count(self, statement: str) -> None:
        self.statements += 1
        if self.statements == self._fail_at:
            self.failed = statement
            raise sqlite3.OperationalError("disk I/O error")


async def test_8_a_batch_that_fails_at_any_statement_leaves_no_trace(
    store: SqliteStore, desk: Desk
) -> None:
    service = await desk.create_service()
    target = await desk.create(service, Kind.MAP, "m")
    await desk.put(target, "gone")
    await desk.grant(target, "eve")
    real = store._writer._connection
    failed: list[str] = []
    for step in range(1, 100):
        before = await _everything(store, desk, target)
        connection = FailingConnection(real, step)
        put_connection(store, connection)
        commands: list[c.Command] = [
            c.PutMapItem(ref_of(target), "k", b'{"n":%d}' % step, None, None, ADMIN),
            c.SetObjectTtl(ref_of(target), step, ADMIN),
            desk.creation(service, Kind.LIST, f"list-{step}"),
            c.SetPermission(ref_of(target), "zoe", True, False, False, ADMIN),
            c.RemovePermission(ref_of(target), "eve", ADMIN),
            c.RemoveItem(ref_of(target), "gone", None, ADMIN),
            c.UpdateService(service.oid, c.ServiceSettings(friendly_name=f"{step}"), ADMIN),
        ]
        answers = await asyncio.gather(
            *(store.execute(one) for one in commands), return_exceptions=True
        )
        put_connection(store, real)
        if connection.failed is None:
            assert not [one for one in answers if isinstance(one, Exception)]
            break
        failed.append(connection.failed)
        assert [getattr(one, "reason", one) for one in answers] == [Reason.UNAVAILABLE] * 7
        assert await _everything(store, desk, target) == before
        assert not store.is_writable
    text = "\n".join(failed)
    for word in ("BEGIN", "COMMIT", "SELECT", "UPDATE object", "INTO object", "INTO item"):
        assert word in text
    for word in ("INTO permission", "INTO service", "INTO event", "FROM item", "FROM permission"):
        assert word in text
    assert store.is_writable
    log = await store.read_log(target.oid, 0, 100)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))


async def test_8_a_full_disk_faults_writes_serves_reads_and_recovers(
    store: SqliteStore, desk: Desk
) -> None:
    target = await a_map(desk)
    await desk.put(target, "first", _LARGE)
    pages = await run_pragma(store, "page_count")
    await run_pragma(store, f"max_page_count = {pages + 40}")
    acknowledged: list[str] = ["first"]

    async def fill() -> None:
        for number in range(50):
            await desk.put(target, f"k{number}", _LARGE)
            acknowledged.append(f"k{number}")

    with pytest.raises(Fault) as fault:
        await fill()
    assert fault.value.reason is Reason.UNAVAILABLE
    assert not store.is_writable
    assert 1 < len(acknowledged) < 20
    kept = sorted(str(item.key) for item in await desk.list_all(target))
    assert kept == sorted(acknowledged)
    found = await store.find_object(target.oid)
    assert found is not None
    assert found.item_count == len(acknowledged)
    with pytest.raises(Fault):
        await desk.put(target, "more", _LARGE)
    with pytest.raises(Exception, match="not found"):
        await desk.remove_item(target, "nothing")  # a refusal needs no disk
    assert not store.is_writable
    await run_pragma(store, "max_page_count = 1000000")
    added = await desk.put(target, "more", _LARGE)
    assert added.event.event_id == len(acknowledged)
    assert store.is_writable
    assert store.statistics().faults == 2


async def test_a_full_disk_is_tried_once_a_second_until_it_takes_writes_again(
    store: SqliteStore, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    target = await a_map(desk)
    assert await store.check_writable()
    pages = await run_pragma(store, "page_count")
    await run_pragma(store, f"max_page_count = {pages + 4}")
    large = (desk.put(target, f"k{number}", _LARGE) for number in range(10))
    await asyncio.gather(*large, return_exceptions=True)
    real = store._writer._connection
    counting = FailingConnection(real, 0)
    put_connection(store, counting)
    assert not await store.check_writable()
    tried = counting.statements
    assert tried > 0
    for _ in range(10):
        assert not await store.check_writable()
    assert counting.statements == tried  # a second has not passed
    put_connection(store, real)
    await run_pragma(store, "max_page_count = 1000000")
    store._writer._probed_at -= 1.0
    assert await store.check_writable()
    told = [
        record.getMessage().partition(" error=")[0]
        for record in caplog.records
        if record.name == "starlings.storage"
    ]
    assert told[0] == "The store can't write"
    assert told[1].startswith("The store writes again seconds=")
    assert len(told) == 2
    left = await store._batcher.run(
        lambda: real.execute("SELECT name FROM meta ORDER BY name").fetchall()
    )
    assert left == [("epoch",)]
    tried = real.total_changes
    assert await store.check_writable()
    assert real.total_changes == tried  # a disk that takes writes is left alone


async def test_a_job_that_changes_nothing_proves_nothing_of_the_disk(
    store: SqliteStore, desk: Desk
) -> None:
    target = await a_map(desk)
    real = store._writer._connection
    put_connection(store, FailingConnection(real, 1))
    with pytest.raises(Fault):
        await desk.put(target, "k")
    put_connection(store, real)
    assert await store.purge(10) == 0
    assert not store.is_writable
    assert (await desk.remove(target)).is_removed
    assert store.is_writable


async def test_8_what_another_process_locks_faults_and_recovers(
    store: SqliteStore, desk: Desk, tmp_path: Path
) -> None:
    target = await a_map(desk)
    await run_pragma(store, "busy_timeout = 0")
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Fault) as fault:
            await desk.put(target, "k")
        assert fault.value.reason is Reason.UNAVAILABLE
        assert await store.find_item(target.oid, "k") is None
        with pytest.raises(Fault):
            await store.purge(10)
        with pytest.raises(Fault):
            await store.trim_log(1, 1, 10)
        other.execute("ROLLBACK")
    assert (await desk.put(target, "k")).event.event_id == 0


async def test_8_when_rolling_back_fails_too_the_next_batch_does_it(
    store: SqliteStore, desk: Desk
) -> None:
    target = await a_map(desk)
    real = store._writer._connection

    class Stuck(FailingConnection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            if statement in ("COMMIT", "ROLLBACK"):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *values)

    put_connection(store, Stuck(real, 0))
    with pytest.raises(Fault):
        await desk.put(target, "k")
    put_connection(store, real)
    assert real.in_transaction
    assert (await desk.put(target, "l")).event.event_id == 0
    assert [item.key for item in await desk.list_all(target)] == ["l"]


async def test_3_a_poison_command_hits_only_itself(
    store: SqliteStore, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    target = await a_map(desk)
    poison = Actor(cast(str, b"bytes"))  # no row takes this: a bug, were it to happen
    commands = [
        c.PutMapItem(ref_of(target), f"k{n}", b"{}", None, None, poison if n == 3 else ADMIN)
        for n in range(10)
    ]
    answers = await asyncio.gather(
        *(store.execute(one) for one in commands), return_exceptions=True
    )
    failed = answers.pop(3)
    assert isinstance(failed, Fault)
    assert failed.reason is Reason.INTERNAL_FAULT
    ids = [one.event.event_id for one in answers if isinstance(one, ItemOutcome)]
    assert ids == list(range(9))
    assert len(await desk.list_all(target)) == 9
    assert "A command failed type=PutMapItem" in caplog.text
    with pytest.raises(Fault) as fault:  # alone in its batch
        await store.execute(commands[3])
    assert fault.value.reason is Reason.INTERNAL_FAULT
    assert store.statistics().faults == 2


async def test_5_events_of_a_split_batch_are_heard_in_order(store: SqliteStore, desk: Desk) -> None:
    target = await a_map(desk)
    await asyncio.sleep(0)
    heard: list[int] = []
    store.listen(lambda batch: heard.extend(one.event.event_id for one in batch.events))
    poison = Actor(cast(str, b"bytes"))
    commands = [
        c.PutMapItem(ref_of(target), "k", b"{}", None, None, poison if n == 5 else ADMIN)
        for n in range(12)
    ]
    await asyncio.gather(*(store.execute(one) for one in commands), return_exceptions=True)
    await asyncio.sleep(0)
    assert heard == list(range(11))


async def test_a_disk_that_fails_while_a_batch_is_split_faults_the_rest_at_once(
    store: SqliteStore, desk: Desk
) -> None:
    target = await a_map(desk)
    real = store._writer._connection
    began = 0

    class Breaking(FailingConnection):
        """Serves the batch and two commands alone, then no more."""

        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            nonlocal began
            began += statement.startswith("BEGIN")
            if began > 3:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *values)

    put_connection(store, Breaking(real, 0))
    poison = Actor(cast(str, b"bytes"))
    commands = [
        c.PutMapItem(ref_of(target), f"k{n}", b"{}", None, None, poison if n == 9 else ADMIN)
        for n in range(10)
    ]
    answers = await asyncio.gather(
        *(store.execute(one) for one in commands), return_exceptions=True
    )
    put_connection(store, real)
    assert [isinstance(one, ItemOutcome) for one in answers] == [True] * 2 + [False] * 8
    assert {one.reason for one in answers if isinstance(one, Fault)} == {Reason.UNAVAILABLE}
    assert began == 4
    assert len(await desk.list_all(target)) == 2


async def test_five_thousand_commands_at_once(store: SqliteStore, desk: Desk) -> None:
    target = await a_map(desk)
    commands = [
        c.PutMapItem(ref_of(target), f"k{n}", b"{}", None, None, ADMIN) for n in range(5_000)
    ]
    answers = await asyncio.gather(*(store.execute(one) for one in commands))
    ids = [one.event.event_id for one in answers if isinstance(one, ItemOutcome)]
    assert ids == list(range(5_000))
    statistics = store.statistics()
    assert statistics.largest_batch == 512
    assert statistics.commits <= 2 + 10
    assert statistics.waiting == 0


async def test_reads_after_closing_are_faults(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, LIMITS, Clock())
    await store.close()
    with pytest.raises(Fault):
        await store.find_object(1)
    with pytest.raises(Fault):
        await store.list_services(None, False, 1)
    with pytest.raises(Fault):
        await store.purge(1)


async def test_closing_finishes_reads_that_were_asked_for(tmp_path: Path) -> None:
    clock = Clock()
    store = await SqliteStore.open(tmp_path, LIMITS, clock)
    service = await Desk(store, clock).create_service()
    reads = [asyncio.ensure_future(store.list_services(None, False, 9)) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*reads) == [[service]] * 50


def test_8_a_file_that_may_not_grow_loses_nothing_and_recovers(tmp_path: Path) -> None:
    """With a real limit of the kernel, in a process of its own."""
    script = """
        import asyncio, resource, sys
        from pathlib import Path
        from starlings.core.errors import Fault, Reason
        from starlings.core.objects import Kind
        from starlings.storage.sqlite.store import SqliteStore
        from tests.contracts.desk import Clock, Desk
        from tests.contracts.store_contract import LIMITS

        async def main():
            clock = Clock()
            store = await SqliteStore.open(Path(sys.argv[1]), LIMITS, clock)
            desk = Desk(store, clock)
            target = await desk.create(await desk.create_service(), Kind.MAP)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
            data = b'{"x":"' + b"x" * 16_000 + b'"}'
            acknowledged = 0
            try:
                while acknowledged < 1_000:
                    await desk.put(target, f"k{acknowledged}", data)
                    acknowledged += 1
            except Fault as fault:
                assert fault.reason is Reason.UNAVAILABLE
            assert 5 < acknowledged < 100, acknowledged
            assert len(await desk.list_all(target)) == acknowledged
            assert not store.is_writable
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            added = await desk.put(target, "more", data)
            assert added.event.event_id == acknowledged
            await store.close()
            store = await SqliteStore.open(Path(sys.argv[1]), LIMITS, clock)
            found = await store.find_object(target.oid)
            assert found.item_count == acknowledged + 1
            await store.close()
            print("kept", acknowledged)

        asyncio.run(main())
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout.startswith("kept"), ended.stderr


async def _everything(store: SqliteStore, desk: Desk, target: SyncObject) -> object:
    return (
        await store.find_object(target.oid),
        await store.list_services(None, False, 10),
        await desk.list_all(target),
        await store.list_permissions(target.oid, None, False, 10),
        await store.read_log(target.oid, 0, 100),
        await store.list_objects(target.service_oid, Kind.LIST, None, False, 10, desk.clock.at),
    )
