"""Whether a request may become a WebSocket, and what is agreed on with it.

Decided here, in this order: path, version, origin, number of connections; then compression. picows
checks the rest of the request's form (RFC 6455 section 4.2.1) and computes the key of the answer.
Credentials come later, with the session's first frame.

No sockets and no picows here: ``starlings.ws.transport`` asks and writes the answer.
"""

from __future__ import annotations

from typing import NamedTuple

from starlings.ws.deflate import Agreement, negotiate
from starlings.ws.options import WebSocketOptions

__all__ = ["Accepted", "Handshake", "Refused"]


_VERSION = "13"


class Refused(NamedTuple):
    """Answered with this status, text and headers."""

    status: int
    text: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Accepted(NamedTuple):
    """Answered with 101 and these headers, besides those that every WebSocket needs."""

    agreement: Agreement | None
    """About compression."""
    headers: dict[str, str]


class Handshake:
    """Decides about requests, within the bounds of ``options``."""

    def __init__(self, options: WebSocketOptions) -> None:
        self._path = options.path.encode()
        self._allowed_origins = options.allowed_origins
        self._max_connections = options.max_connections
        self._may_compress = options.compress_from_bytes is not None

    def decide(
        self,
        target: bytes,
        version: str | None,
        origin: str | None,
        offers: str,
        open_connections: int,
    ) -> Refused | Accepted:
        """What to answer.

        Args:
            target: Path and query.
            version: Of the WebSocket protocol; the header, None without one.
            origin: The header, None without one.
            offers: All ``Sec-WebSocket-Extensions`` headers, joined by commas.
            open_connections: Without this one.
        """
        if target.partition(b"?")[0] != self._path:
            return Refused(404, b"Not found")
        if version != _VERSION:
            # RFC 6455 section 4.2.2: the client is told which one it may try.
            headers = (("Sec-WebSocket-Version", _VERSION),)
            return Refused(426, b"Unknown version of WebSocket", headers)
        allowed = self._allowed_origins
        if allowed is not None and origin is not None and origin not in allowed:
            return Refused(403, b"Origin not allowed")
        if open_connections >= self._max_connections:
            return Refused(503, b"Too many connections")
        agreement = negotiate(offers) if self._may_compress else None
        extensions = {} if agreement is None else {"Sec-WebSocket-Extensions": agreement.answer}
        return Accepted(agreement, extensions)
