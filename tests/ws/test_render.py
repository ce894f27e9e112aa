"""Bodies and events, field by field, as the client tables have them. [wire-protocol 7, 8.3]"""

from __future__ import annotations

import json
from typing import Any

import pytest

from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.objects import Actor, Item, ItemKey, Kind, Service, SyncObject
from starlings.node.node import Message
from starlings.node.pages import Page
from starlings.wire.codec import decode_downstream
from starlings.wire.messages import Notification
from starlings.ws import render

AT = 1_795_389_771_114
SERVICE = Service(1, "IS1", "AC1", None, None, 0, 0)
INSIDE = "https://h/v3/Services/IS1"


def an_object(kind: Kind, event_id: int = 26, data: bytes | None = None) -> SyncObject:
    sid = kind.sid_prefix + "1"
    return SyncObject(2, sid, 1, kind, "n", data, 30, event_id, 4, 3, AT, AT, None, "zoe")


def an_item(key: ItemKey) -> Item:
    return Item(2, key, b'{"z":1,"a":1.0}', 26, 20, AT, AT, AT + 1000, "zoe")


def an_event(kind: EventType, key: ItemKey | None = None, data: bytes | None = b"{}") -> Event:
    return Event(2, 30, 26, kind, AT, key, data, None, "zoe", None, None)


@pytest.mark.parametrize(
    ("kind", "collection", "links"),
    [
        (Kind.DOCUMENT, "Documents", ["permissions"]),
        (Kind.LIST, "Lists", ["items", "context"]),
        (Kind.MAP, "Maps", ["items"]),
        (Kind.STREAM, "Streams", ["messages"]),
    ],
)
def test_a_descriptor_says_where_everything_is(
    kind: Kind, collection: str, links: list[str]
) -> None:
    body = json.loads(render.render_object("https://h", SERVICE, an_object(kind)))
    assert body["url"] == f"{INSIDE}/{collection}/{kind.sid_prefix}1"
    assert list(body["links"]) == links
    assert all(link.startswith(body["url"] + "/") for link in body["links"].values())
    assert body["date_created"] == "2026-11-22T23:22:51.114Z"
    assert body["date_expires"] is None
    assert ("revision" in body) == ("last_event_id" in body) == (kind is not Kind.STREAM)
    assert "data" not in body


def test_revisions_are_hexadecimal_and_a_collections_is_one_higher() -> None:
    document = json.loads(render.render_object("", SERVICE, an_object(Kind.DOCUMENT)))
    collection = json.loads(render.render_object("", SERVICE, an_object(Kind.MAP)))
    assert (document["revision"], document["last_event_id"]) == ("1a", 26)
    assert (collection["revision"], collection["last_event_id"]) == ("1b", 26)


def test_data_keep_their_bytes() -> None:
    data = b'{"z":1,"a":1.0,"":"\xc3\xbc"}'
    target = an_object(Kind.DOCUMENT, data=data)
    assert b'"data":' + data in render.render_object("", SERVICE, target, with_data=True)


@pytest.mark.parametrize(
    ("kind", "key", "place"),
    [(Kind.LIST, 3, "3"), (Kind.MAP, "a/b %ü", "a%2Fb%20%25%C3%BC"), (Kind.MAP, "..", "..")],
)
def test_an_item_has_its_own_url_and_no_data(kind: Kind, key: ItemKey, place: str) -> None:
    target = an_object(kind)
    body = json.loads(render.render_item("https://h", SERVICE, target, an_item(key)))
    assert body["key" if kind is Kind.MAP else "index"] == key
    assert body[f"{kind.word}_sid"] == target.sid
    assert body["url"].endswith(f"/{target.sid}/Items/{place}")
    assert (body["revision"], body["last_event_id"], "data" in body) == ("1a", 26, False)
    assert body["date_expires"] == "2026-11-22T23:22:52.114Z"


def test_a_removed_item_has_the_event_of_its_removal() -> None:
    event = an_event(EventType.ITEM_REMOVED, "k")._replace(event_id=27, at=AT + 5)
    body = json.loads(
        render.render_removed_item("", SERVICE, an_object(Kind.MAP, 27), an_item("k"), event)
    )
    assert (body["last_event_id"], body["revision"]) == (27, "1b")
    assert body["date_updated"] == "2026-11-22T23:22:51.119Z"


@pytest.mark.parametrize("has_previous", [True, False])
@pytest.mark.parametrize("has_next", [True, False])
def test_page_tokens_are_flags(has_previous: bool, has_next: bool) -> None:
    page = Page([an_item(3)], has_previous, has_next)
    body = json.loads(render.render_items("", SERVICE, an_object(Kind.LIST), page, 21))
    assert body["items"][0]["data"] == {"z": 1, "a": 1.0}
    assert (body["meta"]["key"], body["meta"]["page_size"]) == ("items", 21)
    assert bool(body["meta"]["previous_token"]) is has_previous
    assert bool(body["meta"]["next_token"]) is has_next


@pytest.mark.parametrize(
    "error", [Refusal(Reason.NAME_NOT_FOUND), Fault(Reason.UNAVAILABLE, "Try again")]
)
def test_an_error_has_status_code_message_and_more(error: Refusal | Fault) -> None:
    body = json.loads(render.render_error(error))
    assert (body["status"], body["code"], body["message"]) == (
        error.status,
        error.code,
        error.message,
    )
    assert str(error.code) in body["more_info"]


