"""What every store must do, written once. The numbers are those of the invariants in
``starlings.storage.store``.

An adapter's test file derives a class from ``StoreContract`` and gives it the fixtures ``clock``
and ``store``, the store with ``LIMITS`` and that clock.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, IdTaken, Reason, Refusal
from starlings.core.events import EventType
from starlings.core.limits import Limits, Rates
from starlings.core.objects import (
    Actor,
    Item,
    Kind,
    Match,
    ObjectRef,
    Permission,
    Service,
    SyncObject,
)
from starlings.core.state import ItemOutcome, ObjectOutcome
from starlings.storage.store import Batch, Place, Store
from tests.contracts.clock_contract import ClockContract
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock, Desk, reason_of, ref_of

__all__ = ["LIMITS", "StoreContract"]

LIMITS = Limits(rates=Rates.off())
_KINDS = pytest.mark.parametrize("kind", list(Kind))
_COLLECTIONS = pytest.mark.parametrize("kind", [Kind.LIST, Kind.MAP])
_DIRECTIONS = pytest.mark.parametrize("is_descending", [False, True])


class Setting(NamedTuple):
    """A service with one object of each kind that a test may want."""

    desk: Desk
    service: Service

    async def map(self, name: str | None = None) -> SyncObject:
        return await self.desk.create(self.service, Kind.MAP, name)

    async def list(self, name: str | None = None) -> SyncObject:
        return await self.desk.create(self.service, Kind.LIST, name)

    async def document(self, data: bytes | None = None) -> SyncObject:
        return await self.desk.create(self.service, Kind.DOCUMENT, data=data)


class StoreContract(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def desk(self, store: Store, clock: Clock) -> Desk:
        return Desk(store, clock)

    @pytest.fixture
    async def at(self, desk: Desk) -> Setting:
        return Setting(desk, await desk.create_service())

    # Creation

    @_KINDS
    async def test_creation_of_every_kind_gives_what_was_asked_for(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        made = await at.desk.create(at.service, kind, "room", ttl=60, actor=Actor("zoe", "EP1"))
        assert made == await store.find_object(made.oid)
        assert made == await store.find_object_named(at.service.oid, kind, "room")
        assert (made.kind, made.unique_name, made.service_oid) == (kind, "room", at.service.oid)
        assert (made.created_at, made.updated_at) == (clock.at, clock.at)
        assert (made.expires_at, made.created_by) == (clock.at + 60_000, "zoe")
        assert made.data == (b"{}" if kind is Kind.DOCUMENT else None)
        [event] = await store.read_log(made.oid, 0, 10)
        assert (event.type, event.seq, event.at) == (EventType.OBJECT_CREATED, 1, clock.at)
        assert (event.identity, event.endpoint) == ("zoe", "EP1")

    @_KINDS
    async def test_a_new_object_has_revision_0(self, at: Setting, kind: Kind) -> None:
        made = await at.desk.create(at.service, kind)
        assert made.revision == "0"
        assert made.event_id == (0 if kind is Kind.DOCUMENT else -1)

    @_KINDS
    async def test_a_name_is_taken_within_its_kind_only(self, at: Setting, kind: Kind) -> None:
        await at.desk.create(at.service, kind, "lobby")
        with pytest.raises(Refusal) as refusal:
            await at.desk.create(at.service, kind, "lobby")
        assert reason_of(refusal.value) is Reason.NAME_TAKEN
        other = next(one for one in Kind if one is not kind)
        await at.desk.create(at.service, other, "lobby")
        await at.desk.create(await at.desk.create_service(), kind, "lobby")

    async def test_names_differ_by_case_and_accents(self, at: Setting, store: Store) -> None:
        names = ["a", "A", "á", "a\u0301", "a ", "😀"]
        made = [await at.map(name) for name in names]
        for name, one in zip(names, made, strict=True):
            assert await store.find_object_named(at.service.oid, Kind.MAP, name) == one

    async def test_a_taken_id_is_told_apart_from_a_refusal(self, at: Setting, store: Store) -> None:
        taken = await at.document()
        creation = at.desk.creation(at.service, Kind.MAP, oid=taken.oid)
        with pytest.raises(IdTaken):
            await store.execute(creation)
        await at.desk.remove(taken)
        with pytest.raises(IdTaken):  # until it is purged
            await store.execute(creation)
        while await store.purge(100):
            pass
        assert await store.find_object(taken.oid) is None

    async def test_an_object_of_a_removed_service_can_not_be_made(
        self, at: Setting, store: Store
    ) -> None:
        await store.execute(c.RemoveService(at.service.oid, ADMIN))
        with pytest.raises(Refusal) as refusal:
            await at.document()
        assert reason_of(refusal.value) is Reason.SERVICE_NOT_FOUND

    # Services

    async def test_a_service_keeps_its_settings(self, desk: Desk, store: Store) -> None:
        settings = c.ServiceSettings(
            "Café", "https://example.com/x", True, True, True, True, 30_000
        )
        made = await desk.create_service(settings)
        assert made == await store.find_service(made.oid)
        assert made.friendly_name == "Café"
        assert made[7:] == ("https://example.com/x", True, True, True, True, 30_000)
        assert all(isinstance(flag, bool) for flag in made[8:12])
        cleared = c.ServiceSettings(friendly_name=None, webhook_url=None)
        await store.execute(c.UpdateService(made.oid, cleared, ADMIN))
        found = await store.find_service(made.oid)
        assert found is not None
        assert (found.friendly_name, found.webhook_url, found.has_acl) == (None, None, True)

    async def test_there_is_one_default_service(self, desk: Desk, store: Store) -> None:
        assert await store.find_default_service(ACCOUNT_SID) is None
        made = await desk.create_service(unique_name="default")
        assert await store.find_default_service(ACCOUNT_SID) == made
        with pytest.raises(Refusal) as refusal:
            await desk.create_service(unique_name="default")
        assert reason_of(refusal.value) is Reason.NAME_TAKEN
        await store.execute(c.RemoveService(made.oid, ADMIN))
        assert await store.find_default_service(ACCOUNT_SID) is None
        again = await desk.create_service(unique_name="default")
        assert await store.find_default_service(ACCOUNT_SID) == again

    async def test_each_account_has_its_own_services_and_default(
        self, desk: Desk, store: Store
    ) -> None:
        other = "AC" + "f" * 32
        mine = await desk.create_service(unique_name="default")
        theirs = await desk.create_service(unique_name="default", account_sid=other)
        assert await store.find_default_service(ACCOUNT_SID) == mine
        assert await store.find_default_service(other) == theirs
        assert await store.list_services(None, False, 9, other) == [theirs]
        assert await store.list_services(None, True, 9, ACCOUNT_SID) == [mine]
        assert len(await store.list_services(None, False, 9)) == 2

    async def test_default_service_removed_and_made_anew_in_one_batch(
        self, desk: Desk, store: Store
    ) -> None:
        made = await desk.create_service(unique_name="default")
        answers = await asyncio.gather(
            store.execute(c.RemoveService(made.oid, ADMIN)),
            desk.create_service(unique_name="default"),
            desk.create_service(unique_name="default"),
            return_exceptions=True,
        )
        assert reason_of(answers[2]) is Reason.NAME_TAKEN
        found = await store.find_default_service(ACCOUNT_SID)
        assert found == answers[1]

    async def test_objects_of_a_removed_service_are_listed_as_orphans(
        self, at: Setting, store: Store
    ) -> None:
        made = await at.map("m")
        kept = await at.desk.create(await at.desk.create_service(), Kind.MAP)
        assert await store.list_orphans(10) == []
        await store.execute(c.RemoveService(at.service.oid, ADMIN))
        assert [one.oid for one in await store.list_orphans(10)] == [made.oid]
        assert isinstance(await store.execute(c.ExpireObject(made.oid)), ObjectOutcome)
        assert await store.list_orphans(10) == []
        assert await store.find_object(kept.oid) == kept

    # Revisions [rest-api 9]

    async def test_each_update_of_a_document_counts_one(self, at: Setting) -> None:
        document = await at.document()
        for number in range(1, 20):
            document = await at.desk.update_document(document, b'{"n":%d}' % number)
            assert (document.revision, document.event_id) == (f"{number:x}", number)
        assert (await at.desk.update_document(document, ttl=5)).revision == "14"

    @_COLLECTIONS
    async def test_event_n_makes_item_revision_n_and_collection_revision_n_plus_1(
        self, at: Setting, kind: Kind, store: Store
    ) -> None:
        target = await at.desk.create(at.service, kind)
        outcomes = []
        for number in range(9):
            outcomes.append(await at.desk.add(target, key=_key(kind, f"k{number}")))
        outcomes.append(await at.desk.update_item(target, outcomes[0].item.key, b'{"a":1}'))
        outcomes.append(await at.desk.remove_item(target, outcomes[1].item.key))
        outcomes.append(await at.desk.add(target, key=_key(kind, "k1")))
        for event_id, outcome in enumerate(outcomes):
            assert outcome.event.event_id == event_id
            assert outcome.object.revision == f"{event_id + 1:x}"
            if event_id != 10:  # the removed item is told as it was
                assert outcome.item.revision == f"{event_id:x}"
        assert outcomes[10].item.revision == "1"
        assert outcomes[9].item.added_id == 0
        assert outcomes[11].item.added_id == 11
        found = await store.find_object(target.oid)
        assert found is not None
        assert (found.revision, found.item_count) == ("c", 9)

    @_COLLECTIONS
    async def test_time_to_live_of_a_collection_moves_its_date_but_not_its_revision(
        self, at: Setting, kind: Kind, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        await at.desk.add(target, key=_key(kind, "k"))
        clock.pass_seconds(3)
        after = await at.desk.set_ttl(target, 60)
        assert (after.revision, after.updated_at) == ("1", clock.at)
        assert after.expires_at == clock.at + 60_000
        assert (await at.desk.set_ttl(target, 0)).expires_at is None

    async def test_a_permission_moves_neither_revision_nor_date(
        self, at: Setting, clock: Clock, store: Store
    ) -> None:
        target = await at.map()
        clock.pass_seconds(3)
        await at.desk.grant(target, "zoe")
        found = await store.find_object(target.oid)
        assert found is not None
        assert (found.revision, found.updated_at) == (target.revision, target.updated_at)
        assert found.seq == 2

    async def test_an_item_moves_the_date_of_its_collection(
        self, at: Setting, clock: Clock
    ) -> None:
        target = await at.map()
        clock.pass_seconds(3)
        added = await at.desk.add(target, key="k")
        assert added.object.updated_at == added.item.updated_at == clock.at

    async def test_indexes_are_never_used_again(self, at: Setting, store: Store) -> None:
        target = await at.list()
        keys = [(await at.desk.add(target)).item.key for _ in range(3)]
        await at.desk.remove_item(target, 2)
        await at.desk.remove_item(target, 1)
        keys.append((await at.desk.add(target)).item.key)
        assert keys == [0, 1, 2, 3]
        assert [item.key for item in await at.desk.list_all(target)] == [0, 3]

    # Conditions

    async def test_if_match_of_a_document(self, at: Setting) -> None:
        document = await at.document()
        await at.desk.update_document(document, b'{"a":1}', if_match="0")
        with pytest.raises(Refusal) as refusal:
            await at.desk.update_document(document, b'{"a":2}', if_match="0")
        assert reason_of(refusal.value) is Reason.DOCUMENT_REVISION_MISMATCH
        with pytest.raises(Refusal) as refusal:
            await at.desk.remove(document, if_match="0")
        assert reason_of(refusal.value) is Reason.DOCUMENT_REVISION_MISMATCH
        await at.desk.update_document(document, b'{"a":2}', if_match="*")
        await at.desk.remove(document, if_match="2")

    @_COLLECTIONS
    async def test_if_match_compares_the_revision_of_the_item(
        self, at: Setting, kind: Kind
    ) -> None:
        target = await at.desk.create(at.service, kind)
        await at.desk.add(target, key=_key(kind, "other"))
        key = (await at.desk.add(target, key=_key(kind, "k"))).item.key
        await at.desk.update_item(target, key, b'{"a":1}', if_match="1")
        for call in (
            at.desk.update_item(target, key, b"{}", if_match="1"),
            at.desk.remove_item(target, key, if_match="3"),
        ):
            with pytest.raises(Refusal) as refusal:
                await call
            assert refusal.value.code == (54155 if kind is Kind.LIST else 54205)
        await at.desk.update_item(target, key, b"{}", if_match="*")
        await at.desk.remove_item(target, key, if_match="3")

    # Map keys

    async def test_a_key_is_taken_until_its_item_is_removed(self, at: Setting) -> None:
        target = await at.map()
        await at.desk.add(target, key="k")
        with pytest.raises(Refusal) as refusal:
            await at.desk.add(target, key="k")
        assert reason_of(refusal.value) is Reason.MAP_KEY_TAKEN
        await at.desk.remove_item(target, "k")
        assert (await at.desk.add(target, key="k")).item.revision == "2"

    async def test_keys_that_look_like_numbers_are_text(self, at: Setting, store: Store) -> None:
        target = await at.map()
        for key in ("1", "1.0", "01", "1e0"):
            await at.desk.add(target, b'{"k":"%s"}' % key.encode(), key=key)
        for item in await at.desk.list_all(target):
            assert isinstance(item.key, str)
            assert item.data == b'{"k":"%s"}' % item.key.encode()
        assert await store.find_item(target.oid, 1) is None

    async def test_put_adds_or_replaces(self, at: Setting, clock: Clock) -> None:
        target = await at.map()
        first = await at.desk.put(target, "k", b'{"a":1}', ttl=60)
        expires_at = clock.at + 60_000
        clock.pass_seconds(1)
        second = await at.desk.put(target, "k", b'{"a":2}')
        assert (first.is_added, second.is_added) == (True, False)
        assert first.event.type is EventType.ITEM_ADDED
        assert second.event.type is EventType.ITEM_UPDATED
        assert second.item.expires_at == expires_at  # data alone don't move it
        assert second.item.created_at == first.item.created_at
        assert (second.item.event_id, second.item.added_id) == (1, 0)

    async def test_put_with_minus_1_only_adds(self, at: Setting) -> None:
        target = await at.map()
        await at.desk.put(target, "k", if_match=c.MUST_NOT_EXIST)
        with pytest.raises(Refusal) as refusal:
            await at.desk.put(target, "k", if_match=c.MUST_NOT_EXIST)
        assert reason_of(refusal.value) is Reason.MAP_ITEM_REVISION_MISMATCH

    @pytest.mark.parametrize("if_match", ["0", "*"])
    async def test_put_with_a_revision_demands_that_the_item_is_there(
        self, at: Setting, if_match: str
    ) -> None:
        target = await at.map()
        with pytest.raises(Refusal) as refusal:
            await at.desk.put(target, "k", if_match=if_match)
        assert reason_of(refusal.value) is Reason.MAP_ITEM_REVISION_MISMATCH
        await at.desk.put(target, "k")
        await at.desk.put(target, "k", if_match=if_match)

    async def test_an_index_past_63_bits_is_no_items(self, at: Setting, store: Store) -> None:
        target = await at.list()
        for key in (1 << 63, 1 << 80):
            with pytest.raises(Refusal) as refusal:
                await at.desk.update_item(target, key, b"{}")
            assert reason_of(refusal.value) is Reason.LIST_ITEM_NOT_FOUND
            assert await store.find_item(target.oid, key) is None
        await at.desk.add(target)
        assert await store.list_items(target.oid, 1 << 80, True, False, 9, at.desk.clock.at) == []
        before = await store.list_items(target.oid, 1 << 80, True, True, 9, at.desk.clock.at)
        assert len(before) == 1

    @_KINDS
    async def test_a_sid_that_was_never_minted_is_not_found(
        self, at: Setting, store: Store, kind: Kind
    ) -> None:
        for digits in ("0" * 32, "f" * 32):
            ref = ObjectRef(at.service.oid, kind, kind.sid_prefix + digits)
            with pytest.raises(Refusal) as refusal:
                await store.execute(c.RemoveObject(ref, None, ADMIN))
            assert reason_of(refusal.value) is kind.not_found
            assert await store.find_object(int(digits[:16], 16)) is None

    # Permissions

    async def test_permissions_are_kept_by_identity(self, at: Setting, store: Store) -> None:
        target = await at.map()
        for identity in ("b", "a", "é", "Z"):
            await at.desk.grant(target, identity, (True, False, True))
        listed = await store.list_permissions(target.oid, None, False, 10)
        assert [one.identity for one in listed] == ["Z", "a", "b", "é"]
        found = await store.find_permission(target.oid, "a")
        assert found == Permission(target.oid, "a", Match.EXACT, True, False, True)
        back = await store.list_permissions(target.oid, ("b", Match.EXACT), True, 10)
        assert [one.identity for one in back] == ["a", "Z"]
        await store.execute(c.RemovePermission(ref_of(target), "a", ADMIN))
        assert await store.find_permission(target.oid, "a") is None
        with pytest.raises(Refusal) as refusal:
            await store.execute(c.RemovePermission(ref_of(target), "a", ADMIN))
        assert reason_of(refusal.value) is Reason.PERMISSION_NOT_FOUND

    async def test_who_creates_under_access_control_may_do_everything(
        self, desk: Desk, store: Store
    ) -> None:
        service = await desk.create_service(c.ServiceSettings(has_acl=True))
        zoe = Actor("zoe", "EP1", is_unrestricted=False)
        made = await desk.create(service, Kind.MAP, actor=zoe)
        granted = await store.find_permission(made.oid, "zoe")
        assert granted == Permission(made.oid, "zoe", Match.EXACT, True, True, True)
        await desk.add(made, key="k", actor=zoe)
        with pytest.raises(Refusal) as refusal:
            await desk.add(made, key="l", actor=Actor("eve", "EP2", is_unrestricted=False))
        assert reason_of(refusal.value) is Reason.ACCESS_DENIED

    # Names and expiry

    @_KINDS
    async def test_a_name_is_free_again_after_removal(
        self, at: Setting, store: Store, kind: Kind
    ) -> None:
        first = await at.desk.create(at.service, kind, "room")
        await at.desk.remove(first)
        assert await store.find_object_named(at.service.oid, kind, "room") is None
        second = await at.desk.create(at.service, kind, "room")
        assert await store.find_object_named(at.service.oid, kind, "room") == second
        while await store.purge(100):
            pass
        assert await store.find_object_named(at.service.oid, kind, "room") == second

    @_KINDS
    async def test_a_name_is_free_again_at_expiry_and_the_old_object_is_removed_first(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        first = await at.desk.create(at.service, kind, "room", ttl=5)
        clock.pass_seconds(4.999)
        with pytest.raises(Refusal):
            await at.desk.create(at.service, kind, "room")
        clock.pass_seconds(0.001)
        second = await at.desk.create(at.service, kind, "room")
        assert await store.find_object_named(at.service.oid, kind, "room") == second
        log = await store.read_log(first.oid, 0, 10)
        assert [event.type for event in log] == [
            EventType.OBJECT_CREATED,
            EventType.OBJECT_REMOVED,
        ]
        assert await store.execute(c.ExpireObject(first.oid)) is None

    async def test_a_name_changes_hands_many_times_within_one_batch(
        self, at: Setting, store: Store
    ) -> None:
        made = [at.desk.creation(at.service, Kind.MAP, "room") for _ in range(4)]
        removals = [
            c.RemoveObject(ObjectRef(at.service.oid, Kind.MAP, "room"), None, ADMIN)
            for _ in range(4)
        ]
        commands: list[c.Command] = []
        for creation, removal in zip(made, removals, strict=True):
            commands += [creation, removal]
        await asyncio.gather(*(store.execute(command) for command in commands[:-1]))
        found = await store.find_object_named(at.service.oid, Kind.MAP, "room")
        assert found is not None
        assert found.oid == made[3].oid

    @_COLLECTIONS
    async def test_an_expired_item_is_gone_at_its_moment(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        key = (await at.desk.add(target, key=_key(kind, "k"), ttl=5)).item.key
        clock.pass_seconds(5)
        assert await at.desk.list_all(target) == []
        for call in (
            at.desk.update_item(target, key, b"{}"),
            at.desk.remove_item(target, key),
        ):
            with pytest.raises(Refusal) as refusal:
                await call
            assert refusal.value.status == 404
        found = await store.find_item(target.oid, key)
        assert found is not None  # who reads compares with the clock [6]
        assert not found.is_live(clock.at)

    @pytest.mark.parametrize("word", ["add", "put"])
    async def test_adding_over_an_expired_item_tells_its_removal_first(
        self, at: Setting, store: Store, clock: Clock, word: str
    ) -> None:
        target = await at.map()
        await at.desk.add(target, b'{"old":1}', key="k", ttl=5)
        clock.pass_seconds(5)
        if word == "add":
            added = await at.desk.add(target, b'{"new":1}', key="k")
        else:
            added = await at.desk.put(target, "k", b'{"new":1}', if_match=c.MUST_NOT_EXIST)
        events = await store.replay(target.oid, 0, 10)
        assert events is not None
        assert [(one.type, one.event_id, one.data) for one in events] == [
            (EventType.ITEM_REMOVED, 1, b'{"old":1}'),
            (EventType.ITEM_ADDED, 2, b'{"new":1}'),
        ]
        assert [one.identity for one in events] == ["system", "system"]
        assert (added.item.added_id, added.item.expires_at, added.is_added) == (2, None, True)
        assert added.object.item_count == 1
        assert await store.execute(c.ExpireItem(target.oid, "k")) is None

    @_COLLECTIONS
    async def test_two_sweeps_remove_an_item_once(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        key = (await at.desk.add(target, b'{"a":1}', key=_key(kind, "k"), ttl=5)).item.key
        assert await store.execute(c.ExpireItem(target.oid, key)) is None  # not due yet
        clock.pass_seconds(5)
        due = await store.list_due(clock.at, 10)
        assert [(one.oid, one.key) for one in due] == [(target.oid, key)]
        sweeps = await asyncio.gather(
            *(store.execute(c.ExpireItem(target.oid, key)) for _ in range(2))
        )
        assert [outcome is not None for outcome in sweeps] == [True, False]
        [event] = await store.replay(target.oid, 0, 10) or []
        assert (event.type, event.data) == (EventType.ITEM_REMOVED, b'{"a":1}')
        assert await store.list_due(clock.at, 10) == []

    @_KINDS
    async def test_two_sweeps_remove_an_object_once(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind, ttl=5)
        clock.pass_seconds(5)
        [due] = await store.list_due(clock.at, 10)
        assert (due.oid, due.key) == (target.oid, None)
        sweeps = await asyncio.gather(
            *(store.execute(c.ExpireObject(target.oid)) for _ in range(2))
        )
        assert [outcome is not None for outcome in sweeps] == [True, False]
        log = await store.read_log(target.oid, 1, 10)
        assert [event.type for event in log] == [EventType.OBJECT_REMOVED]

    async def test_items_of_a_due_collection_are_not_due_themselves(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        target = await at.map()
        await at.desk.add(target, key="k", ttl=5, collection_ttl=5)
        await at.desk.add(await at.map(), key="k", ttl=4)
        clock.pass_seconds(5)
        due = await store.list_due(clock.at, 10)
        assert [one.key for one in due] == ["k", None]  # the longest ago first
        assert due[1].oid == target.oid
        assert len(await store.list_due(clock.at, 1)) == 1
        assert await store.execute(c.ExpireItem(target.oid, "k")) is None

    async def test_a_new_time_to_live_saves_what_was_nearly_due(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        target = await at.map()
        await at.desk.add(target, key="k", ttl=5)
        await at.desk.update_item(target, "k", ttl=0)
        clock.pass_seconds(5)
        assert await store.list_due(clock.at, 10) == []
        assert await store.execute(c.ExpireItem(target.oid, "k")) is None

    # Invariants by number

    async def test_1_a_refused_command_changes_nothing(self, at: Setting, store: Store) -> None:
        target = await at.map()
        await at.desk.add(target, b'{"a":1}', key="k", ttl=60)
        await at.desk.grant(target, "zoe")
        before = await _everything(store, at.desk, target)
        refused: list[c.Command] = [
            c.AddMapItem(ref_of(target), "k", b"{}", None, None, ADMIN),
            c.AddMapItem(ref_of(target), "", b"{}", None, None, ADMIN),
            c.AddMapItem(ref_of(target), "\ud800", b"{}", None, None, ADMIN),
            c.AddMapItem(ref_of(target), "l", b" " * 16_385, None, None, ADMIN),
            c.AddMapItem(ref_of(target), "l", b"{}", -1, None, ADMIN),
            c.UpdateItem(ref_of(target), "k", None, None, 5, None, ADMIN),
            c.UpdateItem(ref_of(target), "k", b"{}", None, None, "7", ADMIN),
            c.UpdateItem(ref_of(target), "x", b"{}", None, None, None, ADMIN),
            c.RemoveItem(ref_of(target), "k", "7", ADMIN),
            c.SetObjectTtl(ref_of(target), 99_999_999, ADMIN),
            c.SetPermission(ref_of(target), "", True, True, True, ADMIN),
            c.RemovePermission(ref_of(target), "eve", ADMIN),
        ]
        for command in refused:
            with pytest.raises(Refusal):
                await store.execute(command)
        assert await _everything(store, at.desk, target) == before
        added = await at.desk.add(target, key="l")
        assert (added.event.event_id, added.event.seq) == (1, 4)

    async def test_2_rows_events_and_counters_agree_after_every_command(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        await at.desk.add(target, key="a")
        await at.desk.put(target, "b")
        await at.desk.put(target, "a", b'{"x":1}')
        await at.desk.grant(target, "zoe")
        await at.desk.remove_item(target, "a")
        await at.desk.set_ttl(target, 60)
        found = await store.find_object(target.oid)
        assert found is not None
        log = await store.read_log(target.oid, 0, 100)
        assert [event.seq for event in log] == list(range(1, 8))
        assert found.seq == log[-1].seq
        assert found.event_id == log[-1].event_id == 3
        assert found.item_count == len(await at.desk.list_all(target)) == 1
        assert found.expires_at == log[-1].expires_at

    async def test_3_a_refused_command_leaves_its_neighbours_alone(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        answers = await asyncio.gather(
            *(
                store.execute(
                    c.AddMapItem(ref_of(target), f"k{number // 2}", b"{}", None, None, ADMIN)
                )
                for number in range(40)
            ),
            return_exceptions=True,
        )
        for number, answer in enumerate(answers):
            if number % 2:
                assert reason_of(answer) is Reason.MAP_KEY_TAKEN
            else:
                assert isinstance(answer, ItemOutcome)
                assert answer.event.event_id == number // 2
        assert len(await at.desk.list_all(target)) == 20

    async def test_3_each_command_sees_what_those_before_it_changed(
        self, at: Setting, store: Store
    ) -> None:
        creation = at.desk.creation(at.service, Kind.MAP, "room")
        room = ObjectRef(at.service.oid, Kind.MAP, "room")
        commands: list[c.Command] = [
            creation,
            c.AddMapItem(room, "k", b'{"a":1}', None, None, ADMIN),
            c.UpdateItem(room, "k", b'{"a":2}', None, None, "0", ADMIN),
            c.RemoveItem(room, "k", "1", ADMIN),
            c.PutMapItem(room, "k", b'{"a":3}', None, c.MUST_NOT_EXIST, ADMIN),
            c.SetPermission(room, "zoe", True, False, False, ADMIN),
            c.RemovePermission(room, "zoe", ADMIN),
            c.AddMapItem(room, "l", b"{}", None, None, ADMIN),
            c.RemoveItem(room, "l", None, ADMIN),
        ]
        answers = await asyncio.gather(*(store.execute(one) for one in commands))
        assert None not in answers
        item = await store.find_item(creation.oid, "k")
        assert item is not None
        assert (item.data, item.event_id, item.added_id) == (b'{"a":3}', 3, 3)
        assert await store.find_item(creation.oid, "l") is None
        assert await store.find_permission(creation.oid, "zoe") is None
        log = await store.read_log(creation.oid, 0, 100)
        assert [event.seq for event in log] == list(range(1, 10))

    async def test_4_concurrent_commands_on_one_object_leave_no_gap(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.list()
        await asyncio.gather(*(at.desk.add(target, b'{"n":%d}' % n) for n in range(400)))
        await asyncio.gather(
            *(at.desk.update_item(target, n, b'{"n":%d}' % -n) for n in range(400)),
            *(at.desk.remove_item(target, n) for n in range(0, 400, 2)),
            *(at.desk.grant(target, f"i{n}") for n in range(50)),
        )
        log = await store.read_log(target.oid, 0, 10_000)
        assert [event.seq for event in log] == list(range(1, 1052))
        visible = await store.replay(target.oid, -1, 10_000)
        assert visible is not None
        assert [event.event_id for event in visible] == list(range(1000))
        assert len(await at.desk.list_all(target)) == 200

    async def test_5_listeners_hear_every_event_once_and_in_order(
        self, at: Setting, store: Store
    ) -> None:
        heard: list[Batch] = []
        store.listen(heard.append)
        maps = [await at.map() for _ in range(3)]
        await asyncio.gather(
            *(at.desk.put(maps[n % 3], f"k{n % 5}", b'{"n":%d}' % n) for n in range(60))
        )
        await asyncio.sleep(0)
        for target in maps:
            events = [one for batch in heard for one in batch.events if one.event.oid == target.oid]
            assert [one.event for one in events] == await store.read_log(target.oid, 0, 100)
            assert [one.object.seq for one in events] == list(range(1, 22))
            assert [one.object.event_id for one in events] == [-1, *range(20)]

    async def test_5_listeners_hear_of_services(self, desk: Desk, store: Store) -> None:
        heard: list[Batch] = []
        store.listen(heard.append)
        made = await desk.create_service()
        settings = c.ServiceSettings(has_acl=True)
        await store.execute(c.UpdateService(made.oid, settings, ADMIN))
        await store.execute(c.RemoveService(made.oid, ADMIN))
        await asyncio.sleep(0)
        changes = [one for batch in heard for one in batch.services]
        assert [one.service_oid for one in changes] == [made.oid] * 3
        assert [one.service and one.service.has_acl for one in changes] == [False, True, None]

    async def test_5_whoever_waits_goes_on_before_the_listeners(
        self, at: Setting, store: Store
    ) -> None:
        story: list[str] = []
        target = await at.map()
        store.listen(lambda batch: story.extend(f"heard {one.event.key}" for one in batch.events))

        async def write(key: str) -> None:
            await at.desk.add(target, key=key)
            story.append(f"wrote {key}")

        await asyncio.gather(*(write(f"k{number}") for number in range(10)))
        await asyncio.sleep(0)
        for number in range(10):
            assert story.index(f"wrote k{number}") < story.index(f"heard k{number}")
        assert len(story) == 20

    async def test_5_of_a_refusal_and_an_idle_sweep_nothing_is_heard(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        heard: list[Batch] = []
        await asyncio.sleep(0)
        store.listen(heard.append)
        with pytest.raises(Refusal):
            await at.desk.remove_item(target, "k")
        await store.execute(c.ExpireObject(target.oid))
        await asyncio.sleep(0)
        assert not any(batch.events or batch.services for batch in heard)

    async def test_5_listeners_hear_of_a_batch_as_long_as_one_is_untold(
        self, at: Setting, store: Store
    ) -> None:
        """Of an empty one too: they may be waiting for it."""
        target = await at.map()
        await asyncio.sleep(0)
        heard: list[bool] = []
        store.listen(lambda batch: heard.append(store.has_untold))
        await asyncio.gather(
            *(at.desk.add(target, key=f"k{number}") for number in range(3)),
            at.desk.remove_item(target, "gone"),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
        assert heard[-1:] == [False]
        assert not store.has_untold

    async def test_6_reads_show_all_that_was_committed_before(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        for number in range(20):
            added = await at.desk.add(target, key=f"k{number}")
            assert await store.find_object(target.oid) == added.object
            assert await store.find_item(target.oid, f"k{number}") == added.item
            assert len(await at.desk.list_all(target)) == number + 1

    @_KINDS
    async def test_6_removed_objects_are_not_shown(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        made = await at.desk.create(at.service, kind, "room")
        await at.desk.grant(made, "zoe")
        await at.desk.remove(made)
        assert await store.find_object(made.oid) is None
        assert await store.list_objects(at.service.oid, kind, None, False, 9, clock.at) == []
        assert await store.snapshot(made.oid, -1, 10) is None
        assert await store.list_due(clock.at + 10**9, 10) == []

    @_KINDS
    async def test_6_expired_objects_are_found_but_not_listed(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        made = await at.desk.create(at.service, kind, "room", ttl=5)
        clock.pass_seconds(5)
        assert await store.find_object(made.oid) == made
        assert await store.list_objects(at.service.oid, kind, None, False, 9, clock.at) == []
        before = await store.list_objects(at.service.oid, kind, None, False, 9, clock.at - 1)
        assert before == [made]

    @_DIRECTIONS
    async def test_7_pages_of_objects_are_not_shifted_by_changes(
        self, at: Setting, store: Store, is_descending: bool, clock: Clock
    ) -> None:
        made = []
        for number in range(12):
            made.append(await at.map(f"m{number}"))
            clock.pass_seconds(number % 3)  # several share a millisecond
        expected = sorted(made, key=lambda one: (one.created_at, one.oid), reverse=is_descending)

        async def page(start: Place | None) -> list[SyncObject]:
            return await store.list_objects(
                at.service.oid, Kind.MAP, start, is_descending, 4, clock.at
            )

        first = await page(None)
        assert first == expected[:4]
        await at.desk.remove(first[0])
        await at.desk.remove(expected[5])
        edge = (first[-1].created_at, first[-1].oid)
        second = await page(edge)
        assert second == [expected[4], *expected[6:9]]
        await at.desk.remove(second[-1])  # the edge itself
        third = await page((second[-1].created_at, second[-1].oid))
        assert third == expected[9:]

    @_DIRECTIONS
    async def test_7_pages_of_services(
        self, desk: Desk, store: Store, is_descending: bool, clock: Clock
    ) -> None:
        made = []
        for _ in range(5):
            made.append(await desk.create_service())
            clock.pass_seconds(1)
        if is_descending:
            made.reverse()
        first = await store.list_services(None, is_descending, 2)
        await store.execute(c.RemoveService(first[-1].oid, ADMIN))
        edge = (first[-1].created_at, first[-1].oid)
        assert first + await store.list_services(edge, is_descending, 9) == made

    @_COLLECTIONS
    @_DIRECTIONS
    async def test_7_pages_of_items_are_not_shifted_by_changes(
        self, at: Setting, store: Store, kind: Kind, is_descending: bool, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        for number in range(20):
            await at.desk.add(target, key=_key(kind, f"k{number:02}"))
        expected = await at.desk.list_all(target)
        if is_descending:
            expected.reverse()

        async def page(start: Item, is_inclusive: bool) -> list[Item]:
            return await store.list_items(
                target.oid, start.key, is_inclusive, is_descending, 5, clock.at
            )

        assert await page(expected[0], True) == expected[:5]
        await at.desk.remove_item(target, expected[4].key)
        await at.desk.remove_item(target, expected[2].key)
        await at.desk.remove_item(target, expected[7].key)
        if kind is Kind.MAP:
            await at.desk.add(target, key="k000")
        second = await page(expected[4], False)
        assert second == [expected[5], expected[6], *expected[8:11]]
        assert await page(expected[4], True) == second

    async def test_7_map_items_go_by_the_bytes_of_their_keys(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        keys = ["", "a", "ab", "b", "B", "é", "z\u0301", "😀", "\uffee", "1", "10", "2"]
        for key in keys[1:]:
            await at.desk.add(target, key=key)
        listed = [str(item.key) for item in await at.desk.list_all(target)]
        assert listed == sorted(keys[1:], key=lambda key: key.encode())

    async def test_7_list_items_go_by_number(self, at: Setting) -> None:
        target = await at.list()
        await asyncio.gather(*(at.desk.add(target) for _ in range(120)))
        assert [item.key for item in await at.desk.list_all(target)] == list(range(120))

    async def test_8_a_closed_store_faults_and_has_lost_nothing(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        writes = [
            asyncio.ensure_future(at.desk.add(target, key=f"k{number}")) for number in range(50)
        ]
        await asyncio.sleep(0)  # they have asked
        await store.close()
        answers = await asyncio.gather(*writes)
        assert [answer.event.event_id for answer in answers] == list(range(50))
        with pytest.raises(Fault) as fault:
            await at.desk.add(target, key="late")
        assert fault.value.reason is Reason.UNAVAILABLE
        await store.close()

    # Removal and purge

    @_COLLECTIONS
    async def test_removal_hides_at_once_and_purge_deletes_in_chunks(
        self, at: Setting, store: Store, kind: Kind
    ) -> None:
        target = await at.desk.create(at.service, kind)
        for number in range(25):
            await at.desk.add(target, key=_key(kind, f"k{number}"))
        await at.desk.grant(target, "zoe")
        kept = await at.map("kept")
        await at.desk.add(kept, key="k")
        await at.desk.remove(target)
        chunks = []
        while deleted := await store.purge(10):
            chunks.append(deleted)
        assert sum(chunks) == 27
        assert max(chunks) <= 12
        assert await at.desk.list_all(target) == []
        assert await store.list_permissions(target.oid, None, False, 9) == []
        assert len(await at.desk.list_all(kept)) == 1
        # The log outlives the object, for those who must still hear of its removal.
        assert (await store.read_log(target.oid, 26, 9))[-1].type is EventType.OBJECT_REMOVED

    async def test_purging_a_large_list_lets_other_writers_in_between(
        self, at: Setting, store: Store
    ) -> None:
        target, document = await at.list(), await at.document()
        command = c.AddListItem(ref_of(target), b"{}", None, None, ADMIN)
        asyncio.get_running_loop().set_debug(False)  # four times as fast
        for _ in range(4):
            await asyncio.gather(*(store.execute(command) for _ in range(5_000)))
        await at.desk.remove(target)
        story: list[str] = []

        async def purge() -> None:
            while await store.purge(1_000):
                story.append("purged")
                await asyncio.sleep(0)
            story.append("done")

        async def write() -> None:
            while "done" not in story:
                await at.desk.update_document(document, b"{}")
                story.append("wrote")
                await asyncio.sleep(0)

        await asyncio.gather(purge(), write())
        assert story.count("purged") >= 20
        assert ["purged"] * 3 not in [story[n : n + 3] for n in range(len(story))]

    # The log

    async def test_replay_gives_what_came_after_in_order(self, at: Setting, store: Store) -> None:
        target = await at.map()
        for number in range(5):
            await at.desk.add(target, key=f"k{number}")
        await at.desk.grant(target, "zoe")
        await at.desk.remove_item(target, "k0")
        events = await store.replay(target.oid, 2, 10)
        assert events is not None
        assert [(one.event_id, one.key) for one in events] == [(3, "k3"), (4, "k4"), (5, "k0")]
        assert [one.event_id for one in await store.replay(target.oid, -1, 2) or []] == [0, 1]
        assert await store.replay(target.oid, 5, 10) == []
        assert await store.replay(target.oid, 1 << 70, 10) == []

    async def test_replay_of_a_document_is_its_updates(self, at: Setting, store: Store) -> None:
        document = await at.document()
        await at.desk.update_document(document, b'{"a":1}')
        await at.desk.update_document(document, b'{"a":2}')
        events = await store.replay(document.oid, 0, 10)
        assert events is not None
        assert [(one.event_id, one.data) for one in events] == [(1, b'{"a":1}'), (2, b'{"a":2}')]

    async def test_request_ids_and_actors_are_kept_with_events(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        await at.desk.add(target, key="k", actor=Actor("zoe", "EP1", False), request_id="RQ1")
        [event] = await store.replay(target.oid, -1, 10) or []
        assert (event.identity, event.endpoint, event.request_id) == ("zoe", "EP1", "RQ1")

    async def test_a_trimmed_log_answers_none_and_a_snapshot_replaces_it(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        target = await at.map()
        await at.desk.add(target, b'{"n":0}', key="a")
        await at.desk.add(target, b'{"n":1}', key="b")
        await at.desk.remove_item(target, "a")
        await at.desk.add(target, b'{"n":3}', key="a")
        clock.pass_seconds(60)
        assert await store.trim_log(clock.at, clock.at - 10**6, 100) == 5
        await at.desk.put(target, "b", b'{"n":4}')
        assert await store.replay(target.oid, 1, 10) is None
        assert len(await store.replay(target.oid, 3, 10) or []) == 1
        snapshot = await store.snapshot(target.oid, 1, 10)
        assert snapshot is not None
        assert snapshot.object.event_id == 4
        assert [(one.key, one.event_id, one.added_id) for one in snapshot.items] == [
            ("a", 3, 3),
            ("b", 4, 1),
        ]
        [tombstone] = snapshot.tombstones
        assert (tombstone.key, tombstone.event_id, tombstone.data) == ("a", 2, b'{"n":0}')
        assert snapshot.is_complete

    async def test_trim_forgets_at_most_so_many_and_only_what_is_old(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        target = await at.map()
        for number in range(5):
            await at.desk.add(target, key=f"k{number}")
        clock.pass_seconds(1)
        await at.desk.add(target, key="new")
        assert await store.trim_log(clock.at, 0, 4) == 4
        assert [one.seq for one in await store.read_log(target.oid, 0, 99)] == [5, 6, 7]
        assert await store.trim_log(clock.at, 0, 4) == 2
        assert await store.trim_log(clock.at, 0, 4) == 0
        assert [one.key for one in await store.replay(target.oid, 4, 99) or []] == ["new"]

    async def test_tombstones_are_forgotten_in_their_own_time(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        target = await at.map()
        for key in ("a", "b"):
            await at.desk.add(target, key=key)
            await at.desk.remove_item(target, key)
            clock.pass_seconds(10)
        await store.trim_log(clock.at, clock.at - 15_000, 100)
        snapshot = await store.snapshot(target.oid, -1, 10)
        assert snapshot is not None
        assert [one.key for one in snapshot.tombstones] == ["b"]
        clock.pass_seconds(10)
        await store.trim_log(clock.at, clock.at - 15_000, 100)
        snapshot = await store.snapshot(target.oid, -1, 10)
        assert snapshot is not None
        assert snapshot.tombstones == []

    async def test_a_snapshot_counts_removals_that_the_log_still_has(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.list()
        for _ in range(3):
            await at.desk.add(target)
        await at.desk.remove_item(target, 1)
        snapshot = await store.snapshot(target.oid, 1, 10)
        assert snapshot is not None
        assert [one.key for one in snapshot.items] == [2]
        assert [one.key for one in snapshot.tombstones] == [1]

    async def test_a_large_snapshot_comes_in_parts_by_event_id(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.list()
        for _ in range(10):
            await at.desk.add(target)
        for key in (3, 1, 7):
            await at.desk.remove_item(target, key)
        seen: list[int] = []
        after_id, is_complete = -1, False
        while not is_complete:
            part = await store.snapshot(target.oid, after_id, 4)
            assert part is not None
            ids = sorted(
                [one.event_id for one in part.items] + [one.event_id for one in part.tombstones]
            )
            assert len(ids) <= 4
            seen += ids
            after_id, is_complete = ids[-1], part.is_complete
        assert seen == [0, 2, 4, 5, 6, 8, 9, 10, 11, 12]

    async def test_the_log_of_a_removed_object_is_trimmed_without_tombstones(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        target = await at.map()
        await at.desk.add(target, key="k")
        await at.desk.remove_item(target, "k")
        await at.desk.remove(target)
        clock.pass_seconds(1)
        assert await store.trim_log(clock.at, 0, 100) == 4
        assert await store.read_log(target.oid, 0, 10) == []

    async def test_statistics_count(self, at: Setting, store: Store) -> None:
        before = store.statistics()
        await at.document()
        with pytest.raises(Refusal):
            await store.execute(c.RemoveService(1, ADMIN))
        after = store.statistics()
        assert (after.commands - before.commands, after.refusals - before.refusals) == (2, 1)
        assert (after.waiting, after.faults) == (0, 0)


def _key(kind: Kind, key: str) -> str | None:
    """The key that an addition asks for: none in lists."""
    return key if kind is Kind.MAP else None


async def _everything(store: Store, desk: Desk, target: SyncObject) -> object:
    return (
        await store.find_object(target.oid),
        await desk.list_all(target),
        await store.list_permissions(target.oid, None, False, 100),
        await store.read_log(target.oid, 0, 1_000),
    )
