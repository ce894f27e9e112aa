"""What every store does when a name is free again and when time is up: a part of
``StoreContract``."""

from __future__ import annotations

import asyncio

import pytest

from starlings.core import commands as c
from starlings.core.errors import Refusal
from starlings.core.events import EventType
from starlings.core.objects import Kind, ObjectRef
from starlings.storage.store import Store
from tests.contracts.desk import ADMIN, Clock
from tests.contracts.setting import COLLECTIONS, KINDS, Setting, key_of

__all__ = ["ExpiryContract"]


class ExpiryContract:
    @KINDS
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

    @KINDS
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

    @COLLECTIONS
    async def test_an_expired_item_is_gone_at_its_moment(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        key = (await at.desk.add(target, key=key_of(kind, "k"), ttl=5)).item.key
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

    @COLLECTIONS
    async def test_two_sweeps_remove_an_item_once(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        key = (await at.desk.add(target, b'{"a":1}', key=key_of(kind, "k"), ttl=5)).item.key
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

    @KINDS
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
