"""A node with a Map, and sessions that ask for it; no socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import OFF, Limits
from starlings.core.objects import Actor, Kind, ObjectRef
from starlings.node.clock import Sources
from starlings.node.hub import Hub
from starlings.node.node import Node
from starlings.node.queries import Queries, QueryBounds
from starlings.storage.memory import MemoryStore
from starlings.wire.messages import HttpRequest, Request
from starlings.wire.subscriptions import SubscriptionEntry
from starlings.ws.access_checks import AccessChecks, Check
from starlings.ws.queries import LIVE_QUERY, QueryFrames, SessionQueries
from starlings.ws.render import EventEncoder
from tests.contracts.desk import ADMIN, Clock, Desk

__all__ = ["BLUE", "Payloads", "Peer", "Session", "World", "established", "refusal_of"]

BLUE = 'team == "blue"'


class Payloads:
    """Makes frames that are nothing but their payload."""

    def frame(self, payload: bytes) -> bytes:
        return payload


class Peer:
    """The session's end: what was sent, and whether it has room."""

    def __init__(self, checks: AccessChecks) -> None:
        self.sent: list[Any] = []
        self.checks = checks
        self.room: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.is_sent_away = False

    def send(self, frame: bytes) -> None:
        self.sent.append(json.loads(frame))

    async def wait_for_turn(self) -> None:
        """At once."""

    async def wait_for_room(self) -> None:
        if self.room is not None:
            await self.room()

    def send_away(self) -> None:
        self.is_sent_away = True

    def check(self, key: Hashable, check: Check) -> bool:
        return self.checks.add(key, check)

    def take(self) -> list[Any]:
        """What was sent since the last time, each as its type and the event's own fields."""
        sent, self.sent = self.sent, []
        return [
            (one["event_type"], one["event"] if "event" in one else one["events"]) for one in sent
        ]


@dataclass
class World:
    """A node with a Map named ``workers``; sessions ask."""

    limits: Limits = OFF
    bounds: QueryBounds | None = None
    has_acl: bool = False

    async def open(self) -> World:
        self.clock = Clock()
        self.store = MemoryStore(self.limits, self.clock)
        sources = Sources(self.clock, lambda: self.clock.at / 1000, lambda bits: 1)
        self.node = Node(self.store, self.limits, sources)
        self.hub = Hub(EventEncoder("https://h", 1))
        self.store.listen(self.hub.publish)
        self.tasks: list[asyncio.Task[None]] = []
        self.checks = AccessChecks(self._spawn)
        frames = QueryFrames(Payloads())
        self.queries = Queries(self.node, self.hub, frames, self._spawn, self.bounds)
        self.desk = Desk(self.store, self.clock)
        settings = c.ServiceSettings(has_acl=self.has_acl)
        self.service = await self.desk.create_service(settings)
        await self.make_map()
        return self

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def make_map(self) -> None:
        await self.do(self.desk.creation(self.service, Kind.MAP, "workers"))

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.service.oid, Kind.MAP, "workers")

    async def do(self, command: c.Command) -> None:
        """Carry a command out, and whatever follows from it."""
        await self.store.execute(command)
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks)

    async def put(self, key: str, team: str = "blue") -> None:
        data = json.dumps({"team": team}).encode()
        await self.do(c.PutMapItem(self.ref, key, data, None, None, ADMIN))

    async def remove_map(self) -> None:
        await self.do(c.RemoveObject(self.ref, None, ADMIN))

    async def permit(self, *, may_read: bool) -> None:
        await self.do(c.SetPermission(self.ref, "alice", may_read, False, False, ADMIN))

    def session(self, identity: str = "alice", others: int = 0) -> Session:
        actor = Actor(identity, "e1", is_unrestricted=False)
        peer = Peer(self.checks)
        return Session(
            SessionQueries(self.queries, Payloads(), self.service, actor, peer, lambda: others),
            peer,
        )


@dataclass
class Session:
    """What a client can do."""

    queries: SessionQueries
    peer: Peer

    async def post(self, body: object, index: str = "workers") -> Any:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request("TM1", HttpRequest("/v3/Insights/x/Items", "POST"), None, payload)
        answer = await self.queries.search(request, index)
        assert answer.status == 200
        return json.loads(answer.body)

    async def live(self, text: str = BLUE) -> Any:
        return await self.post({"query_string": text, "type": "live_query"})

    async def establish(
        self, query_id: str, last_id: int | None, text: str | None = BLUE, index: str = "workers"
    ) -> None:
        entry = SubscriptionEntry(query_id, LIVE_QUERY, last_id, index, text)
        await self.queries.establish(entry, 77)

    async def follow(self) -> Any:
        """A live query, established."""
        answer = await self.live()
        await self.establish(answer["query_id"], answer["last_event_id"])
        self.peer.take()
        return answer


async def refusal_of(asked: Coroutine[Any, Any, object]) -> Reason:
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value.reason


def established(query_id: str, last_event_id: int) -> tuple[str, list[dict[str, object]]]:
    return (
        "subscription_established",
        [
            {
                "object_sid": query_id,
                "object_type": "live_query",
                "replay_status": "completed",
                "last_event_id": last_event_id,
            }
        ],
    )
