from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.wire.pushed_events import (
    Pushed,
    PushedError,
    decode_pushed,
    encode_document_updated,
    encode_list_context_updated,
    encode_list_item_changed,
    encode_list_item_removed,
    encode_live_query_item_removed,
    encode_live_query_item_updated,
    encode_live_query_updated,
    encode_map_item_changed,
    encode_map_item_removed,
    encode_object_removed,
    encode_stream_message_published,
)
from starlings.wire.subscriptions import Established, encode_established

NOW = 1_795_389_776_431
NOW_TEXT = "2026-11-22T23:22:56.431Z"


def _document_updated(data: bytes, correlation_id: int | None = None) -> bytes:
    return encode_document_updated(
        event_id=1,
        document_sid="ETf745",
        unique_name="ses1795389771084",
        service_sid="IS1",
        revision="1",
        data=data,
        date_created="2026-11-22T23:22:52.108Z",
        date_expires=None,
        created_by="yan",
        correlation_id=correlation_id,
    )


def _map_item(change: Literal["added", "updated"]) -> bytes:
    return encode_map_item_changed(
        change,
        event_id=5,
        map_sid="MP1",
        unique_name=None,
        service_sid="IS1",
        key="a/b",
        item_url="https://h/v3/Services/IS1/Maps/MP1/Items/a%2Fb",
        item_revision="5",
        map_revision="6",
        data=b"{}",
        date_created=NOW,
        date_expires=NOW + 1,
        created_by="zoe",
    )


def _list_item(change: Literal["added", "updated"]) -> bytes:
    return encode_list_item_changed(
        change,
        event_id=5,
        list_sid="ES1",
        unique_name="l",
        service_sid="IS1",
        index=3,
        item_url="https://h/v3/Services/IS1/Lists/ES1/Items/3",
        item_revision="5",
        list_revision="6",
        data=b"{}",
        date_created=NOW,
        date_expires=None,
        created_by="zoe",
    )


def _removed(kind: Literal["document", "list", "map", "stream"]) -> bytes:
    return encode_object_removed(
        kind, object_sid="XX1", unique_name="n", service_sid="IS1", date_created=NOW
    )


def test_a_document_update_is_byte_for_byte_the_documented_one() -> None:
    assert _document_updated(b'{"a":2}', 1795389772269) == (
        b'{"event_type":"document_updated","event_protocol_version":4,'
        b'"correlation_id":1795389772269,"strictly_ordered":true,'
        b'"event":{"id":1,"document_sid":"ETf745","document_unique_name":"ses1795389771084",'
        b'"service_sid":"IS1","document_revision":"1","document_data":{"a":2},'
        b'"date_created":"2026-11-22T23:22:52.108Z","date_expires":null,"created_by":"yan"}}'
    )


def test_a_map_item_removal_is_byte_for_byte_the_documented_one() -> None:
    payload = encode_map_item_removed(
        event_id=17,
        map_sid="MP685c",
        unique_name="m",
        service_sid="IS1",
        key="new",
        item_revision="11",
        map_revision="12",
        data=b'{"z":1}',
        date_created=NOW,
    )
    assert payload == (
        b'{"event_type":"map_item_removed","event_protocol_version":4,"strictly_ordered":true,'
        b'"event":{"id":17,"map_sid":"MP685c","item_key":"new","item_data":{"z":1},'
        b'"item_revision":"11","map_revision":"12","map_unique_name":"m","service_sid":"IS1",'
        b'"date_created":"2026-11-22T23:22:56.431Z"}}'
    )


