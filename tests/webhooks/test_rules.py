"""Which events fire: core/webhook_rules.py."""

from __future__ import annotations

import pytest

from starlings.core.events import EventType
from starlings.core.objects import Actor, ItemKey, Kind
from starlings.core.webhook_rules import (
    ENDPOINT_CONNECTED,
    ENDPOINT_DISCONNECTED,
    MESSAGE_PUBLISHED,
    SHAPES,
    webhook_of_endpoint,
    webhook_of_message,
    webhooks_of,
)
from tests.webhooks.samples import NOW, a_change, a_service

FIRING = {
    (Kind.DOCUMENT, EventType.OBJECT_CREATED): "document_created",
    (Kind.DOCUMENT, EventType.DOCUMENT_UPDATED): "document_updated",
    (Kind.DOCUMENT, EventType.OBJECT_REMOVED): "document_removed",
    (Kind.LIST, EventType.OBJECT_CREATED): "list_created",
    (Kind.LIST, EventType.OBJECT_REMOVED): "list_removed",
    (Kind.LIST, EventType.ITEM_ADDED): "list_item_added",
    (Kind.LIST, EventType.ITEM_UPDATED): "list_item_updated",
    (Kind.LIST, EventType.ITEM_REMOVED): "list_item_removed",
    (Kind.MAP, EventType.OBJECT_CREATED): "map_created",
    (Kind.MAP, EventType.OBJECT_REMOVED): "map_removed",
    (Kind.MAP, EventType.ITEM_ADDED): "map_item_added",
    (Kind.MAP, EventType.ITEM_UPDATED): "map_item_updated",
    (Kind.MAP, EventType.ITEM_REMOVED): "map_item_removed",
    (Kind.STREAM, EventType.OBJECT_CREATED): "stream_created",
    (Kind.STREAM, EventType.OBJECT_REMOVED): "stream_removed",
}
ITEM_EVENTS = {EventType.ITEM_ADDED, EventType.ITEM_UPDATED, EventType.ITEM_REMOVED}


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("type_", EventType)
def test_an_event_fires_the_webhook_of_its_name_or_none(kind: Kind, type_: EventType) -> None:
    service = a_service()
    found = webhooks_of([a_change(kind, type_, key=3)], {7: service}.get)
    expected = FIRING.get((kind, type_))
    assert [one.type for one in found] == ([] if expected is None else [expected])


@pytest.mark.parametrize(("change", "name"), FIRING.items())
def test_a_webhook_has_the_shape_of_its_type(change: tuple[Kind, EventType], name: str) -> None:
    kind, type_ = change
    keys: dict[Kind, ItemKey] = {Kind.LIST: 3, Kind.MAP: "k"}
    key = keys.get(kind) if type_ in ITEM_EVENTS else None
    (webhook,) = webhooks_of([a_change(kind, type_, key=key)], {7: a_service()}.get)
    shape = SHAPES[name]
    assert (shape.kind, shape.event) == change
    assert shape.key is (None if key is None else type(key))
    assert shape.has_data == (webhook.data is not None)


def test_there_are_shapes_of_all_types_and_of_no_others() -> None:
    others = {MESSAGE_PUBLISHED, ENDPOINT_CONNECTED, ENDPOINT_DISCONNECTED}
    assert set(SHAPES) == {*FIRING.values(), *others}


@pytest.mark.parametrize("type_", [EventType.OBJECT_REMOVED, EventType.ITEM_REMOVED])
@pytest.mark.parametrize("kind", [Kind.DOCUMENT, Kind.LIST, Kind.MAP])
def test_a_removal_keeps_no_data(kind: Kind, type_: EventType) -> None:
    found = webhooks_of([a_change(kind, type_, key=3)], {7: a_service()}.get)
    assert all(one.data is None for one in found)


@pytest.mark.parametrize(
    ("endpoint", "from_rest", "fires"),
    [("EP1", False, True), ("EP1", True, True), (None, False, False), (None, True, True)],
)
def test_what_rest_or_the_server_did_fires_only_if_wanted(
    endpoint: str | None, from_rest: bool, fires: bool
) -> None:
    change = a_change(Kind.MAP, EventType.OBJECT_CREATED, endpoint=endpoint)
    service = a_service(from_rest=from_rest)
    assert len(webhooks_of([change], {7: service}.get)) == fires
    message = webhook_of_message(service, change.object, "TZ1", b"{}", Actor("bob", endpoint), NOW)
    assert (message is not None) == fires


@pytest.mark.parametrize("service", [None, a_service(url=None, from_rest=True)])
def test_nothing_fires_without_a_service_that_has_a_url(service: object) -> None:
    change = a_change(Kind.MAP, EventType.OBJECT_CREATED)
    assert webhooks_of([change], {7: service}.get) == []  # type: ignore[arg-type]


def test_webhooks_come_in_the_order_of_the_events() -> None:
    changes = [
        a_change(Kind.MAP, EventType.ITEM_ADDED, key=f"k{number}", event_id=number)
        for number in range(5)
    ]
    found = webhooks_of(changes, {7: a_service()}.get)
    assert [one.event_id for one in found] == [0, 1, 2, 3, 4]
    assert {one.lane for one in found} == {9}


@pytest.mark.parametrize(
    ("url", "wanted", "fires"),
    [("http://a", True, True), ("http://a", False, False), (None, True, False)],
)
def test_reachability_fires_only_if_wanted(url: str | None, wanted: bool, fires: bool) -> None:
    service = a_service(url, reachability=wanted)
    webhook = webhook_of_endpoint(service, ENDPOINT_CONNECTED, "bob", "EP1", NOW)
    assert (webhook is not None) == fires


def test_an_identity_has_a_lane_that_no_object_has() -> None:
    service = a_service(reachability=True)
    lanes = set()
    for identity in ("bob", "bób", "x" * 256, "\U0001f600"):
        webhook = webhook_of_endpoint(service, ENDPOINT_CONNECTED, identity, "EP1", NOW)
        assert webhook is not None
        lanes.add(webhook.lane)
    assert len(lanes) == 4
    assert max(lanes) < 0
