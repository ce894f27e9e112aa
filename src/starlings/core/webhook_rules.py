"""Which events fire a webhook, under which name, and what of them is kept until it is delivered.

[rest-api 8] What a client did always fires; what REST or the server itself did (an event without an
endpoint) only with ``webhooks_from_rest_enabled``. Changes of permissions, of a list's context and
of a collection's time to live fire nothing: there is no such webhook.

A ``Webhook`` holds all that a delivery tells about the event, so that it can be sent after the
log has forgotten the event or the object is gone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from starlings.core.events import Committed, Event, EventType
from starlings.core.objects import Actor, ItemKey, Kind, Service, SyncObject

__all__ = [
    "ENDPOINT_CONNECTED",
    "ENDPOINT_DISCONNECTED",
    "MESSAGE_PUBLISHED",
    "SHAPES",
    "Shape",
    "Webhook",
    "fires",
    "webhook_of_endpoint",
    "webhook_of_message",
    "webhooks_of",
]

MESSAGE_PUBLISHED = "stream_message_published"
ENDPOINT_CONNECTED = "endpoint_connected"
ENDPOINT_DISCONNECTED = "endpoint_disconnected"

_OBJECT_EVENTS = {EventType.OBJECT_CREATED: "created", EventType.OBJECT_REMOVED: "removed"}
_ITEM_EVENTS = {
    EventType.ITEM_ADDED: "added",
    EventType.ITEM_UPDATED: "updated",
    EventType.ITEM_REMOVED: "removed",
}
_NAMES = {
    **{
        (kind, type_): f"{kind.word}_{verb}"
        for kind in Kind
        for type_, verb in _OBJECT_EVENTS.items()
    },
    (Kind.DOCUMENT, EventType.DOCUMENT_UPDATED): "document_updated",
    **{
        (kind, type_): f"{kind.word}_item_{verb}"
        for kind in (Kind.LIST, Kind.MAP)
        for type_, verb in _ITEM_EVENTS.items()
    },
}
"""The ``EventType`` parameter of each event that has a webhook."""

_WITH_DATA = frozenset(
    {
        (Kind.DOCUMENT, EventType.OBJECT_CREATED),
        (Kind.DOCUMENT, EventType.DOCUMENT_UPDATED),
        (Kind.LIST, EventType.ITEM_ADDED),
        (Kind.LIST, EventType.ITEM_UPDATED),
        (Kind.MAP, EventType.ITEM_ADDED),
        (Kind.MAP, EventType.ITEM_UPDATED),
    }
)


class Shape(NamedTuple):
    """What every webhook of one type has, whatever it tells of."""

    kind: Kind | None
    """Of the object; None for reachability."""
    key: type[int] | type[str] | None
    has_data: bool
    event: EventType | None
    """That fires it; None for messages and reachability, which no event of an object is behind."""


def _shape(kind: Kind, event: EventType) -> Shape:
    item = int if kind is Kind.LIST else str
    return Shape(kind, item if event in _ITEM_EVENTS else None, (kind, event) in _WITH_DATA, event)


SHAPES: Final = {
    **{name: _shape(kind, event) for (kind, event), name in _NAMES.items()},
    MESSAGE_PUBLISHED: Shape(Kind.STREAM, str, True, None),
    ENDPOINT_CONNECTED: Shape(None, None, False, None),
    ENDPOINT_DISCONNECTED: Shape(None, None, False, None),
}
"""By the type: every one that there is."""


class Webhook(NamedTuple):
    """What one delivery tells, in the column order of the stores."""

    service_oid: int
    lane: int
    """Deliveries of one lane keep their order: the object's oid; negative for an identity."""
    type: str
    """The ``EventType`` parameter."""
    at: int
    """When it happened, in milliseconds since 1970."""
    sid: str | None
    """Of the object; None for reachability."""
    unique_name: str | None
    event_id: int
    """The object's event id after the event; revisions are made from it."""
    key: ItemKey | None
    """Items: the index or key. Messages: the message's SID."""
    data: bytes | None
    identity: str
    endpoint: str | None


def fires(service: Service, endpoint: str | None) -> bool:
    """True if what came by this endpoint (None: REST or the server) is told to the webhook."""
    return service.webhook_url is not None and (
        endpoint is not None or service.has_webhooks_from_rest
    )


def webhooks_of(
    committed: Iterable[Committed], find_service: Callable[[int], Service | None]
) -> list[Webhook]:
    """The webhooks that events fire, in the order of the events."""
    found = []
    for target, event in committed:
        service = find_service(target.service_oid)
        if service is None or not fires(service, event.endpoint):
            continue
        name = _NAMES.get((target.kind, event.type))
        if name is not None:
            found.append(_webhook(name, target, event))
    return found


def webhook_of_message(
    service: Service, stream: SyncObject, message_sid: str, data: bytes, actor: Actor, at: int
) -> Webhook | None:
    """The webhook of a stream's message; None if it fires none."""
    if not fires(service, actor.endpoint):
        return None
    return Webhook(
        service.oid,
        stream.oid,
        MESSAGE_PUBLISHED,
        at,
        stream.sid,
        stream.unique_name,
        -1,
        message_sid,
        data,
        actor.identity,
        actor.endpoint,
    )


def webhook_of_endpoint(
    service: Service, name: str, identity: str, endpoint: str, at: int
) -> Webhook | None:
    """The webhook of an endpoint that came or went; None if the service wants none.

    Those of one identity share a lane, so that its coming is told before its going.
    """
    if service.webhook_url is None or not service.has_reachability_webhooks:
        return None
    lane = -1 - zlib.crc32(identity.encode())
    return Webhook(service.oid, lane, name, at, None, None, -1, None, None, identity, endpoint)


def _webhook(name: str, target: SyncObject, event: Event) -> Webhook:
    return Webhook(
        target.service_oid,
        target.oid,
        name,
        event.at,
        target.sid,
        target.unique_name,
        event.event_id,
        event.shown_key,
        event.data if (target.kind, event.type) in _WITH_DATA else None,
        event.identity,
        event.endpoint,
    )
