"""Hypothesis strategies for messages of both directions, and frames written by hand."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from starlings.wire.messages import (
    AccountDescriptor,
    ClientClose,
    ClientUpdate,
    ContinuationTokenStatus,
    DeleteNotificationContext,
    Downstream,
    HttpRequest,
    HttpValue,
    Init,
    InitRegistration,
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
    TelemetryEvent,
    Unknown,
    Update,
    Upstream,
)

T = TypeVar("T")


def frame(header: bytes, rest: bytes = b"\r\n") -> bytes:
    """A frame from the JSON of its header and all that follows it."""
    return b"TWILSOCK V3.0 %d\r\n%b%b" % (len(header), header, rest)


def frame_with(header: bytes, payload: bytes) -> bytes:
    """A frame as the JavaScript client sends it: nothing behind the payload."""
    return frame(header, b"\r\n" + payload)


def _maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | strategy


_TEXT = st.text(max_size=20)
_TEXTS = st.lists(_TEXT, max_size=3)
_INTS = st.integers(min_value=-(2**53), max_value=2**53)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_JSON: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | _INTS | _FLOATS | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_HTTP_VALUE: st.SearchStrategy[HttpValue] = st.none() | _TEXT | _TEXTS
_HTTP_VALUES = _maybe(st.dictionaries(_TEXT, _HTTP_VALUE, max_size=4))

# A CRLF in JSON is blanked out on its way down; test_codec.py has a test of its own for it.
_DOWN_PAYLOAD = st.binary(max_size=60).filter(lambda payload: b"\r\n" not in payload)
_UP_PAYLOAD = st.binary(max_size=60)

_STATUS = st.builds(Status, st.integers(0, 999), _maybe(_TEXT), _maybe(_INTS), _maybe(_TEXT))

_REPLY = st.builds(
    Reply,
    _TEXT,
    _STATUS,
    _maybe(_STATUS),
    _maybe(st.dictionaries(_TEXT, _TEXT, max_size=3)),
    _maybe(_TEXTS),
    _maybe(_TEXT),
    _maybe(st.builds(ContinuationTokenStatus, st.booleans(), _maybe(_TEXT), _maybe(_TEXT))),
    _maybe(
        st.lists(
            st.builds(
                InitRegistration, _maybe(_TEXT), _maybe(_TEXT), _maybe(_TEXT), _maybe(_TEXTS)
            ),
            max_size=2,
        )
    ),
    _maybe(st.dictionaries(_TEXT, st.builds(OfflineStorage, _TEXT), max_size=2)),
    _maybe(st.builds(AccountDescriptor, _TEXT, st.dictionaries(_TEXT, _TEXT, max_size=2), _TEXT)),
    _DOWN_PAYLOAD,
)

_KNOWN_METHODS = {
    "init",
    "update",
    "message",
    "reply",
    "close",
    "telemetry.v1",
    "put_notification_ctx",
    "delete_notification_ctx",
    "notification",
    "client_update",
    "ping",
}
_UNKNOWN = st.builds(Unknown, _TEXT, _TEXT.filter(lambda method: method not in _KNOWN_METHODS))

upstream_messages: st.SearchStrategy[Upstream] = st.one_of(
    st.builds(
        Init,
        _TEXT,
        _TEXT,
        _maybe(_TEXT),
        _maybe(st.builds(Metadata, sdk=_JSON, sdkv=_JSON, osa=_JSON)),
        _maybe(
            st.lists(
                st.builds(
                    Registration, _maybe(_TEXT), _maybe(_TEXT), _maybe(_INTS), _maybe(_TEXTS)
                ),
                max_size=2,
            )
        ),
        _JSON,
        _maybe(_TEXTS),
    ),
    st.builds(Update, _TEXT, _TEXT),
    st.builds(
        Request,
        _TEXT,
        st.builds(HttpRequest, _TEXT, _TEXT, _maybe(_TEXT), _HTTP_VALUES, _HTTP_VALUES),
        _maybe(_TEXT),
        _UP_PAYLOAD,
    ),
    _REPLY,
    st.builds(ClientClose, _TEXT),
    st.builds(
        Telemetry,
        _TEXT,
        _maybe(
            st.lists(
                st.builds(
                    TelemetryEvent, _FLOATS, _FLOATS, _TEXT, _JSON, _maybe(_TEXT), _maybe(_TEXT)
                ),
                max_size=2,
            )
        ),
    ),
    st.builds(PutNotificationContext, _TEXT, _maybe(_TEXT), _UP_PAYLOAD),
    st.builds(DeleteNotificationContext, _TEXT, _maybe(_TEXT)),
    _UNKNOWN,
)

downstream_messages: st.SearchStrategy[Downstream] = st.one_of(
    _REPLY,
    st.builds(Notification, _TEXT, _TEXT, _maybe(_TEXT), _DOWN_PAYLOAD),
    st.builds(ClientUpdate, _TEXT, _TEXT),
    st.builds(Ping, _TEXT),
    st.builds(ServerClose, _TEXT, _STATUS, _DOWN_PAYLOAD),
    _UNKNOWN,
)
