"""The bounds of WebSocket connections; those of HTTP are in ``starlings.ws.http``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlings.ws.outbox import OutboxLimits

__all__ = ["WebSocketOptions"]


def _trust_nobody(address: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """What a connection may take, and who may have one.

    ``path`` is the only one served, with any query. ``max_message_bytes`` is enough for the
    thousand subscriptions that a Kotlin client may ask for at once (160 KB). ``allowed_origins``
    None allows all; otherwise a request with an ``Origin`` not listed is refused, and one without
    (no browser) allowed. ``send_buffer_bytes`` is SO_SNDBUF (Linux doubles it for its own use):
    without it the kernel grows to megabytes for a stalled reader. ``read_buffer_bytes`` is the
    initial size; picows doubles it as messages need and never shrinks it. ``close_timeout_seconds``
    bounds the wait for the peer's answer to our close. ``compress_from_bytes`` is the size from
    which on messages are compressed for clients that offer it; None: no compression is agreed on.
    ``is_trusted_proxy`` is True for the address of a proxy whose ``X-Forwarded-For`` is to be
    believed.
    """

    path: str = "/v3/wsconnect"
    allowed_origins: frozenset[str] | None = None
    max_message_bytes: int = 192 * 1024
    max_connections: int = 100_000
    close_timeout_seconds: float = 5.0
    read_buffer_bytes: int = 2048
    send_buffer_bytes: int = 128 * 1024
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
    compress_from_bytes: int | None = None
    is_trusted_proxy: Callable[[str], bool] = _trust_nobody
