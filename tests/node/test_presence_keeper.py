"""Presence and on-disconnect actions on a store: settings, crashes, faults, who may write what."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.core.state import ItemOutcome, Outcome
from starlings.node import presence_room
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.node.presence_keeper import SHORT_WINDOW_SECONDS, PresenceKeeper, window_of
from starlings.node.presence_settings import SETTINGS_NAME
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ACCOUNT_SID, Clock

SYSTEM_ACTOR = Actor(SYSTEM)


class FaultyStore(MemoryStore):
    """Can be made to refuse writes for a while, or from the n-th on."""

    is_broken = False
    breaks_after: int | None = None

    async def execute(self, command: c.Command) -> Outcome:
        if self.breaks_after is not None:
            self.breaks_after -= 1
            self.is_broken = self.breaks_after < 0
        await asyncio.sleep(0)  # as a commit takes time, others have their turn
        if self.is_broken:
            raise Fault(Reason.UNAVAILABLE)
        return await super().execute(command)


class Server:
    """A node with its keeper on a store that outlives them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = FaultyStore(OFF, self.clock)
        self._bits = itertools.count(1)
        self._connections = itertools.count(1)
        self.boot()

    def boot(self) -> None:
        sources = Sources(self.clock, lambda: self.clock.at / 1000, self._random_bits)
        self.node = Node(self.store, OFF, sources)
        self.keeper = PresenceKeeper(self.node)

    def _random_bits(self, count: int) -> int:
        return next(self._bits) * 0x9E3779B97F4A7C15 % (1 << count)

    async def restart(self) -> None:
        self.boot()
        await self.keeper.restore()

    async def create_service(self, **settings: Any) -> Service:
        return await self.node.create_service(
            ACCOUNT_SID, c.ServiceSettings(**settings), SYSTEM_ACTOR, None
        )

    def connect(self, service: Service, identity: str, endpoint: str | None = None) -> Actor:
        """A new connection of an endpoint; by default of a new one."""
        number = next(self._connections)
        name = f"EP{number}"
        self.keeper.connected(name, service, identity, endpoint or f"C{number}", name)
        return Actor(identity, name, is_unrestricted=False)

    def disconnect(self, service: Service, actor: Actor) -> None:
        self.keeper.disconnected(actor.endpoint, service)

    async def work(self) -> None:
        """Until nothing is due."""
        for _ in range(5):
            assert await self.keeper.work()
            await asyncio.sleep(0)  # listeners of the store run in the loop's next step

    async def pass_window(self, seconds: float = SHORT_WINDOW_SECONDS) -> None:
        self.clock.pass_seconds(seconds)
        await self.work()

    async def items(self, service: Service, name: str) -> dict[str, Any]:
        found = await self.store.find_object_named(service.oid, Kind.MAP, name)
        assert found is not None
        rows = await self.store.list_items(found.oid, None, False, False, 9999, 0)
        return {str(row.key): json.loads(row.data) for row in rows}

    async def set(self, service: Service, name: str, key: str, data: object, actor: Actor) -> Any:
        ref = ObjectRef(service.oid, Kind.MAP, name)
        text = json.dumps(data, separators=(",", ":")).encode()
        return await self.node.execute(c.PutMapItem(ref, key, text, None, None, actor))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def service(server: Server) -> Service:
    service = await server.create_service()
    await server.keeper.configure(service, "presence", "on-disconnect")
    return service


async def refusal_of(awaitable: Any) -> Reason:
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value.reason


async def test_without_settings_nobody_is_told_of(server: Server) -> None:
    service = await server.create_service()
    server.connect(service, "alice")
    await server.work()
    assert await server.store.find_object_named(service.oid, Kind.MAP, "presence") is None
    await server.restart()
    assert server.keeper.settings_of(service).places == []


async def test_switching_on_tells_of_those_who_are_there(server: Server) -> None:
    service, other = await server.create_service(), await server.create_service()
    server.connect(service, "alice")
    server.connect(other, "bob")
    await server.keeper.configure(service, "presence", None)
    await server.work()
    assert (await server.items(service, "presence")).keys() == {"alice"}


async def test_the_window_is_that_of_debouncing_or_a_short_one(server: Server) -> None:
    short = await server.create_service(debouncing_window_ms=9000)
    long = await server.create_service(has_debouncing=True, debouncing_window_ms=9000)
    assert window_of(short) == SHORT_WINDOW_SECONDS
    assert window_of(long) == 9
    await server.keeper.configure(long, "presence", None)
    server.disconnect(long, server.connect(long, "alice"))
    await server.pass_window(8.9)
    assert (await server.items(long, "presence")).keys() == {"alice"}
    await server.pass_window(0.2)
    assert await server.items(long, "presence") == {}


async def test_a_crash_leaves_no_ghosts_and_loses_nobody(server: Server, service: Service) -> None:
    for identity in ("alice", "bob"):
        server.connect(service, identity)
    await server.work()
    before = await server.items(service, "presence")
    await server.restart()
    server.connect(service, "alice")
    server.connect(service, "carol")
    await server.work()
    during = await server.items(service, "presence")
    assert during.keys() == {"alice", "bob", "carol"}
    await server.pass_window(10)
    after = await server.items(service, "presence")
    assert after.keys() == {"alice", "carol"}
    assert after["alice"] == before["alice"]


