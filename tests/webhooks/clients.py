"""Writers for the tests with a real server: one that speaks REST, one that speaks the socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection

from starlings.auth.keyring import LiveKey
from starlings.auth.tokens import mint_token
from starlings.node.clock import SYSTEM_SOURCES
from starlings.wire.codec import decode_downstream, encode_upstream
from starlings.wire.messages import HttpRequest, Init, Reply, Request
from tests.e2e.server import ServerProcess

__all__ = ["SocketClient", "rest_client", "socket_client", "token_for"]


@asynccontextmanager
async def rest_client(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """REST below ``/v1/Services/default``."""
    credentials = server.credentials
    async with httpx.AsyncClient(
        base_url=f"{server.base_url}/v1/Services/default",
        auth=(credentials.account_sid, credentials.auth_token),
        timeout=20.0,
        trust_env=False,
    ) as client:
        yield client


class SocketClient:
    """One connection that asks one thing at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._asked = 0

    async def begin(self, token: str, continuation: str | None = None) -> str:
        """Sign in; the continuation token, whose part before the dot is the endpoint's id."""
        self._asked += 1
        await self._socket.send(
            encode_upstream(Init(f"TM{self._asked}", token, continuation_token=continuation))
        )
        reply = await self._reply()
        assert reply.status.is_success, reply
        assert reply.continuation_token is not None
        return reply.continuation_token

    async def ask(self, method: str, path: str, body: object) -> int:
        """A tunnelled request, its path below ``/v3``; its status.

        Raises:
            websockets.ConnectionClosed: The server is gone.
        """
        self._asked += 1
        request = Request(
            f"TM{self._asked}",
            HttpRequest(
                path=f"/v3{path}",
                method=method,
                headers={"Content-Type": "application/json"},
            ),
            payload=json.dumps(body).encode(),
        )
        await self._socket.send(encode_upstream(request))
        reply = await self._reply()
        assert reply.http_status is not None, reply
        return reply.http_status.code

    async def _reply(self) -> Reply:
        while True:
            data = await self._socket.recv()
            assert isinstance(data, bytes)
            message: Any = decode_downstream(data)
            if isinstance(message, Reply) and message.id == f"TM{self._asked}":
                return message


@asynccontextmanager
async def socket_client(server: ServerProcess) -> AsyncIterator[SocketClient]:
    """A connection that has not signed in yet."""
    async with websockets.connect(
        server.ws_url, proxy=None, ping_interval=None, close_timeout=1.0
    ) as socket:
        yield SocketClient(socket)


def token_for(server: ServerProcess, identity: str) -> str:
    """An access token for the default service."""
    credentials = server.credentials
    key = LiveKey(credentials.api_key_sid, credentials.account_sid, credentials.api_key_secret)
    return mint_token(key, identity, "default", 3600, SYSTEM_SOURCES.now())
