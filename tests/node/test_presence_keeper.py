"""Presence on a store: who is there, through crashes and faults, and what is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from starlings.core.errors import Reason
from starlings.core.objects import Kind, Service
from starlings.core.state import ItemOutcome
from starlings.node import presence_room
from starlings.node.presence_keeper import SHORT_WINDOW_SECONDS, window_of
from tests.node.presence_server import SYSTEM_ACTOR, Server, refusal_of


async def test_without_settings_nobody_is_told_of(server: Server) -> None:
    service = await server.create_service()
    server.connect(service, "alice")
    await server.work()
    assert await server.store.find_object_named(service.oid, Kind.MAP, "presence") is None
    await server.restart()
    assert server.keeper.settings_of(service).maps == []


async def test_switching_on_tells_of_those_who_are_there(server: Server) -> None:
    service, other = await server.create_service(), await server.create_service()
    server.connect(service, "alice")
    server.connect(other, "bob")
    await server.keeper.configure(service, "presence", None)
    await server.work()
    assert (await server.items(service, "presence")).keys() == {"alice"}


async def test_the_window_is_that_of_debouncing_or_a_short_one(server: Server) -> None:
    short = await server.create_service(debouncing_window_ms=9000)
    long = await server.create_service(has_debouncing=True, debouncing_window_ms=9000)
    assert window_of(short) == SHORT_WINDOW_SECONDS
    assert window_of(long) == 9
    await server.keeper.configure(long, "presence", None)
    server.disconnect(long, server.connect(long, "alice"))
    await server.pass_window(8.9)
    assert (await server.items(long, "presence")).keys() == {"alice"}
    await server.pass_window(0.2)
    assert await server.items(long, "presence") == {}


async def test_a_crash_leaves_no_ghosts_and_loses_nobody(server: Server, service: Service) -> None:
    for identity in ("alice", "bob"):
        server.connect(service, identity)
    await server.work()
    before = await server.items(service, "presence")
    await server.restart()
    server.connect(service, "alice")
    server.connect(service, "carol")
    await server.work()
    during = await server.items(service, "presence")
    assert during.keys() == {"alice", "bob", "carol"}
    await server.pass_window(10)
    after = await server.items(service, "presence")
    assert after.keys() == {"alice", "carol"}
    assert after["alice"] == before["alice"]


async def test_who_is_sent_away_because_the_server_ends_keeps_entry_and_actions(
    server: Server, service: Service
) -> None:
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    actor = server.connect(service, "alice", "client of alice")
    action: dict[str, Any] = {"action": "set_item", "map": "m", "key": "k", "data": {}}
    await server.set(service, "on-disconnect", "k", action, actor)
    await server.work()
    before = await server.items(service, "presence")
    server.keeper.freeze()
    server.disconnect(service, actor)
    await server.pass_window(60)
    await asyncio.wait_for(server.keeper.run(), 5)
    await server.restart()
    server.connect(service, "alice", "client of alice")
    await server.pass_window(60)
    assert await server.items(service, "presence") == before
    assert await server.items(service, "m") == {}


async def test_more_entries_than_a_page_survive_a_restart(
    server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_room, "_PAGE", 10)
    monkeypatch.setattr(presence_room, "_MOST_WRITES", 12)
    for number in range(30):
        server.connect(service, f"id-{number}")
    await server.work()
    assert len(await server.items(service, "presence")) == 30
    await server.restart()
    server.connect(service, "id-29")
    await server.pass_window(10)
    assert (await server.items(service, "presence")).keys() == {"id-29"}


async def test_a_store_that_cannot_write_is_waited_for(server: Server, service: Service) -> None:
    actor = server.connect(service, "alice")
    action: dict[str, Any] = {"action": "set_item", "map": "m", "key": "k", "data": {}}
    await server.set(service, "on-disconnect", "k", action, actor)
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    server.store.is_broken = True
    assert not await server.keeper.work()
    server.disconnect(service, actor)
    server.clock.pass_seconds(SHORT_WINDOW_SECONDS)
    assert not await server.keeper.work()
    server.store.is_broken = False
    server.connect(service, "bob")
    await server.pass_window(1)
    assert (await server.items(service, "presence")).keys() == {"bob"}
    assert (await server.items(service, "m")).keys() == {"k"}
    assert await server.items(service, "on-disconnect") == {}


async def test_an_answer_names_the_event_before(server: Server, service: Service) -> None:
    """The SDK takes what it sent for the data as of the event named, and skips that one."""
    actor = server.connect(service, "alice")
    await server.work()
    outcome = await server.set(service, "presence", "alice", {"mood": "merry"}, actor)
    assert isinstance(outcome, ItemOutcome)
    assert outcome.item.event_id == outcome.event.event_id - 1 == 0
    assert not outcome.is_added
    assert (await server.items(service, "presence"))["alice"]["client"] == {"mood": "merry"}


async def test_publications_at_once_are_carried_out_in_turn(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    publications = [
        asyncio.create_task(server.set(service, "presence", "alice", {"n": number}, actor))
        for number in range(3)
    ]
    writing = asyncio.create_task(server.keeper.work())
    async with asyncio.timeout(5):
        await asyncio.gather(*publications, writing)
    server.connect(service, "alice")
    await server.work()
    entry = (await server.items(service, "presence"))["alice"]
    assert (entry["client"], entry["endpoints"]) == ({"n": 2}, 2)


async def test_a_publication_waits_for_the_write_under_way(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    writing = asyncio.create_task(server.keeper.work())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await server.set(service, "presence", "alice", {"n": 1}, actor)
    assert await writing
    assert (await server.items(service, "presence"))["alice"]["client"] == {"n": 1}


async def test_who_has_gone_publishes_nothing(server: Server, service: Service) -> None:
    actor = server.connect(service, "alice")
    server.disconnect(service, actor)
    put = server.set(service, "presence", "alice", {}, actor)
    assert await refusal_of(put) is Reason.ACCESS_DENIED


@pytest.mark.parametrize("identity", ["a/b c%2F", "\u0928\U0001f426" * 128, "x" * 256, "0"])
async def test_every_identity_can_be_present(
    server: Server, service: Service, identity: str
) -> None:
    actor = server.connect(service, identity)
    await server.work()
    await server.set(service, "presence", identity, {"n": 1}, actor)
    await server.restart()
    assert (await server.items(service, "presence"))[identity]["client"] == {"n": 1}
    await server.pass_window(10)
    assert await server.items(service, "presence") == {}


async def test_the_loop_writes_what_comes_and_sleeps_otherwise(
    server: Server, service: Service
) -> None:
    heard = asyncio.Event()
    server.store.listen(lambda batch: heard.set())
    loop = asyncio.create_task(server.keeper.run())
    server.connect(service, "alice")
    async with asyncio.timeout(5):
        await heard.wait()
    assert (await server.items(service, "presence")).keys() == {"alice"}
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
