"""What a server session is told, what it answers, and the states it goes through.

``session.py`` is the machine; here are its values. Times are integer milliseconds of one clock of
the owner's choice, as long as ``expires_at_ms`` is on the same clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from starlings.wire.close_codes import CloseCode, Refusal
from starlings.wire.messages import (
    AccountDescriptor,
    ContinuationTokenStatus,
    Init,
    InitRegistration,
    Request,
    TelemetryEvent,
)

__all__ = [
    "Accepted",
    "CloseRequested",
    "Closed",
    "Closing",
    "DropRequested",
    "FrameReceived",
    "FrameRejected",
    "InitAccepted",
    "InitRefused",
    "InitRequested",
    "Input",
    "Output",
    "Ready",
    "Reason",
    "RequestReceived",
    "Send",
    "SessionClosed",
    "State",
    "TelemetryReceived",
    "Tick",
    "Timing",
    "TransportLost",
    "UpdateAccepted",
    "UpdateRefused",
    "UpdateRequested",
]


@dataclass(frozen=True, slots=True)
class Timing:
    """The waits of a session, in milliseconds."""

    init_timeout_ms: int = 30_000
    """From the open connection to the answer to ``init``. Clients wait 30 s, too. [4.2]"""
    ping_interval_ms: int = 25_000
    """Between two pings. Kotlin reconnects after 45 s without a frame. [4.5]"""
    silence_timeout_ms: int = 60_000
    """Without any frame from the client it counts as dead. More than two pings. [4.5]"""
    expiry_warning_ms: int = 180_000
    """How long before its token expires a client is told. [4.4]"""
    close_timeout_ms: int = 1_000
    """How long the reply to ``close`` is waited for. [4.6]"""


class Reason(Enum):
    """Why a session closed; the text is fit for a log or a metric's label."""

    NO_INIT = "no init in time"
    INIT_UNANSWERED = "init was not decided in time"
    INIT_REFUSED = "init refused"
    PROTOCOL_ERROR = "protocol error"
    CLIENT_LEFT = "client left"
    TOKEN_EXPIRED = "token expired"
    SILENT = "client silent"
    DRAINED = "closed by the server"
    REVOKED = "access was revoked"
    SHUTDOWN = "server stops"
    TRANSPORT_LOST = "connection lost"


# States. Each holds only what exists in it.


@dataclass(frozen=True, slots=True)
class Accepted:
    """Connected, not known yet. ``init_id`` is None until ``init`` came."""

    deadline_ms: int
    init_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """In use.

    Attributes:
        warn_at_ms: When to say that the token is about to expire; None once that was said.
        update_ids: Updates of the token that the owner has not decided yet, oldest first.
    """

    ping_at_ms: int
    expires_at_ms: int
    warn_at_ms: int | None
    update_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Closing:
    """Said good-bye, waiting for the client. ``close_id`` is None after a refused ``init``."""

    deadline_ms: int
    reason: Reason
    close_id: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The end. Nothing leads out of it, nothing comes out of it."""

    reason: Reason


State: TypeAlias = Accepted | Ready | Closing | Closed


# Inputs


class FrameReceived(Struct, frozen=True):
    """One WebSocket message arrived, of any bytes."""

    data: bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class InitAccepted:
    """The owner's yes to :class:`InitRequested`.

    Attributes:
        expires_at_ms: ``exp`` of the token, plus what grace the owner gives to clocks.
        continuation_token: Given back by the client when it comes again. [4.3]
        storage_id: Stable for and different between (account, service, identity); None leaves
            offline storage out, so that clients read objects anew after each page load. [4.3]
        account: Kotlin clients need it. [11]
        product: Name of the grant, the key of what is said about storage.
    """

    expires_at_ms: int
    continuation_token: str
    continuation_token_status: ContinuationTokenStatus
    registrations: tuple[InitRegistration, ...]
    account: AccountDescriptor
    storage_id: str | None
    product: str = "data_sync"
    capabilities: tuple[str, ...] = ("client_update", "offline_storage", "telemetry.v1")


@dataclass(frozen=True, slots=True)
class InitRefused:
    """The owner's no to :class:`InitRequested`. The delay is for 429 only, in ms."""

    refusal: Refusal
    reconnect_min_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateAccepted:
    """The owner's yes to the :class:`UpdateRequested` with this id."""

    request_id: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """The owner's no to the :class:`UpdateRequested` with this id.

    The old token stays in force; after 401 and 403 the client leaves by itself. [4.4]
    """

    request_id: str
    refusal: Refusal
    reconnect_min_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CloseRequested:
    """The owner ends the session with a ``close``, by default to send the client elsewhere.

    ``reconnect_min_ms`` is the least delay before the client comes back, for 308. [4.6]
    """

    close_code: CloseCode
    reconnect_min_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DropRequested:
    """The owner ends the session without a word; the client is back after about 1 s. [4.6]"""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. Due at ``ServerSession.deadline_ms``; earlier or later does no harm."""


@dataclass(frozen=True, slots=True)
class TransportLost:
    """The connection is gone."""


Input: TypeAlias = (
    FrameReceived
    | InitAccepted
    | InitRefused
    | UpdateAccepted
    | UpdateRefused
    | CloseRequested
    | DropRequested
    | Tick
    | TransportLost
)


# Outputs


class Send(Struct, frozen=True):
    """Send these bytes as one binary WebSocket message, in the order of the outputs."""

    frame: bytes


class InitRequested(Struct, frozen=True):
    """Check the token; then :class:`InitAccepted` or :class:`InitRefused`. Once per session."""

    init: Init


class UpdateRequested(Struct, frozen=True):
    """Check the new token; then :class:`UpdateAccepted` or :class:`UpdateRefused`."""

    request_id: str
    token: str


class RequestReceived(Struct, frozen=True):
    """Carry out a tunnelled request and send ``codec.encode_http_reply`` for its id."""

    request: Request


class TelemetryReceived(Struct, frozen=True):
    """Measurements of the client, for whoever wants them."""

    events: list[TelemetryEvent]


class FrameRejected(Struct, frozen=True):
    """A frame could not be read. For a log line; the session goes on where it can."""

    reason: str


class SessionClosed(Struct, frozen=True):
    """The last output of every session: drop its subscriptions, send what is queued, and then
    close the WebSocket, where it still stands."""

    reason: Reason


Output: TypeAlias = (
    Send
    | InitRequested
    | UpdateRequested
    | RequestReceived
    | TelemetryReceived
    | FrameRejected
    | SessionClosed
)
