"""Clients that come back after a restore: their event ids are of a history that was cut. [8.5]"""

from __future__ import annotations

from typing import Any

import pytest

from starlings.core.objects import Kind
from starlings.storage.memory import MemoryStore
from starlings.ws.endpoints import Endpoints, Owner
from tests.ws.sessions import ACCOUNT_SID, Peer, World, a_world

PATHS = {Kind.DOCUMENT: "Documents", Kind.LIST: "Lists", Kind.MAP: "Maps"}
FIRST = {Kind.DOCUMENT: 0, Kind.LIST: -1, Kind.MAP: -1}
"""The event id of a new object."""


def restore(world: World) -> None:
    """As far as the sockets see it: the present state is that of the backup."""
    assert isinstance(world.store, MemoryStore)
    world.store.cut_history()


def a_token_from_before(world: World) -> str:
    """As the server gave it to alice before the restore."""
    owner = Owner(ACCOUNT_SID, world.service.sid, "alice")
    return Endpoints(b"secret", "before", lambda bits: 7).continue_or_start(owner, None).token


async def come_back(world: World, token: str | None = None) -> tuple[Peer, str]:
    """A client that shows a token, and the one that it is given."""
    peer = world.connect()
    reply = await peer.init(continuation_token=token)
    assert reply.status.is_success, reply
    assert reply.continuation_token is not None
    return peer, reply.continuation_token


async def read(peer: Peer, kind: Kind, sid: str) -> int:
    """What a client that opens the object learns: its event id."""
    answer = await peer.ask("GET", f"/v3/Services/default/{PATHS[kind]}/{sid}")
    assert answer.status == 200
    return int(answer.body["last_event_id"])


def is_gone(events: list[dict[str, Any]]) -> bool:
    """True if all that came says that the object is gone; else it must have been confirmed."""
    kinds = {one["event_type"] for one in events}
    if kinds == {"subscription_failed"}:
        return bool(events[0]["events"][0]["error"]["status"] == 404)
    assert "subscription_established" in kinds
    return False


@pytest.mark.parametrize("kind", PATHS)
async def test_an_object_of_the_lost_history_is_gone_until_it_is_read_anew(kind: Kind) -> None:
    async with a_world() as world:
        sid, _ = await world.create(kind)
        restore(world)
        peer, _ = await come_back(world, a_token_from_before(world))
        assert is_gone(await peer.subscribe((sid, kind.word, FIRST[kind])))
        assert is_gone(await peer.subscribe((sid, kind.word, FIRST[kind] + 5)))
        known = await read(peer, kind, sid)
        assert not is_gone(await peer.subscribe((sid, kind.word, known)))


async def test_one_that_was_cut_off_before_it_heard_so_hears_it_after_any_restart() -> None:
    async with a_world() as world:
        sid, ref = await world.create(Kind.MAP)
        restore(world)
        # As many changes as the client knows of lost ones: its id alone would look like ours.
        await world.put(ref, "k")
        token: str | None = a_token_from_before(world)
        for _ in range(3):
            peer, token = await come_back(world, token)
            peer.lose()
            await world.restart()
        peer, _ = await come_back(world, token)
        assert is_gone(await peer.subscribe((sid, "map", 0)))


async def test_whatever_token_it_shows_it_hears_so() -> None:
    async with a_world() as world:
        sid, _ = await world.create(Kind.MAP)
        _, of_this_history = await come_back(world)
        restore(world)
        for token in (None, "", "nonsense", of_this_history, a_token_from_before(world)):
            peer, _ = await come_back(world, token)
            assert is_gone(await peer.subscribe((sid, "map", -1)))


async def test_what_was_read_anew_is_trusted_after_any_restart() -> None:
    async with a_world() as world:
        (read_sid, ref), (other_sid, _) = [await world.create(Kind.MAP) for _ in range(2)]
        restore(world)
        peer, token = await come_back(world, a_token_from_before(world))
        known = await read(peer, Kind.MAP, read_sid)
        peer.lose()
        await world.restart()
        await world.put(ref, "k")
        peer, _ = await come_back(world, token)
        events = await peer.subscribe((read_sid, "map", known))
        assert [one["event_type"] for one in events] == [
            "map_item_added",
            "subscription_established",
        ]
        assert is_gone(await peer.subscribe((other_sid, "map", -1)))


async def test_after_a_second_restore_what_was_read_after_the_first_is_gone_too() -> None:
    async with a_world() as world:
        sid, _ = await world.create(Kind.MAP)
        restore(world)
        peer, token = await come_back(world)
        known = await read(peer, Kind.MAP, sid)
        world.clock_ms += 1
        restore(world)
        peer, _ = await come_back(world, token)
        assert is_gone(await peer.subscribe((sid, "map", known)))


async def test_an_object_that_was_made_after_the_restore_counts_from_nothing() -> None:
    async with a_world() as world:
        restore(world)
        peer, _ = await come_back(world, a_token_from_before(world))
        made = await peer.ask("POST", "/v3/Services/default/Maps", {"unique_name": "m"})
        assert made.status == 201
        assert not is_gone(await peer.subscribe((made.body["sid"], "map", -1)))
        assert is_gone(await peer.subscribe((made.body["sid"], "map", 0)))


@pytest.mark.parametrize("kind", [Kind.STREAM, Kind.MAP])
async def test_what_asks_for_no_replay_is_not_gone(kind: Kind) -> None:
    async with a_world() as world:
        sid, _ = await world.create(kind)
        restore(world)
        peer, _ = await come_back(world, a_token_from_before(world))
        assert not is_gone(await peer.subscribe((sid, kind.word, None)))


async def test_without_a_restore_every_id_that_was_given_is_trusted() -> None:
    async with a_world() as world:
        sid, ref = await world.create(Kind.MAP)
        peer, token = await come_back(world)
        await world.put(ref, "k")
        peer.lose()
        await world.restart()
        peer, _ = await come_back(world, token)
        assert not is_gone(await peer.subscribe((sid, "map", -1)))