# What the JavaScript client reads from each event, and Kotlin needs. [wire-protocol 8.3]
_ITEM = {"id", "item_revision", "item_data", "date_created"}
FIELDS: list[tuple[str, Callable[[], bytes], set[str]]] = [
    (
        "document_updated",
        lambda: _document_updated(b"{}"),
        {"document_sid", "id", "document_revision", "document_data", "date_created"}
        | {"date_expires", "document_unique_name", "created_by"},
    ),
    ("document_removed", lambda: _removed("document"), {"document_sid"}),
    ("list_removed", lambda: _removed("list"), {"list_sid"}),
    ("map_removed", lambda: _removed("map"), {"map_sid"}),
    ("stream_removed", lambda: _removed("stream"), {"stream_sid"}),
    (
        "list_item_added",
        lambda: _list_item("added"),
        _ITEM | {"list_sid", "item_index", "item_url", "date_expires", "list_revision"},
    ),
    (
        "list_item_updated",
        lambda: _list_item("updated"),
        _ITEM | {"list_sid", "item_index", "item_url", "date_expires", "list_revision"},
    ),
    (
        "list_item_removed",
        lambda: encode_list_item_removed(
            event_id=5,
            list_sid="ES1",
            unique_name="l",
            service_sid="IS1",
            index=3,
            item_revision="5",
            list_revision="6",
            data=b"{}",
            date_created=NOW,
        ),
        _ITEM | {"list_sid", "item_index", "list_revision"},
    ),
    (
        "list_context_updated",
        lambda: encode_list_context_updated(
            event_id=5,
            list_sid="ES1",
            unique_name="l",
            service_sid="IS1",
            data=b"{}",
            date_created=NOW,
        ),
        {"list_sid", "id", "context_data", "date_created"},
    ),
    (
        "map_item_added",
        lambda: _map_item("added"),
        _ITEM | {"map_sid", "item_key", "item_url", "date_expires", "map_revision"},
    ),
    (
        "map_item_updated",
        lambda: _map_item("updated"),
        _ITEM | {"map_sid", "item_key", "item_url", "date_expires", "map_revision"},
    ),
    (
        "stream_message_published",
        lambda: encode_stream_message_published(
            stream_sid="TO1",
            unique_name="s",
            service_sid="IS1",
            message_sid="TZ1",
            data=b"{}",
            date_created=NOW,
        ),
        {"stream_sid", "message_sid", "message_data"},
    ),
    (
        "live_query_item_updated",
        lambda: encode_live_query_item_updated(
            query_id="Q1", key="k", item_revision="1", last_event_id=9, data=b"{}"
        ),
        {"query_id", "item_key", "item_revision", "last_event_id", "item_data"},
    ),
    (
        "live_query_item_removed",
        lambda: encode_live_query_item_removed(
            query_id="Q1", key="k", item_revision="1", last_event_id=9
        ),
        {"query_id", "item_key", "item_revision", "last_event_id"},
    ),
    (
        "live_query_updated",
        lambda: encode_live_query_updated(
            query_id="Q1", items=[("k", b'{"a":1}', "1")], last_event_id=9
        ),
        {"query_id", "items", "last_event_id"},
    ),
]


@pytest.mark.parametrize(("event_type", "encode", "fields"), FIELDS)
def test_an_event_has_every_field_that_clients_read(
    event_type: str, encode: Callable[[], bytes], fields: set[str]
) -> None:
    envelope = json.loads(encode())
    assert envelope["event_type"] == event_type
    assert envelope["event_protocol_version"] == 4
    assert "correlation_id" not in envelope
    assert "events" not in envelope
    assert fields <= envelope["event"].keys()


def test_the_index_of_a_list_item_is_a_number() -> None:
    assert json.loads(_list_item("added"))["event"]["item_index"] == 3


def test_dates_may_be_given_in_milliseconds() -> None:
    event = json.loads(_map_item("added"))["event"]
    assert event["date_created"] == NOW_TEXT
    assert event["date_expires"] == "2026-11-22T23:22:56.432Z"


def test_the_items_of_a_live_query_have_key_data_and_revision() -> None:
    payload = encode_live_query_updated(
        query_id="Q1", items=[("k", b'{"a":1}', "1")], last_event_id=9
    )
    items = json.loads(payload)["event"]["items"]
    assert items == [{"key": "k", "data": {"a": 1}, "revision": "1"}]


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"":0}',
        b'{"n":1.0}',
        b'{"n":12345678901234567890}',
        b'{"n":1e5}',
        b'{"s":"\\u2028\\ud83d\\ude00"}',
        '{"s":"\u2028😀"}'.encode(),
        b'{"a":1,"a":2}',
        b"{ }",
    ],
)
def test_data_go_in_exactly_as_they_are(data: bytes) -> None:
    assert b'"document_data":' + data + b',"date_created"' in _document_updated(data)


# The receiving side


def test_a_received_event_comes_apart() -> None:
    pushed = decode_pushed(_document_updated(b'{"a":2}', 7))
    assert (pushed.event_type, pushed.correlation_id, pushed.strictly_ordered) == (
        "document_updated",
        7,
        True,
    )
    assert [json.loads(bytes(body))["document_data"] for body in pushed.bodies] == [{"a": 2}]


def test_a_received_confirmation_has_several_bodies() -> None:
    entries = [Established("ES1", "list", 5), Established("TO1", "stream", None)]
    pushed = decode_pushed(encode_established(7, entries))
    sids = [json.loads(bytes(body))["object_sid"] for body in pushed.bodies]
    assert sids == ["ES1", "TO1"]


def test_a_received_event_without_a_body_has_none() -> None:
    assert decode_pushed(b'{"event_type":"x"}') == Pushed("x", None, False, ())


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b'{"event_type":1}', b'{"event_type":"\xff"}']
)
def test_what_is_not_an_event_is_refused(payload: bytes) -> None:
    with pytest.raises(PushedError):
        decode_pushed(payload)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_refused(payload: bytes) -> None:
    try:
        pushed = decode_pushed(payload)
    except PushedError:
        return
    assert isinstance(pushed, Pushed)
