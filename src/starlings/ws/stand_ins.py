"""What picows is given in place of the request's head, the loop's transport and a logger.

picows expects to be the one that the bytes of a connection come from and go to, and to answer a
handshake that nobody has read before. Here uvicorn has read it, and an outbox bounds what is sent.
Each of these takes one place and lets picows do no more than it should.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

__all__ = ["Discarder", "OutboxTransport", "PeerLogger", "find_forwarded", "make_head"]

# All that picows looks at, or that the handshake is decided by. The rest (cookies, mostly) would
# only make picows' read buffer larger for the connection's whole life, or run into its own bounds
# of 16 KiB and 128 headers.
_KEPT = frozenset(
    {
        b"content-length",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
    }
)
_KEPT_TO_COMPRESS = _KEPT | {b"sec-websocket-extensions"}


def make_head(head: bytes, may_compress: bool) -> bytes:
    """Rewrite a request's head so that picows accepts what uvicorn has accepted, and keep what
    matters.

    picows wants ``Connection`` to be exactly ``upgrade``, Firefox sends ``keep-alive, Upgrade``.
    Offers of compression matter if they may be taken.
    """
    names = _KEPT_TO_COMPRESS if may_compress else _KEPT
    request_line, *lines = head.split(b"\r\n")
    kept = [request_line, b"connection: upgrade"]
    kept += [line for line in lines if line.partition(b":")[0].lower() in names]
    return b"\r\n".join(kept) + b"\r\n\r\n"


def find_forwarded(head: bytes) -> bytes | None:
    """The ``X-Forwarded-For`` headers of a request's head, joined; None if there are none."""
    headers = [line.partition(b":") for line in head.split(b"\r\n")]
    found = [value for name, _, value in headers if name.lower() == b"x-forwarded-for"]
    return b",".join(found) if found else None


class _ServerProtocol(Protocol):
    """``transport.ServerProtocol``, as picows is led to it."""

    def write_from_picows(self, data: bytes) -> None:
        """The answer to the handshake, or a close frame after a breach of protocol."""

    def close_from_picows(self) -> None:
        """After a refused handshake, or some time after such a close frame."""


class OutboxTransport:
    """What picows takes for the loop's transport: all that it writes goes through the outbox."""

    __slots__ = ("_protocol", "_transport", "get_extra_info")

    def __init__(self, transport: asyncio.Transport, protocol: _ServerProtocol) -> None:
        self.get_extra_info = transport.get_extra_info
        self._transport = transport
        self._protocol: _ServerProtocol | None = protocol

    def write(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.write_from_picows(data)

    def close(self) -> None:
        if self._protocol is not None:
            self._protocol.close_from_picows()

    def get_write_buffer_size(self) -> int:
        """Never 0, for then picows writes to the socket past everybody."""
        return 1

    def abort(self) -> None:
        self._transport.abort()

    def let_go(self) -> None:
        """The connection is gone; picows may still call, some time after a breach of protocol."""
        self._protocol = None


class Discarder(asyncio.Protocol):
    """Takes picows' place after a breach of protocol: reads and forgets. The rest is for
    ``protocol`` as before."""

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]


class PeerLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs a peer's breach of protocol at DEBUG; picows says ERROR, which lets any peer fill the
    log.

    Not being a ``logging.Logger`` it also keeps picows from making one logger object per
    connection.
    """

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, exc_info: Any = True, **kwargs: Any) -> None:
        self.logger.error(msg, *args, exc_info=exc_info, **kwargs)
