"""Every tunnelled request against every wrong caller, and with each single right.

The requests are those of ``wire.paths``: one without a row in the table below fails.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from starlings.core import commands as c
from starlings.core.access import Right
from starlings.core.objects import Actor, Kind, ObjectRef, Service
from starlings.core.sids import oid_of
from starlings.wire.paths import _OPERATIONS
from starlings.wire.paths import Kind as About
from tests.ws.sessions import ADMIN, Peer, Token, World, a_world, settle, subscription_body

OTHER_ACCOUNT = "AC" + "1" * 32
DENIED = 54007
PLURALS = {
    About.DOCUMENT: "Documents",
    About.LIST: "Lists",
    About.MAP: "Maps",
    About.STREAM: "Streams",
}


class Row(NamedTuple):
    right: Right
    body: dict[str, Any] | None = None


_DATA: dict[str, Any] = {"data": {"stolen": 1}}
READ, WRITE, MANAGE = Right.READ, Right.WRITE, Right.MANAGE
ROWS: dict[tuple[About, int, str, str], Row] = {}
for _kind in PLURALS:
    _update = Row(WRITE, _DATA) if _kind is About.DOCUMENT else Row(MANAGE, {"ttl": 60})
    ROWS |= {
        (_kind, 2, "", "GET"): Row(READ),
        (_kind, 2, "", "POST"): _update,
        (_kind, 2, "", "DELETE"): Row(MANAGE),
    }
for _kind in (About.LIST, About.MAP):
    ROWS |= {
        (_kind, 3, "Items", "GET"): Row(READ),
        (_kind, 3, "Items", "POST"): Row(WRITE, {**_DATA, "key": "planted"}),
        (_kind, 4, "Items", "GET"): Row(READ),
        (_kind, 4, "Items", "POST"): Row(WRITE, _DATA),
        (_kind, 4, "Items", "DELETE"): Row(WRITE),
    }
ROWS |= {
    (About.LIST, 3, "Context", "GET"): Row(READ),
    (About.MAP, 4, "Items", "PUT"): Row(WRITE, _DATA),
    (About.STREAM, 3, "Messages", "POST"): Row(WRITE, _DATA),
    (About.INSIGHTS, 3, "Items", "POST"): Row(READ, {"query_string": ""}),
}
OF_NO_OBJECT = {
    *((kind, 1, "", "POST") for kind in PLURALS),
    (About.SUBSCRIPTIONS, 1, "", "POST"),
    (About.CONFIGURATION, 1, "", "GET"),
}
IDS = [f"{method} {kind.value} {part}{count}" for kind, count, part, method in ROWS]


def test_every_request_has_a_row() -> None:
    known = {
        (kind, count, part, method)
        for (kind, count, part), methods in _OPERATIONS.items()
        for method in methods
    }
    assert known == ROWS.keys() | OF_NO_OBJECT


class Victim:
    """The default service of an account, with one of each and access control."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sids: dict[About, str] = {}

    async def fill(self) -> None:
        node, service = self.world.node, self.world.service
        settings = c.ServiceSettings(has_acl=True)
        await node.execute(c.UpdateService(service.oid, settings, ADMIN))
        for about in PLURALS:
            kind = next(kind for kind in Kind if kind.word == about.value)
            data = b'{"secret":1}' if kind in (Kind.DOCUMENT, Kind.LIST) else None
            sid, ref = await self.world.create(kind, f"my-{about.value}", data)
            self.sids[about] = sid
            if kind is Kind.MAP:
                await self.world.put(ref, "k", b'{"secret":1}')
            if kind is Kind.LIST:
                await node.execute(c.AddListItem(ref, b'{"secret":1}', None, None, ADMIN))

    async def look(self) -> list[Any]:
        """All that there is of it, and every event."""
        store = self.world.store
        seen: list[Any] = []
        for sid in self.sids.values():
            oid = oid_of(sid)
            seen.append(await store.find_object(oid))
            seen.append(await store.list_items(oid, None, True, False, 100, 0))
            seen.append(await store.read_log(oid, 0, 100, False))
        return seen

    async def stranger(self, is_same_account: bool) -> Peer:
        """A client of another service, without access control."""
        account_sid = self.world.service.account_sid if is_same_account else OTHER_ACCOUNT
        other = await self.world.node.create_service(
            account_sid, c.ServiceSettings(), Actor("system"), None
        )
        self.world.tokens["mallory"] = Token("mallory", account_sid, service=other.sid)
        return await self.world.ready("mallory")


