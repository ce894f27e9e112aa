"""A session and the client at its other end, in each of the session's states."""

from __future__ import annotations

from itertools import count
from typing import Any

from starlings.wire.close_codes import OFFLOAD
from starlings.wire.codec import decode_downstream, encode_upstream
from starlings.wire.messages import (
    AccountDescriptor,
    ContinuationTokenStatus,
    Downstream,
    HttpRequest,
    Init,
    Reply,
    Request,
    ServerClose,
    Status,
    Update,
    Upstream,
)
from starlings.wire.session import ServerSession
from starlings.wire.session_events import (
    CloseRequested,
    FrameReceived,
    InitAccepted,
    Input,
    Output,
    Send,
    Tick,
    Timing,
    TransportLost,
)

__all__ = [
    "HOUR",
    "INIT",
    "OK",
    "REQUEST",
    "START",
    "TIMING",
    "UPDATE",
    "WARNED",
    "Peer",
    "a_closed_peer",
    "a_closing_peer",
    "a_ready_peer",
    "accepted_with",
    "an_accepted_peer",
    "an_initialising_peer",
    "an_updating_peer",
    "close_sent",
    "unavailable",
]

START = 1_000_000
HOUR = 3_600_000
TIMING = Timing()
WARNED = START + HOUR - TIMING.expiry_warning_ms
OK = Status(200, "OK")
INIT = Init("TM-init", "a.b.c")
UPDATE = Update("TM-up", "d.e.f")
REQUEST = Request("TM-get", HttpRequest("/v3/Maps/m", "GET"))


def accepted_with(expires_at_ms: int = START + HOUR, **changes: Any) -> InitAccepted:
    values: dict[str, Any] = {
        "expires_at_ms": expires_at_ms,
        "continuation_token": "ct",
        "continuation_token_status": ContinuationTokenStatus(False),
        "registrations": (),
        "account": AccountDescriptor("AC1", {"data_sync": "IS1"}, "zoe"),
        "storage_id": "AC1:IS1:zoe",
    }
    return InitAccepted(**{**values, **changes})


class Peer:
    """A session and the client at its other end, joined in memory."""

    def __init__(self, timing: Timing = TIMING) -> None:
        ids = count(1)
        self.now_ms = START
        self.session = ServerSession(lambda: f"TM{next(ids):032x}", START, timing)

    def tell(self, event: Input) -> list[Output | Downstream]:
        """What comes out, with frames already decoded."""
        return [
            decode_downstream(output.frame) if isinstance(output, Send) else output
            for output in self.session.handle(event, self.now_ms)
        ]

    def send(self, message: Upstream) -> list[Output | Downstream]:
        return self.tell(FrameReceived(encode_upstream(message)))

    def tick_at(self, now_ms: int) -> list[Output | Downstream]:
        self.now_ms = now_ms
        return self.tell(Tick())


def an_accepted_peer() -> Peer:
    return Peer()


def an_initialising_peer() -> Peer:
    peer = Peer()
    peer.send(INIT)
    return peer


def a_ready_peer(expires_at_ms: int = START + HOUR) -> Peer:
    peer = an_initialising_peer()
    peer.tell(accepted_with(expires_at_ms))
    return peer


def an_updating_peer() -> Peer:
    peer = a_ready_peer()
    peer.send(UPDATE)
    return peer


def a_closing_peer() -> Peer:
    peer = a_ready_peer()
    peer.tell(CloseRequested(OFFLOAD))
    return peer


def a_closed_peer() -> Peer:
    peer = a_ready_peer()
    peer.tell(TransportLost())
    return peer


def unavailable(request_id: str) -> Reply:
    return Reply(request_id, Status(503, "SERVICE_UNAVAILABLE"))


def close_sent(outputs: list[Output | Downstream]) -> ServerClose:
    [close] = [output for output in outputs if isinstance(output, ServerClose)]
    return close
