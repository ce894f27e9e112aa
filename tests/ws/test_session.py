"""One connection from its first frame to its end, without a socket."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from typing import Any

import pytest

from starlings.auth.keyring import LiveKey
from starlings.auth.tokens import mint_token
from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.limits import OFF
from starlings.core.objects import Kind
from starlings.wire.messages import (
    ClientClose,
    ClientUpdate,
    Init,
    Ping,
    Reply,
    ServerClose,
    Telemetry,
    TelemetryEvent,
    Update,
)
from starlings.wire.session_events import Reason as EndReason
from starlings.ws.catchup import CatchUp
from starlings.ws.inbox import Inbox
from starlings.ws.queries import SessionQueries
from tests.ws.objects import list_objects
from tests.ws.sessions import ACCOUNT_SID, ADMIN, START_MS, Answered, Token, a_world, settle

HOUR = 3_600


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


# Time


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


# The end


async def test_close_is_answered_and_everything_let_go() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.MAP)
        await peer.subscribe((sid, "map", -1))
        assert world.face.hub.statistics().listeners == 1
        peer.send(ClientClose("C1"))
        (reply,) = peer.take()
        assert isinstance(reply, Reply)
        assert peer.is_closed
        assert world.face.hub.statistics().listeners == 0
        peer.lose()
        assert world.face.statistics().sessions == 0


async def test_a_lost_connection_lets_everything_go_once() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.MAP)
        await peer.subscribe((sid, "map", -1))
        peer.lose()
        assert world.face.hub.statistics().listeners == 0
        assert world.face.statistics().ended == {"connection_lost/None": 1}


async def test_what_a_session_had_is_freed_when_it_ends() -> None:
    """At once, and not when cycles are looked for."""
    parts = (CatchUp, Inbox, SessionQueries)
    others = list_objects(*parts)
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.MAP)
        await peer.subscribe((sid, "map", 0))
        assert len(list_objects(*parts)) == len(others) + len(parts)
        gc.disable()
        try:
            peer.lose()
            await settle()
            assert list_objects(*parts) == others
        finally:
            gc.enable()


async def test_a_drained_client_is_let_go_when_it_has_read_the_close() -> None:
    async with a_world() as world:
        peer = await world.ready()
        peer.session.offload(500)
        (close,) = peer.take()
        assert isinstance(close, ServerClose)
        assert (close.status.code, b"reconnect_min_ms" in close.payload) == (308, True)
        assert not peer.is_closed
        peer.acknowledge(close)
        assert peer.is_closed


async def test_a_drained_client_that_does_not_answer_is_let_go_after_a_second() -> None:
    async with a_world() as world:
        peer = await world.ready()
        peer.session.offload(500)
        timer = peer.session._timer
        assert timer is not None
        assert timer.when() - asyncio.get_running_loop().time() <= 1.0
        await world.tick(peer, 1)
        assert peer.is_closed


async def test_a_revocation_finds_a_session_that_is_still_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        gate = asyncio.Event()
        original = world.node.get_service

        async def get_service(account_sid: str, name: str) -> Any:
            await gate.wait()
            return await original(account_sid, name)

        monkeypatch.setattr(world.node, "get_service", get_service)
        peer = world.connect()
        peer.send(Init("I1", "alice"))
        await settle()
        world.face.revoke_key("SK1")
        gate.set()
        await settle()
        assert peer.is_closed
        assert peer.take() == []


@pytest.mark.parametrize("is_removed", [True, False])
async def test_a_session_that_is_still_starting_hears_of_its_service(
    is_removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer about the service may be on its way while the service changes."""
    async with a_world() as world:
        other = await world.node.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None)
        world.tokens["t"] = Token("alice", service=other.sid)
        gate = asyncio.Event()
        original = world.node.get_service

        async def get_service(account_sid: str, name: str) -> Any:
            service = await original(account_sid, name)
            await gate.wait()
            return service

        monkeypatch.setattr(world.node, "get_service", get_service)
        peer = world.connect()
        peer.send(Init("I1", "t"))
        await settle()
        change: Any = c.RemoveService(other.oid, ADMIN)
        if not is_removed:
            change = c.UpdateService(other.oid, c.ServiceSettings(has_acl=True), ADMIN)
        await world.node.execute(change)
        gate.set()
        await settle()
        (reply,) = peer.take()
        assert reply.status.code == (403 if is_removed else 200)
        assert (peer.session.caller is None) == is_removed
        if peer.session.caller is not None:
            assert peer.session.caller.service.has_acl


