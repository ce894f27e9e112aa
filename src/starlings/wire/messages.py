"""The messages of the client protocol: one type for each ``method`` and direction.

Source: wire-protocol 4.1; numbers in brackets are its sections.

*Upstream* goes from client to server, *downstream* the other way. A message is a value: it knows
nothing of bytes (``codec.py``) or of when it may be sent (``session.py``). Where a message has a
payload, ``payload`` holds the raw bytes: they are usually JSON, but the payload of a DELETE is not.

A field is None when its key was missing or null; clients differ in which of the two they send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

__all__ = [
    "TOKEN_ABOUT_TO_EXPIRE",
    "AccountDescriptor",
    "ClientClose",
    "ClientUpdate",
    "ContinuationTokenStatus",
    "DeleteNotificationContext",
    "Downstream",
    "HttpRequest",
    "HttpValue",
    "Init",
    "InitRegistration",
    "JsonValue",
    "Metadata",
    "Notification",
    "OfflineStorage",
    "Ping",
    "PutNotificationContext",
    "Registration",
    "Reply",
    "Request",
    "ServerClose",
    "Status",
    "Telemetry",
    "TelemetryEvent",
    "Unknown",
    "Update",
    "Upstream",
    "all_values",
    "first_value",
]

JsonValue: TypeAlias = Any
"""Any JSON value, as the application on the other side chose it."""

HttpValue: TypeAlias = str | list[str] | None
"""A parameter or header of a tunnelled request: JavaScript sends a string, Kotlin always a list."""

TOKEN_ABOUT_TO_EXPIRE = "token_about_to_expire"
"""The only ``client_update_type`` that clients act upon."""

_LABEL_CHARACTERS = 64


# Parts of messages


class Status(Struct, frozen=True, omit_defaults=True):
    """Outcome of a request, of a tunnelled HTTP request, or the reason of a close."""

    code: int
    status: str | None = None
    error_code: int | None = field(default=None, name="errorCode")
    description: str | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.code < 300


class Metadata(Struct, frozen=True, omit_defaults=True):
    """What a client says about itself. Applications may override any of it with any value."""

    ver: JsonValue = None
    env: JsonValue = None
    envv: JsonValue = None
    os: JsonValue = None
    osv: JsonValue = None
    osa: JsonValue = None
    type: JsonValue = None
    sdk: JsonValue = None
    sdkv: JsonValue = None
    dev: JsonValue = None
    app: JsonValue = None
    appv: JsonValue = None

    @property
    def label(self) -> str:
        """SDK and its version for a log line: printable ASCII, at most 64 characters."""
        text = " ".join(part for part in (self.sdk, self.sdkv) if isinstance(part, str))
        return "".join(c if " " <= c <= "~" else "?" for c in text[:_LABEL_CHARACTERS])


class Registration(Struct, frozen=True, omit_defaults=True):
    """A product's wish for notifications, in ``init``."""

    product: str | None = None
    type: str | None = None
    notification_protocol_version: int | None = None
    message_types: list[str] | None = None


class InitRegistration(Struct, frozen=True, omit_defaults=True):
    """The server's answer to a :class:`Registration`."""

    notification_ctx_id: str | None = None
    type: str | None = None
    product: str | None = None
    message_types: list[str] | None = None


class ContinuationTokenStatus(Struct, frozen=True, omit_defaults=True):
    """Whether the continuation token presented in ``init`` was replaced, and why."""

    # Always written, also when false: clients show it as it is.
    reissued: bool
    reissue_reason: str | None = None
    reissue_message: str | None = None


class OfflineStorage(Struct, frozen=True):
    """Key prefix of a browser's session storage; differs between identities. [4.3]"""

    storage_id: str


class AccountDescriptor(Struct, frozen=True):
    """Whom the connection belongs to. Kotlin clients cannot start without it. [11]"""

    account_sid: str
    instance_sids: dict[str, str]
    identity: str


