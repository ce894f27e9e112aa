"""A node with a Map that is searched, over a store in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.limits import OFF, Limits
from starlings.core.objects import Actor, Item, ItemKey, Kind, ObjectRef, Service, SyncObject
from starlings.core.query import parse_query
from starlings.node.clock import Sources
from starlings.node.hub import Hub
from starlings.node.live_query import LiveQuery, Member
from starlings.node.node import Node
from starlings.node.queries import Queries, QueryBounds
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ADMIN, Clock, Desk

__all__ = [
    "ALICE",
    "BLUE",
    "Frames",
    "Holder",
    "NoFrames",
    "SlowStore",
    "World",
    "refusal_of",
    "some_turns",
]

ALICE = Actor("alice", "e1", is_unrestricted=False)
BLUE = parse_query('team == "blue"')


async def refusal_of(asked: Awaitable[object]) -> Reason:
    """Why something that is asked is refused."""
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value.reason


async def some_turns() -> None:
    """Let everything run that waits for nothing but its turn."""
    for _ in range(20):
        await asyncio.sleep(0)


class Frames:
    def encode_item_updated(self, query_id: str, key: str, member: Member) -> bytes:
        return f"+{key}".encode()

    def encode_item_removed(self, query_id: str, key: str, event_id: int) -> bytes:
        return f"-{key}".encode()

    def encode_result(
        self, query_id: str, members: Iterable[tuple[str, Member]], event_id: int
    ) -> bytes:
        return ("=" + ",".join(sorted(key for key, _ in members))).encode()


class NoFrames:
    """The Map's own subscribers are none of ours."""

    def encode_event(self, *_: object) -> bytes:
        return b""

    def mute_removal(self, *_: object) -> bytes:
        return b""

    def encode_message(self, *_: object) -> bytes:
        return b""


class Holder:
    def __init__(self) -> None:
        self.frames: list[str] = []
        self.refusals: list[Reason] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame.decode())

    def on_permission(self, identity: str) -> None:
        """Told to sessions; nothing to see here."""

    def on_ended(self, refusal: Refusal) -> None:
        self.refusals.append(refusal.reason)


class SlowStore(MemoryStore):
    """Counts pages of items, and can be made to wait before it hands them out."""

    pages = 0
    gate: asyncio.Event | None = None
    fault: Fault | None = None

    async def list_items(
        self,
        oid: int,
        start: ItemKey | None,
        is_inclusive: bool,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[Item]:
        self.pages += 1
        if self.fault is not None:
            raise self.fault
        page = await super().list_items(oid, start, is_inclusive, is_descending, limit, now)
        if self.gate is not None:
            await self.gate.wait()
        return page


@dataclass
class World:
    """A node with one service, and what asks it."""

    limits: Limits = OFF
    bounds: QueryBounds | None = None

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.store = SlowStore(self.limits, self.clock)
        sources = Sources(self.clock, lambda: self.clock.at / 1000, lambda bits: 1)
        self.node = Node(self.store, self.limits, sources)
        self.hub = Hub(NoFrames())
        self.store.listen(self.hub.publish)
        self.desk = Desk(self.store, self.clock)
        self.tasks: list[asyncio.Task[None]] = []
        self.queries = Queries(self.node, self.hub, Frames(), self.spawn, self.bounds)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def open(self, settings: c.ServiceSettings | None = None) -> World:
        self.service: Service = await self.desk.create_service(settings)
        self.map = await self.make_map("workers")
        return self

    async def make_map(self, name: str | None) -> SyncObject:
        outcome = await self.store.execute(self.desk.creation(self.service, Kind.MAP, name))
        return outcome.object  # type: ignore[union-attr]  # a creation makes an object

    def ref(self, name: str | None = None) -> ObjectRef:
        return ObjectRef(self.service.oid, Kind.MAP, name or self.map.sid)

    async def execute(self, command: c.Command) -> None:
        """Carry a command out, and let its events be heard."""
        await self.store.execute(command)
        await some_turns()

    async def put(self, key: str, team: str = "blue", *, ttl: int | None = None) -> None:
        data = json.dumps({"team": team}).encode()
        await self.execute(c.PutMapItem(self.ref(), key, data, ttl, None, ADMIN))

    async def put_all(self, teams: dict[str, str]) -> None:
        """Many items, whose events nobody wants to hear."""
        for key, team in teams.items():
            data = json.dumps({"team": team}).encode()
            await self.store.execute(c.PutMapItem(self.ref(), key, data, None, None, ADMIN))

    async def remove(self, key: str) -> None:
        await self.execute(c.RemoveItem(self.ref(), key, None, ADMIN))

    async def find(self, text: str, name: str = "workers", actor: Actor = ADMIN) -> list[ItemKey]:
        index = await self.queries.get_index(self.service, name, actor)
        return [one.key for one in await self.queries.search(index, parse_query(text))]

    async def hold(self, holder: Holder, name: str = "workers", actor: Actor = ADMIN) -> LiveQuery:
        return await self.queries.hold(self.service, name, BLUE, actor, holder)

    async def follow_a_while(self) -> int:
        """Somebody has the result, and goes: the event that it was as of."""
        holder = Holder()
        live = await self.hold(holder)
        event_id = live.event_id
        self.queries.release(live, holder)
        return event_id