async def test_a_revocation_finds_a_session_that_is_about_to_change_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        gate = asyncio.Event()
        original = world.node.get_service

        async def get_service(account_sid: str, name: str) -> Any:
            await gate.wait()
            return await original(account_sid, name)

        peer = await world.ready()
        monkeypatch.setattr(world.node, "get_service", get_service)
        world.tokens["next"] = Token("alice", key_sid="SK2")
        peer.send(Update("U1", "next"))
        await settle()
        world.face.revoke_key("SK2")
        gate.set()
        await settle()
        assert peer.is_closed
        (answer,) = peer.take()
        assert (answer.id, answer.status.code) == ("U1", 503)
        assert peer.session._renewals == ()


async def test_who_leaves_during_init_leaves_nothing_behind() -> None:
    async with a_world() as world:
        peer = world.connect()
        peer.send(Init("I1", "alice"))
        peer.lose()
        await settle()
        assert world.face.statistics().sessions == 0
        assert peer.session._timer is None


# Measurements


async def test_telemetry_is_counted_and_not_answered() -> None:
    async with a_world() as world:
        peer = await world.ready()
        peer.send(Telemetry("T1", [TelemetryEvent(-5, 0, "t")]))
        assert peer.take() == []
        assert world.face.statistics().telemetry_events == 1


# Permissions


async def test_who_may_not_read_any_more_is_told_so() -> None:
    async with a_world() as world:
        await world.node.execute(
            c.UpdateService(world.service.oid, c.ServiceSettings(has_acl=True), ADMIN)
        )
        sid, ref = await world.create(Kind.MAP)
        await world.node.execute(c.SetPermission(ref, "alice", True, True, True, ADMIN))
        await settle()
        peer = await world.ready()
        await peer.subscribe((sid, "map", -1))
        await world.node.execute(c.SetPermission(ref, "bob", False, False, False, ADMIN))
        await settle()
        assert peer.take_events() == []
        await world.node.execute(c.SetPermission(ref, "alice", False, True, True, ADMIN))
        await settle()
        (failed,) = peer.take_events()
        assert failed["event_type"] == "subscription_failed"
        assert failed["events"][0]["error"]["status"] == 403
        await world.put(ref, "k")
        assert peer.take_events() == []


async def test_who_cannot_be_checked_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world() as world:
        await world.node.execute(
            c.UpdateService(world.service.oid, c.ServiceSettings(has_acl=True), ADMIN)
        )
        sid, ref = await world.create(Kind.MAP)
        await world.node.execute(c.SetPermission(ref, "alice", True, True, True, ADMIN))
        await settle()
        peer = await world.ready()
        await peer.subscribe((sid, "map", -1))

        async def fail(*_: Any) -> None:
            raise Fault(Reason.UNAVAILABLE)

        monkeypatch.setattr(world.store, "find_service", fail)
        await world.node.store.execute(c.SetPermission(ref, "alice", True, True, True, ADMIN))
        await settle()
        assert peer.is_closed
        assert world.face.statistics().ended == {EndReason.REVOKED.value: 1}


async def test_access_control_switched_on_is_checked_at_once() -> None:
    async with a_world() as world:
        sid, _ = await world.create(Kind.MAP)
        peer = await world.ready()
        await peer.subscribe((sid, "map", -1))
        await world.node.execute(
            c.UpdateService(world.service.oid, c.ServiceSettings(has_acl=True), ADMIN)
        )
        await settle()
        assert [one["event_type"] for one in peer.take_events()] == ["subscription_failed"]
        assert await peer.ask("GET", f"/v3/Maps/{sid}") != Answered(200, None)
