"""On-disconnect actions on a store: faults, crashes, and what they can't reach."""

from __future__ import annotations

from typing import Any

import pytest

from starlings.core.errors import Fault, Reason
from starlings.core.objects import Kind, Service
from starlings.node.presence_keeper import SHORT_WINDOW_SECONDS
from starlings.node.presence_settings import SETTINGS_NAME
from tests.node.presence_server import SYSTEM_ACTOR, Server, refusal_of


async def test_an_action_whose_removal_fails_is_not_performed_again(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    action: dict[str, Any] = {"action": "set_item", "map": "m", "key": "k", "data": {}}
    await server.set(service, "on-disconnect", "k", action, actor)
    outcome = await server.node.create_object(
        service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None
    )
    await server.work()
    server.disconnect(service, actor)
    server.clock.pass_seconds(SHORT_WINDOW_SECONDS)
    server.store.breaks_after = 2  # the entry's removal, and the change
    assert not await server.keeper.work()
    server.store.breaks_after, server.store.is_broken = None, False
    await server.pass_window(1)
    assert await server.items(service, "on-disconnect") == {}
    target = await server.store.find_object(outcome.object.oid)
    assert target is not None
    assert target.event_id == outcome.object.event_id + 1


async def test_an_action_is_performed_after_a_crash_unless_its_endpoint_is_back(
    server: Server, service: Service
) -> None:
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    for identity in ("alice", "bob"):
        actor = server.connect(service, identity, f"client of {identity}")
        action: dict[str, Any] = {"action": "set_item", "map": "m", "key": identity, "data": {}}
        await server.set(service, "on-disconnect", identity, action, actor)
    await server.restart()
    server.connect(service, "alice", "client of alice")
    server.connect(service, "bob", "another client of bob")
    await server.pass_window(10)
    assert (await server.items(service, "m")).keys() == {"bob"}
    assert (await server.items(service, "on-disconnect")).keys() == {"alice"}


async def test_an_action_that_was_refused_by_the_store_is_not_held(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    action: dict[str, Any] = {"action": "set_item", "map": "m", "key": "k", "data": {"n": 1}}
    await server.set(service, "on-disconnect", "kept", action, actor)
    server.store.is_broken = True
    for key in ("kept", "new"):
        with pytest.raises(Fault):
            await server.set(service, "on-disconnect", key, action | {"key": "other"}, actor)
    server.store.is_broken = False
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    server.disconnect(service, actor)
    await server.pass_window()
    assert await server.items(service, "m") == {"k": {"n": 1}}


async def test_an_action_cannot_reach_what_became_the_servers_own(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    action: dict[str, Any] = {"action": "set_item", "map": "later", "key": "ghost", "data": {}}
    await server.set(service, "on-disconnect", "k", action, actor)
    await server.keeper.configure(service, "later", "on-disconnect")
    server.disconnect(service, actor)
    await server.pass_window()
    assert await server.items(service, "later") == {}
    assert await server.items(service, "on-disconnect") == {}


async def test_an_action_cannot_reach_the_settings_by_name_or_sid(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "mallory")
    settings = await server.store.find_object_named(service.oid, Kind.DOCUMENT, SETTINGS_NAME)
    presence = await server.store.find_object_named(service.oid, Kind.MAP, "presence")
    assert settings is not None
    assert presence is not None
    actions: list[dict[str, Any]] = [
        {"action": "set_document", "document": name, "data": {}}
        for name in (SETTINGS_NAME, settings.sid)
    ]
    actions += [
        {"action": "set_item", "map": name, "key": "k", "data": {}}
        for name in ("presence", presence.sid, "on-disconnect")
    ]
    for action in actions:
        refused = server.set(service, "on-disconnect", "k", action, actor)
        assert await refusal_of(refused) is Reason.BAD_PARAMETER, action
    server.disconnect(service, actor)
    await server.pass_window()
    assert await server.store.find_object(settings.oid) == settings
