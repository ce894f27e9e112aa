"""The settings of presence: changed, renamed, switched off, and nobody's to write."""

from __future__ import annotations

from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.objects import Actor, Kind, ObjectRef, Service
from starlings.node.presence_settings import SETTINGS_NAME
from tests.node.presence_server import SYSTEM_ACTOR, Server, refusal_of


async def test_renaming_one_map_keeps_what_the_other_knows(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    action: dict[str, Any] = {"action": "set_item", "map": "m", "key": "k", "data": {}}
    await server.set(service, "on-disconnect", "k", action, actor)
    await server.keeper.configure(service, "who", "on-disconnect")
    await server.work()
    assert (await server.items(service, "who")).keys() == {"alice"}
    server.disconnect(service, actor)
    await server.pass_window()
    assert (await server.items(service, "m")).keys() == {"k"}
    assert await server.items(service, "who") == {}


async def test_a_map_with_content_is_not_taken(server: Server) -> None:
    service = await server.create_service()
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    await server.set(service, "m", "k", {}, SYSTEM_ACTOR)
    assert await refusal_of(server.keeper.configure(service, "m", None)) is Reason.NAME_TAKEN
    client = Actor("alice", "EP1", is_unrestricted=False)
    await server.node.create_object(service, Kind.MAP, "n", None, None, client, None)
    assert await refusal_of(server.keeper.configure(service, "n", None)) is Reason.NAME_TAKEN
    assert server.keeper.settings_of(service).maps == []


async def test_a_map_that_expires_is_not_taken(server: Server) -> None:
    service = await server.create_service()
    await server.node.create_object(service, Kind.MAP, "m", None, 60, SYSTEM_ACTOR, None)
    assert await refusal_of(server.keeper.configure(service, "m", None)) is Reason.NAME_TAKEN
    server.clock.pass_seconds(60)
    settings = await server.keeper.configure(service, "m", None)
    assert settings.presence is not None
    server.connect(service, "alice")
    await server.work()
    assert list(await server.items(service, "m")) == ["alice"]


async def test_bad_names_are_refused(server: Server, service: Service) -> None:
    configure = server.keeper.configure
    assert await refusal_of(configure(service, "", None)) is Reason.BAD_NAME
    assert await refusal_of(configure(service, "x", "x")) is Reason.BAD_PARAMETER
    swapped = configure(service, "on-disconnect", "presence")
    assert await refusal_of(swapped) is Reason.NAME_TAKEN


@pytest.mark.parametrize("writes", range(9))
async def test_a_crash_while_settings_change_leaves_the_old_or_the_new_ones(
    server: Server, service: Service, writes: int
) -> None:
    server.connect(service, "alice")
    await server.work()
    server.store.breaks_after = writes
    is_done = True
    try:
        await server.keeper.configure(service, "who", None)
    except Fault:
        is_done = False
    server.store.breaks_after, server.store.is_broken = None, False
    await server.restart()
    settings = server.keeper.settings_of(service)
    assert settings.presence is not None
    name = settings.presence.unique_name
    assert name == ("who" if is_done else "presence")
    assert (settings.on_disconnect is None) == is_done
    for former in ("presence", "on-disconnect"):
        found = await server.store.find_object_named(service.oid, Kind.MAP, former)
        assert (found is None) == is_done
    server.connect(service, "alice")
    await server.pass_window(10)
    assert (await server.items(service, name)).keys() == {"alice"}
    await server.keeper.configure(service, "who", "on-disconnect")
    await server.work()
    assert (await server.items(service, "who")).keys() == {"alice"}


async def test_the_settings_are_nobodys_to_write(server: Server, service: Service) -> None:
    node = server.node
    assert (
        await refusal_of(
            node.create_object(
                service, Kind.DOCUMENT, SETTINGS_NAME, b"{}", None, SYSTEM_ACTOR, None
            )
        )
        is Reason.BAD_NAME
    )
    found = await server.store.find_object_named(service.oid, Kind.DOCUMENT, SETTINGS_NAME)
    assert found is not None
    for name in (SETTINGS_NAME, found.sid):
        ref = ObjectRef(service.oid, Kind.DOCUMENT, name)
        for command in (
            c.UpdateDocument(ref, b"{}", None, None, SYSTEM_ACTOR),
            c.UpdateDocument(ref, None, 1, None, SYSTEM_ACTOR),
            c.RemoveObject(ref, None, SYSTEM_ACTOR),
        ):
            assert await refusal_of(node.execute(command)) is Reason.ACCESS_DENIED


async def test_switching_off_leaves_nothing_behind(server: Server, service: Service) -> None:
    server.connect(service, "alice")
    await server.work()
    await server.keeper.configure(service, None, None)
    await server.work()
    for kind, name in (
        (Kind.MAP, "presence"),
        (Kind.MAP, "on-disconnect"),
        (Kind.DOCUMENT, SETTINGS_NAME),
    ):
        assert await server.store.find_object_named(service.oid, kind, name) is None
    await server.restart()
    assert server.keeper.statistics().services == 0


async def test_settings_stay_the_servers_while_something_is_left_to_remove(
    server: Server, service: Service
) -> None:
    server.store.breaks_after = 1
    await server.keeper.configure(service, None, None)
    server.store.breaks_after, server.store.is_broken = None, False
    found = await server.store.find_object_named(service.oid, Kind.DOCUMENT, SETTINGS_NAME)
    assert found is not None
    ref = ObjectRef(service.oid, Kind.DOCUMENT, found.sid)
    update = c.UpdateDocument(ref, b"{}", None, None, SYSTEM_ACTOR)
    assert await refusal_of(server.node.execute(update)) is Reason.ACCESS_DENIED
    await server.keeper.configure(service, "presence", None)
    assert server.keeper.settings_of(service).presence is not None
    assert await server.store.find_object_named(service.oid, Kind.MAP, "on-disconnect") is None


async def test_a_removed_service_is_forgotten(server: Server, service: Service) -> None:
    actor = server.connect(service, "alice")
    await server.node.execute(c.RemoveService(service.oid, SYSTEM_ACTOR))
    server.disconnect(service, actor)
    await server.pass_window()
    assert server.keeper.statistics().services == 0
