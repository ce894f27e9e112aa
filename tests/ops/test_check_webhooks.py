"""The check's rules for the outbox: storage/sqlite/check_webhooks.py. Silent about a healthy one,
and each planted damage is found by its own rule.
"""

import re
from pathlib import Path

import pytest

from starlings.core import commands as c
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.core.webhook_rules import ENDPOINT_CONNECTED, SHAPES, webhook_of_endpoint
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.storage.outbox import FailedAttempt, Reached
from starlings.storage.sqlite.check import check_database
from starlings.storage.sqlite.check_webhooks import WEBHOOK_RULES
from starlings.storage.sqlite.outbox import retry_webhooks
from starlings.storage.sqlite.store import SqliteStore
from tests.ops.stores import ACCOUNT, DATABASE, run_sql

NOW = 4_000_000_000_000
CLIENT = Actor("bob", "EP1", is_unrestricted=False)


async def fill_outbox(directory: Path) -> None:
    """Every type of webhook, in every state that an outbox knows, of a service that is there and of
    one that was removed.
    """
    store = await SqliteStore.open(directory, OFF, SYSTEM_SOURCES.now)
    try:
        node = Node(store, OFF, SYSTEM_SOURCES, store.outbox)
        for name in ("kept", "removed"):
            settings = c.ServiceSettings(
                friendly_name=name,
                webhook_url="http://hook.test",
                has_reachability_webhooks=True,
            )
            service = await node.create_service(ACCOUNT, settings, Actor(SYSTEM), None)
            await fire_all(node, service)
            if name == "removed":
                await node.execute(c.RemoveService(service.oid, Actor(SYSTEM)))
            for type_ in (ENDPOINT_CONNECTED, "endpoint_disconnected"):
                webhook = webhook_of_endpoint(service, type_, "bob", "EP1", 5)
                assert webhook is not None
                await store.outbox.add([webhook], [Reached(service.oid, "bob", "EP1")])
            failed, retried, buried = (
                int(str(id_))
                for (id_,) in run_sql(
                    directory,
                    "SELECT max(id) FROM webhook WHERE type LIKE '%_created' GROUP BY type LIMIT 3",
                )
            )
            await store.outbox.settle([], [FailedAttempt(failed, 77, "status 500", False)])
            await store.outbox.settle([], [FailedAttempt(retried, 0, "no URL", True)])
            await store.outbox.settle([], [FailedAttempt(buried, 88, "status 500", True)])
            assert retry_webhooks(directory / DATABASE, [retried], 99) == 1
    finally:
        await store.close()
    run_sql(directory, "INSERT INTO account VALUES (?, x'00', 0)", ACCOUNT)


async def fire_all(node: Node, service: Service) -> None:
    """What clients can do to objects of each kind."""
    refs = {kind: ObjectRef(service.oid, kind, "a") for kind in Kind}
    for kind in Kind:
        await node.create_object(service, kind, "a", None, None, CLIENT, None)
        await node.create_object(service, kind, None, None, None, CLIENT, None)
    for data in (b'{"n":1}', b'{"n":[1.0e+5,"\xc3\xa9\\ud800"]}'):
        await node.execute(c.UpdateDocument(refs[Kind.DOCUMENT], data, None, None, CLIENT))
    for _ in range(3):
        await node.execute(c.AddListItem(refs[Kind.LIST], b"{}", None, None, CLIENT))
    await node.execute(c.UpdateItem(refs[Kind.LIST], 1, b"{}", None, None, None, CLIENT))
    await node.execute(c.RemoveItem(refs[Kind.LIST], 0, None, CLIENT))
    await node.execute(c.SetObjectTtl(refs[Kind.LIST], 1000, CLIENT))
    for key in ("x", "y", "x"):
        await node.execute(c.PutMapItem(refs[Kind.MAP], key, b"{}", None, None, CLIENT))
    await node.execute(c.RemoveItem(refs[Kind.MAP], "y", None, CLIENT))
    await node.publish_message(refs[Kind.STREAM], b"{}", CLIENT)
    for kind in Kind:
        await node.create_object(service, kind, "gone", None, None, CLIENT, None)
        await node.execute(c.RemoveObject(ObjectRef(service.oid, kind, "gone"), None, CLIENT))


def broken_rules(directory: Path) -> set[str]:
    return {finding.rule for finding in check_database(directory / DATABASE, NOW).findings}


async def test_an_outbox_in_use_is_clean_and_counted(tmp_path: Path) -> None:
    await fill_outbox(tmp_path)
    types = {type_ for (type_,) in run_sql(tmp_path, "SELECT type FROM webhook")}
    assert types == set(SHAPES)
    report = check_database(tmp_path / DATABASE, NOW)
    assert report.findings == []
    assert report.counts["dead letters of webhooks"] == 2
    waiting = report.counts["webhooks that wait"]
    assert report.counts["webhooks of removed services"] == (waiting + 2) // 2
    assert report.counts["endpoints told of"] == 2


async def test_webhooks_of_objects_that_were_purged_are_clean(tmp_path: Path) -> None:
    await fill_outbox(tmp_path)
    store = await SqliteStore.open(tmp_path, OFF, lambda: NOW)
    assert await store.purge(1000) > 0
    assert await store.trim_log(NOW, NOW, 1000) > 0
    await store.close()
    assert broken_rules(tmp_path) == set()


