"""What a request tells: webhooks/parameters.py, by the table of rest-api 8."""

from __future__ import annotations

import pytest

from starlings.core.events import EventType
from starlings.core.objects import Actor, ItemKey, Kind
from starlings.core.webhook_rules import (
    ENDPOINT_CONNECTED,
    ENDPOINT_DISCONNECTED,
    webhook_of_endpoint,
    webhook_of_message,
    webhooks_of,
)
from starlings.webhooks.parameters import parameters_of
from tests.webhooks.samples import ACCOUNT, NOW, a_change, a_service

COMMON = {"AccountSid", "ServiceSid", "EventType", "Identity", "EndpointId"}
SERVICE = a_service(from_rest=True, reachability=True)


def tell(
    kind: Kind,
    type_: EventType,
    *,
    key: ItemKey | None = None,
    name: str | None = "a name",
    endpoint: str | None = "EP1",
) -> dict[str, str]:
    change = a_change(kind, type_, key=key, name=name, endpoint=endpoint)
    (webhook,) = webhooks_of([change], {7: SERVICE}.get)
    return parameters_of(webhook, SERVICE)


@pytest.mark.parametrize(
    ("kind", "type_", "key", "more"),
    [
        (
            Kind.DOCUMENT,
            type_,
            None,
            {
                "DocumentUniqueName": "a name",
                "DocumentRevision": "29",
                "DocumentData": '{"a":1}',
            },
        )
        for type_ in (EventType.OBJECT_CREATED, EventType.DOCUMENT_UPDATED)
    ]
    + [
        (
            Kind.DOCUMENT,
            EventType.OBJECT_REMOVED,
            None,
            {"DocumentUniqueName": "a name", "DocumentRevision": "29"},
        ),
        *(
            (kind, type_, None, {f"{title}UniqueName": "a name", f"{title}Revision": "2a"})
            for kind, title in ((Kind.LIST, "List"), (Kind.MAP, "Map"))
            for type_ in (EventType.OBJECT_CREATED, EventType.OBJECT_REMOVED)
        ),
        *(
            (
                kind,
                type_,
                key,
                {
                    f"{title}UniqueName": "a name",
                    f"{title}Revision": "2a",
                    "EventId": "41",
                    "ItemRevision": "29",
                    name: str(key),
                    **({} if type_ is EventType.ITEM_REMOVED else {"ItemData": '{"a":1}'}),
                },
            )
            for kind, title, name, key in (
                (Kind.LIST, "List", "ItemIndex", 12),
                (Kind.MAP, "Map", "ItemKey", "a key"),
            )
            for type_ in (EventType.ITEM_ADDED, EventType.ITEM_UPDATED, EventType.ITEM_REMOVED)
        ),
        *(
            (Kind.STREAM, type_, None, {"StreamUniqueName": "a name"})
            for type_ in (EventType.OBJECT_CREATED, EventType.OBJECT_REMOVED)
        ),
    ],
)
def test_an_event_is_told_with_exactly_these_parameters(
    kind: Kind, type_: EventType, key: ItemKey | None, more: dict[str, str]
) -> None:
    told = tell(kind, type_, key=key)
    title = kind.word.capitalize()
    assert told.keys() == COMMON | more.keys() | {f"{title}Sid"}
    assert told[f"{title}Sid"].startswith(kind.sid_prefix)
    assert {name: told[name] for name in more} == more
    assert told["AccountSid"] == ACCOUNT
    assert told["ServiceSid"] == SERVICE.sid
    assert told["Identity"] == "bob"
    assert told["EndpointId"] == "EP1"


@pytest.mark.parametrize("kind", Kind)
def test_an_unnamed_object_has_no_unique_name(kind: Kind) -> None:
    told = tell(kind, EventType.OBJECT_CREATED, name=None)
    assert not any(name.endswith("UniqueName") for name in told)


def test_an_event_by_rest_has_no_endpoint() -> None:
    assert "EndpointId" not in tell(Kind.MAP, EventType.OBJECT_CREATED, endpoint=None)


def test_a_message_is_told_with_its_sid_and_data() -> None:
    stream = a_change(Kind.STREAM, EventType.OBJECT_CREATED).object
    webhook = webhook_of_message(
        SERVICE, stream, "TZ1", '{"t":"ü"}'.encode(), Actor("bob", "EP1"), NOW
    )
    assert webhook is not None
    told = parameters_of(webhook, SERVICE)
    assert told.keys() == COMMON | {
        "StreamSid",
        "StreamUniqueName",
        "MessageSid",
        "MessageData",
    }
    assert told["EventType"] == "stream_message_published"
    assert (told["MessageSid"], told["MessageData"]) == ("TZ1", '{"t":"ü"}')


@pytest.mark.parametrize("name", [ENDPOINT_CONNECTED, ENDPOINT_DISCONNECTED])
def test_reachability_is_told_with_the_common_parameters_only(name: str) -> None:
    webhook = webhook_of_endpoint(SERVICE, name, "bob", "EP1", NOW)
    assert webhook is not None
    assert parameters_of(webhook, SERVICE) == {
        "AccountSid": ACCOUNT,
        "ServiceSid": SERVICE.sid,
        "EventType": name,
        "Identity": "bob",
        "EndpointId": "EP1",
    }
