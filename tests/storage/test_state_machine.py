"""The same random commands on both stores: what they answer, show and log must be the same.

Also after the SQLite store was closed and opened again, at any moment.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from starlings.core import commands as c
from starlings.core import sids
from starlings.core.errors import IdTaken, Refusal
from starlings.core.limits import Limits, Rates
from starlings.core.objects import Actor, ItemKey, Kind, ObjectRef
from starlings.storage.memory import MemoryStore
from starlings.storage.sqlite.store import SqliteStore
from starlings.storage.store import Batch, Due, Store
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock

_T = TypeVar("_T")
_LIMITS = Limits(rates=Rates.off(), items=6, data_bytes=40)
_ALL = 10_000

_NAMES = st.sampled_from(["a", "b", "é"])
_KEYS = st.sampled_from(["k", "K", "1", "😀", ""])
_INDEXES = st.integers(0, 7)
_DATA = st.sampled_from([b"{}", b'{"a":1}', b'{"b":[1,2]}', b'{"long":"%s"}' % (b"x" * 40)])
_TTLS = st.sampled_from([None, None, 0, 1, 10, -1])
_MATCHES = st.sampled_from([None, None, "*", "0", "1", "2", "a"])
_PUT_MATCHES = st.sampled_from([None, None, "*", "0", "1", c.MUST_NOT_EXIST])
_ACTORS = st.sampled_from(
    [ADMIN, Actor("zoe", "EP1", is_unrestricted=False), Actor("eve", "EP2", is_unrestricted=False)]
)
_IDENTITIES = st.sampled_from(["zoe", "eve"])
_PICKS = st.integers(0, 1_000)


class Stores(RuleBasedStateMachine):
    """A ``MemoryStore`` and a ``SqliteStore`` side by side."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._directory = tempfile.TemporaryDirectory()
        self._clock = Clock()
        self._numbers = count(1)
        self._services: list[int] = []
        self._made: list[ObjectRef] = []
        self._memory = MemoryStore(_LIMITS, self._clock)
        self._memory_heard: list[Batch] = []
        self._memory.listen(self._memory_heard.append)
        self._sqlite_heard: list[Batch] = []
        self._open_sqlite()

    def teardown(self) -> None:
        self._run(self._sqlite.close())
        self._loop.close()
        self._directory.cleanup()

    @initialize(has_acl=st.booleans())
    def begin(self, has_acl: bool) -> None:
        self._create_service(has_acl)

    # Commands

    @rule(has_acl=st.booleans())
    def create_service(self, has_acl: bool) -> None:
        if len(self._services) < 3:
            self._create_service(has_acl)

    @rule(pick=_PICKS, has_acl=st.booleans())
    def update_service(self, pick: int, has_acl: bool) -> None:
        setting = c.ServiceSettings(has_acl=has_acl)
        self._execute(c.UpdateService(self._service(pick), setting, ADMIN))

    @rule(pick=_PICKS, luck=st.integers(0, 5))
    def remove_service(self, pick: int, luck: int) -> None:
        if luck == 0:
            self._execute(c.RemoveService(self._service(pick), ADMIN))

    @rule(
        pick=_PICKS,
        kind=st.sampled_from(Kind),
        name=st.none() | _NAMES,
        data=st.none() | _DATA,
        ttl=_TTLS,
        actor=_ACTORS,
    )
    def create_object(
        self, pick: int, kind: Kind, name: str | None, data: bytes | None, ttl: int, actor: Actor
    ) -> None:
        service_oid, (oid, sid) = self._service(pick), self._mint(kind.sid_prefix)
        data = data if kind is Kind.DOCUMENT else None
        self._execute(c.CreateObject(service_oid, kind, oid, sid, name, data, ttl, actor))
        self._made.append(ObjectRef(service_oid, kind, sid))

    @rule(pick=_PICKS, name=st.none() | _NAMES, data=st.none() | _DATA, ttl=_TTLS, match=_MATCHES)
    def update_document(
        self, pick: int, name: str | None, data: bytes | None, ttl: int | None, match: str | None
    ) -> None:
        if ref := self._pick(pick, {Kind.DOCUMENT}, name):
            self._execute(c.UpdateDocument(ref, data, ttl, match, ADMIN))

    @rule(pick=_PICKS, name=st.none() | _NAMES, ttl=st.sampled_from([0, 1, 10]), actor=_ACTORS)
    def set_ttl(self, pick: int, name: str | None, ttl: int, actor: Actor) -> None:
        if ref := self._pick(pick, {Kind.LIST, Kind.MAP, Kind.STREAM}, name):
            self._execute(c.SetObjectTtl(ref, ttl, actor))

    @rule(pick=_PICKS, match=_MATCHES, actor=_ACTORS, luck=st.integers(0, 2))
    def remove_object(self, pick: int, match: str | None, actor: Actor, luck: int) -> None:
        if (ref := self._pick(pick, set(Kind), None)) and luck == 0:
            self._execute(c.RemoveObject(ref, match, actor))

    @rule(pick=_PICKS, name=st.none() | _NAMES, data=_DATA, ttl=_TTLS, outer=_TTLS, actor=_ACTORS)
    def add_list_item(
        self,
        pick: int,
        name: str | None,
        data: bytes,
        ttl: int | None,
        outer: int | None,
        actor: Actor,
    ) -> None:
        if ref := self._pick(pick, {Kind.LIST}, name):
            self._execute(c.AddListItem(ref, data, ttl, outer, actor))

    @rule(pick=_PICKS, key=_KEYS, data=_DATA, ttl=_TTLS, actor=_ACTORS)
    def add_map_item(self, pick: int, key: str, data: bytes, ttl: int | None, actor: Actor) -> None:
        if ref := self._pick(pick, {Kind.MAP}, None):
            self._execute(c.AddMapItem(ref, key, data, ttl, None, actor))

    @rule(pick=_PICKS, key=_KEYS, data=_DATA, ttl=_TTLS, match=_PUT_MATCHES, actor=_ACTORS)
    def put_map_item(
        self, pick: int, key: str, data: bytes, ttl: int | None, match: str | None, actor: Actor
    ) -> None:
        if ref := self._pick(pick, {Kind.MAP}, None):
            self._execute(c.PutMapItem(ref, key, data, ttl, match, actor))

    @rule(
        pick=_PICKS,
        index=_INDEXES,
        key=_KEYS,
        data=st.none() | _DATA,
        ttl=_TTLS,
        outer=_TTLS,
        match=_MATCHES,
    )
    def update_item(
        self,
        pick: int,
        index: int,
        key: str,
        data: bytes | None,
        ttl: int | None,
        outer: int | None,
        match: str | None,
    ) -> None:
        if ref := self._pick(pick, {Kind.LIST, Kind.MAP}, None):
            place: ItemKey = index if ref.kind is Kind.LIST else key
            self._execute(c.UpdateItem(ref, place, data, ttl, outer, match, ADMIN))

    @rule(pick=_PICKS, index=_INDEXES, key=_KEYS, match=_MATCHES, actor=_ACTORS)
    def remove_item(self, pick: int, index: int, key: str, match: str | None, actor: Actor) -> None:
        if ref := self._pick(pick, {Kind.LIST, Kind.MAP}, None):
            place: ItemKey = index if ref.kind is Kind.LIST else key
            self._execute(c.RemoveItem(ref, place, match, actor))

    @rule(pick=_PICKS, identity=_IDENTITIES, flags=st.tuples(*[st.booleans()] * 3), actor=_ACTORS)
    def set_permission(
        self, pick: int, identity: str, flags: tuple[bool, bool, bool], actor: Actor
    ) -> None:
        if ref := self._pick(pick, set(Kind), None):
            self._execute(c.SetPermission(ref, identity, *flags, actor))

    @rule(pick=_PICKS, identity=_IDENTITIES)
    def remove_permission(self, pick: int, identity: str) -> None:
        if ref := self._pick(pick, set(Kind), None):
            self._execute(c.RemovePermission(ref, identity, ADMIN))

    @rule(picks=st.lists(st.tuples(_PICKS, _KEYS, _INDEXES, _DATA), min_size=2, max_size=8))
    def many_at_once(self, picks: list[tuple[int, str, int, bytes]]) -> None:
        """One transaction in one store, as many as commands in the other."""
        commands: list[c.Command] = []
        for pick, key, index, data in picks:
            ref = self._pick(pick, {Kind.LIST, Kind.MAP}, None)
            if ref is None:
                return
            place: ItemKey = index if ref.kind is Kind.LIST else key
            if ref.kind is Kind.LIST:
                commands.append(c.AddListItem(ref, data, 1, None, ADMIN))
            else:
                commands.append(c.PutMapItem(ref, key, data, 1, None, ADMIN))
            commands.append(c.UpdateItem(ref, place, data, None, None, None, ADMIN))
            if pick % 3 == 0:
                commands.append(c.RemoveItem(ref, place, None, ADMIN))
        self._compare(lambda store: _gather(store, commands))

    # Time, housekeeping, restarts

    @rule(seconds=st.sampled_from([0.001, 0.999, 1, 5, 10, -2, 86_400, -86_400]))
    def pass_time(self, seconds: float) -> None:
        self._clock.pass_seconds(seconds)

    @rule()
    def sweep(self) -> None:
        due = self._compare(lambda store: _sorted_due(store, self._clock.at))
        for oid, key, _ in due:
            self._execute(c.ExpireObject(oid) if key is None else c.ExpireItem(oid, key))
        orphans = self._compare(_orphans)
        for oid in orphans:
            self._execute(c.ExpireObject(oid))

    @rule()
    def purge(self) -> None:
        self._compare(_purge)

    @rule(age=st.sampled_from([0, 2_000]), grave_age=st.sampled_from([3_000, 10_000]))
    def trim(self, age: int, grave_age: int) -> None:
        async def trim(store: Store) -> None:
            await store.trim_log(self._clock.at - age, self._clock.at - grave_age, _ALL)

        self._compare(trim)

    @rule()
    def restart(self) -> None:
        self._run(self._sqlite.close())
        self._open_sqlite()

    # What must hold

    @invariant()
    def same_rows_and_logs(self) -> None:
        self._compare(self._show)

    @invariant()
    def same_events_heard(self) -> None:
        self._run(asyncio.sleep(0))
        heard = [
            (
                [one for batch in batches for one in batch.events],
                [one for batch in batches for one in batch.services],
            )
            for batches in (self._memory_heard, self._sqlite_heard)
        ]
        assert heard[0] == heard[1]

    async def _show(self, store: Store) -> object:
        shown: list[object] = [await store.find_default_service(ACCOUNT_SID)]
        now = self._clock.at
        shown.append(await store.list_services(None, False, _ALL))
        for oid in self._services:
            for kind in Kind:
                for name in ("a", "b", "é"):
                    shown.append(await store.find_object_named(oid, kind, name))
                shown.append(await store.list_objects(oid, kind, None, True, _ALL, now))
        for ref in self._made:
            oid = sids.oid_of(ref.name)
            found = await store.find_object(oid)
            if found is not None:  # the rows of a removed one go when they go
                shown += (
                    found,
                    await store.list_items(oid, None, True, False, _ALL, now),
                    await store.list_permissions(oid, None, False, _ALL),
                )
            shown.append(await store.read_log(oid, 0, _ALL))
            for after_id in (-1, 1, 4):
                shown.append(await store.replay(oid, after_id, _ALL))
                shown.append(await store.snapshot(oid, after_id, _ALL))
        return shown

    # Both at once

    def _execute(self, command: c.Command) -> None:
        self._compare(lambda store: _outcome(store, command))

    def _compare(self, ask: Callable[[Store], Awaitable[_T]]) -> _T:
        """Ask both stores the same; their answers must be equal."""

        async def ask_both() -> tuple[_T, _T]:
            return await ask(self._memory), await ask(self._sqlite)

        expected, found = self._run(ask_both())
        assert found == expected
        return expected

    def _run(self, work: Awaitable[_T]) -> _T:
        async def wait() -> _T:
            return await work

        return self._loop.run_until_complete(wait())

    def _open_sqlite(self) -> None:
        path = Path(self._directory.name)
        self._sqlite = self._run(SqliteStore.open(path, _LIMITS, self._clock))
        self._sqlite.listen(self._sqlite_heard.append)

    def _create_service(self, has_acl: bool) -> None:
        oid, sid = self._mint(sids.SERVICE)
        name = None if self._services else "default"
        settings = c.ServiceSettings(has_acl=has_acl)
        self._execute(c.CreateService(oid, sid, ACCOUNT_SID, name, settings, ADMIN))
        self._services.append(oid)

    def _service(self, pick: int) -> int:
        return self._services[pick % len(self._services)]

    def _pick(self, pick: int, kinds: set[Kind], name: str | None) -> ObjectRef | None:
        """One of the newest objects of these kinds, by SID or by a name."""
        fitting = [ref for ref in self._made if ref.kind in kinds][-4:]
        if not fitting:
            return None
        ref = fitting[pick % len(fitting)]
        return ref if name is None else ref._replace(name=name)

    def _mint(self, prefix: str) -> tuple[int, str]:
        number = next(self._numbers)
        oid = sids.mint_oid(number * 37 % sids.BUCKETS, self._clock.at, number)
        return oid, sids.format_sid(prefix, oid, number)


async def _outcome(store: Store, command: c.Command) -> object:
    """The outcome, or why there is none."""
    try:
        return await store.execute(command)
    except Refusal as refusal:
        return refusal.reason, refusal.message
    except IdTaken:
        return IdTaken


async def _gather(store: Store, commands: list[c.Command]) -> list[object]:
    return await asyncio.gather(*(_outcome(store, command) for command in commands))


async def _sorted_due(store: Store, now: int) -> list[Due]:
    """What is due; the order of what is due in the same millisecond is not given."""
    due = await store.list_due(now, _ALL)
    assert [one.expires_at for one in due] == sorted(one.expires_at for one in due)
    return sorted(due, key=repr)


async def _orphans(store: Store) -> list[int]:
    return sorted(one.oid for one in await store.list_orphans(_ALL))


async def _purge(store: Store) -> None:
    while await store.purge(3):
        pass


TestStores = Stores.TestCase
_PROFILE = settings()
TestStores.settings = settings(
    max_examples=_PROFILE.max_examples // 4,  # 25, and 250 in the nightly run
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