def path_of(about: About, count: int, part: str, name: str, service: Service | None) -> str:
    plural = PLURALS.get(about, "Insights")
    key = "0" if about is About.LIST else "k"
    rest = [plural, name, part, key][:count]
    return "/".join(["/v3", *(["Services", service.sid] if service is not None else []), *rest])


@pytest.mark.parametrize("is_same_account", [False, True])
@pytest.mark.parametrize("request_", ROWS, ids=IDS)
async def test_a_client_of_another_service_finds_nothing(
    request_: tuple[About, int, str, str], is_same_account: bool
) -> None:
    about, count, part, method = request_
    async with a_world() as world:
        victim = Victim(world)
        await victim.fill()
        before = await victim.look()
        peer = await victim.stranger(is_same_account)
        sid = victim.sids.get(about, victim.sids[About.MAP])
        word = about.value if about in PLURALS else "map"
        for name in (sid, f"my-{word}", sid.lower(), f"{sid[:2]}{'0' * 32}"):
            for service in (None, world.service):
                path = path_of(about, count, part, name, service)
                answer = await peer.ask(method, path, ROWS[request_].body)
                assert answer.status == (400 if about is About.INSIGHTS and not service else 404)
                assert "secret" not in str(answer.body)
        assert await victim.look() == before
        assert peer.take_events() == []


@pytest.mark.parametrize("is_same_account", [False, True])
async def test_a_client_of_another_service_subscribes_to_nothing(is_same_account: bool) -> None:
    async with a_world() as world:
        victim = Victim(world)
        await victim.fill()
        peer = await victim.stranger(is_same_account)
        entries = [(sid, about.value, -1) for about, sid in victim.sids.items()]
        entries += [(f"my-{about.value}", about.value, -1) for about in victim.sids]
        (failed,) = await peer.subscribe(*entries)
        assert failed["event_type"] == "subscription_failed"
        assert [one["error"]["status"] for one in failed["events"]] == [404] * len(entries)
        await world.put(ObjectRef(world.service.oid, Kind.MAP, "my-map"), "later")
        assert peer.take_events() == []
        assert peer.session.subscriptions() == []


async def test_what_is_created_under_a_path_of_another_service_is_created_nowhere() -> None:
    async with a_world() as world:
        victim = Victim(world)
        await victim.fill()
        peer = await victim.stranger(is_same_account=True)
        for plural in PLURALS.values():
            body = {"unique_name": "planted", "data": {}}
            path = f"/v3/Services/{world.service.sid}/{plural}"
            assert (await peer.ask("POST", path, body)).status == 404
        for kind in Kind:
            service = world.service.oid
            assert await world.store.find_object_named(service, kind, "planted") is None


@pytest.mark.parametrize("granted", [None, *Right])
@pytest.mark.parametrize("request_", ROWS, ids=IDS)
async def test_each_request_takes_just_its_own_right(
    request_: tuple[About, int, str, str], granted: Right | None
) -> None:
    about, count, part, method = request_
    row = ROWS[request_]
    async with a_world() as world:
        victim = Victim(world)
        await victim.fill()
        target = about if about in PLURALS else About.MAP
        kind = next(kind for kind in Kind if kind.word == target.value)
        ref = ObjectRef(world.service.oid, kind, victim.sids[target])
        if granted is not None:
            flags = (granted is READ, granted is WRITE, granted is MANAGE)
            await world.node.execute(c.SetPermission(ref, "alice", *flags, ADMIN))
        await settle()
        before = await victim.look()
        peer = await world.ready("alice")
        for name in (victim.sids[target], f"my-{target.value}"):
            path = path_of(about, count, part, name, None)
            answer = await peer.ask(method, path, row.body)
            if granted is row.right:
                assert answer.status < 300, answer
                return
            assert (answer.status, answer.body["code"]) == (403, DENIED)
        assert await victim.look() == before


@pytest.mark.parametrize("granted", [None, *Right])
async def test_only_who_may_read_can_subscribe(granted: Right | None) -> None:
    async with a_world() as world:
        victim = Victim(world)
        await victim.fill()
        for about, sid in victim.sids.items():
            kind = next(kind for kind in Kind if kind.word == about.value)
            ref = ObjectRef(world.service.oid, kind, sid)
            flags = (granted is READ, granted is WRITE, granted is MANAGE)
            await world.node.execute(c.SetPermission(ref, "alice", *flags, ADMIN))
        peer = await world.ready("alice")
        entries = [(sid, about.value, None) for about, sid in victim.sids.items()]
        await peer.ask("POST", "/v4/Subscriptions", subscription_body(*entries))
        (told,) = peer.take_events()
        if granted is READ:
            assert told["event_type"] == "subscription_established"
        else:
            assert {one["error"]["code"] for one in told["events"]} == {DENIED}
