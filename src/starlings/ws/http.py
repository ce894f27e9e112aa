"""uvicorn's httptools protocol with the bounds that it lacks, and a lossless hand-over to
WebSocket.

uvicorn itself bounds idle keep-alive (``timeout_keep_alive``), the concurrency of requests
(``limit_concurrency``) and what it buffers of a body (64 KiB, by not reading on). Added here: size
and time of a request's head, size and time of its body, open TCP connections in all and per
address. A request that breaks a bound or the syntax is answered once, with ``Connection: close``.

The phase of the request that is being received decides which deadline runs; the fast path, a
request that comes whole in one segment on a connection kept alive, starts no timer. HTTP/1.1
pipelining is allowed, within a bound: uvicorn keeps all that was read, and goes on reading with
every response, so that a peer who doesn't wait could fill the memory at once. While an earlier
response is still being made, a bad request, or one too many, only ends the connection, after that
response.

Bytes behind the head of an upgrade (a first frame sent early) are handed over too; uvicorn's own
drops them.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

__all__ = ["BoundedHttpServer", "HttpOptions", "HttpStatistics"]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Bounds of the HTTP face.

    ``head_bytes`` counts request line and headers. ``head_seconds`` runs from the connection's
    start or the first byte of a later request, ``body_seconds`` from the end of the head.
    ``body_bytes`` is checked against Content-Length before the application hears of the request,
    and against chunks as they come. ``pipelined_requests`` may wait behind the one that is being
    answered. Whoever doesn't take an answer is cut off after ``answer_seconds``: by the kernel when
    nothing of it is taken, here when what waits in memory doesn't get less. ``max_connections`` and
    ``max_connections_per_address`` count TCP connections, upgraded ones too; None is no bound.
    Behind a proxy all have the proxy's address. ``refusal`` makes the answer of a status and a
    sentence: its headers, of which content type and length are left out, and its JSON body; it is
    the application's to say what all its answers look like.
    """

    head_bytes: int = 32 * 1024
    head_seconds: float = 10.0
    body_bytes: int = 1024 * 1024
    body_seconds: float = 60.0
    pipelined_requests: int = 32
    answer_seconds: float = 120.0
    max_connections: int | None = None
    max_connections_per_address: int | None = None
    refusal: Callable[[int, str], tuple[list[tuple[bytes, bytes]], bytes]] = lambda status, text: (
        [],
        b"{}",
    )


@dataclass(frozen=True, slots=True)
class HttpStatistics:
    """``open_connections`` now, upgraded ones included; refusals by status since the start."""

    open_connections: int
    refused: dict[int, int]


class BoundedHttpServer:
    """Makes the protocol of each TCP connection; pass it as ``uvicorn.Config(http=...)``."""

    def __init__(self, options: HttpOptions | None = None) -> None:
        self.options = options or HttpOptions()
        self.refused: Counter[int] = Counter()
        self._open = 0
        self._open_by_address: Counter[str] = Counter()

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> _BoundedHttpProtocol:
        """Make the protocol of one connection (called by uvicorn, which names the arguments)."""
        return _BoundedHttpProtocol(self, config, server_state, app_state, _loop)

    def statistics(self) -> HttpStatistics:
        return HttpStatistics(open_connections=self._open, refused=dict(self.refused))

    def admit(self, address: str) -> bool:
        """Count a new connection; False, and not counted, when there are too many."""
        options = self.options
        if options.max_connections is not None and self._open >= options.max_connections:
            return False
        per_address = options.max_connections_per_address
        if per_address is not None:
            if self._open_by_address[address] >= per_address:
                return False
            self._open_by_address[address] += 1
        self._open += 1
        return True

    def release(self, address: str) -> None:
        """Uncount a connection that was admitted."""
        self._open -= 1
        if self.options.max_connections_per_address is not None:
            self._open_by_address[address] -= 1
            if not self._open_by_address[address]:
                del self._open_by_address[address]


