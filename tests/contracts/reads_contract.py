"""What every store shows, and in which pages: a part of ``StoreContract``. Rules 6 and 7 of
``storage.store``."""

from __future__ import annotations

import asyncio

from starlings.core import commands as c
from starlings.core.objects import Item, Kind, SyncObject
from starlings.storage.store import Place, Store
from tests.contracts.desk import ADMIN, Clock, Desk
from tests.contracts.setting import COLLECTIONS, DIRECTIONS, KINDS, Setting, key_of

__all__ = ["ReadsContract"]


class ReadsContract:
    async def test_6_reads_show_all_that_was_committed_before(
        self, at: Setting, store: Store
    ) -> None:
        target = await at.map()
        for number in range(20):
            added = await at.desk.add(target, key=f"k{number}")
            assert await store.find_object(target.oid) == added.object
            assert await store.find_item(target.oid, f"k{number}") == added.item
            assert len(await at.desk.list_all(target)) == number + 1

    @KINDS
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

    @KINDS
    async def test_6_expired_objects_are_found_but_not_listed(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        made = await at.desk.create(at.service, kind, "room", ttl=5)
        clock.pass_seconds(5)
        assert await store.find_object(made.oid) == made
        assert await store.list_objects(at.service.oid, kind, None, False, 9, clock.at) == []
        before = await store.list_objects(at.service.oid, kind, None, False, 9, clock.at - 1)
        assert before == [made]

    @DIRECTIONS
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

    @DIRECTIONS
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

    @COLLECTIONS
    @DIRECTIONS
    async def test_7_pages_of_items_are_not_shifted_by_changes(
        self, at: Setting, store: Store, kind: Kind, is_descending: bool, clock: Clock
    ) -> None:
        target = await at.desk.create(at.service, kind)
        for number in range(20):
            await at.desk.add(target, key=key_of(kind, f"k{number:02}"))
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