async def test_who_is_sent_away_because_the_server_ends_keeps_entry_and_actions(
    server: Server, service: Service
) -> None:
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    actor = server.connect(service, "alice", "client of alice")
    action: dict[str, Any] = {"action": "set_item", "map": "m", "key": "k", "data": {}}
    await server.set(service, "on-disconnect", "k", action, actor)
    await server.work()
    before = await server.items(service, "presence")
    server.keeper.freeze()
    server.disconnect(service, actor)
    await server.pass_window(60)
    await asyncio.wait_for(server.keeper.run(), 5)
    await server.restart()
    server.connect(service, "alice", "client of alice")
    await server.pass_window(60)
    assert await server.items(service, "presence") == before
    assert await server.items(service, "m") == {}


async def test_more_entries_than_a_page_survive_a_restart(
    server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_room, "_PAGE", 10)
    monkeypatch.setattr(presence_room, "_MOST_WRITES", 12)
    for number in range(30):
        server.connect(service, f"id-{number}")
    await server.work()
    assert len(await server.items(service, "presence")) == 30
    await server.restart()
    server.connect(service, "id-29")
    await server.pass_window(10)
    assert (await server.items(service, "presence")).keys() == {"id-29"}


async def test_a_store_that_cannot_write_is_waited_for(server: Server, service: Service) -> None:
    actor = server.connect(service, "alice")
    action: dict[str, Any] = {"action": "set_item", "map": "m", "key": "k", "data": {}}
    await server.set(service, "on-disconnect", "k", action, actor)
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    server.store.is_broken = True
    assert not await server.keeper.work()
    server.disconnect(service, actor)
    server.clock.pass_seconds(SHORT_WINDOW_SECONDS)
    assert not await server.keeper.work()
    server.store.is_broken = False
    server.connect(service, "bob")
    await server.pass_window(1)
    assert (await server.items(service, "presence")).keys() == {"bob"}
    assert (await server.items(service, "m")).keys() == {"k"}
    assert await server.items(service, "on-disconnect") == {}


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


async def test_an_answer_names_the_event_before(server: Server, service: Service) -> None:
    """The SDK takes what it sent for the data as of the event named, and skips that one."""
    actor = server.connect(service, "alice")
    await server.work()
    outcome = await server.set(service, "presence", "alice", {"mood": "merry"}, actor)
    assert isinstance(outcome, ItemOutcome)
    assert outcome.item.event_id == outcome.event.event_id - 1 == 0
    assert not outcome.is_added
    assert (await server.items(service, "presence"))["alice"]["client"] == {"mood": "merry"}


async def test_publications_at_once_are_carried_out_in_turn(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    publications = [
        asyncio.create_task(server.set(service, "presence", "alice", {"n": number}, actor))
        for number in range(3)
    ]
    writing = asyncio.create_task(server.keeper.work())
    async with asyncio.timeout(5):
        await asyncio.gather(*publications, writing)
    server.connect(service, "alice")
    await server.work()
    entry = (await server.items(service, "presence"))["alice"]
    assert (entry["client"], entry["endpoints"]) == ({"n": 2}, 2)


async def test_a_publication_waits_for_the_write_under_way(
    server: Server, service: Service
) -> None:
    actor = server.connect(service, "alice")
    writing = asyncio.create_task(server.keeper.work())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await server.set(service, "presence", "alice", {"n": 1}, actor)
    assert await writing
    assert (await server.items(service, "presence"))["alice"]["client"] == {"n": 1}


async def test_who_has_gone_publishes_nothing(server: Server, service: Service) -> None:
    actor = server.connect(service, "alice")
    server.disconnect(service, actor)
    put = server.set(service, "presence", "alice", {}, actor)
    assert await refusal_of(put) is Reason.ACCESS_DENIED


@pytest.mark.parametrize("identity", ["a/b c%2F", "\u0928\U0001f426" * 128, "x" * 256, "0"])
async def test_every_identity_can_be_present(
    server: Server, service: Service, identity: str
) -> None:
    actor = server.connect(service, identity)
    await server.work()
    await server.set(service, "presence", identity, {"n": 1}, actor)
    await server.restart()
    assert (await server.items(service, "presence"))[identity]["client"] == {"n": 1}
    await server.pass_window(10)
    assert await server.items(service, "presence") == {}


async def test_a_map_with_content_is_not_taken(server: Server) -> None:
    service = await server.create_service()
    await server.node.create_object(service, Kind.MAP, "m", None, None, SYSTEM_ACTOR, None)
    await server.set(service, "m", "k", {}, SYSTEM_ACTOR)
    assert await refusal_of(server.keeper.configure(service, "m", None)) is Reason.NAME_TAKEN
    client = Actor("alice", "EP1", is_unrestricted=False)
    await server.node.create_object(service, Kind.MAP, "n", None, None, client, None)
    assert await refusal_of(server.keeper.configure(service, "n", None)) is Reason.NAME_TAKEN
    assert server.keeper.settings_of(service).places == []


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


async def test_the_loop_writes_what_comes_and_sleeps_otherwise(
    server: Server, service: Service
) -> None:
    heard = asyncio.Event()
    server.store.listen(lambda batch: heard.set())
    loop = asyncio.create_task(server.keeper.run())
    server.connect(service, "alice")
    async with asyncio.timeout(5):
        await heard.wait()
    assert (await server.items(service, "presence")).keys() == {"alice"}
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
