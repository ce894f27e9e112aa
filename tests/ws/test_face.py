"""What all sessions share: who is there, revocation, removal of a service, drain."""

from __future__ import annotations

import asyncio
import json

import pytest

from starlings.core import commands as c
from starlings.core.objects import Kind, Service
from starlings.wire.messages import Init, ServerClose
from starlings.ws.session import SyncSession
from tests.ws.sessions import ACCOUNT_SID, ADMIN, Token, a_world, settle


async def test_sessions_are_counted_while_they_last() -> None:
    async with a_world() as world:
        peers = [await world.ready() for _ in range(3)]
        assert world.face.statistics()[:2] == (3, 3)
        peers[0].lose()
        peers[0].lose()
        assert world.face.statistics()[:2] == (2, 3)
        assert sum(world.face.statistics().ended.values()) == 1


async def test_a_revoked_key_ends_its_sessions_only() -> None:
    async with a_world() as world:
        world.tokens["other"] = Token("alice", key_sid="SK2")
        mine, other = await world.ready(), await world.ready("other")
        world.face.revoke_key("SK1")
        assert (mine.is_closed, other.is_closed) == (True, False)
        assert mine.take() == []


async def test_a_revoked_identity_loses_all_its_sessions() -> None:
    async with a_world() as world:
        alices = [await world.ready("alice") for _ in range(2)]
        bob = await world.ready("bob")
        assert world.face.revoke_identity(ACCOUNT_SID, "alice") == 2
        assert [peer.is_closed for peer in (*alices, bob)] == [True, True, False]
        assert world.face.revoke_identity("AC" + "9" * 32, "bob") == 0


async def test_a_removed_service_ends_its_sessions() -> None:
    async with a_world() as world:
        other = await world.node.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None)
        world.tokens["t"] = Token("alice", service=other.sid)
        here, there = await world.ready(), await world.ready("t")
        await world.node.execute(c.RemoveService(other.oid, ADMIN))
        await settle()
        assert (here.is_closed, there.is_closed) == (False, True)


async def test_a_changed_service_is_told_to_its_own_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[SyncSession] = []
    hear = SyncSession.hear_service

    def note(session: SyncSession, oid: int, service: Service | None) -> None:
        told.append(session)
        hear(session, oid, service)

    monkeypatch.setattr(SyncSession, "hear_service", note)
    async with a_world() as world:
        other = await world.node.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None)
        world.tokens["t"] = Token("alice", service=other.sid)
        for _ in range(5):
            await world.ready()
        there = await world.ready("t")
        world.connect()  # and doesn't say whose it is
        settings = c.ServiceSettings(friendly_name="new")
        await world.node.execute(c.UpdateService(other.oid, settings, ADMIN))
        await settle()
        assert told == [there.session]


async def test_nothing_is_remembered_of_sessions_that_ended() -> None:
    async with a_world() as world:
        peers = [await world.ready() for _ in range(3)]
        early = world.connect()
        early.send(Init(early.next_id(), "alice"))
        for peer in (*peers, early):
            peer.lose()
        await settle()
        assert not world.face._of_service
        assert not world.face._entering


async def test_drain_drops_those_who_come_back_soon_and_strangers() -> None:
    async with a_world() as world:
        peers = [await world.ready() for _ in range(4)]
        stranger = world.connect()
        await world.face.drain(10.0)
        assert [peer.take() for peer in peers] == [[]] * 4
        assert all(peer.is_closed for peer in (*peers, stranger))
        assert world.face.statistics().sessions == 0


async def test_drain_sends_many_away_for_different_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("starlings.ws.face._RETURN_PACE_SECONDS", 2.0)
    async with a_world() as world:
        peers = [await world.ready() for _ in range(4)]
        draining = asyncio.ensure_future(world.face.drain(8.0))
        await settle()
        told = [peer for peer in peers if not peer.is_closed]
        assert len(told) == 3
        delays = []
        for peer in told:
            (close,) = peer.take()
            assert isinstance(close, ServerClose)
            assert close.status.code == 308
            delays.append(json.loads(close.payload)["backoff_policy"]["reconnect_min_ms"])
            peer.acknowledge(close)
        assert sorted(delays) == [2000, 4000, 6000]
        await draining
        assert world.face.statistics().sessions == 0


async def test_drain_lets_requests_finish_and_closes_nobody_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("starlings.ws.face._RETURN_PACE_SECONDS", 2.0)
    async with a_world() as world:
        sid, _ = await world.create(Kind.MAP)
        idle, waiting = await world.ready(), await world.ready()
        waiting.ask_nowait("GET", f"/v3/Maps/{sid}")
        idle.ask_nowait("GET", f"/v3/Maps/{sid}")
        await world.face.drain(4.0)
        assert [len(peer.take()) for peer in (idle, waiting)] == [1, 1]
        assert (idle.is_closed, waiting.is_closed) == (True, True)


async def test_nobody_begins_a_session_while_draining() -> None:
    async with a_world() as world:
        await world.face.drain(0.0)
        late = world.connect()
        await settle()
        assert late.is_closed
        assert world.face.statistics().sessions == 0


async def test_close_waits_for_the_work_of_sessions() -> None:
    async with a_world() as world:
        sid, _ = await world.create(Kind.MAP)
        peer = await world.ready()
        peer.ask_nowait("GET", f"/v3/Maps/{sid}")
        await world.face.close()
        assert len(peer.take()) == 1


async def test_one_session_that_fails_leaves_the_others_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_world() as world:

        async def fail() -> None:
            raise ZeroDivisionError

        peer = await world.ready()
        world.face.spawn(fail())
        await settle()
        assert "Work of a session failed" in caplog.text
        assert (await peer.ask("GET", "/v3/Configuration")).status == 200
