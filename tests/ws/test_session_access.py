"""What a connection loses while it lasts: its token, its service, its permissions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.objects import Kind
from starlings.wire.messages import Init, Update
from starlings.wire.session_events import Reason as EndReason
from tests.ws.sessions import ACCOUNT_SID, ADMIN, Answered, Token, a_world, settle


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
        failed, canceled = peer.take_events()
        assert failed["event_type"] == "subscription_failed"
        assert failed["events"][0]["error"]["status"] == 403
        # What Kotlin clients understand, who pass over the failure of what they had.
        assert canceled["event_type"] == "subscription_canceled"
        assert canceled["events"] == [{"object_sid": sid, "object_type": "map"}]
        assert "correlation_id" not in canceled
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
        kinds = [one["event_type"] for one in peer.take_events()]
        assert kinds == ["subscription_failed", "subscription_canceled"]
        assert await peer.ask("GET", f"/v3/Maps/{sid}") != Answered(200, None)
