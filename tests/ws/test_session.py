"""One connection from its first frame on, without a socket."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from starlings.auth.keyring import LiveKey
from starlings.auth.tokens import mint_token
from starlings.core.errors import Reason
from starlings.core.limits import OFF
from starlings.wire.messages import Reply, ServerClose, Telemetry, TelemetryEvent
from tests.ws.sessions import Token, a_world


async def test_init_tells_who_is_there() -> None:
    async with a_world() as world:
        peer = world.connect()
        reply = await peer.init()
        assert reply.status.code == 200
        assert reply.account_descriptor is not None
        assert reply.account_descriptor.identity == "alice"
        assert reply.account_descriptor.instance_sids == {"data_sync": world.service.sid}
        assert reply.continuation_token_status is not None
        assert not reply.continuation_token_status.reissued
        assert world.face.statistics().sessions == 1


async def test_a_continuation_token_is_continued_and_a_foreign_one_replaced() -> None:
    async with a_world() as world:
        first = await world.connect().init()
        again = await world.connect().init(continuation_token=first.continuation_token)
        assert again.continuation_token == first.continuation_token
        other = await world.connect().init("bob", continuation_token=first.continuation_token)
        assert other.continuation_token != first.continuation_token
        assert other.continuation_token_status is not None
        assert other.continuation_token_status.reissued


async def test_every_connection_has_an_endpoint_of_its_own() -> None:
    async with a_world() as world:
        first = world.connect()
        token = (await first.init()).continuation_token
        second = world.connect()
        await second.init(continuation_token=token)
        assert first.session.endpoint != second.session.endpoint


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.TOKEN_EXPIRED, 401, 20104),
        (Reason.TOKEN_MALFORMED, 401, 20101),
        (Reason.TOKEN_BAD_GRANTS, 401, 20106),
    ],
)
async def test_a_bad_token_is_refused_and_the_connection_closed(
    reason: Reason, status: int, code: int
) -> None:
    async with a_world() as world:
        world.bad_tokens["bad"] = reason
        peer = world.connect()
        reply = await peer.init("bad")
        assert (reply.status.code, reply.status.error_code) == (status, code)
        assert reply.status.status == "UNAUTHORIZED"
        await world.tick(peer, 1.0)
        assert peer.is_closed
        assert world.face.statistics().sessions == 0


async def test_a_refused_token_is_told_with_its_code_address_and_whose_it_says_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "starlings.ws")
    key = LiveKey("SK" + "1" * 32, "AC" + "0" * 32, "s" * 32)
    text = mint_token(key, "zoe\n", "default", 60, 1_800_000_000_000)
    async with a_world() as world:
        world.bad_tokens[text] = Reason.TOKEN_EXPIRED
        world.bad_tokens["no token"] = Reason.TOKEN_MALFORMED
        await world.connect().init(text)
        await world.connect().init("no token")
        told = [line for line in caplog.messages if line.startswith("An init was refused")]
        assert told == [
            f"An init was refused address=192.0.2.7 code=20104 key={key.sid} identity='zoe\\n'",
            "An init was refused address=192.0.2.7 code=20101 key=- identity=-",
        ]
        assert text not in caplog.text


@pytest.mark.parametrize("service", ["IS" + "0" * 32, "nonsense"])
async def test_a_token_for_a_service_that_is_not_there_is_refused(service: str) -> None:
    async with a_world() as world:
        world.tokens["t"] = Token("alice", service=service)
        reply = await world.connect().init("t")
        assert (reply.status.code, reply.status.status) == (403, "FORBIDDEN")


async def test_a_token_for_a_service_of_another_account_is_refused() -> None:
    async with a_world() as world:
        stranger = "AC" + "1" * 32
        world.tokens["t"] = Token("alice", account_sid=stranger, service=world.service.sid)
        assert (await world.connect().init("t")).status.code == 403


async def test_too_many_connections_come_back_later() -> None:
    limits = replace(OFF, rates=replace(OFF.rates, connections=1.0, burst_seconds=2.0))
    async with a_world(limits) as world:
        replies = [await world.connect().init() for _ in range(3)]
        assert [reply.status.code for reply in replies] == [200, 200, 429]
        assert b"reconnect_min_ms" in replies[2].payload


async def test_strangers_do_not_use_up_the_rate_of_connections() -> None:
    limits = replace(OFF, rates=replace(OFF.rates, connections=1.0, burst_seconds=1.0))
    async with a_world(limits) as world:
        world.bad_tokens["bad"] = Reason.TOKEN_BAD_SIGNATURE
        for _ in range(5):
            assert (await world.connect().init("bad")).status.code == 401
        assert (await world.connect().init()).status.code == 200


async def test_a_second_init_is_refused_and_changes_nothing() -> None:
    async with a_world() as world:
        peer = await world.ready()
        assert (await peer.init("bob")).status.code == 400
        assert peer.session.caller is not None
        assert peer.session.caller.actor.identity == "alice"


async def test_a_request_before_init_is_refused() -> None:
    async with a_world() as world:
        peer = world.connect()
        peer.ask_nowait("GET", "/v3/Documents/x")
        (reply,) = peer.take()
        assert isinstance(reply, Reply)
        assert reply.status.code == 401


async def test_bytes_that_are_no_frame_end_an_unknown_connection_within_a_second() -> None:
    async with a_world() as world:
        peer = world.connect()
        peer.session.on_message(b"GET / HTTP/1.1\r\n")
        (close,) = peer.take()
        assert isinstance(close, ServerClose)
        assert close.status.code == 417
        timer = peer.session._timer
        assert timer is not None
        assert timer.when() - asyncio.get_running_loop().time() <= 1.0
        await world.tick(peer, 1.0)
        assert peer.is_closed


async def test_text_and_broken_frames_are_dropped_and_the_session_goes_on() -> None:
    async with a_world() as world:
        peer = await world.ready()
        peer.session.on_text()
        peer.session.on_message(b"\xff" * 100)
        assert peer.take() == []
        assert (await peer.ask("GET", "/v3/Configuration")).status == 200


async def test_a_connection_without_init_is_closed_in_time() -> None:
    async with a_world() as world:
        peer = world.connect()
        await world.tick(peer, 29)
        assert not peer.is_closed
        await world.tick(peer, 1)
        assert peer.is_closed


# Measurements


async def test_telemetry_is_counted_and_not_answered() -> None:
    async with a_world() as world:
        peer = await world.ready()
        peer.send(Telemetry("T1", [TelemetryEvent(-5, 0, "t")]))
        assert peer.take() == []
        assert world.face.statistics().telemetry_events == 1
