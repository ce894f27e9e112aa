"""How much may wait for a service: storage/sqlite/backlog.py, alone and within the store."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.core.webhook_rules import Webhook
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.settings import Settings
from starlings.storage.outbox import FIRST_LANE, OutboxCounts
from starlings.storage.sqlite.backlog import MOST_WAITING, Backlog
from starlings.storage.sqlite.database import FILE_NAME, migrate, open_writer
from starlings.storage.sqlite.outbox import list_webhooks, retry_webhooks
from starlings.storage.sqlite.store import SqliteStore
from tests.webhooks.samples import ACCOUNT, NOW

CLIENT = Actor("bob", "EP1", is_unrestricted=False)


def webhooks(count: int, *, service_oid: int = 1, lanes: int = 3) -> list[Webhook]:
    """In turn over some objects."""
    return [
        Webhook(
            service_oid,
            number % lanes,
            "map_item_added",
            NOW,
            "MP1",
            None,
            number,
            "k",
            b"{}",
            "bob",
            None,
        )
        for number in range(count)
    ]


class Desk:
    """A database and a backlog, in transactions of their own."""

    def __init__(self, connection: sqlite3.Connection, most: int) -> None:
        self.connection = connection
        self.backlog = Backlog(most)

    def add(self, count: int, service_oid: int = 1) -> None:
        with self.transaction():
            self.backlog.insert(self.connection, webhooks(count, service_oid=service_oid))
        self.backlog.keep()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        yield
        self.connection.execute("COMMIT")

    def ids(self, service_oid: int = 1) -> list[int]:
        rows = self.connection.execute(
            "SELECT id FROM webhook WHERE service_oid = ? ORDER BY id", (service_oid,)
        )
        return [id_ for (id_,) in rows]

    def deliver(self, count: int) -> None:
        self.connection.execute(
            "DELETE FROM webhook WHERE id IN (SELECT id FROM webhook ORDER BY id LIMIT ?)", (count,)
        )


@pytest.fixture
def a_desk(tmp_path: Path) -> Iterator[Callable[[int], Desk]]:
    connection = open_writer(tmp_path / FILE_NAME)
    migrate(connection, "epoch")
    yield lambda most: Desk(connection, most)
    connection.close()


# Alone


def test_the_oldest_are_dropped_and_the_newest_kept(a_desk: Callable[[int], Desk]) -> None:
    desk = a_desk(10)
    for _ in range(25):
        desk.add(1)
    assert desk.ids() == list(range(16, 26))
    assert desk.backlog.dropped == 15


def test_nothing_is_dropped_up_to_the_bound(a_desk: Callable[[int], Desk]) -> None:
    desk = a_desk(10)
    desk.add(4)
    desk.add(6)
    assert len(desk.ids()) == 10
    assert desk.backlog.dropped == 0


def test_a_transaction_that_adds_more_than_may_wait_drops_of_its_own(
    a_desk: Callable[[int], Desk],
) -> None:
    desk = a_desk(10)
    desk.add(3)
    desk.add(40)
    assert desk.ids() == list(range(34, 44))


def test_other_services_lose_nothing(a_desk: Callable[[int], Desk]) -> None:
    desk = a_desk(10)
    desk.add(9, service_oid=2)
    with desk.transaction():
        desk.backlog.insert(
            desk.connection, [*webhooks(30), *webhooks(1, service_oid=2), *webhooks(30)]
        )
    desk.backlog.keep()
    assert len(desk.ids(1)) == 10
    assert len(desk.ids(2)) == 10
    assert desk.backlog.dropped == 50


def test_what_was_delivered_makes_room(a_desk: Callable[[int], Desk]) -> None:
    desk = a_desk(10)
    for _ in range(50):
        desk.add(5)
        desk.deliver(5)
    assert desk.backlog.dropped == 0


def test_dead_letters_are_neither_counted_nor_dropped(a_desk: Callable[[int], Desk]) -> None:
    desk = a_desk(10)
    desk.add(8)
    desk.connection.execute("UPDATE webhook SET is_dead = 1")
    desk.add(12)
    assert desk.ids() == [*range(1, 9), *range(11, 21)]


def test_what_an_operator_retried_is_neither_counted_nor_dropped(
    a_desk: Callable[[int], Desk], tmp_path: Path
) -> None:
    desk = a_desk(10)
    desk.add(8)
    desk.connection.execute("UPDATE webhook SET is_dead = 1")
    assert retry_webhooks(tmp_path / FILE_NAME, None, NOW) == 8
    desk.add(12)
    assert desk.ids() == [*range(1, 9), *range(11, 21)]


def test_rows_are_counted_once_for_a_hundredth_of_the_bound(a_desk: Callable[[int], Desk]) -> None:
    desk = a_desk(1_000)
    statements: list[str] = []
    desk.add(1_000)
    assert len(desk.ids()) == 1_000
    desk.connection.set_trace_callback(statements.append)
    for _ in range(500):
        desk.add(1)
    counts = sum("count(*)" in one for one in statements)
    drops = sum(one.startswith("DELETE") for one in statements)
    assert counts == drops == 46, "one for eleven rows"
    assert 990 <= len(desk.ids()) <= 1_000


def test_a_bound_that_was_lowered_is_reached_in_steps(
    a_desk: Callable[[int], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starlings.storage.sqlite.backlog._DROPPED_AT_ONCE", 20)
    a_desk(100).add(100)
    desk = a_desk(10)
    lengths = []
    for _ in range(7):
        desk.add(1)
        lengths.append(len(desk.ids()))
    assert lengths == [81, 62, 43, 24, 10, 10, 10]


def test_what_a_failed_transaction_dropped_is_there_again_and_not_told(
    a_desk: Callable[[int], Desk], caplog: pytest.LogCaptureFixture
) -> None:
    desk = a_desk(10)
    desk.add(10)
    for _ in range(3):
        desk.connection.execute("BEGIN IMMEDIATE")
        desk.backlog.insert(desk.connection, webhooks(7))
        desk.connection.execute("ROLLBACK")
        desk.backlog.forget()
    assert len(desk.ids()) == 10
    assert desk.backlog.dropped == 0
    assert caplog.records == []
    desk.add(1)
    assert len(desk.ids()) == 10
    assert desk.backlog.dropped == 1


def test_a_spell_of_dropping_is_one_line_at_its_begin_and_one_at_its_end(
    a_desk: Callable[[int], Desk], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "starlings.storage")
    desk = a_desk(10)
    for _ in range(30):
        desk.add(1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "too many wait" in caplog.text
    for _ in range(30):  # a target that is a little too slow
        desk.add(1)
        desk.deliver(1)
    assert len(caplog.records) == 1
    desk.deliver(10)
    for _ in range(9):
        desk.add(1)
    assert "not dropped any more" in caplog.messages[1]
    assert f"dropped={desk.backlog.dropped}" in caplog.messages[1]
    assert len(caplog.records) == 2
    for _ in range(9):
        desk.add(1)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


# Within the store


@asynccontextmanager
async def a_store(directory: Path, most: int) -> AsyncIterator[tuple[SqliteStore, Node]]:
    store = await SqliteStore.open(directory, OFF, SYSTEM_SOURCES.now, most)
    try:
        yield store, Node(store, OFF, SYSTEM_SOURCES, store.outbox)
    finally:
        await store.close()


async def a_service_with_a_map(node: Node) -> tuple[Service, ObjectRef]:
    settings = c.ServiceSettings(webhook_url="http://dead.test")
    service = await node.create_service(ACCOUNT, settings, Actor(SYSTEM), None)
    await node.create_object(service, Kind.MAP, "m", None, None, CLIENT, None)
    return service, ObjectRef(service.oid, Kind.MAP, "m")


async def put(node: Node, ref: ObjectRef, *keys: str) -> None:
    for key in keys:
        await node.execute(c.PutMapItem(ref, key, b"{}", None, None, CLIENT))


async def waiting_keys(store: SqliteStore, service: Service) -> list[object]:
    (lane,) = await store.outbox.list_lanes(service.oid, FIRST_LANE, 9)
    entries = await store.outbox.read_lane(service.oid, lane.lane, 1000)
    return [entry.webhook.key for entry in entries]


async def test_every_write_succeeds_though_the_target_is_dead_and_the_newest_wait(
    tmp_path: Path,
) -> None:
    keys = [f"k{number}" for number in range(30)]
    async with a_store(tmp_path, 10) as (store, node):
        service, ref = await a_service_with_a_map(node)
        await put(node, ref, *keys)
        assert (await node.get_object(ref, CLIENT)).item_count == 30
        assert await waiting_keys(store, service) == keys[-10:]
        assert store.outbox.dropped == 21, "20 items and the creation of the map"


async def test_the_bound_holds_after_a_restart(tmp_path: Path) -> None:
    async with a_store(tmp_path, 10) as (store, node):
        service, ref = await a_service_with_a_map(node)
        await put(node, ref, *(f"k{number}" for number in range(9)))
        assert store.outbox.dropped == 0
    async with a_store(tmp_path, 10) as (store, node):
        await put(node, ref, "x", "y")
        assert await store.outbox.count() == OutboxCounts(waiting=10, dead=0)
        assert (await waiting_keys(store, service))[-2:] == ["x", "y"]
        assert store.outbox.dropped == 2


async def test_what_no_event_fired_is_bounded_too(tmp_path: Path) -> None:
    async with a_store(tmp_path, 10) as (store, _):
        for _ in range(4):
            await store.outbox.add(webhooks(7))
        assert await store.outbox.count() == OutboxCounts(waiting=10, dead=0)
        assert store.outbox.dropped == 18


async def test_a_batch_that_fails_drops_nothing(tmp_path: Path) -> None:
    async with a_store(tmp_path, 3) as (store, node):
        service, ref = await a_service_with_a_map(node)
        await put(node, ref, "a", "b")
        with pytest.raises(Fault):
            # No column takes a number of this size, so the batch fails while it is written.
            await store.execute(
                c.CreateObject(service.oid, Kind.MAP, 1 << 70, "MP", None, None, None, CLIENT)
            )
        assert await waiting_keys(store, service) == [None, "a", "b"]
        await put(node, ref, "c")
        assert await waiting_keys(store, service) == ["a", "b", "c"]
        assert [one.is_dead for one in list_webhooks(tmp_path / FILE_NAME, None, 0, 9)] == [
            False
        ] * 3


async def test_nothing_is_remembered_of_a_service_that_was_removed(tmp_path: Path) -> None:
    async with a_store(tmp_path, 3) as (store, node):
        for _ in range(2):
            service, ref = await a_service_with_a_map(node)
            await put(node, ref, "a", "b", "c")
            backlog = store._writer.backlog
            assert backlog._at_most.keys() == backlog._full.keys() == {service.oid}
            await store.execute(c.RemoveService(service.oid, Actor(SYSTEM)))
            assert not backlog._at_most
            assert not backlog._full


def test_the_setting_has_the_default_of_the_store() -> None:
    assert Settings().webhooks_max_waiting == MOST_WAITING
