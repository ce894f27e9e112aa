"""The check of a database: silent about a healthy one, and each planted damage is found by its own
rule.
"""

from pathlib import Path

import pytest

from starlings.core.limits import OFF
from starlings.storage.sqlite.check import MOST_FINDINGS, check_database
from starlings.storage.sqlite.database import DatabaseError
from starlings.storage.sqlite.store import SqliteStore
from tests.ops.stores import DATABASE, fill, run_sql

NOW = 4_000_000_000_000


async def plant(directory: Path, damage: str) -> None:
    """Fill a store and change it behind its back; ``@list`` and ``@map`` stand for their ids."""
    await fill(directory)
    run_sql(directory, in_words(damage))


def in_words(statement: str) -> str:
    return statement.replace("@list", "(SELECT oid FROM object WHERE kind = 2)").replace(
        "@map", "(SELECT oid FROM object WHERE kind = 3 AND is_removed = 0)"
    )


def broken_rules(directory: Path) -> set[str]:
    return {finding.rule for finding in check_database(directory / DATABASE, NOW).findings}


async def test_a_store_in_use_is_clean_and_counted(tmp_path: Path) -> None:
    await fill(tmp_path)
    report = check_database(tmp_path / DATABASE, NOW)
    assert report.findings == []
    assert report.counts["services"] == 1
    assert report.counts["objects"] == 4
    assert report.counts["items"] == 5
    assert report.counts["removed objects to purge"] == 1
    assert report.counts["expired objects to sweep"] == 0


async def test_a_store_whose_log_was_trimmed_and_purged_is_clean(tmp_path: Path) -> None:
    await fill(tmp_path)
    store = await SqliteStore.open(tmp_path, OFF, lambda: NOW)
    assert await store.purge(100) > 0
    assert await store.trim_log(NOW, 0, 8) == 8
    await store.close()
    assert broken_rules(tmp_path) == set()


async def test_it_works_beside_an_open_store(tmp_path: Path) -> None:
    await fill(tmp_path)
    store = await SqliteStore.open(tmp_path, OFF, lambda: NOW)
    try:
        assert broken_rules(tmp_path) == set()
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ("DELETE FROM meta WHERE name = 'epoch'", "the store has an epoch"),
        (
            "DELETE FROM event WHERE oid = @map AND seq = 2",
            "the log of an object has no gaps",
        ),
        (
            "DELETE FROM event WHERE oid = @map AND seq = 4",
            "the log of an object ends at the object's sequence",
        ),
        (
            "UPDATE object SET seq = seq - 1 WHERE oid = @list",
            "the log of an object ends at the object's sequence",
        ),
        (
            "UPDATE object SET event_id = event_id + 1 WHERE oid = @list",
            "the log of an object ends at the object's event id",
        ),
        (
            "UPDATE event SET event_id = 7 WHERE oid = @list AND seq = 3",
            "visible events take consecutive event ids, others none",
        ),
        (
            "UPDATE event SET type = 9 WHERE oid = @list AND seq = 3",
            "visible events take consecutive event ids, others none",
        ),
        (
            "DELETE FROM object WHERE oid = @list",
            "an object in the log exists or was removed",
        ),
        (
            "DELETE FROM item WHERE oid = @list AND key = 0",
            "an object counts its items rightly",
        ),
        (
            "UPDATE object SET next_index = 2 WHERE oid = @list",
            "a list's next index is above those of its items",
        ),
        (
            "UPDATE item SET key = 'text' WHERE oid = @list AND key = 0",
            "an item is of its object's kind",
        ),
        (
            "UPDATE item SET key = 9 WHERE oid = @map AND key = 'x'",
            "an item is of its object's kind",
        ),
        (
            "UPDATE item SET event_id = 99 WHERE oid = @map AND key = 'x'",
            "an item's event is not above its object's",
        ),
        (
            "UPDATE item SET oid = 1 WHERE oid = @map AND key = 'x'",
            "a row of item has its object",
        ),
        ("UPDATE permission SET oid = 1", "a row of permission has its object"),
        (
            "INSERT INTO tombstone VALUES (1, 1, 'x', NULL, 0, NULL)",
            "a row of tombstone has its object",
        ),
        ("DELETE FROM account", "a service has its account"),
        (
            "INSERT INTO api_key VALUES ('SK1', 'AC1', NULL, x'00', 0, NULL)",
            "an API key has its account",
        ),
    ],
)
async def test_planted_damage_is_found(tmp_path: Path, damage: str, rule: str) -> None:
    await plant(tmp_path, damage)
    assert rule in broken_rules(tmp_path)


async def test_a_name_given_twice_is_found_although_the_index_is_gone(tmp_path: Path) -> None:
    await plant(tmp_path, "DROP INDEX object_name")
    statement = (
        "INSERT INTO object SELECT oid + 1, sid || 'x', service_oid, kind, unique_name, data, seq,"
        " event_id, next_index, 0, created_at, updated_at, expires_at, created_by, 0 FROM object"
        " WHERE oid = @list"
    )
    run_sql(tmp_path, in_words(statement))
    assert "a unique name is unique" in broken_rules(tmp_path)


async def test_bytes_changed_in_the_file_are_found(tmp_path: Path) -> None:
    await fill(tmp_path)
    run_sql(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    root = run_sql(tmp_path, "SELECT rootpage FROM sqlite_schema WHERE name = 'event_seq'")[0][0]
    size = run_sql(tmp_path, "PRAGMA page_size")[0][0]
    assert isinstance(root, int)
    assert isinstance(size, int)
    with (tmp_path / DATABASE).open("r+b") as file:
        file.seek((root - 1) * size + size // 2)
        file.write(b"\xff" * (size // 2))
    assert "the file is sound" in broken_rules(tmp_path)


async def test_what_waits_for_the_sweep_is_counted_and_no_damage(tmp_path: Path) -> None:
    await plant(tmp_path, "UPDATE object SET expires_at = 5 WHERE oid = @map")
    run_sql(tmp_path, in_words("UPDATE item SET expires_at = 5 WHERE oid = @list"))
    report = check_database(tmp_path / DATABASE, NOW)
    assert report.findings == []
    assert report.counts["expired objects to sweep"] == 1
    assert report.counts["expired items to sweep"] == 2


async def test_of_much_damage_only_some_places_are_shown(tmp_path: Path) -> None:
    await fill(tmp_path)
    for oid in range(100, 100 + MOST_FINDINGS + 5):
        run_sql(tmp_path, "INSERT INTO permission VALUES (?, 'zoe', 1, 1, 1, 1, NULL)", oid)
    findings = check_database(tmp_path / DATABASE, NOW).findings
    assert len(findings) == MOST_FINDINGS + 1
    assert findings[-1].place == "and more"


async def test_a_database_of_a_later_version_is_not_judged(tmp_path: Path) -> None:
    await fill(tmp_path)
    run_sql(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(DatabaseError, match="99"):
        check_database(tmp_path / DATABASE, NOW)
