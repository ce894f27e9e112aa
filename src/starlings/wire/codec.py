r"""Frames: the bytes of one WebSocket message, to and from a message. [wire-protocol 3]

::

    TWILSOCK V3.0 <header size in bytes>\r\n
    <header: one JSON object, UTF-8>\r\n
    <payload: payload_size bytes>\r\n          (the last line only when there is a payload)

What is sent is exact: both sizes in bytes, compact JSON, CRLF after the header always and after a
payload that is not empty. What is accepted is wide: unknown keys, nulls, a missing
``payload_size``, a missing CRLF at the end, bytes behind the payload; of ``init``, which begins
everything, only ``id`` and ``token`` matter. Whatever cannot be accepted raises
:class:`FrameError`, and no bytes raise anything else.

``MESSAGE_TYPES`` is the one table both directions are made from. A message with a payload has a
*header type* of its own, because the payload is not part of the JSON; for the others the message
is its own header.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from functools import reduce
from http import HTTPStatus
from operator import or_
from typing import Annotated, Any

from msgspec import Meta, MsgspecError, Struct, ValidationError, convert
from msgspec.json import Decoder, Encoder

from starlings.wire.messages import (
    AccountDescriptor,
    ClientClose,
    ClientUpdate,
    ContinuationTokenStatus,
    DeleteNotificationContext,
    Downstream,
    HttpRequest,
    Init,
    InitRegistration,
    JsonValue,
    Metadata,
    Notification,
    OfflineStorage,
    Ping,
    PutNotificationContext,
    Registration,
    Reply,
    Request,
    ServerClose,
    Status,
    Telemetry,
    Unknown,
    Update,
    Upstream,
)

__all__ = [
    "MESSAGE_TYPES",
    "FrameError",
    "decode_downstream",
    "decode_upstream",
    "encode_downstream",
    "encode_http_reply",
    "encode_notification",
    "encode_upstream",
]

_MAGIC = b"TWILSOCK V3.0 "
_CRLF = b"\r\n"
# Ten digits are more than any frame; the bound keeps int() away from endless digits.
_SIZE_END = len(_MAGIC) + 10 + len(_CRLF)

# Besides its own errors, msgspec raises UnicodeDecodeError and RecursionError on bad input.
_UNREADABLE = (MsgspecError, UnicodeError, RecursionError)

_Size = Annotated[int, Meta(ge=0)] | None


class FrameError(ValueError):
    """Bytes that are no frame, or a frame that is no message.

    ``reason`` is one line for a log and never repeats the peer's data. ``message_id`` is the id of
    the message where it could still be read, so that it can be answered; else None.
    """

    def __init__(self, reason: str, message_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message_id = message_id


# Decoding


def decode_upstream(data: bytes | bytearray | memoryview) -> Upstream:
    """Decode a frame that a client sent.

    Args:
        data: The whole WebSocket message. A view is copied, so that its buffer may be reused.

    Raises:
        FrameError: These bytes are not a frame, or its header breaks the type of its ``method``.
    """
    message: Upstream = _decode(data, _UPSTREAM)
    return message


def decode_downstream(data: bytes | bytearray | memoryview) -> Downstream:
    """Decode a frame that a server sent; see :func:`decode_upstream`."""
    message: Downstream = _decode(data, _DOWNSTREAM)
    return message


def _decode(data: bytes | bytearray | memoryview, side: _Side) -> Any:
    if not isinstance(data, bytes):
        data = bytes(data)
    if not data.startswith(_MAGIC):
        raise FrameError("does not start with TWILSOCK V3.0")
    line_end = data.find(_CRLF, len(_MAGIC), _SIZE_END)
    digits = data[len(_MAGIC) : line_end]
    if line_end < 0 or not digits.isdigit():
        raise FrameError("the header size is not a number followed by CRLF")
    header_start = line_end + 2
    header_end = header_start + int(digits)
    if header_end > len(data):
        raise FrameError("the header is shorter than its size says")
    raw = data[header_start:header_end]
    try:
        header = side.decode_header(raw)
    except _UNREADABLE as error:
        return _decode_unknown(raw, side, error)
    build = side.builders.get(type(header))
    if build is None:
        return header
    return build(header, _cut_payload(data, header_end, header.payload_size, header.id))


def _cut_payload(data: bytes, header_end: int, size: int | None, message_id: str) -> bytes:
    """The payload behind a header; to the end of the frame when its size was not given."""
    if header_end == len(data):
        payload = b""
    elif data.startswith(_CRLF, header_end):
        payload = data[header_end + 2 :]
    else:
        raise FrameError("no CRLF after the header", message_id)
    if size is None:
        return payload.removesuffix(_CRLF)
    if size > len(payload):
        raise FrameError("the payload is shorter than payload_size says", message_id)
    return payload[:size]


def _decode_unknown(raw: bytes, side: _Side, error: Exception) -> Unknown | Init:
    """Tell a foreign ``method`` from a broken header; only frames that failed come here."""
    try:
        unknown = _UNKNOWN_DECODER.decode(raw)
    except _UNREADABLE:
        raise FrameError(_reason(error)) from None
    if unknown.method not in side.methods:
        return unknown
    if unknown.method == "init":
        try:
            return _without_misfits(_LOOSE_INIT_DECODER.decode(raw))
        except _UNREADABLE:
            pass
    raise FrameError(_reason(error), unknown.id) from None


def _without_misfits(init: _LooseInit) -> Init:
    return Init(
        init.id,
        init.token,
        _fit(init.continuation_token, str | None),
        _fit(init.metadata, Metadata | None),
        _fit(init.registrations, list[Registration] | None),
        init.tweaks,
        _fit(init.capabilities, list[str] | None),
    )


def _fit(value: JsonValue, wanted: Any) -> Any:
    """``value`` as what is wanted, None if it isn't."""
    try:
        return convert(value, wanted)
    except ValidationError:
        return None


