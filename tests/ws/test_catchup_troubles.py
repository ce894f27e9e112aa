"""Catching up in trouble: faults, lost news, sessions that end in the middle, no room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.objects import Kind, SyncObject
from starlings.ws import catchup
from starlings.ws.inbox import MOST_REPLY_BYTES
from tests.ws.catching_up import a_map, completed, told
from tests.ws.sessions import ADMIN, a_world, settle, subscription_body


async def test_a_passing_fault_leaves_the_entry_unconfirmed_and_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        bad, _ = await a_map(world, 1)
        good, _ = await a_map(world, 1)
        peer = await world.ready()
        original = world.store.replay
        faults = [Fault(Reason.UNAVAILABLE)]

        async def replay(*arguments: Any) -> Any:
            if faults:
                raise faults.pop()
            return await original(*arguments)

        monkeypatch.setattr(world.store, "replay", replay)
        events = await peer.subscribe((bad, "map", -1), (good, "map", -1))
        assert told(events) == [("map_item_added", 0), completed(0)]
        assert events[1]["events"][0]["object_sid"] == good
        assert told(await peer.subscribe((bad, "map", -1))) == [("map_item_added", 0), completed(0)]


async def test_lost_news_are_repaired_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catchup, "PAGE_EVENTS", 2)
    monkeypatch.setattr(catchup, "REPAIR_PAUSE_SECONDS", 0.0)
    async with a_world() as world:
        sid, ref = await a_map(world, 1)
        document, document_ref = await world.create(Kind.DOCUMENT)
        peer = await world.ready()
        await peer.subscribe((sid, "map", 0), (document, "document", 0))
        publish = world.face.hub.publish
        world.store._listeners.remove(publish)
        for key in "abcde":
            await world.put(ref, key)
        await world.node.execute(c.UpdateDocument(document_ref, b"{}", None, None, ADMIN))
        await settle()
        world.store.listen(publish)
        original = world.store.replay
        faults = [Fault(Reason.UNAVAILABLE)]

        async def replay(*arguments: Any) -> Any:
            if faults:
                raise faults.pop()
            return await original(*arguments)

        monkeypatch.setattr(world.store, "replay", replay)
        await world.put(ref, "f")
        await settle()
        assert told(peer.take_events()) == [("map_item_added", one) for one in range(1, 7)]
        await world.node.execute(c.UpdateDocument(document_ref, b"{}", None, None, ADMIN))
        await settle()
        assert told(peer.take_events()) == [("document_updated", 2)]
        await world.put(ref, "g")
        assert told(peer.take_events()) == [("map_item_added", 7)]


async def test_a_removal_while_a_repair_is_under_way_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("starlings.node.subscription.MOST_HELD", 2)
    async with a_world() as world:
        sid, ref = await a_map(world, 1)
        peer = await world.ready()
        original = world.store.replay

        async def replay(*arguments: Any) -> Any:
            monkeypatch.setattr(world.store, "replay", original)
            events = await original(*arguments)
            for key in "abcd":
                await world.put(ref, key)
            await world.node.execute(c.RemoveObject(ref, None, ADMIN))
            await settle()
            return events

        monkeypatch.setattr(world.store, "replay", replay)
        assert await peer.subscribe((sid, "map", -1)) == []
        for _ in range(10):
            await settle()
        events = told(peer.take_events())
        assert events[-1] == ("map_removed", None)
        assert world.face.hub.statistics().listeners == 0


async def test_a_session_that_ends_while_an_object_is_looked_up_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        sid, _ = await a_map(world, 1)
        peer = await world.ready()
        gate, find_object = asyncio.Event(), world.store.find_object

        async def find_late(oid: int) -> SyncObject | None:
            await gate.wait()
            return await find_object(oid)

        monkeypatch.setattr(world.store, "find_object", find_late)
        peer.ask_nowait("POST", "/v4/Subscriptions", subscription_body((sid, "map", -1)))
        await settle()
        peer.lose()
        gate.set()
        await settle()
        assert world.face.hub.statistics().listeners == 0


async def test_nothing_is_sent_to_a_connection_without_room() -> None:
    async with a_world() as world:
        sid, _ = await a_map(world, 2)
        peer = await world.ready()
        peer.connection.queued_bytes = MOST_REPLY_BYTES
        assert await peer.subscribe((sid, "map", -1)) == []
        peer.connection.queued_bytes = 0
        peer.session.on_drained()
        await settle()
        assert told(peer.take_events())[-1] == completed(1)


async def test_a_session_that_ends_while_it_waits_for_room_waits_no_longer() -> None:
    async with a_world() as world:
        sid, _ = await a_map(world, 2)
        peer = await world.ready()
        peer.connection.queued_bytes = MOST_REPLY_BYTES
        await peer.subscribe((sid, "map", -1))
        peer.lose()
        await settle()
        assert not world.face._tasks
        assert world.face.hub.statistics().listeners == 0


async def test_what_the_kernel_takes_at_once_is_not_waited_for() -> None:
    async with a_world() as world:
        sid, _ = await a_map(world, 2)
        peer = await world.ready()
        connection = peer.connection
        connection.queued_bytes = MOST_REPLY_BYTES
        connection.flush = lambda: setattr(connection, "queued_bytes", 0)  # type: ignore[method-assign]
        assert told(await asyncio.wait_for(peer.subscribe((sid, "map", -1)), 5))[-1] == completed(1)


async def test_a_mistake_of_ours_sends_the_client_away_and_it_asks_anew(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a confirmation it would ask again on the same connection, and hear nothing."""
    async with a_world() as world:
        sid, ref = await world.create(Kind.MAP)
        await world.put(ref, "k")
        peer = await world.ready()

        async def replay(*_: Any) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as broken:
            broken.setattr(world.store, "replay", replay)
            assert await peer.subscribe((sid, "map", -1)) == []
        assert peer.is_closed
        assert "Catching up failed" in caplog.text
        again = await world.ready()
        events = await again.subscribe((sid, "map", -1))
        assert [one["event_type"] for one in events] == [
            "map_item_added",
            "subscription_established",
        ]