class _Refused(Exception):
    """Stops the parser: nothing that comes is of interest any more."""


# How long a refused peer may take to read the answer and hang up.
_LINGER_SECONDS = 2.0

# Phases of the message being received.
_IDLE = 0
_HEAD = 1
_BODY = 2


class _BoundedHttpProtocol(HttpToolsProtocol):
    """One HTTP connection, until it ends or becomes a WebSocket."""

    def __init__(
        self,
        server: BoundedHttpServer,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._server = server
        self._options = server.options
        self._is_admitted = False
        self._is_refused = False
        self._phase = _HEAD  # a new connection must send its first head in time
        self._timed_phase = _IDLE
        self._deadline: asyncio.TimerHandle | None = None
        self._writing_deadline: asyncio.TimerHandle | None = None
        # Of the head being received, all but the present segment; then of that segment.
        self._head_bytes = 0
        self._chunk_bytes = 0
        self._begun_in_chunk = 0
        self._body_bytes = 0
        # Since the last byte of the body: lines that end chunks, trailers.
        self._tail_bytes = 0
        # Begun before the present one: of these uvicorn forgets to say that the peer is gone.
        self._earlier: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_admitted = self._server.admit(self._address())
        if self._is_admitted:
            self._set_kernel_deadline()
            self._start_deadline(_HEAD)
        else:
            self._refuse(503, "Too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._stop_writing_deadline()
        self._release()
        for cycle in self._earlier:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        is_body = self._phase == _BODY
        self._tail_bytes += len(data)
        self._chunk_bytes = len(data)
        self._begun_in_chunk = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stop_deadline()
            if not self._is_refused:
                self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(400, "Invalid HTTP request")
            return
        if self._is_refused:
            return
        if self._phase == _IDLE:
            if self._deadline is not None:
                self._stop_deadline()
            if not self._is_busy():
                self._await_next()
            return
        if self._phase == _HEAD and self._begun_in_chunk <= 1 and not is_body:
            # (A head that began behind another message is short of that segment: a segment at
            # most.)
            self._head_bytes += len(data)
            if self._head_bytes > self._options.head_bytes:
                self._refuse_large_head()
                return
        elif self._phase == _BODY and self._tail_bytes > self._options.head_bytes:
            self._refuse(431, f"Trailers too large: at most {self._options.head_bytes} bytes")
            return
        if self._timed_phase != self._phase:
            self._start_deadline(self._phase)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_writing_deadline()
        self._writing_deadline = self.loop.call_later(
            self._options.answer_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        self._stop_writing_deadline()
        super().resume_writing()

    # Parser callbacks.

    def on_message_begin(self) -> None:
        if self._is_refused:
            raise _Refused  # a segment may hold thousands more
        self._phase = _HEAD
        self._begun_in_chunk += 1
        self._head_bytes = 0
        self._body_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are none of ours: in the place of headers they would get past whoever looked at
        # those, a proxy for example. [RFC 9110 section 6.5.1]
        if self._phase != _BODY:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        options = self._options
        # Seldom is there enough data for the exact sum to matter.
        if (
            self._head_bytes + self._chunk_bytes > options.head_bytes
            and self._sum_of_head() > options.head_bytes
        ):
            self._refuse_large_head()
            return
        for name, value in self.headers:
            if name == b"content-length" and int(value) > options.body_bytes:
                self._refuse_large_body()
                return
        if len(self.pipeline) >= options.pipelined_requests:
            self._refuse(503, "Too many requests at once")
            return
        if self._is_busy():
            self._earlier = [one for one in self._earlier if not one.response_complete]
            self._earlier.append(self.cycle)
        super().on_headers_complete()
        self._tail_bytes = 0
        self._phase = _BODY  # not before: until here a fault in the head may come up

    def on_body(self, body: bytes) -> None:
        if self._is_refused:
            return
        self._body_bytes += len(body)
        self._tail_bytes = 0
        if self._body_bytes > self._options.body_bytes:
            self._refuse_large_body()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = _IDLE
        if not self._is_refused:
            super().on_message_complete()

    # Hand-over to WebSocket.

    def _upgrade(self, tail: bytes) -> None:
        if not self._should_upgrade():
            # An upgrade that we do not offer (h2c, CONNECT): answered as plain HTTP, then closed,
            # as what follows may be of another protocol.
            if self.cycle is None:
                self._refuse(400, "Unsupported upgrade")
            else:
                self.cycle.keep_alive = False
        elif self._is_busy():
            # Asked for while an earlier response is still being made; nobody does.
            self._refuse(400, "Upgrade behind an unanswered request")
        else:
            self._hand_over(tail)

    def _hand_over(self, tail: bytes) -> None:
        self.connections.discard(self)
        self.flow.resume_reading()
        self._stop_writing_deadline()
        assert self.ws_protocol_class is not None
        protocol: Any = self.ws_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        protocol.on_lost = self._release
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(self._rebuilt_head())
        if tail:
            protocol.data_received(tail)
        # Parser and protocol refer to each other; a WebSocket lives long, so let them go now.
        self.parser = None  # type: ignore[assignment]

    def _rebuilt_head(self) -> bytes:
        lines = [b"%b %b HTTP/1.1\r\n" % (self.scope["method"].encode(), self.url)]
        lines += [b"%b: %b\r\n" % header for header in self.headers]
        return b"".join(lines) + b"\r\n"

    # Deadlines and refusals.

    def _await_next(self) -> None:
        """Wait for a next request no longer than at first: what came was none, but an empty line or
        the rest of a body that was answered early, and uvicorn has stopped its clock for it.
        """
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_deadline(self, phase: int) -> None:
        self._stop_deadline()
        self._timed_phase = phase
        seconds = self._options.head_seconds if phase == _HEAD else self._options.body_seconds
        self._deadline = self.loop.call_later(
            seconds, self._refuse, 408, f"The request did not arrive within {seconds:g} seconds"
        )

    def _set_kernel_deadline(self) -> None:
        sock = self.transport.get_extra_info("socket")
        if (
            sock is not None
            and sock.family != socket.AF_UNIX
            and hasattr(socket, "TCP_USER_TIMEOUT")
        ):
            milliseconds = int(self._options.answer_seconds * 1000)
            with suppress(OSError):  # it has gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def _stop_writing_deadline(self) -> None:
        if self._writing_deadline is not None:
            self._writing_deadline.cancel()
            self._writing_deadline = None

    def _stop_deadline(self) -> None:
        self._timed_phase = _IDLE
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse_large_head(self) -> None:
        self._refuse(431, f"Request head too large: at most {self._options.head_bytes} bytes")

    def _refuse_large_body(self) -> None:
        self._refuse(413, f"Request body too large: at most {self._options.body_bytes} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Answer once and close; an earlier response that is still being made goes first, alone."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._server.refused[status] += 1
        self._stop_deadline()
        cycle = self.cycle
        if self._phase != _BODY:
            if self._is_busy():
                cycle.keep_alive = False
                return
        elif cycle is None or self.pipeline or cycle.response_started:
            # It is this request's body that went wrong, and its answer has begun or must wait (or
            # it is an upgrade, which has no body).
            self.transport.close()
            return
        else:
            # The application hears of a disconnect.
            cycle.disconnected = True
            cycle.message_event.set()
        self._write_refusal(status, message)

    def _write_refusal(self, status: int, message: str) -> None:
        headers, body = self._options.refusal(status, message)
        lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%b: %b" % header for header in self.server_state.default_headers]
        lines += [b"%b: %b" % header for header in headers]
        lines += [
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        if not self._is_admitted:
            self.transport.close()
            return
        # Closing with unread bytes in the kernel is a TCP reset, which may overtake the answer:
        # what the peer still sends is thrown away until it hangs up, for a short time.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _sum_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _release(self) -> None:
        if self._is_admitted:
            self._is_admitted = False
            self._server.release(self._address())
