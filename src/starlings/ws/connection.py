"""One open WebSocket as its owner sees it: what it may do with it, and what it hears of it.

Theory of operation. A ``Listener`` is made for each handshake that is accepted. It is given its
``Connection`` with ``on_open`` and hears whole messages, in order, until ``on_close``. What it
sends goes through the connection's bounded outbox (see ``starlings.ws.outbox``) at the end of the
loop's turn. Nobody waits for the peer: who has much to send looks at ``queued_bytes`` and goes on
with ``on_drained``; a peer that doesn't read is cut off.

A connection ends in one of these ways, and ``on_close`` says which: the peer closed it
(``PEER_CLOSED``); its owner or the server did (the reason given then); the peer broke the protocol
(``PROTOCOL_ERROR``); it read too slowly, or a write failed (``outbox.SLOW_READER``,
``outbox.WRITE_FAILED``); it is lost, and nobody said why (``CONNECTION_LOST``).

No sockets and no picows here: ``starlings.ws.transport`` is what moves the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlings.ws.deflate import Agreement
from starlings.ws.outbox import Outbox, ws_frame

__all__ = [
    "ABORTED",
    "CONNECTION_LOST",
    "PEER_CLOSED",
    "PROTOCOL_ERROR",
    "Connection",
    "ConnectionStatistics",
    "Listener",
]

# Reasons given to Listener.on_close, besides those of the outbox and those given to close().
PEER_CLOSED = "peer_closed"
PROTOCOL_ERROR = "protocol_error"
CONNECTION_LOST = "connection_lost"
ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """Counts since the upgrade; ``queued_bytes`` is what the kernel has not taken now."""

    messages_received: int
    queued_bytes: int


class Listener(Protocol):
    """Who hears of one connection. Called on the loop's thread, in the order things happened.

    ``on_open`` comes first and ``on_close`` last, once. An exception is logged and closes the
    connection (1011).
    """

    def on_open(self, connection: Connection) -> None:
        """The handshake is done; sending is allowed from here on."""

    def on_message(self, data: bytes) -> bool | None:
        """A whole binary message, at most ``max_message_bytes`` long.

        Returns: True if it only acknowledges, so that more of the kind may wait a moment; see
            ``starlings.ws.gatherer``.
        """

    def on_text(self) -> None:
        """A whole text message; its content is not kept."""

    def on_drained(self) -> None:
        """The kernel has taken all that was sent, after a time when it had not: a pager may go
        on."""

    def on_close(self, code: int | None, reason: str) -> None:
        """The connection is gone.

        ``code`` is the peer's close code (1005 if it gave none), else ours, else None: lost without
        a close handshake. ``reason`` is ``PEER_CLOSED``, ``PROTOCOL_ERROR``, ``CONNECTION_LOST``,
        ``ABORTED``, ``SLOW_READER``, ``WRITE_FAILED`` or what was given to ``close``.
        """


class _ServerProtocol(Protocol):
    """``transport.ServerProtocol``, as its connection needs it."""

    @property
    def agreement(self) -> Agreement | None: ...

    @property
    def messages_received(self) -> int: ...

    @property
    def address(self) -> str: ...

    def start_close(self, code: int, reason: str) -> None: ...


class Connection:
    """One open WebSocket, as its owner sees it. No method blocks or raises once the peer is
    gone."""

    __slots__ = ("_outbox", "_protocol", "send_framed")

    def __init__(self, protocol: _ServerProtocol, outbox: Outbox) -> None:
        self.send_framed: Callable[[bytes], None] = outbox.append
        """Send what ``ws_frame`` built once for many connections; same order as ``send``."""
        self._protocol = protocol
        self._outbox = outbox

    def send(self, message: bytes | bytearray | memoryview) -> None:
        """Send one binary message after all earlier ones; see ``Outbox.append``."""
        self._outbox.append(ws_frame(message))

    @property
    def sink(self) -> Outbox | None:
        """Where ``send_framed`` puts frames unchanged, for ``Flusher.broadcast``; None if it
        compresses them."""
        return self._outbox if self._protocol.agreement is None else None

    @property
    def address(self) -> str:
        """Where the peer is, as far as trusted proxies tell; empty if unknown."""
        return self._protocol.address

    @property
    def queued_bytes(self) -> int:
        """Bytes that the kernel has not taken; who sends much at once stops early, and after
        ``flush`` waits for ``on_drained``."""
        return self._outbox.queued_bytes

    def flush(self) -> None:
        """Offer the kernel now what was sent in this turn of the loop. What it leaves, and only
        that, is followed by ``on_drained``."""
        self._outbox.flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then a close frame; ``on_close`` follows when the peer has answered
        or time is up.

        Args:
            code: 1000 to 1014 or 3000 to 4999.
            reason: At most 123 bytes of UTF-8.
        """
        self._protocol.start_close(code, reason)

    def abort(self, reason: str = ABORTED) -> None:
        """Drop the connection and what is queued at once, with a TCP reset; ``on_close`` follows
        soon."""
        self._outbox.cut(reason)

    def statistics(self) -> ConnectionStatistics:
        return ConnectionStatistics(
            messages_received=self._protocol.messages_received,
            queued_bytes=self._outbox.queued_bytes,
        )
