"""Rules under access control, and permissions that are more than exact, over a store.

[rest-api 6, docs/reference/access.md]
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from starlings.core import commands as c
from starlings.core.access import EVERYBODY, Right
from starlings.core.errors import Reason, Refusal
from starlings.core.events import EventType
from starlings.core.limits import Limits, Rates
from starlings.core.objects import Actor, Kind, Match, Service, SyncObject
from starlings.core.state import PermissionOutcome
from starlings.storage.memory import MemoryStore
from starlings.storage.sqlite.store import SqliteStore
from starlings.storage.store import Store
from tests.contracts.desk import ADMIN, Clock, Desk, reason_of, ref_of

LIMITS = Limits(rates=Rates.off(), patterns=3)
ZOE = Actor("zoe", "EP1", is_unrestricted=False)
_FLAGS = list(product([False, True], repeat=3))


@dataclass
class Closed:
    """A service under access control, with an object of each kind; collections have an item."""

    store: Store
    desk: Desk
    service: Service
    targets: dict[Kind, SyncObject]

    async def grant(
        self,
        kind: Kind,
        identity: str,
        flags: tuple[bool, bool, bool] = (True, True, True),
        match: Match = Match.EXACT,
        ttl: int | None = None,
    ) -> None:
        ref = ref_of(self.targets[kind])
        command = c.SetPermission(ref, identity, *flags, ADMIN, match=match, ttl=ttl)
        assert isinstance(await self.store.execute(command), PermissionOutcome)

    async def is_refused(self, command: c.Command) -> bool:
        try:
            await self.store.execute(command)
        except Refusal as refusal:
            return refusal.reason is Reason.ACCESS_DENIED
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def closed(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Closed]:
    store: Store
    if request.param == "memory":
        store = MemoryStore(LIMITS, clock)
    else:
        store = await SqliteStore.open(tmp_path, LIMITS, clock)
    desk = Desk(store, clock)
    service = await desk.create_service(c.ServiceSettings(has_acl=True))
    targets = {kind: await desk.create(service, kind) for kind in Kind}
    await desk.add(targets[Kind.LIST])
    await desk.add(targets[Kind.MAP], key="k")
    yield Closed(store, desk, service, targets)
    await store.close()


def attempts(
    targets: dict[Kind, SyncObject], actor: Actor = ZOE
) -> list[tuple[Kind, Right, c.Command]]:
    """Everything that a client can change, with the right that it takes. Removals come last."""
    document, entries = ref_of(targets[Kind.DOCUMENT]), ref_of(targets[Kind.LIST])
    room, stream = ref_of(targets[Kind.MAP]), ref_of(targets[Kind.STREAM])
    data = b'{"n":1}'
    write, manage = Right.WRITE, Right.MANAGE
    return [
        (Kind.DOCUMENT, write, c.UpdateDocument(document, data, None, None, actor)),
        (Kind.DOCUMENT, write, c.UpdateDocument(document, None, 60, None, actor)),
        (Kind.LIST, write, c.AddListItem(entries, data, None, None, actor)),
        (Kind.LIST, write, c.UpdateItem(entries, 0, data, None, None, None, actor)),
        (Kind.LIST, write, c.UpdateItem(entries, 0, None, 60, None, None, actor)),
        (Kind.LIST, write, c.RemoveItem(entries, 0, None, actor)),
        (Kind.LIST, manage, c.SetObjectTtl(entries, 60, actor)),
        (Kind.MAP, write, c.AddMapItem(room, "l", data, None, None, actor)),
        (Kind.MAP, write, c.PutMapItem(room, "k", data, None, None, actor)),
        (Kind.MAP, write, c.UpdateItem(room, "k", data, None, None, None, actor)),
        (Kind.MAP, write, c.RemoveItem(room, "k", None, actor)),
        (Kind.MAP, manage, c.SetObjectTtl(room, 60, actor)),
        (Kind.STREAM, manage, c.SetObjectTtl(stream, 60, actor)),
        (Kind.DOCUMENT, manage, c.RemoveObject(document, None, actor)),
        (Kind.LIST, manage, c.RemoveObject(entries, None, actor)),
        (Kind.MAP, manage, c.RemoveObject(room, None, actor)),
        (Kind.STREAM, manage, c.RemoveObject(stream, None, actor)),
    ]


@pytest.mark.parametrize("flags", _FLAGS, ids=lambda flags: "".join("-x"[one] for one in flags))
async def test_every_change_takes_just_its_own_right(
    closed: Closed, flags: tuple[bool, bool, bool]
) -> None:
    for kind in Kind:
        await closed.grant(kind, "zoe", flags)
    rights = dict(zip(Right, flags, strict=True))
    for _, right, command in attempts(closed.targets):
        assert await closed.is_refused(command) is not rights[right], command


async def test_without_a_permission_nothing_changes_and_all_does_with_the_switch_off(
    closed: Closed,
) -> None:
    commands = [command for _, _, command in attempts(closed.targets)]
    assert all([await closed.is_refused(command) for command in commands])
    for kind, target in closed.targets.items():
        assert await closed.store.find_object(target.oid) is not None, kind
    settings = c.ServiceSettings(has_acl=False)
    await closed.store.execute(c.UpdateService(closed.service.oid, settings, ADMIN))
    assert not any([await closed.is_refused(command) for command in commands])


async def test_rest_is_bound_by_nothing(closed: Closed) -> None:
    for _, _, command in attempts(closed.targets, ADMIN):
        assert not await closed.is_refused(command)


async def test_the_time_to_live_of_a_collection_takes_manage_beside_an_item_too(
    closed: Closed,
) -> None:
    room = ref_of(closed.targets[Kind.MAP])
    await closed.grant(Kind.MAP, "zoe", (False, True, False))
    command = c.UpdateItem(room, "k", b"{}", None, 60, None, ZOE)
    assert await closed.is_refused(command)
    await closed.grant(Kind.MAP, "zoe", (False, True, True))
    assert not await closed.is_refused(command)


async def test_who_creates_has_all_rights_and_nobody_else_has_any(closed: Closed) -> None:
    made = {kind: await closed.desk.create(closed.service, kind, actor=ZOE) for kind in Kind}
    await closed.desk.add(made[Kind.LIST])
    await closed.desk.add(made[Kind.MAP], key="k")
    for _, _, command in attempts(made, ZOE._replace(identity="eve")):
        assert await closed.is_refused(command)
    for _, _, command in attempts(made):
        assert not await closed.is_refused(command)


async def test_no_client_edits_permissions_even_with_all_rights(closed: Closed) -> None:
    room = ref_of(closed.targets[Kind.MAP])
    for match, identity in ((Match.EXACT, "zoe"), (Match.EVERYBODY, EVERYBODY)):
        await closed.grant(Kind.MAP, identity, match=match)
        for command in (
            c.SetPermission(room, "zoe", True, True, True, ZOE, match=match),
            c.RemovePermission(room, identity, ZOE, match=match),
        ):
            assert await closed.is_refused(command)


async def test_wider_permissions_decide_where_narrower_ones_are_missing(closed: Closed) -> None:
    write = c.PutMapItem(ref_of(closed.targets[Kind.MAP]), "k", b"{}", None, None, ZOE)
    no, yes = (True, False, True), (False, True, False)
    assert await closed.is_refused(write)
    steps = [
        (EVERYBODY, Match.EVERYBODY, yes),
        ("z", Match.PREFIX, no),
        ("zo", Match.PREFIX, yes),
        ("zoe", Match.EXACT, no),
    ]
    for identity, match, flags in steps:
        await closed.grant(Kind.MAP, identity, flags, match)
        assert await closed.is_refused(write) is (flags is no)
    for identity, match, flags in reversed(steps):
        assert await closed.is_refused(write) is (flags is no)
        ref = ref_of(closed.targets[Kind.MAP])
        await closed.store.execute(c.RemovePermission(ref, identity, ADMIN, match=match))
    assert await closed.is_refused(write)


async def test_one_transaction_sees_the_permissions_that_it_has_just_changed(
    closed: Closed,
) -> None:
    ref = ref_of(closed.targets[Kind.MAP])
    write = c.PutMapItem(ref, "k", b"{}", None, None, ZOE)
    commands: list[c.Command] = [
        write,
        c.SetPermission(ref, EVERYBODY, True, True, True, ADMIN, match=Match.EVERYBODY),
        write,
        c.SetPermission(ref, "zo", True, False, True, ADMIN, match=Match.PREFIX),
        write,
        c.RemovePermission(ref, "zo", ADMIN, match=Match.PREFIX),
        write,
        c.RemovePermission(ref, EVERYBODY, ADMIN, match=Match.EVERYBODY),
        write,
    ]
    answers = await asyncio.gather(*map(closed.store.execute, commands), return_exceptions=True)
    assert [isinstance(answer, Refusal) for answer in answers[::2]] == [
        *(True, False, True, False, True)
    ]


async def test_a_permission_ends_at_its_millisecond_and_is_swept_once(
    closed: Closed, clock: Clock
) -> None:
    target = closed.targets[Kind.MAP]
    write = c.PutMapItem(ref_of(target), "k", b"{}", None, None, ZOE)
    for match, identity in ((Match.EXACT, "zoe"), (Match.PREFIX, "zo")):
        await closed.grant(Kind.MAP, identity, match=match, ttl=5)
        clock.pass_seconds(4.999)
        assert not await closed.is_refused(write)
        assert await closed.store.list_due_permissions(clock.at, 9) == []
        clock.pass_seconds(0.001)
        assert await closed.is_refused(write)
        removal = c.RemovePermission(ref_of(target), identity, ADMIN, match=match)
        with pytest.raises(Refusal) as refusal:
            await closed.store.execute(removal)
        assert reason_of(refusal.value) is Reason.PERMISSION_NOT_FOUND
        assert await closed.store.list_permissions(target.oid, None, False, 9, clock.at) == []
        (due,) = await closed.store.list_due_permissions(clock.at, 9)
        expiry = c.ExpirePermission(due.oid, due.identity, due.match)
        assert await closed.store.execute(expiry) is not None
        assert await closed.store.execute(expiry) is None
        assert await closed.store.list_due_permissions(clock.at, 9) == []
        assert await closed.store.list_grants(target.oid, "zoe") == []
        (last,) = await closed.store.read_log(target.oid, (1 << 62), 1, is_descending=True)
        assert (last.type, last.key) == (EventType.PERMISSION_REMOVED, identity)


async def test_a_permission_granted_anew_outlives_its_old_end(closed: Closed, clock: Clock) -> None:
    target = closed.targets[Kind.MAP]
    await closed.grant(Kind.MAP, "zoe", ttl=5)
    await closed.grant(Kind.MAP, "zoe")
    clock.pass_seconds(6)
    assert await closed.store.execute(c.ExpirePermission(target.oid, "zoe", Match.EXACT)) is None
    assert not await closed.is_refused(c.PutMapItem(ref_of(target), "k", b"{}", None, None, ZOE))


async def test_permissions_of_a_removed_object_are_not_due(closed: Closed, clock: Clock) -> None:
    await closed.grant(Kind.MAP, "zoe", ttl=5)
    await closed.desk.remove(closed.targets[Kind.MAP])
    clock.pass_seconds(6)
    assert await closed.store.list_due_permissions(clock.at, 9) == []


async def test_patterns_are_bounded_and_exact_permissions_are_not(closed: Closed) -> None:
    for number in range(3):
        await closed.grant(Kind.MAP, f"p{number}", match=Match.PREFIX)
    for number in range(5):
        await closed.grant(Kind.MAP, f"p{number}")
    with pytest.raises(Refusal) as refusal:
        await closed.grant(Kind.MAP, EVERYBODY, match=Match.EVERYBODY)
    assert reason_of(refusal.value) is Reason.BAD_PARAMETER
    await closed.grant(Kind.MAP, "p1", (True, False, False), Match.PREFIX)
    ref = ref_of(closed.targets[Kind.MAP])
    await closed.store.execute(c.RemovePermission(ref, "p1", ADMIN, match=Match.PREFIX))
    await closed.grant(Kind.MAP, EVERYBODY, match=Match.EVERYBODY)
    await closed.grant(Kind.LIST, "p", match=Match.PREFIX)


async def test_rows_of_one_text_stand_side_by_side_and_are_paged_in_order(closed: Closed) -> None:
    oid = closed.targets[Kind.MAP].oid
    rows = [("a", Match.EXACT), ("a", Match.PREFIX), ("ab", Match.EXACT), ("b", Match.PREFIX)]
    for identity, match in reversed(rows):
        await closed.grant(Kind.MAP, identity, match=match)
    assert [one[1:3] for one in await closed.store.list_permissions(oid, None, False, 9)] == rows
    for place, row in enumerate(rows):
        after = await closed.store.list_permissions(oid, row, False, 9)
        assert [one[1:3] for one in after] == rows[place + 1 :]
        before = await closed.store.list_permissions(oid, row, True, 9)
        assert [one[1:3] for one in before] == rows[:place][::-1]
    found = await closed.store.list_grants(oid, "a")
    assert {one[1:3] for one in found} == {rows[0], rows[1], rows[3]}
    assert {one[1:3] for one in await closed.store.list_grants(oid, "c")} == {rows[1], rows[3]}


async def test_the_log_tells_whom_a_permission_is_for(closed: Closed, clock: Clock) -> None:
    target = closed.targets[Kind.MAP]
    await closed.grant(Kind.MAP, "zoe", (True, False, False), ttl=5)
    await closed.grant(Kind.MAP, "z", (True, False, False), Match.PREFIX)
    await closed.store.execute(c.RemovePermission(ref_of(target), "z", ADMIN, match=Match.PREFIX))
    removed, wider, own = await closed.store.read_log(target.oid, 1 << 62, 3, is_descending=True)
    flags = {"read": True, "write": False, "manage": False}
    assert (json.loads(own.data or b""), own.expires_at) == (flags, clock.at + 5_000)
    assert json.loads(wider.data or b"") == flags | {"match": "prefix"}
    assert json.loads(removed.data or b"") == {"match": "prefix"}


@pytest.mark.parametrize("identity", ["", "x" * 257, "a\n", "\ud800"])
async def test_bad_identities_are_refused_for_every_match(closed: Closed, identity: str) -> None:
    for match in Match:
        with pytest.raises(Refusal) as refusal:
            await closed.grant(Kind.MAP, identity, match=match)
        assert reason_of(refusal.value) is Reason.BAD_IDENTITY
    with pytest.raises(Refusal) as refusal:
        await closed.grant(Kind.MAP, "zoe", match=Match.EVERYBODY)
    assert reason_of(refusal.value) is Reason.BAD_PARAMETER
