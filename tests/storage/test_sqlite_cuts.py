"""A database whose history is cut: ids of its objects, its log, its check."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from starlings.core import commands as c
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.storage.sqlite.check import check_database
from starlings.storage.sqlite.cuts import cut_history, newest_cut_id
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.store import SqliteStore
from tests.ops.stores import fill

NOW = 1_795_000_000_000
ACTOR = Actor(SYSTEM)


def cut(directory: Path, now: int) -> int:
    """The new cut id."""
    with contextlib.closing(
        sqlite3.connect(directory / FILE_NAME, isolation_level=None)
    ) as connection:
        cut_history(connection, now)
        return newest_cut_id(connection)


def ids_of(directory: Path) -> dict[int, set[int]]:
    """The objects' event ids by kind, removed objects under 0."""
    ids: dict[int, set[int]] = {}
    with contextlib.closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        for kind, is_removed, event_id in connection.execute(
            "SELECT kind, is_removed, event_id FROM object"
        ):
            ids.setdefault(0 if is_removed else kind, set()).add(event_id)
    return ids


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """One with objects, each with a log, that was restored since."""
    await fill(tmp_path)
    cut(tmp_path, NOW)
    store = await SqliteStore.open(tmp_path, OFF, lambda: NOW)
    yield store
    await store.close()


async def find(store: SqliteStore, kind: Kind) -> ObjectRef:
    [service] = await store.list_services(None, False, 10)
    return ObjectRef(service.oid, kind, "a")


async def test_objects_are_raised_but_for_streams_and_what_was_removed(tmp_path: Path) -> None:
    await fill(tmp_path)
    before = ids_of(tmp_path)
    cut_id = cut(tmp_path, NOW)
    raised = {int(kind): {cut_id} for kind in (Kind.DOCUMENT, Kind.LIST, Kind.MAP)}
    assert ids_of(tmp_path) == before | raised
    assert check_database(tmp_path / FILE_NAME, NOW).findings == []


async def test_the_newest_cut_is_known_when_the_store_is_opened(tmp_path: Path) -> None:
    await fill(tmp_path)
    for now in (0, NOW, NOW + 1):
        cut_id = cut(tmp_path, now) if now else 0
        store = await SqliteStore.open(tmp_path, OFF, lambda: NOW)
        assert store.cut_id == cut_id
        await store.close()


async def test_events_after_the_cut_are_found_behind_a_long_log(store: SqliteStore) -> None:
    node = Node(store, OFF, SYSTEM_SOURCES)
    for kind, already in ((Kind.LIST, 4), (Kind.MAP, 2)):
        ref = await find(store, kind)
        target = await node.get_object(ref, ACTOR)
        assert target.event_id == store.cut_id
        assert await store.replay(target.oid, store.cut_id, 10) == []
        for n in range(5):
            # Hidden events between visible ones, so that ids and sequences drift apart.
            await node.execute(c.SetPermission(ref, f"zoe{n}", True, False, False, ACTOR))
            if kind is Kind.LIST:
                await node.execute(c.AddListItem(ref, b"{}", None, None, ACTOR))
            else:
                await node.execute(c.AddMapItem(ref, f"k{n}", b"{}", None, None, ACTOR))
        await node.execute(c.RemoveItem(ref, 3 if kind is Kind.LIST else "k3", None, ACTOR))
        for after in range(7):
            events = await store.replay(target.oid, store.cut_id + after, 10)
            assert events is not None
            assert [one.event_id - store.cut_id for one in events] == list(range(after + 1, 7))
        snapshot = await store.snapshot(target.oid, store.cut_id, 10)
        assert snapshot is not None
        assert [one.event_id for one in snapshot.tombstones] == [store.cut_id + 6]
        whole = await store.replay(target.oid, -1, 100)
        assert whole is not None
        assert len(whole) == already + 6


async def test_a_trimmed_log_answers_none_after_the_cut_too(store: SqliteStore) -> None:
    node = Node(store, OFF, SYSTEM_SOURCES)
    ref = await find(store, Kind.LIST)
    target = await node.get_object(ref, ACTOR)
    for _ in range(3):
        await node.execute(c.AddListItem(ref, b"{}", None, None, ACTOR))
    while await store.trim_log(NOW * 2, 0, 1000):
        pass
    assert await store.replay(target.oid, store.cut_id + 1, 10) is None
    assert await store.replay(target.oid, store.cut_id + 3, 10) == []


async def test_what_happens_after_cuts_leaves_a_sound_database(tmp_path: Path) -> None:
    await fill(tmp_path)
    for round_ in range(3):
        cut(tmp_path, NOW + round_)
        store = await SqliteStore.open(tmp_path, OFF, lambda: NOW + 10)
        node = Node(store, OFF, SYSTEM_SOURCES)
        if round_ != 1:  # of two cuts with nothing in between the second counts
            for kind in (Kind.LIST, Kind.MAP, Kind.DOCUMENT):
                ref = await find(store, kind)
                await node.execute(c.SetPermission(ref, "x", True, False, False, ACTOR))
                await node.execute(c.SetObjectTtl(ref, 1000 + round_, ACTOR))
            await node.execute(
                c.AddListItem(await find(store, Kind.LIST), b"{}", None, None, ACTOR)
            )
        await store.close()
        assert check_database(tmp_path / FILE_NAME, NOW).findings == []


async def test_only_so_many_cuts_are_kept(tmp_path: Path) -> None:
    await fill(tmp_path)
    for now in range(NOW, NOW + 105):
        newest = cut(tmp_path, now)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        found = connection.execute(
            "SELECT count(*), max(one.value) FROM meta, json_each(meta.value) AS one"
            " WHERE name = 'cut_ids'"
        ).fetchone()
    assert found == (100, newest)