def test_the_configuration_has_every_link_that_kotlin_needs() -> None:
    links = json.loads(render.render_configuration("https://h", "IS1"))["links"]
    assert {
        "subscriptions",
        "maps",
        "map_items",
        "map_item",
        "lists",
        "list_items",
        "list_item",
        "documents",
        "streams",
        "stream_messages",
        "insights_items",
    } <= set(links)
    assert links["map_items"] == f"{INSIDE}/Maps/{{mapId}}/Items"
    assert links["list_items"] == f"{INSIDE}/Lists/{{listId}}/Items"
    assert links["stream_messages"] == f"{INSIDE}/Streams/{{streamId}}/Messages"


def payload_of(kind: Kind, event: Event, **options: Any) -> dict[str, Any]:
    payload = render.encode_event_payload("https://h", an_object(kind), event, "IS1", **options)
    assert payload is not None
    decoded: dict[str, Any] = json.loads(payload)
    return decoded


@pytest.mark.parametrize(
    ("kind", "event", "event_type", "fields"),
    [
        (
            Kind.DOCUMENT,
            an_event(EventType.DOCUMENT_UPDATED),
            "document_updated",
            {"document_sid": "ET1", "id": 26, "document_revision": "1a", "document_data": {}},
        ),
        (
            Kind.LIST,
            an_event(EventType.ITEM_ADDED, 3),
            "list_item_added",
            {"list_sid": "ES1", "id": 26, "item_index": 3, "item_revision": "1a"},
        ),
        (
            Kind.LIST,
            an_event(EventType.ITEM_UPDATED, 3),
            "list_item_updated",
            {"list_revision": "1b", "item_url": f"{INSIDE}/Lists/ES1/Items/3", "item_data": {}},
        ),
        (
            Kind.LIST,
            an_event(EventType.ITEM_REMOVED, 3, b'{"a":1}'),
            "list_item_removed",
            {"item_index": 3, "item_data": {"a": 1}, "list_revision": "1b"},
        ),
        (
            Kind.LIST,
            an_event(EventType.CONTEXT_UPDATED),
            "list_context_updated",
            {"list_sid": "ES1", "context_data": {}, "id": 26},
        ),
        (
            Kind.MAP,
            an_event(EventType.ITEM_ADDED, "a/b"),
            "map_item_added",
            {"map_sid": "MP1", "item_key": "a/b", "item_url": f"{INSIDE}/Maps/MP1/Items/a%2Fb"},
        ),
        (
            Kind.MAP,
            an_event(EventType.ITEM_UPDATED, "k"),
            "map_item_updated",
            {"map_revision": "1b", "date_expires": None, "created_by": "zoe"},
        ),
        (
            Kind.MAP,
            an_event(EventType.ITEM_REMOVED, "k", None),
            "map_item_removed",
            {"item_key": "k", "item_data": {}, "id": 26},
        ),
        (
            Kind.DOCUMENT,
            an_event(EventType.OBJECT_REMOVED),
            "document_removed",
            {"document_sid": "ET1"},
        ),
        (Kind.LIST, an_event(EventType.OBJECT_REMOVED), "list_removed", {"list_sid": "ES1"}),
        (Kind.MAP, an_event(EventType.OBJECT_REMOVED), "map_removed", {"map_sid": "MP1"}),
        (Kind.STREAM, an_event(EventType.OBJECT_REMOVED), "stream_removed", {"stream_sid": "TO1"}),
    ],
)
def test_each_event_has_the_fields_that_clients_read(
    kind: Kind, event: Event, event_type: str, fields: dict[str, Any]
) -> None:
    payload = payload_of(kind, event)
    assert payload["event_type"] == event_type
    assert payload["strictly_ordered"] is True
    assert "correlation_id" not in payload
    assert payload["event"].items() >= fields.items()
    assert payload["event"]["date_created"] == "2026-11-22T23:22:51.114Z"


def test_a_replayed_event_has_its_correlation_id() -> None:
    event = an_event(EventType.DOCUMENT_UPDATED)
    assert payload_of(Kind.DOCUMENT, event, correlation_id=2**40)["correlation_id"] == 2**40


@pytest.mark.parametrize(
    "kind",
    [
        EventType.OBJECT_CREATED,
        EventType.OBJECT_EXPIRY_SET,
        EventType.PERMISSION_SET,
        EventType.PERMISSION_REMOVED,
    ],
)
def test_hidden_events_have_no_payload(kind: EventType) -> None:
    assert render.encode_event_payload("", an_object(Kind.MAP), an_event(kind), "IS1") is None


def test_frames_are_complete_and_their_ids_unique() -> None:
    encoder = render.EventEncoder("https://h", 7)
    stream = an_object(Kind.STREAM)
    frames = [
        encoder.encode_event(an_object(Kind.MAP), an_event(EventType.ITEM_ADDED, "k"), "IS1"),
        encoder.encode_message(Message("TZ1", stream, b'{"a":1}', Actor("bob"), AT), "IS1"),
    ]
    messages = []
    for frame in frames:
        assert frame[0] == 0x82
        message = decode_downstream(frame[4:])
        assert isinstance(message, Notification)
        assert message.message_type == "twilio.sync.event"
        messages.append(message)
    assert len({message.id for message in messages}) == 2
    published = json.loads(messages[1].payload)["event"]
    assert (published["stream_sid"], published["message_sid"]) == ("TO1", "TZ1")
    assert published["message_data"] == {"a": 1}
