"""uvicorn as the server of the port: a socket opened beforehand, our own signals, one line when
ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from starlings.app.certificate import check_certificate
from starlings.app.errors import OperatorError
from starlings.settings import Settings
from starlings.ws.http import BoundedHttpServer
from starlings.ws.transport import WebSocketServer

__all__ = ["ListeningServer", "find_address", "make_config", "open_listener", "print_address"]

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_LAST_REQUESTS_SECONDS = 0.3
_LOOK_SECONDS = 0.02


class ListeningServer(uvicorn.Server):
    """uvicorn's server without its signal handlers: whoever runs it calls ``stop``."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def wait_for_callers(self) -> None:
        """Let those who hold a connection ask once more, for a moment: they are told that it ends.
        Who asks just as an idle connection is closed would get no answer.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _LAST_REQUESTS_SECONDS
        connections = self.server_state.connections
        while connections and not self.should_exit:  # uvicorn's set has no event
            if loop.time() >= until:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """Accept no more, and finish what runs."""
        self.should_exit = True

    def stop_at_once(self) -> None:
        """Accept no more, and don't wait for what runs."""
        self.should_exit = self.force_exit = True


def make_config(
    app: ASGIApp, http: BoundedHttpServer, ws: WebSocketServer, settings: Settings
) -> uvicorn.Config:
    """uvicorn's settings; everything that it could log or add is switched off.

    Raises:
        OperatorError: The certificate or its key can't be used.
    """
    if settings.ssl_certfile is not None:
        check_certificate(settings.ssl_certfile, settings.ssl_keyfile)
    config = uvicorn.Config(
        app,
        http=http,  # type: ignore[arg-type]  # called like the class that uvicorn expects
        ws=ws,  # type: ignore[arg-type]  # called like the class that uvicorn expects
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.drain),
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
    )
    config.load()
    return config


def open_listener(host: str, port: int) -> socket.socket:
    """A socket that listens; the first address of a name is taken.

    Raises:
        OperatorError: The port is taken, the address isn't ours, the name isn't known.
    """
    listener = None
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OperatorError(f"Can't listen on {host} port {port}: {reason}") from error
    return listener


def find_address(listener: socket.socket, is_secure: bool) -> str:
    """Where a listening socket is reached, as a URL."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if is_secure else 'http'}://{shown}:{port}"


def print_address(address: str) -> None:
    """The one line on stdout, for people and for programs that start a server. The log has it too:
    whoever closed stdout, or doesn't read it, is served all the same.
    """
    if sys.stdout is None:  # it was closed before we began
        return
    try:
        sys.stdout.write(f"Listening on {address}\n")
        sys.stdout.flush()
    except OSError:
        # Else the interpreter would try once more at its end, and end with status 120.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
