"""What time does to a connection: pings, silence, the end of a token, a new one."""

from __future__ import annotations

import pytest

from starlings.core import commands as c
from starlings.wire.messages import ClientUpdate, Ping, Reply, ServerClose, Update
from tests.ws.sessions import ADMIN, START_MS, Token, a_world, settle

HOUR = 3_600


async def test_pings_go_out_and_a_silent_client_is_dropped() -> None:
    async with a_world() as world:
        peer = await world.ready()
        await world.tick(peer, 25)
        (ping,) = peer.take()
        assert isinstance(ping, Ping)
        peer.acknowledge(ping)
        await world.tick(peer, 25)
        await world.tick(peer, 25)
        assert not peer.is_closed
        await world.tick(peer, 25)
        await world.tick(peer, 25)
        assert peer.is_closed


@pytest.mark.parametrize("correction_seconds", [-86_400, 3_600])
async def test_a_corrected_clock_is_no_silence_and_hides_none(correction_seconds: int) -> None:
    async with a_world() as world:
        peer = await world.ready()
        world.correction_ms = correction_seconds * 1000
        await world.tick(peer, 25)
        (ping,) = peer.take()
        assert isinstance(ping, Ping)
        assert not peer.is_closed
        for _ in range(3):
            await world.tick(peer, 25)
        assert peer.is_closed


async def test_expiry_is_announced_and_then_the_connection_dropped() -> None:
    async with a_world() as world:
        world.tokens["t"] = Token("alice", expires_at=START_MS + 200_000)
        peer = world.connect()
        await peer.init("t")
        for _ in range(8):
            await world.tick(peer, 24)
            messages = peer.take()
            for message in messages:
                peer.acknowledge(message)
            if world.clock_ms >= START_MS + 20_000 and any(
                isinstance(one, ClientUpdate) for one in messages
            ):
                break
        else:
            pytest.fail("no warning")
        assert not peer.is_closed
        world.clock_ms = START_MS + 200_000
        await world.tick(peer, 0)
        assert peer.is_closed
        assert not any(isinstance(one, ServerClose) for one in peer.take())
        assert world.face.statistics().ended == {"token expired": 1}


async def test_a_new_token_prolongs_the_session() -> None:
    async with a_world() as world:
        world.tokens["old"] = Token("alice", expires_at=START_MS + 10_000)
        world.tokens["new"] = Token("alice", expires_at=START_MS + HOUR * 1000)
        peer = world.connect()
        await peer.init("old")
        peer.send(Update("U1", "new"))
        await settle()
        (reply,) = peer.take()
        assert isinstance(reply, Reply)
        assert (reply.id, reply.status.code) == ("U1", 200)
        await world.tick(peer, 11)
        assert not peer.is_closed


@pytest.mark.parametrize(
    "token",
    [
        Token("bob"),
        Token("alice", account_sid="AC" + "2" * 32),
        Token("alice", service="IS" + "0" * 32),
    ],
)
async def test_a_token_of_somebody_else_is_no_update(
    token: Token, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "starlings.ws")
    async with a_world() as world:
        peer = await world.ready()
        world.tokens["new"] = token
        peer.send(Update("U1", "new"))
        await settle()
        (reply,) = peer.take()
        assert isinstance(reply, Reply)
        assert reply.status.code in (401, 403)
        assert "A new token was refused address=192.0.2.7 code=" in caplog.text
        assert peer.session.token == Token("alice")


async def test_an_update_to_another_service_is_refused() -> None:
    async with a_world() as world:
        other = await world.node.create_service(
            world.service.account_sid, c.ServiceSettings(), ADMIN, None
        )
        peer = await world.ready()
        world.tokens["new"] = Token("alice", service=other.sid)
        peer.send(Update("U1", "new"))
        await settle()
        (reply,) = peer.take()
        assert isinstance(reply, Reply)
        assert (reply.status.code, reply.status.status) == (401, "UNAUTHORIZED")
