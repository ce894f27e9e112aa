"""Values as the bodies and events of the client protocol. [wire-protocol 7, 8.3]

URLs are absolute with a host that only labels them: clients send back path and host through the
same connection. Dates have milliseconds. Bodies of changes leave ``data`` out: Kotlin clients
demand it, the others keep what they sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from starlings.core.errors import MORE_INFO_URL, StarlingsError
from starlings.core.events import Event, EventType
from starlings.core.objects import Item, ItemKey, Kind, Service, SyncObject
from starlings.node.node import Message
from starlings.node.pages import Page
from starlings.wire import pushed_events as pushed
from starlings.wire.codec import encode_notification
from starlings.wire.subscriptions import MESSAGE_TYPE
from starlings.wire.timestamps import format_timestamp
from starlings.ws.outbox import ws_frame

__all__ = [
    "PAGE_BYTES",
    "EventEncoder",
    "encode_event_payload",
    "render_configuration",
    "render_context",
    "render_error",
    "render_item",
    "render_items",
    "render_message",
    "render_object",
    "render_removed_item",
]

PAGE_BYTES = 256 * 1024
"""Of the items of one page, or of those that come with a map; there is a next page then."""
_FEWEST_ITEMS = 2
"""Of a page, whatever their size: the first is often the last of the page before, and a client that
finds nothing new takes that for the end. [6.3]"""

_encode = msgspec.json.Encoder().encode
_COLLECTIONS = {
    Kind.DOCUMENT: "Documents",
    Kind.LIST: "Lists",
    Kind.MAP: "Maps",
    Kind.STREAM: "Streams",
}


def _object_url(base: str, service_sid: str, target: SyncObject) -> str:
    return f"{base}/v3/Services/{service_sid}/{_COLLECTIONS[target.kind]}/{target.sid}"


def _item_url(base: str, service_sid: str, target: SyncObject, key: ItemKey) -> str:
    return f"{_object_url(base, service_sid, target)}/Items/{quote(str(key), safe='')}"


def _date(at: int | None) -> str | None:
    return None if at is None else format_timestamp(at)


def _object_fields(base: str, service: Service, target: SyncObject) -> dict[str, Any]:
    url = _object_url(base, service.sid, target)
    fields: dict[str, Any] = {
        "sid": target.sid,
        "unique_name": target.unique_name,
        "account_sid": service.account_sid,
        "service_sid": service.sid,
        "url": url,
        "links": {},
        "date_created": _date(target.created_at),
        "date_updated": _date(target.updated_at),
        "date_expires": _date(target.expires_at),
        "created_by": target.created_by,
    }
    match target.kind:
        case Kind.DOCUMENT:
            fields["links"] = {"permissions": f"{url}/Permissions"}
        case Kind.LIST:
            fields["links"] = {"items": f"{url}/Items", "context": f"{url}/Context"}
        case Kind.MAP:
            fields["links"] = {"items": f"{url}/Items"}
        case Kind.STREAM:
            fields["links"] = {"messages": f"{url}/Messages"}
    if target.kind is not Kind.STREAM:
        fields["revision"] = target.revision
        fields["last_event_id"] = target.event_id
    return fields


def _item_fields(base: str, service: Service, target: SyncObject, item: Item) -> dict[str, Any]:
    name = "index" if target.kind is Kind.LIST else "key"
    return {
        name: item.key,
        f"{target.kind.word}_sid": target.sid,
        "account_sid": service.account_sid,
        "service_sid": service.sid,
        "url": _item_url(base, service.sid, target, item.key),
        "revision": item.revision,
        "last_event_id": item.event_id,
        "date_created": _date(item.created_at),
        "date_updated": _date(item.updated_at),
        "date_expires": _date(item.expires_at),
        "created_by": item.created_by,
    }


def render_object(
    base: str,
    service: Service,
    target: SyncObject,
    *,
    with_data: bool = False,
    items: Sequence[Item] | None = None,
) -> bytes:
    """An object's descriptor; with a document's data when it is opened, and items if asked for, up
    to ``PAGE_BYTES``.
    """
    fields = _object_fields(base, service, target)
    if with_data and target.data is not None and target.kind is Kind.DOCUMENT:
        fields["data"] = msgspec.Raw(target.data)
    if items is not None:
        fields["items"] = _cut_to_bytes(base, service, target, items)
    return _encode(fields)


def render_item(
    base: str, service: Service, target: SyncObject, item: Item, *, with_data: bool = False
) -> bytes:
    """An item: without its data after a change, with them when it is read by its own URL."""
    fields = _item_fields(base, service, target, item)
    if with_data:
        fields["data"] = msgspec.Raw(item.data)
    return _encode(fields)


def render_removed_item(
    base: str, service: Service, target: SyncObject, item: Item, event: Event
) -> bytes:
    """An item that is gone, with the event of its removal. [trap 7]"""
    fields = _item_fields(base, service, target, item)
    fields["revision"] = f"{event.event_id:x}"
    fields["last_event_id"] = event.event_id
    fields["date_updated"] = _date(event.at)
    return _encode(fields)


def render_items(
    base: str, service: Service, target: SyncObject, page: Page[Item], page_size: int
) -> bytes:
    """A page of items, up to ``PAGE_BYTES``. The tokens only tell whether there is more on that
    side. [6.3]
    """
    shown = _cut_to_bytes(base, service, target, page)
    return _encode(
        {
            "items": shown,
            "meta": {
                "key": "items",
                "page_size": page_size,
                "previous_token": "p" if page.has_previous else None,
                "next_token": "n" if page.has_next or len(shown) < len(page) else None,
            },
        }
    )


def _cut_to_bytes(
    base: str, service: Service, target: SyncObject, items: Sequence[Item]
) -> list[msgspec.Raw]:
    """The first items, with their data, that fit a page."""
    shown: list[msgspec.Raw] = []
    size_bytes = 0
    for item in items:
        text = render_item(base, service, target, item, with_data=True)
        size_bytes += len(text)
        if size_bytes > PAGE_BYTES and len(shown) >= _FEWEST_ITEMS:
            break
        shown.append(msgspec.Raw(text))
    return shown


def render_context(target: SyncObject) -> bytes:
    """A list's context: nothing of Sync's public interface uses it."""
    return _encode({"data": msgspec.Raw(target.data or b"{}"), "last_event_id": target.event_id})


def render_message(message: Message) -> bytes:
    return _encode({"sid": message.sid})


def render_configuration(base: str, service_sid: str) -> bytes:
    """Where everything is; Kotlin clients ask for it after connecting. [11]"""
    inside = f"{base}/v3/Services/{service_sid}"
    return _encode(
        {
            "links": {
                "subscriptions": f"{base}/v4/Subscriptions",
                "documents": f"{inside}/Documents",
                "document": f"{inside}/Documents/{{documentId}}",
                "lists": f"{inside}/Lists",
                "list": f"{inside}/Lists/{{listId}}",
                "list_items": f"{inside}/Lists/{{listId}}/Items",
                "list_item": f"{inside}/Lists/{{listId}}/Items/{{itemId}}",
                "maps": f"{inside}/Maps",
                "map": f"{inside}/Maps/{{mapId}}",
                "map_items": f"{inside}/Maps/{{mapId}}/Items",
                "map_item": f"{inside}/Maps/{{mapId}}/Items/{{itemId}}",
                "streams": f"{inside}/Streams",
                "stream": f"{inside}/Streams/{{streamId}}",
                "stream_messages": f"{inside}/Streams/{{streamId}}/Messages",
                "insights_items": f"{base}/v3/Insights/{{indexName}}/Items",
            }
        }
    )


def render_error(error: StarlingsError) -> bytes:
    """The body of a refusal or fault, the same as over REST. [9]"""
    return _encode(
        {
            "status": error.status,
            "code": error.code,
            "message": error.message,
            "more_info": MORE_INFO_URL.format(code=error.code),
        }
    )


# Events


def encode_event_payload(
    base: str,
    target: SyncObject,
    event: Event,
    service_sid: str,
    correlation_id: int | float | None = None,
) -> bytes | None:
    """The payload of an event's notification; None for events that clients never see."""
    match event.type:
        case EventType.DOCUMENT_UPDATED:
            return pushed.encode_document_updated(
                event_id=event.event_id,
                document_sid=target.sid,
                unique_name=target.unique_name,
                service_sid=service_sid,
                revision=f"{event.event_id:x}",
                data=event.data or b"{}",
                date_created=event.at,
                date_expires=event.expires_at,
                created_by=event.identity,
                correlation_id=correlation_id,
            )
        case EventType.ITEM_ADDED:
            return _encode_changed("added", base, target, event, service_sid, correlation_id)
        case EventType.ITEM_UPDATED:
            return _encode_changed("updated", base, target, event, service_sid, correlation_id)
        case EventType.ITEM_REMOVED:
            return _encode_removed(target, event, service_sid, correlation_id)
        case EventType.CONTEXT_UPDATED:
            return pushed.encode_list_context_updated(
                event_id=event.event_id,
                list_sid=target.sid,
                unique_name=target.unique_name,
                service_sid=service_sid,
                data=event.data or b"{}",
                date_created=event.at,
                correlation_id=correlation_id,
            )
        case EventType.OBJECT_REMOVED:
            return pushed.encode_object_removed(
                _word(target.kind),
                object_sid=target.sid,
                unique_name=target.unique_name,
                service_sid=service_sid,
                date_created=event.at,
                correlation_id=correlation_id,
            )
        case _:
            return None


