"""picows as uvicorn's WebSocket protocol class: one port, one TLS set-up, frames never pass through
ASGI.

Theory of operation. uvicorn parses every request with httptools. On an upgrade it calls what
``uvicorn.Config(ws=...)`` names (here a ``WebSocketServer``), then ``connection_made``,
``data_received`` with the rebuilt request head, and ``transport.set_protocol``. From then on the
event loop reads straight into picows' buffer (``get_buffer``/``buffer_updated``).

That way of using ``picows.picows.WSProtocol``, and its constructor, are not documented interfaces:
picows is pinned to 2.3.*, this and ``frame_reader`` are the only modules that import it, and
tests/ws/test_transport.py is the contract to run before a newer one is allowed.

picows checks and answers the handshake, and parses and unmasks frames. Whether a connection is
wanted is said by ``handshake``, what frames mean by ``frame_reader``, what picows is given instead
of what it expects is in ``stand_ins``, and what the owner sees in ``connection``. Here is what ties
them to one TCP connection: opening it, bounding it in the kernel, and ending it in order.

Everything sent after the handshake goes through the connection's ``Outbox``, pongs too: a peer that
pings and never reads would otherwise fill a buffer that nobody bounds. There are three ways to the
end, all of which lead to ``connection_lost``: we close first and wait for the answer for a while
(``start_close``), the peer does (``answer_close``), or the peer breaks the protocol and is told so
(``write_from_picows``). Who doesn't read meanwhile is aborted, with a TCP reset.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from picows import (
    WSAutoPingStrategy,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows import picows as _picows

from starlings.auth.addresses import find_caller_address
from starlings.auth.refusal_log import RefusalLog
from starlings.ws.connection import (
    CONNECTION_LOST,
    PEER_CLOSED,
    PROTOCOL_ERROR,
    Connection,
    Listener,
)
from starlings.ws.deflate import Agreement, SharedDeflate
from starlings.ws.frame_reader import FrameReader
from starlings.ws.gatherer import FIRST, Gatherer, can_gather
from starlings.ws.handshake import Handshake, Refused
from starlings.ws.options import WebSocketOptions
from starlings.ws.outbox import (
    CLOSE,
    PONG,
    WRITE_HIGH_WATER_BYTES,
    Flusher,
    Outbox,
    ws_frame,
)
from starlings.ws.stand_ins import (
    Discarder,
    OutboxTransport,
    PeerLogger,
    find_forwarded,
    make_head,
)

__all__ = ["ServerProtocol", "WebSocketServer"]

# struct linger {1, 0}: closing sends RST and frees the kernel's send buffer at once.
_LINGER_RESET = struct.pack("ii", 1, 0)


class WebSocketServer:
    """Makes the protocol of each upgrade; pass it as ``uvicorn.Config(ws=...)``.

    Args:
        listener_factory: Called per accepted upgrade, before ``on_open``.
        options: Bounds and path.

    ``starlings.ws.http.BoundedHttpServer`` must be the HTTP side: uvicorn's own drops bytes that
    arrive behind the request head.
    """

    def __init__(
        self, listener_factory: Callable[[], Listener], options: WebSocketOptions | None = None
    ) -> None:
        self.listener_factory = listener_factory
        self.options = options or WebSocketOptions()
        self.open_connections: set[ServerProtocol] = set()
        from_bytes = self.options.compress_from_bytes
        self.deflate = None if from_bytes is None else SharedDeflate(from_bytes)
        self.handshake = Handshake(self.options)
        self.logger = PeerLogger(logging.getLogger("starlings.ws.picows"))
        self.refusals = RefusalLog(logging.getLogger("starlings.ws"))
        """Of origins and sessions."""
        self._flusher: Flusher | None = None
        self._gatherer: Gatherer | None = None

    @property
    def gatherer(self) -> Gatherer:
        """The one gatherer of the running loop, made at its first use."""
        if self._gatherer is None:
            loop = asyncio.get_running_loop()
            self._gatherer = Gatherer(loop, self.flusher, can_gather(loop))
        return self._gatherer

    @property
    def flusher(self) -> Flusher:
        """The one flusher of the running loop, made at its first use."""
        if self._flusher is None:
            self._flusher = Flusher(asyncio.get_running_loop(), self.options.outbox)
        return self._flusher

    def __call__(self, config: Any, server_state: Any, app_state: Any) -> ServerProtocol:
        """Make the protocol of one upgrade (called by uvicorn, which names the arguments)."""
        return ServerProtocol(self, server_state.connections)


class ServerProtocol(_picows.WSProtocol):  # type: ignore[name-defined, misc]  # not in its stub
    """The server's end of one WebSocket, from the upgrade's head to ``connection_lost``."""

    __slots__ = (
        "_close_code",
        "_close_reason",
        "_close_timer",
        "_connections",
        "_has_answered",
        "_has_head",
        "_loop_transport",
        "_outbox",
        "_server",
        "_stand_in",
        "acknowledgements_until_noted",
        "address",
        "agreement",
        "is_closing",
        "max_message_bytes",
        "messages_received",
        "on_lost",
    )

    def __init__(self, server: WebSocketServer, connections: set[Any]) -> None:
        super().__init__(
            None,  # host_port: clients only
            None,  # ws_path: clients only
            False,  # is_client_side
            self._accept,
            server.logger,
            True,  # disconnect_on_exception
            None,  # websocket_handshake_timeout: the whole head is here already
            False,  # enable_auto_ping: a task per connection; the session pings
            None,  # auto_ping_idle_timeout
            None,  # auto_ping_reply_timeout
            WSAutoPingStrategy.PING_WHEN_IDLE,  # not used either, but must be one of them
            False,  # enable_auto_pong: see the module's text
            server.options.max_message_bytes,
            None,  # extra_headers: clients only
            server.options.read_buffer_bytes,
        )
        self.on_lost: Callable[[], None] | None = None
        """Set by the HTTP side, to release what it counted for this TCP connection."""
        self.agreement: Agreement | None = None
        """About compression."""
        self.address = ""
        """The peer's, as far as trusted proxies tell."""
        self.is_closing = False
        self.acknowledgements_until_noted = FIRST
        self.max_message_bytes = server.options.max_message_bytes
        self.messages_received = 0
        self._server = server
        self._connections = connections
        self._has_head = False
        self._has_answered = False
        self._close_code: int | None = None
        self._close_reason = ""
        self._close_timer: asyncio.TimerHandle | None = None

    # What uvicorn and the event loop call.

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._loop_transport = transport
        self._connections.add(self)
        is_tls = transport.get_extra_info("ssl_object") is not None
        # TLS transports pause at "size >= high", also when nothing is left: there 1 means what 0
        # means for TCP.
        transport.set_write_buffer_limits(high=1 if is_tls else WRITE_HIGH_WATER_BYTES, low=0)
        self._set_socket_options(transport.get_extra_info("socket"))
        fd = -1 if is_tls else transport.get_extra_info("socket").fileno()
        self._outbox = Outbox(transport, self._server.flusher, self._abort, self._on_drained, fd)
        self._stand_in = OutboxTransport(transport, self)
        super().connection_made(self._stand_in)

    def data_received(self, data: bytes) -> None:
        """Take the rebuilt request head, then bytes that came behind it."""
        if not self._has_head:
            self._has_head = True
            self.address = self._find_address(data)
            data = make_head(data, may_compress=self._server.deflate is not None)
        view = memoryview(data)
        while view and not self.is_closing:
            buffer = self.get_buffer(len(view))
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            self.buffer_updated(size)
            view = view[size:]

    def pause_writing(self) -> None:
        self._outbox.pause_writing()

    def resume_writing(self) -> None:
        self._outbox.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._server.open_connections.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._outbox.close()
        self._server.gatherer.discard(self)
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        # What refers to this in turn lets go of it, so that all is freed now: cycles that have
        # lasted for long are looked for very seldom (``app.garbage``).
        self._stand_in.let_go()
        if self.listener is not None:
            self.listener.let_go()

    def shutdown(self) -> None:
        """The server stops (called by uvicorn)."""
        self.start_close(1001, "server is shutting down")

    # What picows calls, through OutboxTransport.

    def write_from_picows(self, data: bytes) -> None:
        """Send the answer to the handshake, or a close frame because the peer broke the protocol.

        After the latter picows would go on reading into its buffer for 10 ms, then close; with
        unread bytes in the kernel that is a TCP reset, which may overtake the close frame. Instead,
        what the peer still sends is thrown away until it hangs up or time is up.
        """
        if not self._has_answered:
            self._has_answered = True
            self._outbox.append(bytes(data))
        elif not self.is_closing:
            self.is_closing = True
            self._outbox.append(data)
            self._outbox.refuse_more()
            self._start_close_timer(PROTOCOL_ERROR)
            self._loop_transport.set_protocol(Discarder(self))
            if self._loop_transport.can_write_eof() and not self._outbox.queued_bytes:
                self._loop_transport.write_eof()

    def close_from_picows(self) -> None:
        """Hang up after a refused handshake; after a breach of protocol see
        ``write_from_picows``."""
        if not self.is_closing:
            self.is_closing = True
            self._outbox.refuse_more()
            self._loop_transport.close()

    # What the gatherer calls.

    def set_mark(self, size_bytes: int) -> None:
        sock = self._loop_transport.get_extra_info("socket")
        with suppress(OSError):  # it is being closed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)

    def lift_mark(self) -> None:
        self.acknowledgements_until_noted = 1
        self.set_mark(1)

    # What Connection and the frame reader call.

    def make_connection(self) -> Connection:
        connection = Connection(self, self._outbox)
        if self.agreement is not None and self._server.deflate is not None:
            connection.send_framed = self._server.deflate.make_sender(
                connection.send_framed, self.agreement
            )
        return connection

    def send_pong(self, payload: bytes) -> None:
        self._outbox.append(ws_frame(payload, PONG))

    def start_close(self, code: int, reason: str) -> None:
        """Send a close frame behind what is queued; the peer has ``close_timeout_seconds`` to
        answer."""
        if self.is_closing:
            return
        self.is_closing = True
        self._close_code, self._close_reason = code, reason
        self._outbox.append(ws_frame(struct.pack(">H", code) + reason.encode()[:123], CLOSE))
        self._outbox.refuse_more()
        self._server.gatherer.release(self)  # the answer is small
        self._start_close_timer(reason)

    def answer_close(self, code: int) -> None:
        """Answer the peer's close frame, or take it as the answer to ours, and close the TCP
        connection."""
        if not self.is_closing:
            self.is_closing = True
            self._close_reason = PEER_CLOSED
            payload = b"" if code == 1005 else struct.pack(">H", code)
            self._outbox.append(ws_frame(payload, CLOSE))
            self._outbox.refuse_more()
        self._close_code = code
        if self._outbox.queued_bytes:
            # The peer does not read: it gets nothing more of what waits for it.
            self._abort(self._close_reason)
        else:
            self._loop_transport.close()

    def ended(self) -> tuple[int | None, str]:
        """Code and reason for ``Listener.on_close``."""
        handshake = self.transport.close_handshake
        if self._close_code is None and handshake is not None and handshake.sent is not None:
            return int(handshake.sent.code), PROTOCOL_ERROR
        return self._close_code, self._close_reason or CONNECTION_LOST

    def _start_close_timer(self, reason: str) -> None:
        self._close_timer = asyncio.get_running_loop().call_later(
            self._server.options.close_timeout_seconds, self._abort, reason
        )

    def _abort(self, reason: str) -> None:
        self.is_closing = True
        self._close_reason = reason
        self._outbox.close()
        sock = self._loop_transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # Some systems refuse when the peer is gone. Whoever cuts off a slow reader is in the
            # middle of writing to others.
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._loop_transport.abort()

    def _on_drained(self) -> None:
        if self.listener is not None and not self.is_closing:
            self.listener.listener.on_drained()

    def _find_address(self, head: bytes) -> str:
        peer = self._loop_transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        is_trusted_proxy = self._server.options.is_trusted_proxy
        if not is_trusted_proxy(address):
            return address
        return find_caller_address(address, find_forwarded(head), is_trusted_proxy)

    def _set_socket_options(self, sock: socket.socket) -> None:
        options = self._server.options
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.send_buffer_bytes)
        if sock.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            # The kernel's half of the age bound: gives up on bytes that it took and the peer does
            # not acknowledge.
            milliseconds = int(options.outbox.age_seconds * 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def _accept(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        server, headers = self._server, request.headers
        answer = server.handshake.decide(
            request.path,
            headers.get("sec-websocket-version"),
            headers.get("origin"),
            ",".join(headers.getall("sec-websocket-extensions", [])),
            len(server.open_connections),
        )
        if isinstance(answer, Refused):
            if answer.status == 403:
                server.refusals.tell(
                    "An origin was refused", self.address, origin=headers.get("origin")
                )
            refusal = WSUpgradeResponse.create_error_response(
                answer.status, answer.text, answer.headers
            )
            return WSUpgradeResponseWithListener(refusal, None)
        server.open_connections.add(self)
        self.agreement = answer.agreement
        reader = FrameReader(self, server.listener_factory(), server.gatherer)
        response = WSUpgradeResponse.create_101_response(answer.headers)
        return WSUpgradeResponseWithListener(response, reader)