def _reason(error: Exception) -> str:
    """msgspec names the place and the types, but may quote a value: keep what is before it."""
    if isinstance(error, RecursionError):
        return "the header is nested too deeply"
    if isinstance(error, UnicodeError):
        return "the header is not UTF-8"
    text = str(error)
    return "the header has an invalid value" if text.startswith("Invalid value") else text[:200]


# Encoding


def encode_upstream(message: Upstream) -> bytes:
    """Encode a message as the complete frame a client sends."""
    return _encode(message, _payload_of(message))


def encode_downstream(message: Downstream) -> bytes:
    """Encode a message as the complete frame a server sends. A payload must be JSON or empty."""
    return _encode(message, _one_line(_payload_of(message)))


def encode_notification(
    message_type: str, message_id: str, payload: bytes, notification_ctx_id: str | None = None
) -> bytes:
    """Encode a :class:`Notification`: once for an event, the same bytes for every session.

    Args:
        message_type: ``twilio.sync.event``, see ``subscriptions.MESSAGE_TYPE``.
        message_id: Unique within each connection it is sent to.
        payload: JSON with an ``event_type``; without one the client crashes. [trap 3]
        notification_ctx_id: From the reply to ``init``; clients do not look at it.
    """
    payload = _one_line(payload)
    context = b""
    if notification_ctx_id is not None:
        context = b',"notification_ctx_id":' + _encode_json(notification_ctx_id)
    header = b'{"method":"notification","id":%b,"message_type":%b%b%b' % (
        _encode_json(message_id),
        _encode_json(message_type),
        context,
        _sizes(payload),
    )
    return _frame(header, payload)