class HttpRequest(Struct, frozen=True, omit_defaults=True):
    """A tunnelled HTTP request without its body. [6.1]

    ``path`` and the values of ``params`` are percent-encoded: see ``paths.py``.
    """

    path: str
    method: str
    host: str | None = None
    params: dict[str, HttpValue] | None = None
    headers: dict[str, HttpValue] | None = None

    def find_header(self, name: str) -> str | None:
        """First value of a header, or None. Names are compared without case."""
        wanted = name.lower()
        for key, value in (self.headers or {}).items():
            if key.lower() == wanted:
                return first_value(value)
        return None


def all_values(value: HttpValue) -> list[str]:
    """The values of a parameter or header in order; none when it is null."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def first_value(value: HttpValue) -> str | None:
    """The first value of a parameter or header, or None."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


class TelemetryEvent(Struct, frozen=True, omit_defaults=True):
    """A span a client measured. ``start`` and ``end``: ms relative to the sending, <= 0."""

    start: float
    end: float
    title: str
    details: JsonValue = None
    id: str | None = None
    type: str | None = None


# Upstream


class Init(Struct, frozen=True, omit_defaults=True, tag_field="method", tag="init"):
    """The first message of a connection: who is there. [4.2]"""

    id: str
    token: str
    continuation_token: str | None = None
    metadata: Metadata | None = None
    registrations: list[Registration] | None = None
    tweaks: JsonValue = None
    capabilities: list[str] | None = None


class Update(Struct, frozen=True, tag_field="method", tag="update"):
    """A new token for the same account, service and identity. [4.4]"""

    id: str
    token: str


class Request(Struct, frozen=True):
    """A tunnelled HTTP request (``method`` is ``message``). [6]"""

    id: str
    http_request: HttpRequest
    active_grant: str | None = None
    payload: bytes = b""


class ClientClose(Struct, frozen=True, tag_field="method", tag="close"):
    """The client is about to leave."""

    id: str


class Telemetry(Struct, frozen=True, tag_field="method", tag="telemetry.v1"):
    """Measurements of the client. Nothing is answered."""

    id: str
    events: list[TelemetryEvent] | None = None


class PutNotificationContext(Struct, frozen=True):
    """Not used by Sync; answered with 200."""

    id: str
    notification_ctx_id: str | None = None
    payload: bytes = b""


class DeleteNotificationContext(
    Struct, frozen=True, omit_defaults=True, tag_field="method", tag="delete_notification_ctx"
):
    """Not used by Sync; answered with 200."""

    id: str
    notification_ctx_id: str | None = None


# Downstream


class Notification(Struct, frozen=True):
    """A pushed event; the payload must have an ``event_type``. [8.3, trap 3]"""

    id: str
    message_type: str
    notification_ctx_id: str | None = None
    payload: bytes = b""


class ClientUpdate(Struct, frozen=True, tag_field="method", tag="client_update"):
    """A hint to the client, see :data:`TOKEN_ABOUT_TO_EXPIRE`."""

    id: str
    client_update_type: str


class Ping(Struct, frozen=True, tag_field="method", tag="ping"):
    """Asks for a sign of life. [4.5]"""

    id: str


class ServerClose(Struct, frozen=True):
    """The server ends the session; ``status`` is mandatory. [4.6, trap 3]

    The payload is empty or ``{"backoff_policy":{"reconnect_min_ms":N}}``.
    """

    id: str
    status: Status
    payload: bytes = b""


# Both directions


class Reply(Struct, frozen=True):
    """Answers the message with the same ``id``.

    Upstream it only says that a message arrived. Downstream it carries ``http_status`` and
    ``http_headers`` for a :class:`Request`, and the last six fields for an :class:`Init`.
    """

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
    payload: bytes = b""


class Unknown(Struct, frozen=True):
    """A message whose ``method`` is none of ours; whatever else it carried is dropped."""

    id: str
    method: str


Upstream: TypeAlias = (
    Init
    | Update
    | Request
    | Reply
    | ClientClose
    | Telemetry
    | PutNotificationContext
    | DeleteNotificationContext
    | Unknown
)
"""Everything a client may send."""

Downstream: TypeAlias = Reply | Notification | ClientUpdate | Ping | ServerClose | Unknown
"""Everything a server may send."""