def test_a_database_older_than_the_outbox_is_not_held_to_its_rules(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "data" / "schema-1.db"
    (tmp_path / DATABASE).write_bytes(old.read_bytes())
    assert broken_rules(tmp_path).isdisjoint(WEBHOOK_RULES)


TYPE = "a webhook is of a type that there is"
CONTENT = "a webhook has the key and the data of its type"
EVENT_ID = "a webhook has an event id that its type can have"
LANE = "a webhook of an object stands in the object's lane"
ENDPOINT = "a webhook of an endpoint names it, no object, and stands in an identity's lane"
AGREES = "a webhook agrees with its object"
ORDER = "webhooks of an object stand in the order of its events"
STATE = "a webhook waits, or is a dead letter with its reason"
TOKEN = "a webhook has a token of its own"
DAMAGES = [  # @ and a type stand for the id of the newest of this type
    ("UPDATE webhook SET type = 'map_item_painted' WHERE id = @map_item_added", TYPE),
    ("UPDATE webhook SET key = NULL WHERE id = @map_item_added", CONTENT),
    ("UPDATE webhook SET key = 1 WHERE id = @map_item_added", CONTENT),
    ("UPDATE webhook SET key = 'x' WHERE id = @list_item_updated", CONTENT),
    ("UPDATE webhook SET key = 'x' WHERE id = @document_updated", CONTENT),
    ("UPDATE webhook SET data = NULL WHERE id = @stream_message_published", CONTENT),
    ("UPDATE webhook SET data = x'7B7D' WHERE id = @map_removed", CONTENT),
    ("UPDATE webhook SET data = x'7B22' WHERE id = @document_updated", "a webhook's data are JSON"),
    ("UPDATE webhook SET data = x'' WHERE id = @document_updated", "a webhook's data are JSON"),
    ("UPDATE webhook SET event_id = -1 WHERE id = @map_item_added", EVENT_ID),
    ("UPDATE webhook SET event_id = 0 WHERE id = @stream_message_published", EVENT_ID),
    ("UPDATE webhook SET event_id = 3 WHERE id = @list_created", EVENT_ID),
    ("UPDATE webhook SET event_id = -2 WHERE id = @map_removed", EVENT_ID),
    ("UPDATE webhook SET lane = lane + 1 WHERE id = @map_item_added", LANE),
    ("UPDATE webhook SET lane = -1 WHERE id = @document_updated", LANE),
    ("UPDATE webhook SET sid = NULL WHERE id = @document_updated", LANE),
    ("UPDATE webhook SET sid = replace(sid, 'MP', 'ES') WHERE id = @map_item_added", LANE),
    ("UPDATE webhook SET endpoint = NULL WHERE id = @endpoint_connected", ENDPOINT),
    ("UPDATE webhook SET sid = 'MP1' WHERE id = @endpoint_connected", ENDPOINT),
    ("UPDATE webhook SET unique_name = 'm' WHERE id = @endpoint_connected", ENDPOINT),
    ("UPDATE webhook SET lane = 5 WHERE id = @endpoint_connected", ENDPOINT),
    ("UPDATE webhook SET service_oid = service_oid + 1 WHERE id = @map_item_added", AGREES),
    ("UPDATE webhook SET sid = substr(sid, 1, 33) || 'x' WHERE id = @document_updated", AGREES),
    ("UPDATE webhook SET unique_name = 'another' WHERE id = @list_item_updated", AGREES),
    ("UPDATE webhook SET event_id = 99 WHERE id = @document_updated", AGREES),
    ("UPDATE webhook SET event_id = 0 WHERE id = @list_item_updated", ORDER),
    ("UPDATE webhook SET event_id = event_id - 1 WHERE id = @document_updated", ORDER),
    ("UPDATE webhook SET is_dead = 2 WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET is_dead = 1 WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET attempts = -1 WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET due_at = -1 WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET due_at = 5 WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET attempts = 1, due_at = 5 WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET attempts = 1, error = 'no' WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET error = 'no' WHERE id = @map_item_added", STATE),
    ("UPDATE webhook SET token = x'00' WHERE id = @map_item_added", TOKEN),
    ("UPDATE webhook SET token = (SELECT token FROM webhook) WHERE id = @map_item_added", TOKEN),
    (
        "UPDATE sqlite_sequence SET seq = seq - 1 WHERE name = 'webhook'",
        "no webhook has an id that will be given again",
    ),
    (
        "DELETE FROM sqlite_sequence WHERE name = 'webhook'",
        "no webhook has an id that will be given again",
    ),
    (
        "UPDATE meta SET value = 'x1' WHERE name = 'webhooks_version'",
        "the version of retries is a number",
    ),
    ("UPDATE reached_endpoint SET endpoint = ''", "an endpoint told of has a name"),
    ("UPDATE reached_endpoint SET identity = ''", "an endpoint told of has a name"),
]


def in_words(damage: str) -> str:
    return re.sub(r"@(\w+)", r"(SELECT max(id) FROM webhook WHERE type = '\1')", damage)


@pytest.mark.parametrize(("damage", "rule"), DAMAGES)
async def test_planted_damage_is_found(tmp_path: Path, damage: str, rule: str) -> None:
    await fill_outbox(tmp_path)
    run_sql(tmp_path, in_words(damage))
    findings = check_database(tmp_path / DATABASE, NOW).findings
    assert rule in {finding.rule for finding in findings}
    assert not any("could not be checked" in finding.place for finding in findings)


def test_every_rule_has_a_damage_that_it_finds() -> None:
    assert {rule for _, rule in DAMAGES} == set(WEBHOOK_RULES)