def _word(kind: Kind) -> Literal["document", "list", "map", "stream"]:
    match kind:
        case Kind.DOCUMENT:
            return "document"
        case Kind.LIST:
            return "list"
        case Kind.MAP:
            return "map"
        case Kind.STREAM:
            return "stream"


def _encode_changed(
    change: Literal["added", "updated"],
    base: str,
    target: SyncObject,
    event: Event,
    service_sid: str,
    correlation_id: int | float | None,
) -> bytes:
    key = event.key
    assert key is not None
    if isinstance(key, int):
        return pushed.encode_list_item_changed(
            change,
            event_id=event.event_id,
            list_sid=target.sid,
            unique_name=target.unique_name,
            service_sid=service_sid,
            index=key,
            item_url=_item_url(base, service_sid, target, key),
            item_revision=f"{event.event_id:x}",
            list_revision=f"{event.event_id + 1:x}",
            data=event.data or b"{}",
            date_created=event.at,
            date_expires=event.expires_at,
            created_by=event.identity,
            correlation_id=correlation_id,
        )
    return pushed.encode_map_item_changed(
        change,
        event_id=event.event_id,
        map_sid=target.sid,
        unique_name=target.unique_name,
        service_sid=service_sid,
        key=key,
        item_url=_item_url(base, service_sid, target, key),
        item_revision=f"{event.event_id:x}",
        map_revision=f"{event.event_id + 1:x}",
        data=event.data or b"{}",
        date_created=event.at,
        date_expires=event.expires_at,
        created_by=event.identity,
        correlation_id=correlation_id,
    )


