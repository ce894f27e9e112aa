"""Clients that come back after a restore: their event ids are of a history that was cut. [8.5]"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from starlings.core.objects import Kind
from starlings.ws.endpoints import Endpoints, Owner
from tests.ws.sessions import ACCOUNT_SID, Peer, World, a_world, settle

PATHS = {Kind.DOCUMENT: "Documents", Kind.LIST: "Lists", Kind.MAP: "Maps"}


def a_token_from_before(world: World) -> str:
    """As the server gave it to alice before the restore."""
    owner = Owner(ACCOUNT_SID, world.service.sid, "alice")
    return Endpoints(b"secret", "before", lambda bits: 7).continue_or_start(owner, None).token


async def come_back(world: World, token: str | None) -> tuple[Peer, str]:
    """A client that shows a token, and the one that it is given."""
    peer = world.connect()
    reply = await peer.init(continuation_token=token)
    assert reply.status.is_success, reply
    assert reply.continuation_token is not None
    return peer, reply.continuation_token


async def read(peer: Peer, kind: Kind, sid: str) -> None:
    assert (await peer.ask("GET", f"/v3/Services/default/{PATHS[kind]}/{sid}")).status == 200


def is_gone(events: list[dict[str, Any]]) -> bool:
    """True if all that came says that the object is gone; else it must have been confirmed."""
    kinds = {one["event_type"] for one in events}
    if kinds == {"subscription_failed"}:
        return bool(events[0]["events"][0]["error"]["status"] == 404)
    assert "subscription_established" in kinds
    return False


@pytest.mark.parametrize("kind", PATHS)
async def test_an_object_of_another_history_is_gone_until_it_is_read_anew(kind: Kind) -> None:
    async with a_world() as world:
        sid, _ = await world.create(kind)
        peer, _ = await come_back(world, a_token_from_before(world))
        assert is_gone(await peer.subscribe((sid, kind.word, -1)))
        await read(peer, kind, sid)
        assert not is_gone(await peer.subscribe((sid, kind.word, -1)))


async def test_one_that_was_cut_off_before_it_heard_so_hears_it_later() -> None:
    async with a_world() as world:
        sid, _ = await world.create(Kind.MAP)
        peer, token = await come_back(world, a_token_from_before(world))
        peer.lose()
        for _ in range(2):
            peer, token_again = await come_back(world, token)
            assert token_again == token
            assert is_gone(await peer.subscribe((sid, "map", -1)))
            peer.lose()


async def test_what_was_read_anew_is_trusted_on_later_connections_too() -> None:
    async with a_world() as world:
        (read_sid, ref), (other_sid, _) = [await world.create(Kind.MAP) for _ in range(2)]
        peer, token = await come_back(world, a_token_from_before(world))
        await read(peer, Kind.MAP, read_sid)
        peer.lose()
        await world.put(ref, "k")
        peer, _ = await come_back(world, token)
        events = await peer.subscribe((read_sid, "map", -1))
        assert [one["event_type"] for one in events] == [
            "map_item_added",
            "subscription_established",
        ]
        assert is_gone(await peer.subscribe((other_sid, "map", -1)))


async def test_what_is_remembered_of_a_client_is_bounded() -> None:
    async with a_world() as world:
        sids = [(await world.create(Kind.MAP))[0] for _ in range(3)]
        peer, _ = await come_back(world, a_token_from_before(world))
        with patch("starlings.ws.catchup.MOST_KNOWN", 2):
            for sid in sids:
                await read(peer, Kind.MAP, sid)
        told = [is_gone(await peer.subscribe((sid, "map", -1))) for sid in sids]
        assert told == [False, False, True]


async def test_what_the_client_creates_is_of_this_history() -> None:
    async with a_world() as world:
        peer, _ = await come_back(world, a_token_from_before(world))
        made = await peer.ask("POST", "/v3/Services/default/Maps", {"unique_name": "m"})
        assert made.status == 201
        assert not is_gone(await peer.subscribe((made.body["sid"], "map", -1)))


@pytest.mark.parametrize("kind", [Kind.STREAM, Kind.MAP])
async def test_what_asks_for_no_replay_is_not_gone(kind: Kind) -> None:
    async with a_world() as world:
        sid, _ = await world.create(kind)
        peer, _ = await come_back(world, a_token_from_before(world))
        assert not is_gone(await peer.subscribe((sid, kind.word, None)))


async def test_a_client_of_this_history_is_trusted() -> None:
    async with a_world() as world:
        sid, _ = await world.create(Kind.MAP)
        peer, token = await come_back(world, None)
        peer.lose()
        await settle()
        peer, _ = await come_back(world, token)
        assert not is_gone(await peer.subscribe((sid, "map", -1)))
