"""Permissions that are not exact, in the embedded store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from starlings.core.limits import OFF
from starlings.core.objects import Kind, Match
from starlings.storage.sqlite import rows as r
from starlings.storage.sqlite.database import FILE_NAME, migrate
from starlings.storage.sqlite.store import SqliteStore
from tests.contracts.desk import Clock, Desk


async def test_many_exact_permissions_are_not_read_to_find_a_few_others(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, OFF, Clock())
    desk = Desk(store, Clock())
    target = await desk.create(await desk.create_service(), Kind.MAP)
    for number in range(50):
        await desk.grant(target, f"zoe-{number}")
    assert [one.identity for one in await store.list_grants(target.oid, "zoe-7")] == ["zoe-7"]
    await store.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        ((*_, plan),) = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM {r.PATTERNS} WHERE oid = ? AND match > 1",  # noqa: S608
            (1,),
        )
    assert "permission_pattern (oid=?)" in plan


async def test_permissions_of_an_older_schema_become_exact_ones(tmp_path: Path) -> None:
    migrations = Path(r.__file__).parent / "migrations"
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        for name in ("0001_first.sql", "0002_webhooks.sql"):
            connection.executescript((migrations / name).read_text(encoding="utf-8"))
        connection.execute("INSERT INTO meta VALUES ('epoch', 'one')")
        connection.execute("INSERT INTO permission VALUES (7, 'zoe', 1, 0, 1), (7, '*', 0, 1, 0)")
        connection.execute("PRAGMA user_version = 2")
        migrate(connection, "two")
    store = await SqliteStore.open(tmp_path, OFF, Clock())
    assert await store.list_permissions(7, None, False, 9) == [
        (7, "*", Match.EXACT, False, True, False, None),
        (7, "zoe", Match.EXACT, True, False, True, None),
    ]
    await store.close()
