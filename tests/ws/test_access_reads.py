"""What was read before the right to read was lost, and is told after it. [rest-api 6]"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from starlings.ws.inbox import MOST_REPLY_BYTES
from tests.ws.closed_map import DENIED, Closed, search, told
from tests.ws.sessions import settle, subscription_body

# Right and data are not looked at in one step: what was committed after the loss must not go out.


def wait_before(monkeypatch: pytest.MonkeyPatch, closed: Closed, method: str) -> asyncio.Event:
    """Have the store begin one method late: when the event is set."""
    gate = asyncio.Event()
    wanted: Callable[..., Awaitable[Any]] = getattr(closed.world.store, method)

    async def late(*arguments: Any) -> Any:
        await gate.wait()
        return await wanted(*arguments)

    monkeypatch.setattr(closed.world.store, method, late)
    return gate


async def lose_and_write(closed: Closed, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Take the right to read, then write what must not be read any more. The event lets the looks
    at grants go on that were begun because of that.
    """
    gate = closed.hold(monkeypatch, "list_grants")
    await closed.grant(False)
    await closed.world.put(closed.ref, "secret")
    return gate


@pytest.mark.parametrize("is_in_log", [True, False])
async def test_a_replay_tells_nothing_that_came_after_the_loss_of_the_right(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, is_in_log: bool
) -> None:
    peer = await closed.world.ready()
    if not is_in_log:
        monkeypatch.setattr(closed.world.store, "replay", never)
    read = wait_before(monkeypatch, closed, "replay" if is_in_log else "snapshot")
    peer.ask_nowait("POST", "/v4/Subscriptions", subscription_body((closed.sid, "map", 0)))
    await settle()
    peer.take()
    looked = await lose_and_write(closed, monkeypatch)
    read.set()
    await settle()
    assert told(peer) == []
    looked.set()
    await settle()
    assert told(peer) == [str(DENIED)]


async def never(*arguments: Any) -> None:
    """The log reaches back to nothing."""


async def test_a_repair_tells_nothing_that_came_after_the_loss_of_the_right(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await closed.world.ready()
    await peer.subscribe((closed.sid, "map", None))
    read = wait_before(monkeypatch, closed, "replay")
    (subscription,) = peer.session.subscriptions()
    subscription.last_id = 0
    subscription.hold()
    peer.session.on_gap(subscription)
    await settle()
    looked = await lose_and_write(closed, monkeypatch)
    read.set()
    await settle()
    assert told(peer) == []
    looked.set()
    await settle()
    assert told(peer) == [str(DENIED)]


@pytest.mark.parametrize(
    ("path", "params", "method"),
    [
        ("/v3/Maps/room/Items", None, "list_items"),
        ("/v3/Maps/room/Items", {"Key": "k1"}, "find_item"),
        ("/v3/Maps/room/Items/k1", None, "find_item"),
        ("/v3/Maps/room", {"Include": "items"}, "list_items"),
    ],
)
async def test_a_page_tells_nothing_that_came_after_the_loss_of_the_right(
    closed: Closed,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    params: dict[str, str] | None,
    method: str,
) -> None:
    peer = await closed.world.ready()
    read = wait_before(monkeypatch, closed, method)
    peer.ask_nowait("GET", path, params=params)
    await settle()
    await closed.grant(False)
    read.set()
    await settle()
    (reply,) = peer.take()
    assert (reply.http_status.code, json.loads(reply.payload)["code"]) == (403, DENIED)


async def test_a_live_query_is_taken_up_without_what_came_after_the_loss_of_the_right(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await closed.world.ready()
    status, answer = await search(peer, {"query_string": "", "type": "live_query"})
    assert status == 200
    looked = await lose_and_write(closed, monkeypatch)
    entry = {"object_sid": answer["query_id"], "object_type": "live_query", "last_event_id": 0}
    peer.ask_nowait("POST", "/v4/Subscriptions", subscription_body() | {"requests": [entry]})
    await settle()
    assert told(peer) == []
    looked.set()
    await settle()
    assert told(peer) == [str(DENIED)]


async def test_an_answer_that_waited_for_room_has_nothing_from_after_the_loss_of_the_right(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await closed.world.ready()
    peer.connection.queued_bytes = MOST_REPLY_BYTES
    asked = asyncio.create_task(search(peer, {"query_string": "", "type": "live_query"}))
    await settle()
    looked = await lose_and_write(closed, monkeypatch)
    peer.connection.queued_bytes = 0
    peer.session.on_drained()
    await settle()
    looked.set()
    status, answer = await asked
    assert (status, answer["code"]) == (403, DENIED)
