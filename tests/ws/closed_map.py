"""A Map under access control, and what its readers are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.objects import Match, ObjectRef
from tests.ws.sessions import ADMIN, Peer, World, settle, subscription_body

__all__ = ["DENIED", "Closed", "follow", "search", "told"]

DENIED = 54007


class Closed:
    """A Map with some history, under access control, that alice may read."""

    def __init__(self, world: World, sid: str, ref: ObjectRef) -> None:
        self.world = world
        self.sid = sid
        self.ref = ref

    async def grant(
        self, may_read: bool, identity: str = "alice", match: Match = Match.EXACT
    ) -> None:
        flags = (may_read, False, False)
        await self.world.node.execute(
            c.SetPermission(self.ref, identity, *flags, ADMIN, match=match)
        )
        await settle()

    async def switch(self, has_acl: bool) -> None:
        settings = c.ServiceSettings(has_acl=has_acl)
        await self.world.node.execute(c.UpdateService(self.world.service.oid, settings, ADMIN))
        await settle()

    def hold(self, monkeypatch: pytest.MonkeyPatch, method: str) -> asyncio.Event:
        """Have the store answer one method late: when the event is set, with what was then."""
        gate = asyncio.Event()
        wanted: Callable[..., Awaitable[Any]] = getattr(self.world.store, method)

        async def late(*arguments: Any) -> Any:
            answer = await wanted(*arguments)
            await gate.wait()
            return answer

        monkeypatch.setattr(self.world.store, method, late)
        return gate


def told(peer: Peer) -> list[str]:
    """What came: words of events, and the codes of failures, which Kotlin is told once more."""
    words = []
    for payload in peer.take_events():
        if payload["event_type"] == "subscription_failed":
            words += [str(one["error"]["code"]) for one in payload["events"]]
        elif payload["event_type"] != "subscription_canceled":
            words.append(payload["event_type"])
    return words


async def search(peer: Peer, body: dict[str, Any]) -> tuple[int, Any]:
    peer.ask_nowait("POST", "/v3/Insights/room/Items", body)
    while True:
        await settle()
        for message in peer.take():
            if message.http_status is not None:
                return message.http_status.code, json.loads(message.payload)


async def follow(closed: Closed, peer: Peer) -> None:
    """Begin a live query of all items, and subscribe to it."""
    status, answer = await search(peer, {"query_string": "", "type": "live_query"})
    assert status == 200
    entry = {
        "object_sid": answer["query_id"],
        "object_type": "live_query",
        "last_event_id": answer["last_event_id"],
        "indexName": "room",
        "queryExpression": "",
    }
    body = subscription_body() | {"requests": [entry]}
    await peer.ask("POST", "/v4/Subscriptions", body)
    assert told(peer) == ["subscription_established"]
