"""The outbox in the database: storage/sqlite/outbox.py, and the writer's part in it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.core.webhook_rules import Webhook
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Message, Node
from starlings.storage.outbox import FIRST_LANE, Entry, FailedAttempt, OutboxCounts, Reached
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.outbox import drop_webhooks, list_webhooks, retry_webhooks
from starlings.storage.sqlite.store import SqliteStore
from tests.webhooks.samples import ACCOUNT, NOW

CLIENT = Actor("bob", "EP1", is_unrestricted=False)
REST = Actor(SYSTEM)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)
    yield store
    await store.close()


@pytest.fixture
def node(store: SqliteStore) -> Node:
    return Node(store, OFF, SYSTEM_SOURCES, store.outbox)


async def a_service(node: Node, **settings: object) -> Service:
    given = c.ServiceSettings(**{"webhook_url": "http://hook.test", **settings})  # type: ignore[arg-type]
    return await node.create_service(ACCOUNT, given, REST, None)


async def a_map(node: Node, service: Service, name: str, actor: Actor = CLIENT) -> ObjectRef:
    await node.create_object(service, Kind.MAP, name, None, None, actor, None)
    return ObjectRef(service.oid, Kind.MAP, name)


async def put(node: Node, ref: ObjectRef, key: str, actor: Actor = CLIENT) -> None:
    await node.execute(c.PutMapItem(ref, key, b'{"a":1}', None, None, actor))


async def waiting(store: SqliteStore, service: Service) -> list[Entry]:
    found = []
    for lane in await store.outbox.list_lanes(service.oid, FIRST_LANE, 1000):
        found += await store.outbox.read_lane(service.oid, lane.lane, 1000)
    return sorted(found)


def a_webhook(lane: int, *, service_oid: int = 1, at: int = NOW) -> Webhook:
    return Webhook(service_oid, lane, "map_item_added", at, "MP1", None, 0, "k", b"{}", "bob", None)


# With the events


async def test_an_event_and_its_webhook_are_committed_together(
    node: Node, store: SqliteStore
) -> None:
    service = await a_service(node)
    before = store.statistics().commits
    ref = await a_map(node, service, "m")
    await put(node, ref, "k")
    assert store.statistics().commits == before + 2
    entries = await waiting(store, service)
    assert [(one.webhook.type, one.webhook.key) for one in entries] == [
        ("map_created", None),
        ("map_item_added", "k"),
    ]
    assert entries[1].webhook.data == b'{"a":1}'
    assert len({one.token for one in entries}) == 2
    assert all(len(one.token) == 32 and one.attempts == one.due_at == 0 for one in entries)


async def test_a_refused_command_and_an_invisible_change_fire_nothing(
    node: Node, store: SqliteStore
) -> None:
    service = await a_service(node)
    ref = await a_map(node, service, "m")
    for _ in range(2):
        with pytest.raises(Exception, match="exists"):
            await a_map(node, service, "m")
    await node.execute(c.SetObjectTtl(ref, 100, CLIENT))
    assert [one.webhook.type for one in await waiting(store, service)] == ["map_created"]


@pytest.mark.parametrize("from_rest", [False, True])
async def test_rest_fires_only_if_the_service_wants_it(
    node: Node, store: SqliteStore, from_rest: bool
) -> None:
    service = await a_service(node, has_webhooks_from_rest=from_rest)
    await a_map(node, service, "m", REST)
    assert len(await waiting(store, service)) == from_rest


async def test_a_url_set_or_cleared_later_counts_from_then_on(
    node: Node, store: SqliteStore
) -> None:
    service = await a_service(node, webhook_url=None)
    ref = await a_map(node, service, "m")
    for url, key in (("http://a.test", "one"), (None, "two"), ("http://b.test", "three")):
        settings = c.ServiceSettings(webhook_url=url)
        await node.execute(c.UpdateService(service.oid, settings, REST))
        await put(node, ref, key)
    assert [one.webhook.key for one in await waiting(store, service)] == ["one", "three"]


async def test_webhooks_go_on_after_a_restart_and_after_a_failed_batch(
    node: Node, store: SqliteStore, tmp_path: Path
) -> None:
    service = await a_service(node)
    ref = await a_map(node, service, "m")
    await store.close()
    again = await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)
    try:
        node = Node(again, OFF, SYSTEM_SOURCES)
        with pytest.raises(Fault):
            # No column takes a number of this size, so the batch fails while it is written.
            await again.execute(
                c.CreateObject(service.oid, Kind.MAP, 1 << 70, "MP", None, None, None, CLIENT)
            )
        await put(node, ref, "k")
        assert [one.webhook.type for one in await waiting(again, service)] == [
            "map_created",
            "map_item_added",
        ]
    finally:
        await again.close()


async def test_a_message_of_a_stream_waits_before_it_is_passed_on(
    node: Node, store: SqliteStore, tmp_path: Path
) -> None:
    service = await a_service(node)
    await node.create_object(service, Kind.STREAM, "s", None, None, REST, None)
    counts: list[int] = []
    node.listen_to_messages(
        lambda _: counts.append(len(list_webhooks(tmp_path / FILE_NAME, None, 0, 9)))
    )
    message = await node.publish_message(
        ObjectRef(service.oid, Kind.STREAM, "s"), b'{"x":1}', CLIENT
    )
    (entry,) = await waiting(store, service)
    assert entry.webhook.type == "stream_message_published"
    assert (entry.webhook.key, entry.webhook.data) == (message.sid, b'{"x":1}')
    assert counts == [1]


async def test_a_message_passes_on_though_the_store_can_not_write(
    node: Node, store: SqliteStore
) -> None:
    service = await a_service(node)
    await node.create_object(service, Kind.STREAM, "s", None, None, REST, None)
    await store._batcher.close()
    heard: list[Message] = []
    node.listen_to_messages(heard.append)
    await node.publish_message(ObjectRef(service.oid, Kind.STREAM, "s"), b"{}", CLIENT)
    assert len(heard) == 1
    assert node.lost_webhooks == 1


# Lanes


async def test_lanes_are_listed_once_each_in_pages(store: SqliteStore) -> None:
    lanes = [-5, 0, 3, 1 << 62]
    await store.outbox.add([a_webhook(lane) for lane in lanes * 3])
    await store.outbox.add([a_webhook(9, service_oid=2)])
    assert await store.outbox.list_services() == [1, 2]
    found: list[int] = []
    after = FIRST_LANE
    while page := await store.outbox.list_lanes(1, after, 3):
        found += [one.lane for one in page]
        after = page[-1].lane
    assert found == lanes


async def test_a_lane_is_read_in_order_and_settled_one_by_one(store: SqliteStore) -> None:
    await store.outbox.add([a_webhook(3) for _ in range(5)])
    first, second, *rest = await store.outbox.read_lane(1, 3, 99)
    await store.outbox.settle([first.id], [FailedAttempt(second.id, 77, "no", False)])
    left = await store.outbox.read_lane(1, 3, 99)
    assert left == [second._replace(attempts=1, due_at=77), *rest]
    assert [one.due_at for one in await store.outbox.list_lanes(1, FIRST_LANE, 9)] == [77]
    await store.outbox.settle([], [FailedAttempt(second.id, 0, "no more", True)])
    assert await store.outbox.read_lane(1, 3, 99) == rest
    assert await store.outbox.count() == OutboxCounts(waiting=3, dead=1)


async def test_an_id_is_never_given_twice(store: SqliteStore) -> None:
    await store.outbox.add([a_webhook(3)])
    (before,) = await store.outbox.read_lane(1, 3, 9)
    await store.outbox.settle([before.id], [])
    await store.outbox.add([a_webhook(3)])
    (after,) = await store.outbox.read_lane(1, 3, 9)
    assert after.id > before.id


async def test_what_is_added_is_told_to_listeners(store: SqliteStore) -> None:
    heard: list[int] = []
    store.outbox.listen(lambda webhooks: heard.extend(one.lane for one in webhooks))
    await store.outbox.add([a_webhook(3), a_webhook(4)])
    assert heard == [3, 4]


async def test_endpoints_are_noted_and_forgotten(store: SqliteStore) -> None:
    one, two = Reached(1, "bob", "E1"), Reached(1, "bob", "E2")
    await store.outbox.add([], [one, two, one])
    await store.outbox.add([], [], [one])
    assert await store.outbox.list_reached() == [two]


async def test_a_store_that_is_closed_refuses_to_add(store: SqliteStore) -> None:
    await store._batcher.close()
    with pytest.raises(Fault):
        await store.outbox.add([a_webhook(3)])


# Age


async def test_what_waits_for_too_long_is_buried_and_later_forgotten(store: SqliteStore) -> None:
    await store.outbox.add([a_webhook(lane, at=NOW + lane) for lane in range(5)])
    assert await store.outbox.bury(1, NOW + 3, "down", 2) == 2
    assert await store.outbox.bury(1, NOW + 3, "down", 99) == 1
    assert await store.outbox.bury(2, NOW + 99, "down", 99) == 0
    assert await store.outbox.count() == OutboxCounts(waiting=2, dead=3)
    assert await store.outbox.forget_dead(NOW + 2, 1) == 1
    assert await store.outbox.forget_dead(NOW + 2, 99) == 1
    assert await store.outbox.forget_dead(NOW + 2, 99) == 0
    assert await store.outbox.count() == OutboxCounts(waiting=2, dead=1)


# The operator's


async def test_an_operator_lists_retries_and_drops_beside_the_store(
    store: SqliteStore, tmp_path: Path
) -> None:
    database = tmp_path / FILE_NAME
    await store.outbox.add([a_webhook(lane) for lane in range(4)])
    await store.outbox.bury(1, NOW + 1, "down", 2)
    version = await store.outbox.read_version()
    dead = list_webhooks(database, True, 0, 99)
    assert [(one.error, one.is_dead, one.service_sid) for one in dead] == [("down", True, None)] * 2
    assert len(list_webhooks(database, False, 0, 99)) == 2
    assert len(list_webhooks(database, None, 0, 99)) == 4
    assert [one.id for one in list_webhooks(database, None, dead[0].id, 1)] == [dead[0].id + 1]

    assert retry_webhooks(database, [dead[0].id, dead[0].id, 12345], NOW + 50) == 1
    assert await store.outbox.read_version() > version
    (entry,) = await store.outbox.read_lane(1, 0, 9)
    assert (entry.id, entry.since, entry.attempts) == (dead[0].id, NOW + 50, 0)
    assert await store.outbox.bury(1, NOW + 50, "down", 99) == 2, "the retried one is younger"
    assert drop_webhooks(database, [dead[0].id]) == 1
    assert drop_webhooks(database, None) == 3
    assert await store.outbox.count() == OutboxCounts(0, 0)


async def test_a_database_of_the_first_schema_gets_an_outbox(tmp_path: Path) -> None:
    folder = resources.files("starlings.storage.sqlite").joinpath("migrations")
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.executescript(folder.joinpath("0001_first.sql").read_text())
    database.execute("INSERT INTO meta VALUES ('epoch', 'old')")
    database.execute("PRAGMA user_version = 1")
    database.commit()
    database.close()
    store = await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)
    try:
        assert store.epoch == "old"
        await store.outbox.add([a_webhook(3)])
        assert await store.outbox.list_services() == [1]
    finally:
        await store.close()
