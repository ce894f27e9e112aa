"""What the SQLite store asks costs the same in a small database and in a large one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from starlings.core import commands as c
from starlings.core.limits import Limits
from starlings.core.objects import Kind, Match, SyncObject
from starlings.core.webhook_rules import Webhook
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.store import SqliteStore
from starlings.storage.store import Snapshot
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock, Desk, ref_of

URL = "https://example.org/"


class Watched(sqlite3.Connection):
    """Notes what it is asked, and counts the steps that this takes, by tens."""

    statements: ClassVar[dict[str, int]] = {}
    """With the number of their parameters."""
    steps = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.set_progress_handler(self._count, 10)

    def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        self.statements[statement] = len(parameters)
        return super().execute(statement, parameters)

    def executemany(self, statement: str, rows: Any) -> sqlite3.Cursor:
        rows = list(rows)
        if rows:
            self.statements[statement] = len(rows[0])
        return super().executemany(statement, rows)

    @staticmethod
    def _count() -> None:
        Watched.steps += 1


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
    yield
    Watched.statements.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    await (await SqliteStore.open(tmp_path, Limits(), clock)).close()
    Watched.statements.clear()  # of the migrations
    store = await SqliteStore.open(tmp_path, Limits(), clock)
    yield store
    await store.close()


@pytest.fixture
def desk(store: SqliteStore, clock: Clock) -> Desk:
    return Desk(store, clock)


IN_ORDER = {
    "SELECT at FROM event ORDER BY id LIMIT 1",
    "SELECT at FROM event ORDER BY id DESC LIMIT 1",
    "SELECT id, at FROM event ORDER BY id LIMIT ?",
    "SELECT oid FROM object WHERE is_removed = 1 ORDER BY oid LIMIT ?",
    "SELECT 1 FROM service WHERE webhook_url IS NOT NULL LIMIT 1",
    "FROM service WHERE TRUE ORDER BY created_at, oid LIMIT ?",
    "FROM service WHERE TRUE ORDER BY created_at DESC, oid DESC LIMIT ?",
}
"""Take the first rows of an index in its order, without looking at others."""

RARE = {
    "SELECT * FROM reached_endpoint",  # at the start
    # Every five seconds, from service to service.
    "(SELECT oid FROM owner WHERE oid IS NOT NULL EXCEPT SELECT oid FROM service)",
    # For /metrics, every ten seconds: two indexes that have nothing else.
    "SELECT (SELECT count(*) FROM webhook WHERE is_dead = 0),",
}


async def test_nothing_sorts_or_goes_over_a_table(
    store: SqliteStore, desk: Desk, clock: Clock, tmp_path: Path
) -> None:
    await ask_everything(store, desk, clock)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        found = set()
        for statement, count in list(Watched.statements.items()):
            if statement.split()[0] not in ("SELECT", "WITH", "UPDATE", "DELETE", "INSERT"):
                continue
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * count)
            for *_, line in plan.fetchall():
                words = line.split()
                if "TEMP B-TREE" in line or (words[0] == "SCAN" and words[1] in tables):
                    allowed = {part for part in IN_ORDER | RARE if part in statement}
                    assert allowed, (statement, line)
                    found |= allowed
    assert found == IN_ORDER | RARE, "what isn't asked isn't looked at either"
    assert len(Watched.statements) > 100


async def test_a_snapshot_costs_what_it_gives_not_what_there_is(
    store: SqliteStore, desk: Desk
) -> None:
    service = await desk.create_service()
    steps = {}
    for size in (50, 800):
        target = await desk.create(service, Kind.MAP)
        for number in range(size):
            await desk.add(target, key=f"{number * 7919 % size}")
        for number in range(0, size, 2):
            await desk.remove_item(target, f"{number}")
        steps[size] = await count_steps(store, target, size // 2)
    assert steps[800] < 1.2 * steps[50]


async def test_a_replay_does_not_read_what_it_does_not_tell(store: SqliteStore, desk: Desk) -> None:
    service = await desk.create_service()
    steps = {}
    for grants in (10, 1_000):
        target = await desk.create(service, Kind.MAP)
        await desk.add(target, key="before")
        for number in range(grants):
            await desk.grant(target, f"user-{number}")
        await desk.add(target, key="after")
        Watched.steps = 0
        [event] = await store.replay(target.oid, 0, 500) or []
        assert event.key == "after"
        steps[grants] = Watched.steps
    assert steps[1_000] < 4 * steps[10], "halved a few times more, that is all"


async def count_steps(store: SqliteStore, target: SyncObject, after_id: int) -> int:
    Watched.steps = 0
    snapshot = await store.snapshot(target.oid, after_id, 5)
    assert isinstance(snapshot, Snapshot)
    assert len(snapshot.items) + len(snapshot.tombstones) == 5
    assert not snapshot.is_complete
    return Watched.steps


async def ask_everything(store: SqliteStore, desk: Desk, clock: Clock) -> None:
    """All of the port, and of the outbox."""
    now = clock()
    service = await desk.create_service(c.ServiceSettings(webhook_url=URL))
    other = await desk.create_service(unique_name="default")
    await desk.create(other, Kind.DOCUMENT, ttl=1)
    target = await desk.create(service, Kind.MAP, "room")
    await desk.add(target, key="k", ttl=1)
    await desk.put(target, "k")
    await desk.add(target, key="l")
    await desk.remove_item(target, "k")
    await desk.grant(target, "zoe")
    pattern = c.SetPermission(ref_of(target), "z", True, True, True, ADMIN, None, Match.PREFIX, 1)
    await store.execute(pattern)
    await store.execute(c.RemovePermission(ref_of(target), "zoe", ADMIN))
    for is_descending in (False, True):
        for start in (None, (now, 7)):
            await store.list_services(start, is_descending, 9)
            await store.list_services(start, is_descending, 9, ACCOUNT_SID)
            await store.list_objects(service.oid, Kind.MAP, start, is_descending, 9, now)
        for key in (None, "k"):
            for is_inclusive in (False, True):
                await store.list_items(target.oid, key, is_inclusive, is_descending, 9, now)
        for place in (None, ("k", 1)):
            await store.list_permissions(target.oid, place, is_descending, 9, now)
        await store.read_log(target.oid, 1, 9, is_descending)
    for size in (1, 8, 70):  # the writer has statements of several sizes
        names = [f"{size}/{number}" for number in range(size)]
        store._writer._working_set.forget()
        await asyncio.gather(*(desk.put(target, name) for name in names))
    await store.replay(target.oid, -1, 9)
    await store.snapshot(target.oid, -1, 9)
    await store.find_service(service.oid)
    await store.find_default_service(ACCOUNT_SID)
    await store.find_object(target.oid)
    await store.find_object_named(service.oid, Kind.MAP, "room")
    await store.find_item(target.oid, "l")
    await store.list_grants(target.oid, "zoe")
    clock.pass_seconds(10)
    await store.list_due(clock(), 9)
    await store.list_due_permissions(clock(), 9)
    await desk.remove(target)
    await store.execute(c.RemoveService(other.oid, ADMIN))
    await store.list_orphans(9)
    await store.purge(9)
    await store.trim_log(clock() + 1, clock() + 1, 9)
    await store.shrink()
    outbox = store.outbox
    await outbox.add([a_webhook(service.oid)])
    await outbox.list_reached()
    await outbox.list_services()
    [lane, *_] = await outbox.list_lanes(service.oid, -1, 9)
    [entry, *_] = await outbox.read_lane(service.oid, lane.lane, 9)
    await outbox.bury(service.oid, clock() + 1, "late", 1)
    await outbox.settle([entry.id], [])
    await outbox.forget_dead(clock() + 1, 9)
    await outbox.read_version()
    await outbox.count()


def a_webhook(service_oid: int) -> Webhook:
    return Webhook(service_oid, 1, "document_created", 1, "ET1", None, 0, None, b"{}", "zoe", None)
