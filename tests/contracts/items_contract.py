"""What every store does with revisions, conditions and keys: a part of ``StoreContract``."""

from __future__ import annotations

import pytest

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.events import EventType
from starlings.core.objects import Kind
from starlings.storage.store import Store
from tests.contracts.desk import Clock, reason_of
from tests.contracts.setting import COLLECTIONS, Setting, key_of

__all__ = ["ItemsContract"]


class ItemsContract:
    # Revisions [rest-api 9]

    async def test_each_update_of_a_document_counts_one(self, at: Setting) -> None:
        document = await at.document()
        for number in range(1, 20):
            document = await at.desk.update_document(document, b'{"n":%d}' % number)
            assert (document.revision, document.event_id) == (f"{number:x}", number)
        assert (await at.desk.update_document(document, ttl=5)).revision == "14"

    @COLLECTIONS
    async def test_event_n_makes_item_revision_n_and_collection_revision_n_plus_1(
        self, at: Setting, kind: Kind, store: Store
    ) -> None:
        target = await at.desk.create(at.service, kind)
        outcomes = []
        for number in range(9):
            outcomes.append(await at.desk.add(target, key=key_of(kind, f"k{number}")))
        outcomes.append(await at.desk.update_item(target, outcomes[0].item.key, b'{"a":1}'))
        outcomes.append(await at.desk.remove_item(target, outcomes[1].item.key))
        outcomes.append(await at.desk.add(target, key=key_of(kind, "k1")))
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

    @COLLECTIONS
    async def test_time_to_live_of_a_collection_moves_its_date_but_not_its_revision(
        self, at: Setting, kind: Kind, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        await at.desk.add(target, key=key_of(kind, "k"))
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

    @COLLECTIONS
    async def test_if_match_compares_the_revision_of_the_item(
        self, at: Setting, kind: Kind
    ) -> None:
        target = await at.desk.create(at.service, kind)
        await at.desk.add(target, key=key_of(kind, "other"))
        key = (await at.desk.add(target, key=key_of(kind, "k"))).item.key
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
