"""Subscription requests and their confirmations. [wire-protocol 8.1, 8.2]

The client asks with ``POST /v4/Subscriptions`` and is answered twice: by the reply to the POST
(:func:`encode_subscription_response`, also for a cancel, else the client repeats it for ever
[trap 12]) and by one *confirmation* pushed for each entry, even if there was nothing to catch up
on. A confirmation is the payload of a notification of type :data:`MESSAGE_TYPE`;
``codec.encode_notification`` makes the frame. Events of objects are in ``pushed_events.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from msgspec import UNSET, MsgspecError, Struct, UnsetType
from msgspec.json import Decoder, Encoder

__all__ = [
    "MAX_ENTRIES",
    "MESSAGE_TYPE",
    "CorrelationId",
    "Established",
    "Failed",
    "SubscriptionEntry",
    "SubscriptionRequest",
    "SubscriptionsError",
    "decode_subscriptions",
    "encode_canceled",
    "encode_established",
    "encode_failed",
    "encode_subscription_response",
    "encode_subscriptions",
]

MESSAGE_TYPE = "twilio.sync.event"
"""The message type that promises events of one object in order and without gaps. [8.3]"""

MAX_ENTRIES = 1000
"""Entries of one request: Kotlin's first batch may have as many. [11]"""

CorrelationId: TypeAlias = int | float
"""Chosen by the client and given back as the same JSON number; may exceed 2**31. [trap 15]"""


class SubscriptionsError(ValueError):
    """A body that is no subscription request; ``reason`` is for the client, with status 400."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SubscriptionEntry(Struct, frozen=True, omit_defaults=True):
    """One object in a request.

    Attributes:
        object_type: ``document``, ``list``, ``map``, ``stream`` or ``live_query``. Any other text
            is let through, so that it fails alone and not with the whole batch.
        last_event_id: Newest event the client has; None means start now, with no catch-up.
        index_name: With ``query_string`` only for live queries.
    """

    object_sid: str
    object_type: str
    last_event_id: int | None = None
    index_name: str | None = None
    query_string: str | None = None


class SubscriptionRequest(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of ``POST /v4/Subscriptions``. What may be None is informational. [8.1]"""

    event_protocol_version: int | None = None
    action: Literal["establish", "cancel"]
    correlation_id: CorrelationId
    retried_requests: int | None = None
    ttl_in_s: int | None = None
    reason: str | None = None
    requests: list[SubscriptionEntry]


class Established(Struct, frozen=True):
    """A subscription that is live, or that the client has to ask for again.

    Attributes:
        last_event_id: Newest event of the object; None for streams and live queries.
        replay_status: ``interrupted`` makes the client subscribe again at once from its newest
            event. At least one event must have been sent before, else it loops. [8.5]
    """

    object_sid: str
    object_type: str
    last_event_id: int | None
    replay_status: Literal["completed", "interrupted"] = "completed"


class Failed(Struct, frozen=True):
    """A subscription that could not be made.

    ``status`` 404 makes the client treat the object as removed; any other status is final for this
    object in this client. For passing trouble fail the POST with 503 instead. [trap 13]
    """

    object_sid: str
    object_type: str
    status: int
    code: int
    message: str


def decode_subscriptions(body: bytes, max_entries: int = MAX_ENTRIES) -> SubscriptionRequest:
    """Decode the body of ``POST /v4/Subscriptions``.

    Raises:
        SubscriptionsError: It is not a request of this form, or has more than ``max_entries``.
    """
    try:
        request = _DECODER.decode(body)
    except (MsgspecError, UnicodeError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, MsgspecError) else "Unreadable JSON"
        raise SubscriptionsError(reason) from None
    if len(request.requests) > max_entries:
        raise SubscriptionsError(f"A request may have at most {max_entries} entries")
    return request


def encode_subscriptions(request: SubscriptionRequest) -> bytes:
    """Encode the body of ``POST /v4/Subscriptions``, as a client does."""
    return _encode(request)


def encode_subscription_response(
    max_batch_size: int, estimated_delivery_in_ms: int, ttl_in_s: int | None = None
) -> bytes:
    """Encode the body of the reply, to ``establish`` and ``cancel`` alike.

    Args:
        max_batch_size: Entries in the client's following requests, > 0.
        estimated_delivery_in_ms: How long the client waits for confirmations, > 0. Kotlin gives
            up after it, so 10000 to 60000. [8.1]
        ttl_in_s: The client subscribes anew that often; None leaves it out, as we do.
    """
    return _encode(
        _Response(max_batch_size, estimated_delivery_in_ms, UNSET if ttl_in_s is None else ttl_in_s)
    )


def encode_established(correlation_id: CorrelationId, entries: Iterable[Established]) -> bytes:
    """Encode ``subscription_established`` for entries of one request."""
    events = [
        _EstablishedEvent(one.object_sid, one.object_type, one.replay_status, one.last_event_id)
        for one in entries
    ]
    return _encode(
        _Confirmation(
            event_type="subscription_established", correlation_id=correlation_id, events=events
        )
    )


def encode_canceled(
    correlation_id: CorrelationId | None, entries: Iterable[tuple[str, str]]
) -> bytes:
    """Encode ``subscription_canceled``, also for objects that are gone.

    Args:
        correlation_id: None when the server cancels; only Kotlin clients notice that. [11]
        entries: (SID, object type) each.
    """
    events = [_CanceledEvent(sid, object_type) for sid, object_type in entries]
    number = UNSET if correlation_id is None else correlation_id
    return _encode(
        _Confirmation(event_type="subscription_canceled", correlation_id=number, events=events)
    )


def encode_failed(correlation_id: CorrelationId | None, entries: Iterable[Failed]) -> bytes:
    """Encode ``subscription_failed`` for entries of one request.

    Args:
        correlation_id: None (sent as ``null``) for subscriptions that were established: JavaScript
            clients compare it with that of their pending request, and then have none. [run]
    """
    events = [
        _FailedEvent(one.object_sid, one.object_type, _Error(one.status, one.code, one.message))
        for one in entries
    ]
    return _encode(
        _Confirmation(
            event_type="subscription_failed", correlation_id=correlation_id, events=events
        )
    )


# The JSON, in the order of the documented traces


class _Response(Struct):
    max_batch_size: int
    estimated_delivery_in_ms: int
    ttl_in_s: int | UnsetType = UNSET


class _EstablishedEvent(Struct):
    object_sid: str
    object_type: str
    replay_status: str
    last_event_id: int | None


class _CanceledEvent(Struct):
    object_sid: str
    object_type: str


class _Error(Struct):
    status: int
    code: int
    message: str


class _FailedEvent(Struct):
    object_sid: str
    object_type: str
    error: _Error


class _Confirmation(Struct, kw_only=True):
    event_type: str
    correlation_id: CorrelationId | UnsetType | None
    event_protocol_version: int = 4
    strictly_ordered: bool = True
    # Kotlin wants the array, also for a single entry. [8.3]
    events: Sequence[_EstablishedEvent] | Sequence[_CanceledEvent] | Sequence[_FailedEvent]


_encode = Encoder().encode
_DECODER = Decoder(SubscriptionRequest)
