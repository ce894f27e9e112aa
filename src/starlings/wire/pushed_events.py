"""Payloads of pushed events: what happened to an object, as its subscribers read it.

Source: wire-protocol 8.3; numbers in brackets are its sections.

Each ``encode_`` function takes plain values and returns the payload of one notification of type
``subscriptions.MESSAGE_TYPE``. Their arguments are alike:

- ``data`` are the bytes of one JSON value. They go in as they are: order of keys, escapes and
  digits stay as the writer chose them. [trap 26]
- ``event_id`` is the number of the event in its object's log, < 2**53; the reply to the change
  must carry the same. Revisions are opaque strings.
- ``date_…`` is ISO 8601 text, or milliseconds since 1970. ``date_expires`` None clears it.
- ``correlation_id`` is that of the subscription request while catching up, None when live.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder, Encoder

from starlings.wire.subscriptions import CorrelationId
from starlings.wire.timestamps import format_timestamp

__all__ = [
    "Date",
    "Pushed",
    "PushedError",
    "decode_pushed",
    "encode_document_updated",
    "encode_list_context_updated",
    "encode_list_item_changed",
    "encode_list_item_removed",
    "encode_live_query_item_removed",
    "encode_live_query_item_updated",
    "encode_live_query_updated",
    "encode_map_item_changed",
    "encode_map_item_removed",
    "encode_object_removed",
    "encode_stream_message_published",
]

Date: TypeAlias = str | int
"""ISO 8601 text, or milliseconds since 1970-01-01T00:00:00Z."""


# Documents and whole objects


def encode_document_updated(
    *,
    event_id: int,
    document_sid: str,
    unique_name: str | None,
    service_sid: str,
    revision: str,
    data: bytes,
    date_created: Date,
    date_expires: Date | None,
    created_by: str,
    correlation_id: CorrelationId | None = None,
) -> bytes:
    """Encode ``document_updated``. ``date_created``: when the event happened."""
    return _encode_event(
        "document_updated",
        correlation_id,
        {
            "id": event_id,
            "document_sid": document_sid,
            "document_unique_name": unique_name,
            "service_sid": service_sid,
            "document_revision": revision,
            "document_data": Raw(data),
            "date_created": _date(date_created),
            "date_expires": _date(date_expires),
            "created_by": created_by,
        },
    )


def encode_object_removed(
    kind: Literal["document", "list", "map", "stream"],
    *,
    object_sid: str,
    unique_name: str | None,
    service_sid: str,
    date_created: Date,
    correlation_id: CorrelationId | None = None,
) -> bytes:
    """Encode ``document_removed``, ``list_removed``, ``map_removed`` or ``stream_removed``."""
    return _encode_event(
        f"{kind}_removed",
        correlation_id,
        {
            f"{kind}_sid": object_sid,
            f"{kind}_unique_name": unique_name,
            "service_sid": service_sid,
            "date_created": _date(date_created),
        },
    )


# Lists


def encode_list_item_changed(
    change: Literal["added", "updated"],
    *,
    event_id: int,
    list_sid: str,
    unique_name: str | None,
    service_sid: str,
    index: int,
    item_url: str,
    item_revision: str,
    list_revision: str,
    data: bytes,
    date_created: Date,
    date_expires: Date | None,
    created_by: str,
    correlation_id: CorrelationId | None = None,
) -> bytes:
    """Encode ``list_item_added`` or ``list_item_updated``; clients write to ``item_url``."""
    return _encode_event(
        f"list_item_{change}",
        correlation_id,
        {
            "id": event_id,
            "list_sid": list_sid,
            "item_index": index,
            "item_url": item_url,
            "item_data": Raw(data),
            "item_revision": item_revision,
            "list_revision": list_revision,
            "list_unique_name": unique_name,
            "service_sid": service_sid,
            "date_created": _date(date_created),
            "date_expires": _date(date_expires),
            "created_by": created_by,
        },
    )


def encode_list_item_removed(
    *,
    event_id: int,
    list_sid: str,
    unique_name: str | None,
    service_sid: str,
    index: int,
    item_revision: str,
    list_revision: str,
    data: bytes,
    date_created: Date,
    correlation_id: CorrelationId | None = None,
) -> bytes:
    """Encode ``list_item_removed``; ``data`` are those before the removal."""
    return _encode_event(
        "list_item_removed",
        correlation_id,
        {
            "id": event_id,
            "list_sid": list_sid,
            "item_index": index,
            "item_data": Raw(data),
            "item_revision": item_revision,
            "list_revision": list_revision,
            "list_unique_name": unique_name,
            "service_sid": service_sid,
            "date_created": _date(date_created),
        },
    )


def encode_list_context_updated(
    *,
    event_id: int,
    list_sid: str,
    unique_name: str | None,
    service_sid: str,
    data: bytes,
    date_created: Date,
    correlation_id: CorrelationId | None = None,
) -> bytes:
    """Encode ``list_context_updated``."""
    return _encode_event(
        "list_context_updated",
        correlation_id,
        {
            "id": event_id,
            "list_sid": list_sid,
            "context_data": Raw(data),
            "list_unique_name": unique_name,
            "service_sid": service_sid,
            "date_created": _date(date_created),
        },
    )


# Maps


def encode_map_item_changed(
    change: Literal["added", "updated"],
    *,
    event_id: int,
    map_sid: str,
    unique_name: str | None,
    service_sid: str,
    key: str,
    item_url: str,
    item_revision: str,
    map_revision: str,
    data: bytes,
    date_created: Date,
    date_expires: Date | None,
    created_by: str,
    correlation_id: CorrelationId | None = None,
) -> bytes:
    """Encode ``map_item_added`` or ``map_item_updated``; clients write to ``item_url``."""
    return _encode_event(
        f"map_item_{change}",
        correlation_id,
        {
            "id": event_id,
            "map_sid": map_sid,
            "item_key": key,
            "item_url": item_url,
            "item_data": Raw(data),
            "item_revision": item_revision,
            "map_revision": map_revision,
            "map_unique_name": unique_name,
            "service_sid": service_sid,
            "date_created": _date(date_created),
            "date_expires": _date(date_expires),
            "created_by": created_by,
        },
    )


def encode_map_item_removed(
    *,
    event_id: int,
    map_sid: str,
    unique_name: str | None,
    service_sid: str,
    key: str,
    item_revision: str,
    map_revision: str,
    data: bytes,
    date_created: Date,
    correlation_id: CorrelationId | None = None,
) -> bytes:
    """Encode ``map_item_removed``; ``data`` are those before the removal."""
    return _encode_event(
        "map_item_removed",
        correlation_id,
        {
            "id": event_id,
            "map_sid": map_sid,
            "item_key": key,
            "item_data": Raw(data),
            "item_revision": item_revision,
            "map_revision": map_revision,
            "map_unique_name": unique_name,
            "service_sid": service_sid,
            "date_created": _date(date_created),
        },
    )


# Streams


def encode_stream_message_published(
    *,
    stream_sid: str,
    unique_name: str | None,
    service_sid: str,
    message_sid: str,
    data: bytes,
    date_created: Date,
) -> bytes:
    """Encode ``stream_message_published``. It has no event id: nobody can catch up on it."""
    return _encode_event(
        "stream_message_published",
        None,
        {
            "stream_sid": stream_sid,
            "message_sid": message_sid,
            "message_data": Raw(data),
            "stream_unique_name": unique_name,
            "service_sid": service_sid,
            "date_created": _date(date_created),
        },
    )


# Live queries


def encode_live_query_item_updated(
    *,
    query_id: str,
    key: str,
    item_revision: int | str,
    last_event_id: int,
    data: bytes,
) -> bytes:
    """Encode ``live_query_item_updated``: an item matches now, or matches still and changed."""
    return _encode_event(
        "live_query_item_updated",
        None,
        {
            "query_id": query_id,
            "item_key": key,
            "item_revision": item_revision,
            "last_event_id": last_event_id,
            "item_data": Raw(data),
        },
    )


def encode_live_query_item_removed(
    *,
    query_id: str,
    key: str,
    item_revision: int | str,
    last_event_id: int,
) -> bytes:
    """Encode ``live_query_item_removed``: an item is gone, or no longer matches."""
    return _encode_event(
        "live_query_item_removed",
        None,
        {
            "query_id": query_id,
            "item_key": key,
            "item_revision": item_revision,
            "last_event_id": last_event_id,
        },
    )


def encode_live_query_updated(
    *,
    query_id: str,
    items: Iterable[tuple[str, bytes, int | str]],
    last_event_id: int,
) -> bytes:
    """Encode ``live_query_updated``: the whole result anew, as (key, data, revision) each."""
    return _encode_event(
        "live_query_updated",
        None,
        {
            "query_id": query_id,
            "items": [
                {"key": key, "data": Raw(data), "revision": revision}
                for key, data, revision in items
            ],
            "last_event_id": last_event_id,
        },
    )


# The receiving side


class PushedError(ValueError):
    """A payload that is no pushed event."""


class Pushed(Struct, frozen=True):
    """A received payload, event or confirmation, up to the body of each event.

    Attributes:
        bodies: JSON object of each event; ``event`` and ``events`` come out alike.
    """

    event_type: str
    correlation_id: CorrelationId | None
    strictly_ordered: bool
    bodies: tuple[Raw, ...]


def decode_pushed(payload: bytes) -> Pushed:
    """Decode what a server pushed.

    Raises:
        PushedError: It is not JSON of this form.
    """
    try:
        envelope = _DECODER.decode(payload)
    except (MsgspecError, UnicodeError, RecursionError) as error:
        raise PushedError(type(error).__name__) from None
    bodies = tuple(envelope.events or ()) if envelope.event == _NULL else (envelope.event,)
    return Pushed(envelope.event_type, envelope.correlation_id, envelope.strictly_ordered, bodies)


_NULL = Raw(b"null")


class _Envelope(Struct):
    event_type: str
    correlation_id: CorrelationId | None = None
    strictly_ordered: bool = False
    event: Raw = _NULL
    events: list[Raw] | None = None


def _encode_event(
    event_type: str, correlation_id: CorrelationId | None, event: dict[str, object]
) -> bytes:
    envelope: dict[str, object] = {"event_type": event_type, "event_protocol_version": 4}
    if correlation_id is not None:
        envelope["correlation_id"] = correlation_id
    envelope["strictly_ordered"] = True
    # One event, not an array: Kotlin takes each element of an array for a confirmation. [8.3]
    envelope["event"] = event
    return _encode(envelope)


def _date(date: Date | None) -> str | None:
    return format_timestamp(date) if isinstance(date, int) else date


_encode = Encoder().encode
_DECODER = Decoder(_Envelope)