def _encode_removed(
    target: SyncObject, event: Event, service_sid: str, correlation_id: int | float | None
) -> bytes:
    key = event.key
    assert key is not None
    if isinstance(key, int):
        return pushed.encode_list_item_removed(
            event_id=event.event_id,
            list_sid=target.sid,
            unique_name=target.unique_name,
            service_sid=service_sid,
            index=key,
            item_revision=f"{event.event_id:x}",
            list_revision=f"{event.event_id + 1:x}",
            data=event.data or b"{}",
            date_created=event.at,
            correlation_id=correlation_id,
        )
    return pushed.encode_map_item_removed(
        event_id=event.event_id,
        map_sid=target.sid,
        unique_name=target.unique_name,
        service_sid=service_sid,
        key=key,
        item_revision=f"{event.event_id:x}",
        map_revision=f"{event.event_id + 1:x}",
        data=event.data or b"{}",
        date_created=event.at,
        correlation_id=correlation_id,
    )


class EventEncoder:
    """Implements ``hub.Encoder``: complete WebSocket frames, the same for every subscriber."""

    def __init__(self, base: str, random_bits: int) -> None:
        self._base = base
        self._prefix = f"TM{random_bits & 0xFFFFFFFFFFFFFFFF:016x}"
        self._count = 0

    def next_id(self) -> str:
        """An id for a message of ours, unique in this process."""
        self._count += 1
        return f"{self._prefix}{self._count:016x}"

    def encode_event(self, target: SyncObject, event: Event, service_sid: str) -> bytes:
        payload = encode_event_payload(self._base, target, event, service_sid)
        assert payload is not None, event.type
        return self.frame(payload)

    def mute_removal(self, frame: bytes) -> bytes:
        """The same frame with an event type that no client knows.

        A client that removes an item itself has told its application when the reply came; the event
        would tell it once more, as somebody else's change. Without any event its last event id
        stays behind, and the next replay would tell it again. Of an unknown type it takes the id
        only. The word has as many letters, so that all lengths stay right. [8.4]
        """
        return frame.replace(b'_item_removed"', b'_item_dropped"', 1)

    def encode_message(self, message: Message, service_sid: str) -> bytes:
        return self.frame(
            pushed.encode_stream_message_published(
                stream_sid=message.stream.sid,
                unique_name=message.stream.unique_name,
                service_sid=service_sid,
                message_sid=message.sid,
                data=message.data,
                date_created=message.at,
            )
        )

    def frame(self, payload: bytes) -> bytes:
        """A notification with this payload, ready for the socket."""
        return ws_frame(encode_notification(MESSAGE_TYPE, self.next_id(), payload))