def encode_http_reply(
    request_id: str,
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Encode the :class:`Reply` to a tunnelled :class:`Request`.

    Args:
        request_id: ``id`` of the request.
        status: HTTP status of the result. That of the transport is 200 always: any other would
            reach the application as a transport failure without code. [6.1, trap 16]
        body: JSON, or empty.
        headers: None stands for the content type of JSON, or for none without a body.
    """
    body = _one_line(body)
    if headers is not None:
        fields = _encode_json(headers)
    else:
        fields = b'{"content-type":"application/json"}' if body else b"{}"
    header = (
        b'{"method":"reply","id":%b,"status":{"code":200,"status":"OK"},'
        b'"http_status":%b,"http_headers":%b%b'
        % (
            _encode_json(request_id),
            _HTTP_STATUSES.get(status) or _http_status(status, "Unknown"),
            fields,
            _sizes(body),
        )
    )
    return _frame(header, body)


def _encode(message: Upstream | Downstream, payload: bytes) -> bytes:
    to_header = _TO_HEADER.get(type(message))
    header = message if to_header is None else to_header(message)
    return _frame(_encode_json(header)[:-1] + _sizes(payload), payload)


def _frame(header: bytes, payload: bytes) -> bytes:
    if payload:
        return b"TWILSOCK V3.0 %d\r\n%b\r\n%b\r\n" % (len(header), header, payload)
    return b"TWILSOCK V3.0 %d\r\n%b\r\n" % (len(header), header)


def _sizes(payload: bytes) -> bytes:
    """The last keys of every header, with its closing brace."""
    if payload:
        return b',"payload_size":%d,"payload_type":"application/json"}' % len(payload)
    return b',"payload_size":0}'


def _payload_of(message: Upstream | Downstream) -> bytes:
    payload: bytes = getattr(message, "payload", b"")
    return payload


def _one_line(payload: bytes) -> bytes:
    """JSON without CRLF, at which Kotlin clients would cut the frame. [11]

    In JSON a raw CRLF is white space between tokens, so that blanks in its place mean the same.
    """
    return payload if _CRLF not in payload else payload.replace(_CRLF, b"  ")


def _http_status(code: int, phrase: str) -> bytes:
    return b'{"code":%d,"status":"%b"}' % (code, phrase.encode())


_encode_json = Encoder().encode
_HTTP_STATUSES = {status.value: _http_status(status, status.phrase) for status in HTTPStatus}


# Header types of the messages that have a payload


class _RequestHeader(Struct, omit_defaults=True, tag_field="method", tag="message"):
    id: str
    http_request: HttpRequest
    active_grant: str | None = None
    payload_size: _Size = None


class _ReplyHeader(Struct, omit_defaults=True, tag_field="method", tag="reply"):
    id: str
    status: Status
    http_status: Status | None = None
    http_headers: Mapping[str, str] | None = None
    capabilities: list[str] | None = None
    continuation_token: str | None = None
    continuation_token_status: ContinuationTokenStatus | None = None
    init_registrations: list[InitRegistration] | None = None
    offline_storage: dict[str, OfflineStorage] | None = None
    account_descriptor: AccountDescriptor | None = None
    payload_size: _Size = None


class _NotificationHeader(Struct, omit_defaults=True, tag_field="method", tag="notification"):
    id: str
    message_type: str
    notification_ctx_id: str | None = None
    payload_size: _Size = None


class _ServerCloseHeader(Struct, omit_defaults=True, tag_field="method", tag="close"):
    id: str
    status: Status
    payload_size: _Size = None


class _PutContextHeader(Struct, omit_defaults=True, tag_field="method", tag="put_notification_ctx"):
    id: str
    notification_ctx_id: str | None = None
    payload_size: _Size = None


class _LooseInit(Struct, tag_field="method", tag="init"):
    """An ``init`` with whatever the application's overrides made of it."""

    id: str
    token: str
    continuation_token: JsonValue = None
    metadata: JsonValue = None
    registrations: JsonValue = None
    tweaks: JsonValue = None
    capabilities: JsonValue = None


class _UnknownHeader(Struct):
    method: str
    id: str


def _reply(header: _ReplyHeader, payload: bytes) -> Reply:
    return Reply(
        header.id,
        header.status,
        header.http_status,
        header.http_headers,
        header.capabilities,
        header.continuation_token,
        header.continuation_token_status,
        header.init_registrations,
        header.offline_storage,
        header.account_descriptor,
        payload,
    )


def _reply_header(reply: Reply) -> _ReplyHeader:
    return _ReplyHeader(
        reply.id,
        reply.status,
        reply.http_status,
        reply.http_headers,
        reply.capabilities,
        reply.continuation_token,
        reply.continuation_token_status,
        reply.init_registrations,
        reply.offline_storage,
        reply.account_descriptor,
    )


# The table


class _Direction(Flag):
    UP = auto()
    DOWN = auto()


@dataclass(frozen=True, slots=True)
class _MessageType:
    """One row: a ``method``, who sends it, and how message and header turn into each other.

    ``build`` and ``to_header`` are None where the message is its own header.
    """

    method: str
    direction: _Direction
    message: type[Any]
    header: type[Any]
    build: Callable[[Any, bytes], Any] | None = None
    to_header: Callable[[Any], Any] | None = None


_UP, _DOWN = _Direction.UP, _Direction.DOWN

MESSAGE_TYPES = (
    _MessageType("init", _UP, Init, Init),
    _MessageType("update", _UP, Update, Update),
    _MessageType(
        "message",
        _UP,
        Request,
        _RequestHeader,
        lambda head, payload: Request(head.id, head.http_request, head.active_grant, payload),
        lambda msg: _RequestHeader(msg.id, msg.http_request, msg.active_grant),
    ),
    _MessageType("reply", _UP | _DOWN, Reply, _ReplyHeader, _reply, _reply_header),
    _MessageType("close", _UP, ClientClose, ClientClose),
    _MessageType("telemetry.v1", _UP, Telemetry, Telemetry),
    _MessageType(
        "put_notification_ctx",
        _UP,
        PutNotificationContext,
        _PutContextHeader,
        lambda head, payload: PutNotificationContext(head.id, head.notification_ctx_id, payload),
        lambda msg: _PutContextHeader(msg.id, msg.notification_ctx_id),
    ),
    _MessageType(
        "delete_notification_ctx", _UP, DeleteNotificationContext, DeleteNotificationContext
    ),
    _MessageType(
        "notification",
        _DOWN,
        Notification,
        _NotificationHeader,
        lambda head, payload: Notification(
            head.id, head.message_type, head.notification_ctx_id, payload
        ),
        lambda msg: _NotificationHeader(msg.id, msg.message_type, msg.notification_ctx_id),
    ),
    _MessageType("client_update", _DOWN, ClientUpdate, ClientUpdate),
    _MessageType("ping", _DOWN, Ping, Ping),
    _MessageType(
        "close",
        _DOWN,
        ServerClose,
        _ServerCloseHeader,
        lambda head, payload: ServerClose(head.id, head.status, payload),
        lambda msg: _ServerCloseHeader(msg.id, msg.status),
    ),
)


class _Side:
    """The rows of one direction, in the shape that decoding needs."""

    def __init__(self, direction: _Direction) -> None:
        rows = [row for row in MESSAGE_TYPES if direction in row.direction]
        self.methods = frozenset(row.method for row in rows)
        self.builders = {row.header: row.build for row in rows if row.build is not None}
        headers: Any = reduce(or_, (row.header for row in rows))
        self.decode_header: Callable[[bytes], Any] = Decoder(headers).decode


_TO_HEADER: dict[type[Any], Callable[[Any], Any]] = {
    row.message: row.to_header for row in MESSAGE_TYPES if row.to_header is not None
}
_TO_HEADER[Unknown] = lambda msg: _UnknownHeader(msg.method, msg.id)
_UNKNOWN_DECODER = Decoder(Unknown)
_LOOSE_INIT_DECODER = Decoder(_LooseInit)
_UPSTREAM = _Side(_UP)
_DOWNSTREAM = _Side(_DOWN)
