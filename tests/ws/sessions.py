"""Sessions without a socket: a face on the memory store, and the client's end of a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import OFF, Limits
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.storage.memory import MemoryStore
from starlings.wire.codec import decode_downstream, encode_upstream
from starlings.wire.messages import (
    ClientUpdate,
    HttpRequest,
    Init,
    Notification,
    Ping,
    Reply,
    Request,
    ServerClose,
    Status,
    Upstream,
)
from starlings.ws.connection import Connection, ConnectionStatistics
from starlings.ws.face import SyncFace
from starlings.ws.session import SyncSession

__all__ = [
    "ACCOUNT_SID",
    "ADMIN",
    "START_MS",
    "Answered",
    "Peer",
    "Token",
    "World",
    "a_world",
    "settle",
    "subscription_body",
]

ACCOUNT_SID = "AC" + "0" * 32
ADMIN = Actor(SYSTEM)
START_MS = 1_800_000_000_000


@dataclass(frozen=True)
class Token:
    identity: str
    account_sid: str = ACCOUNT_SID
    key_sid: str = "SK1"
    service: str = "default"
    expires_at: int = START_MS + 3_600_000


@dataclass
class Answered:
    """A tunnelled request's status and body."""

    status: int
    body: Any


class _Connection:
    """Stands in for ``connection.Connection``: nothing is sent late unless ``is_stalled``."""

    address = "192.0.2.7"

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.queued_bytes = 0
        self.is_stalled = False
        self.closed: tuple[int, str] | None = None

    def send(self, frame: bytes) -> None:
        self.frames.append(bytes(frame))
        if self.is_stalled:
            self.queued_bytes += len(frame)

    sink = None

    def send_framed(self, frame: bytes) -> None:
        self.send(frame[_head_size(frame) :])

    def flush(self) -> None:
        """Nothing is gathered here."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = (code, reason)

    def statistics(self) -> ConnectionStatistics:
        return ConnectionStatistics(0, self.queued_bytes)

    def abort(self, reason: str = "aborted") -> None:
        self.closed = (1006, reason)


def _head_size(frame: bytes) -> int:
    return {126: 4, 127: 10}.get(frame[1], 2)


class Peer:
    """One client, frame by frame."""

    def __init__(self, world: World) -> None:
        self.connection = _Connection()
        self.session = SyncSession(world.face)
        self.session.on_open(cast(Connection, self.connection))
        self._taken = 0
        self._numbers = 0

    @property
    def is_closed(self) -> bool:
        return self.connection.closed is not None

    def take(self) -> list[Any]:
        """The messages that came since the last time."""
        frames = self.connection.frames[self._taken :]
        self._taken += len(frames)
        return [decode_downstream(frame) for frame in frames]

    def take_events(self) -> list[dict[str, Any]]:
        """The payloads of the notifications among them."""
        return [json.loads(one.payload) for one in self.take() if isinstance(one, Notification)]

    def send(self, message: Upstream) -> None:
        self.session.on_message(encode_upstream(message))

    def next_id(self) -> str:
        self._numbers += 1
        return f"TM{self._numbers}"

    async def init(self, token: str = "alice", **fields: Any) -> Reply:
        """Send ``init``; what came back."""
        self.send(Init(self.next_id(), token, **fields))
        await settle()
        (reply, *rest) = self.take()
        assert isinstance(reply, Reply)
        self.rest = rest
        return reply

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        payload: bytes | None = None,
    ) -> Answered:
        """A tunnelled request and its answer; what else comes is kept for ``take``."""
        message_id = self.ask_nowait(
            method, path, body, params=params, headers=headers, payload=payload
        )
        await settle()
        place = self._taken
        for frame in self.connection.frames[place:]:
            reply = decode_downstream(frame)
            if isinstance(reply, Reply) and reply.id == message_id:
                self.connection.frames.remove(frame)
                assert reply.http_status is not None
                assert reply.status == Status(200, "OK")
                return Answered(reply.http_status.code, json.loads(reply.payload or b"null"))
        raise AssertionError(f"no reply to {method} {path}")

    def ask_nowait(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        payload: bytes | None = None,
    ) -> str:
        message_id = self.next_id()
        if payload is None:
            payload = b"" if body is None else json.dumps(body).encode()
        http = HttpRequest(path, method, params=params, headers=headers)
        self.send(Request(message_id, http, "data_sync", payload))
        return message_id

    async def subscribe(
        self,
        *entries: tuple[str, str, int | None],
        number: float = 1_795_000_000_000,
        action: str = "establish",
    ) -> list[dict[str, Any]]:
        """Subscribe to (SID, type, last event id); the events and confirmations that came."""
        answer = await self.ask(
            "POST", "/v4/Subscriptions", subscription_body(*entries, number=number, action=action)
        )
        assert answer == Answered(200, {"max_batch_size": 100, "estimated_delivery_in_ms": 30_000})
        return self.take_events()

    def lose(self) -> None:
        self.session.on_close(None, "connection_lost")

    def acknowledge(self, message: Ping | ClientUpdate | ServerClose | Notification) -> None:
        """As the JavaScript client does it, byte for byte."""
        header = (
            b'{"id":"%s","method":"reply","payload_type":"application/json",'
            b'"status":{"code":200,"status":"OK"},"payload_size":0}' % message.id.encode()
        )
        self.session.on_message(b"TWILSOCK V3.0 %d\r\n%s\r\n" % (len(header), header))


def subscription_body(
    *entries: tuple[str, str, int | None], number: float = 1, action: str = "establish"
) -> dict[str, Any]:
    return {
        "event_protocol_version": 4,
        "action": action,
        "correlation_id": number,
        "retried_requests": 0,
        "ttl_in_s": -1,
        "requests": [
            {"object_sid": sid, "object_type": kind, "last_event_id": last}
            for sid, kind, last in entries
        ],
    }


@dataclass
class World:
    """A node with its face; time passes only when a test says so, timers excepted."""

    limits: Limits
    clock_ms: int = START_MS
    correction_ms: int = 0
    """Of the clock of the day; the other one goes on as ever."""
    tokens: dict[str, Token] = field(default_factory=dict)
    bad_tokens: dict[str, Reason] = field(default_factory=dict)
    peers: list[Peer] = field(default_factory=list)

    async def open(self, **options: Any) -> None:
        numbers = iter(range(1, 1_000_000_000))
        self.store = MemoryStore(self.limits, self.now)
        sources = Sources(self.now, lambda: self.clock_ms / 1000, lambda bits: next(numbers))
        self.node = Node(self.store, self.limits, sources)
        self.face = SyncFace(self.node, self.verify, b"secret", **options)
        self.service: Service = await self.node.get_service(ACCOUNT_SID, "default")
        await settle()

    def now(self) -> int:
        """Milliseconds since 1970."""
        return self.clock_ms + self.correction_ms

    async def restart(self) -> None:
        """Begin anew with what is stored: all connections are lost, and what was in memory."""
        for peer in self.peers:
            peer.lose()
        self.peers.clear()
        await self.face.close()
        self.node = Node(self.store, self.limits, self.node.sources)
        self.face = SyncFace(self.node, self.verify, b"secret")
        await settle()

    def verify(self, text: str) -> Token:
        if text in self.bad_tokens:
            raise Refusal(self.bad_tokens[text])
        return self.tokens.get(text, Token(text))

    def connect(self) -> Peer:
        peer = Peer(self)
        self.peers.append(peer)
        return peer

    async def ready(self, token: str = "alice") -> Peer:
        """A client that is through ``init``."""
        peer = self.connect()
        reply = await peer.init(token)
        assert reply.status.is_success, reply
        return peer

    async def create(
        self, kind: Kind, name: str | None = None, data: bytes | None = None
    ) -> tuple[str, ObjectRef]:
        """An object's SID and a reference to it."""
        outcome = await self.node.create_object(self.service, kind, name, data, None, ADMIN, None)
        await settle()
        sid = outcome.object.sid
        return sid, ObjectRef(self.service.oid, kind, sid)

    async def put(self, ref: ObjectRef, key: str, data: bytes = b"{}") -> None:
        await self.node.execute(c.PutMapItem(ref, key, data, None, None, ADMIN))
        await settle()

    async def tick(self, peer: Peer, seconds: float) -> None:
        """Let time pass for a session."""
        self.clock_ms += int(seconds * 1000)
        peer.session._tick()
        await settle()


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn."""
    for _ in range(30):
        await asyncio.sleep(0)


@asynccontextmanager
async def a_world(limits: Limits = OFF, **options: Any) -> AsyncIterator[World]:
    world = World(limits)
    await world.open(**options)
    try:
        yield world
    finally:
        for peer in world.peers:
            peer.lose()
        await world.face.close()
