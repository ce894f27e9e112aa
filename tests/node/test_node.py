"""The node: finding, holding to rates, cutting pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from starlings.core import commands as c
from starlings.core.access import Right
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import DOCUMENTED, Limits, Rates
from starlings.core.objects import Actor, Kind, Match, ObjectRef, Service, SyncObject
from starlings.node.clock import Sources
from starlings.node.node import Message, Node
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock, reason_of, ref_of
from tests.contracts.store_contract import LIMITS

_ZOE = Actor("zoe", "EP1", is_unrestricted=False)
_STRANGER = "AC" + "1" * 32


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_node(clock: Clock, limits: Limits = LIMITS) -> Node:
    numbers = count(1)
    sources = Sources(
        clock, lambda: clock.at / 1000, lambda bits: next(numbers) * 0x9E3779B97F4A7C15 % 2**bits
    )
    return Node(MemoryStore(limits, clock), limits, sources)


@pytest.fixture
def node(clock: Clock) -> Node:
    return a_node(clock)


@pytest.fixture
async def service(node: Node) -> Service:
    return await node.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None)


async def create(node: Node, service: Service, kind: Kind, name: str | None = None) -> SyncObject:
    made = await node.create_object(service, kind, name, None, None, ADMIN, None)
    return made.object


# Services


async def test_default_is_made_by_its_first_use_and_only_once(node: Node) -> None:
    found = await asyncio.gather(*(node.get_service(ACCOUNT_SID, "default") for _ in range(5)))
    assert len({service.oid for service in found}) == 1
    assert (found[0].unique_name, found[0].friendly_name) == ("default", "Default Service")
    assert await node.get_service(ACCOUNT_SID, found[0].sid) == found[0]


async def test_a_removed_default_service_is_made_anew(node: Node) -> None:
    first = await node.get_service(ACCOUNT_SID, "default")
    await node.execute(c.RemoveService(first.oid, ADMIN))
    await asyncio.sleep(0)
    second = await node.get_service(ACCOUNT_SID, "default")
    assert second.oid != first.oid
    with pytest.raises(Refusal) as refusal:
        await node.get_service(ACCOUNT_SID, first.sid)
    assert reason_of(refusal.value) is Reason.SERVICE_NOT_FOUND


@pytest.mark.parametrize("name", ["", "nothing", "IS" + "0" * 32, "MP" + "0" * 32])
async def test_an_unknown_service_is_not_found(node: Node, name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await node.get_service(ACCOUNT_SID, name)
    assert reason_of(refusal.value) is Reason.SERVICE_NOT_FOUND


async def test_the_service_of_another_account_is_refused(node: Node, service: Service) -> None:
    with pytest.raises(Refusal) as refusal:
        await node.get_service(_STRANGER, service.sid)
    assert reason_of(refusal.value) is Reason.FOREIGN_SERVICE


async def test_each_account_has_its_own_services_and_default(node: Node, service: Service) -> None:
    mine = await node.get_service(ACCOUNT_SID, "default")
    theirs = await node.get_service(_STRANGER, "default")
    assert (mine.account_sid, theirs.account_sid) == (ACCOUNT_SID, _STRANGER)
    assert await node.get_service(ACCOUNT_SID, "default") == mine
    assert list(await node.list_services(_STRANGER, None, False, 9)) == [theirs]
    assert theirs not in await node.list_services(ACCOUNT_SID, None, False, 9)


async def test_a_guessed_sid_with_the_right_id_is_not_found(node: Node, service: Service) -> None:
    guessed = service.sid[:-1] + ("0" if service.sid[-1] != "0" else "1")
    with pytest.raises(Refusal) as refusal:
        await node.get_service(ACCOUNT_SID, guessed)
    assert reason_of(refusal.value) is Reason.SERVICE_NOT_FOUND


async def test_changed_settings_are_seen(node: Node, service: Service) -> None:
    await node.get_service(ACCOUNT_SID, service.sid)
    await node.execute(c.UpdateService(service.oid, c.ServiceSettings(has_acl=True), ADMIN))
    await asyncio.sleep(0)
    assert (await node.get_service(ACCOUNT_SID, service.sid)).has_acl


# Objects


@pytest.mark.parametrize("kind", Kind)
async def test_an_object_is_found_by_sid_and_by_name(
    node: Node, service: Service, kind: Kind
) -> None:
    made = await create(node, service, kind, "room")
    for name in (made.sid, "room"):
        assert await node.get_object(ObjectRef(service.oid, kind, name), ADMIN) == made
    for name, reason in (
        ("hall", Reason.NAME_NOT_FOUND),
        (kind.sid_prefix + "f" * 32, kind.not_found),
        (made.sid[:-1] + ("0" if made.sid[-1] != "0" else "1"), kind.not_found),
    ):
        with pytest.raises(Refusal) as refusal:
            await node.get_object(ObjectRef(service.oid, kind, name), ADMIN)
        assert reason_of(refusal.value) is reason


async def test_expired_objects_and_items_are_hidden_at_their_moment(
    node: Node, service: Service, clock: Clock
) -> None:
    target = await create(node, service, Kind.MAP, "m")
    await node.execute(c.AddMapItem(ref_of(target), "k", b"{}", 1, 2, ADMIN))
    await node.read_item(ref_of(target), "k", ADMIN)
    clock.pass_seconds(1)
    with pytest.raises(Refusal) as refusal:
        await node.read_item(ref_of(target), "k", ADMIN)
    assert reason_of(refusal.value) is Reason.MAP_ITEM_NOT_FOUND
    assert await node.list_items(target, None, True, False, 9) == []
    clock.pass_seconds(1)
    with pytest.raises(Refusal) as refusal:
        await node.get_object(ref_of(target), ADMIN)
    assert reason_of(refusal.value) is Reason.MAP_NOT_FOUND


async def test_clients_need_a_permission_once_the_service_says_so(
    node: Node, service: Service
) -> None:
    target = await create(node, service, Kind.MAP)
    await node.get_object(ref_of(target), _ZOE, Right.WRITE)
    await node.execute(c.UpdateService(service.oid, c.ServiceSettings(has_acl=True), ADMIN))
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refusal:
        await node.get_object(ref_of(target), _ZOE)
    assert reason_of(refusal.value) is Reason.ACCESS_DENIED
    await node.execute(c.SetPermission(ref_of(target), "zoe", True, False, False, ADMIN))
    await node.get_object(ref_of(target), _ZOE)
    with pytest.raises(Refusal):
        await node.get_object(ref_of(target), _ZOE, Right.WRITE)


# Pages


async def test_pages_of_objects_know_their_neighbours(
    node: Node, service: Service, clock: Clock
) -> None:
    made = []
    for _ in range(5):
        made.append(await create(node, service, Kind.DOCUMENT))
        clock.pass_seconds(1)

    async def page(
        start: SyncObject | None, is_descending: bool
    ) -> tuple[list[SyncObject], bool, bool]:
        place = None if start is None else (start.created_at, start.oid)
        found = await node.list_objects(service, Kind.DOCUMENT, place, is_descending, 2)
        return list(found), found.has_previous, found.has_next

    assert await page(None, False) == (made[:2], False, True)
    assert await page(made[1], False) == (made[2:4], True, True)
    assert await page(made[3], False) == (made[4:], True, False)
    assert await page(made[4], False) == ([], True, False)
    assert await page(made[2], True) == ([made[1], made[0]], True, False)


@pytest.mark.parametrize("is_inclusive", [False, True])
@pytest.mark.parametrize("is_descending", [False, True])
async def test_pages_of_items_know_their_neighbours(
    node: Node, service: Service, is_inclusive: bool, is_descending: bool
) -> None:
    target = await create(node, service, Kind.LIST)
    for _ in range(7):
        await node.execute(c.AddListItem(ref_of(target), b"{}", None, None, ADMIN))
    order = list(range(7))[:: -1 if is_descending else 1]
    for place, start in enumerate(order):
        first = place if is_inclusive else place + 1
        page = await node.list_items(target, start, is_inclusive, is_descending, 2)
        assert [item.key for item in page] == order[first : first + 2]
        assert (page.has_previous, page.has_next) == (first > 0, first + 2 < 7)
    empty = await node.list_items(target, 99, True, False, 2)
    assert (list(empty), empty.has_previous, empty.has_next) == ([], True, False)


# Rates


async def test_writes_of_one_object_are_held_to_its_rate(clock: Clock) -> None:
    node = a_node(clock, DOCUMENTED)
    service = await node.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None)
    target, other = [await create(node, service, Kind.MAP) for _ in range(2)]
    for _ in range(200):
        await node.execute(c.PutMapItem(ref_of(target), "k", b"{}", None, None, ADMIN))
    with pytest.raises(Refusal) as refusal:
        await node.execute(c.RemoveItem(ref_of(target), "k", None, ADMIN))
    assert reason_of(refusal.value) is Reason.RATE_LIMITED
    assert refusal.value.message == f"Rate limit exceeded for write-map-{target.sid}"
    assert refusal.value.retry_after_seconds == 1
    await node.read_item(ref_of(target), "k", ADMIN)  # reads have their own
    await node.execute(c.SetPermission(ref_of(target), "zoe", True, True, True, ADMIN))
    await node.execute(c.PutMapItem(ref_of(other), "k", b"{}", None, None, ADMIN))
    clock.pass_seconds(0.06)
    await node.execute(c.PutMapItem(ref_of(target), "k", b"{}", None, None, ADMIN))


async def test_a_large_write_counts_for_ten(clock: Clock) -> None:
    node = a_node(clock, DOCUMENTED)
    service = await node.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None)
    target = await create(node, service, Kind.DOCUMENT)
    update = c.UpdateDocument(ref_of(target), b'"%s"' % (b"x" * 10_240), None, None, ADMIN)
    for _ in range(20):
        await node.execute(update)
    with pytest.raises(Refusal) as refusal:
        await node.execute(update)
    assert refusal.value.retry_after_seconds == 1


async def test_reads_creations_messages_and_permissions_have_their_rates(clock: Clock) -> None:
    rates = Rates(reads=0.1, creations=0.4, messages=0.1, permissions=0.1)
    node = a_node(clock, Limits(rates=rates))
    service = await node.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None)
    target = await create(node, service, Kind.LIST)
    stream = await create(node, service, Kind.STREAM)
    permission = c.SetPermission(ref_of(target), "zoe", True, True, True, ADMIN)
    await create(node, service, Kind.MAP)
    await create(node, service, Kind.MAP)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: node.read_object(ref_of(target), ADMIN),
        lambda: node.publish_message(ref_of(stream), b"{}", ADMIN),
        lambda: node.execute(permission),
    ]
    for call in calls:
        await call()
    calls = [
        lambda: node.list_items(target, None, True, False, 1),
        lambda: node.publish_message(ref_of(stream), b"{}", ADMIN),
        lambda: node.read_permission(ref_of(target), "zoe", Match.EXACT),
        lambda: create(node, service, Kind.MAP),
    ]
    for call in calls:
        with pytest.raises(Refusal) as refusal:
            await call()
        assert reason_of(refusal.value) is Reason.RATE_LIMITED


# Messages


async def test_a_message_reaches_who_listens_and_is_not_stored(
    node: Node, service: Service, clock: Clock
) -> None:
    stream = await create(node, service, Kind.STREAM, "news")
    heard: list[Message] = []
    node.listen_to_messages(heard.append)
    sent = await node.publish_message(ref_of(stream), b'{"a":1}', _ZOE)
    assert heard == [sent]
    assert (sent.data, sent.actor, sent.at, sent.stream) == (b'{"a":1}', _ZOE, clock.at, stream)
    assert sent.sid.startswith("TZ")
    assert len(sent.sid) == 34
    assert len(await node.store.read_log(stream.oid, 0, 9)) == 1
    with pytest.raises(Refusal) as refusal:
        await node.publish_message(ObjectRef(service.oid, Kind.STREAM, "other"), b"{}", _ZOE)
    assert reason_of(refusal.value) is Reason.NAME_NOT_FOUND
