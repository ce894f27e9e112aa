"""A server on a loopback port inside the test's own event loop, and raw bytes to throw at it."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import uvicorn
from picows import WSTransport
from uvicorn.server import ServerState
from websockets.asyncio.client import connect

from starlings.ws.connection import Connection
from starlings.ws.http import BoundedHttpServer, HttpOptions
from starlings.ws.options import WebSocketOptions
from starlings.ws.transport import WebSocketServer

EVERY_KIND = bytes(range(256))
MASK = b"\x0a\x0b\x0c\x0d"
UPGRADE = (
    b"GET /v3/wsconnect?x=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def client_frame(payload: bytes, first_byte: int = 0x82) -> bytes:
    """A masked frame, as clients send it."""
    size = len(payload)
    if size < 126:
        head = bytes((first_byte, 0x80 | size))
    elif size < 65536:
        head = struct.pack(">BBH", first_byte, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", first_byte, 0x80 | 127, size)
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """First byte and payload of the next frame that the server sends."""
    first, size = await reader.readexactly(2)
    if size == 126:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", await reader.readexactly(8))
    return first, await reader.readexactly(size)


class Recorder:
    """A listener that writes down what it hears, and may do something about it."""

    def __init__(self, on_message: Callable[[Connection, bytes], None] | None = None) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.texts: asyncio.Queue[None] = asyncio.Queue()
        self.drained = asyncio.Event()
        self.closed: asyncio.Future[tuple[int | None, str]] = (
            asyncio.get_running_loop().create_future()
        )
        self.connection: Connection
        self._on_message = on_message

    def on_open(self, connection: Connection) -> None:
        self.connection = connection

    def on_message(self, data: bytes) -> bool:
        """What begins with ``ack`` passes for an acknowledgement."""
        self.messages.put_nowait(data)
        if self._on_message is not None:
            self._on_message(self.connection, data)
        return data.startswith(b"ack")

    def on_text(self) -> None:
        self.texts.put_nowait(None)

    def on_drained(self) -> None:
        self.drained.set()

    def on_close(self, code: int | None, reason: str) -> None:
        self.closed.set_result((code, reason))


def echo(connection: Connection, data: bytes) -> None:
    connection.send(data)


@dataclass
class Site:
    """A running server and the listeners it made so far."""

    http: BoundedHttpServer
    ws: WebSocketServer
    state: ServerState
    port: int = 0
    listeners: asyncio.Queue[Recorder] = field(default_factory=asyncio.Queue)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def url(self, path: str = "/v3/wsconnect", scheme: str = "ws") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        streams = await asyncio.open_connection("127.0.0.1", self.port, **options)
        self.writers.append(streams[1])
        return streams

    async def upgrade(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Recorder]:
        """A raw connection after the handshake, with its listener."""
        reader, writer = await self.connect()
        writer.write(UPGRADE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        return reader, writer, await self.listeners.get()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application: reads the body, answers with its length."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    body = f"{scope['method']} {scope['path']} {size}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(
    on_message: Callable[[Connection, bytes], None] | None = None,
    ws: WebSocketOptions | None = None,
    http: HttpOptions | None = None,
    app: Any = hello,
    **config_options: Any,
) -> AsyncIterator[Site]:
    """Serve as ``uvicorn.Server`` does, without its ticking loop and signals."""
    listeners: asyncio.Queue[Recorder] = asyncio.Queue()

    def make_listener() -> Recorder:
        recorder = Recorder(on_message)
        listeners.put_nowait(recorder)
        return recorder

    site = Site(
        BoundedHttpServer(http), WebSocketServer(make_listener, ws), ServerState(), 0, listeners
    )
    faces: dict[str, Any] = {"http": site.http, "ws": site.ws}
    config = uvicorn.Config(app, log_config=None, lifespan="off", **faces, **config_options)
    config.load()

    def make_protocol() -> asyncio.Protocol:
        return site.http(config, site.state, {})

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make_protocol, "127.0.0.1", 0, ssl=config.ssl)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for writer in site.writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
        connections: list[Any] = list(site.state.connections)
        for connection in connections:
            transport = connection.transport
            if isinstance(transport, WSTransport):
                transport = transport.underlying_transport
            transport.abort()
        while site.state.connections:  # noqa: ASYNC110  # uvicorn's set has no event
            await asyncio.sleep(0)
        await server.wait_closed()


def trusting(certificate: bytes) -> ssl.SSLContext:
    """A client context that trusts this certificate (PEM) only."""
    return ssl.create_default_context(cadata=certificate.decode())


def no_proxy(url: str, **options: Any) -> connect:
    """A client of the websockets library."""
    return connect(url, proxy=None, max_size=None, **options)


def stop_reading(writer: asyncio.StreamWriter) -> None:
    """Leave what comes in the kernel."""
    cast("asyncio.Transport", writer.transport).pause_reading()


def go_on_reading(writer: asyncio.StreamWriter) -> None:
    cast("asyncio.Transport", writer.transport).resume_reading()
