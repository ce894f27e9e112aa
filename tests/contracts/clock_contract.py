"""What every store does while its clock is wrong, and after it was mended: a part of
``StoreContract``. Rule 9 of ``storage.store``."""

from __future__ import annotations

import pytest

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind, Match
from starlings.storage.store import Store
from tests.contracts.desk import ADMIN, Clock, ref_of
from tests.contracts.setting import Setting

__all__ = ["ClockContract"]

YEAR = 365 * 86_400.0
DAY_MS = 86_400_000


class ClockContract:
    @pytest.mark.parametrize("seconds", [60.0, YEAR])
    async def test_9_times_to_live_follow_a_clock_that_was_set_back(
        self, at: Setting, store: Store, clock: Clock, seconds: float
    ) -> None:
        clock.pass_seconds(seconds)
        target = await at.map("old")
        await at.desk.add(target, key="old", ttl=5)
        clock.pass_seconds(-seconds)
        document = await at.desk.create(at.service, Kind.DOCUMENT, ttl=2)
        assert document.expires_at == clock.at + 2_000
        added = await at.desk.add(target, key="k", ttl=2)
        assert added.item.expires_at == clock.at + 2_000
        renewed = await at.desk.update_item(target, "old", b"{}", ttl=2)
        assert renewed.item.expires_at == clock.at + 2_000
        grant = c.SetPermission(ref_of(target), "zoe", True, True, True, ADMIN, ttl=2)
        await store.execute(grant)
        permission = await at.desk.find_permission(target.oid, "zoe")
        assert permission is not None
        assert permission.expires_at == clock.at + 2_000
        assert (await at.desk.set_ttl(target, 9)).expires_at == clock.at + 9_000

        clock.pass_seconds(2)
        due = await store.list_due(clock.at, 10)
        assert {(one.oid, one.key) for one in due} == {
            (document.oid, None),
            (target.oid, "k"),
            (target.oid, "old"),
        }
        assert [one.identity for one in await store.list_due_permissions(clock.at, 10)] == ["zoe"]
        for call in (
            at.desk.update_document(document, b"{}"),
            at.desk.update_item(target, "k", b"{}"),
        ):
            with pytest.raises(Refusal) as refusal:
                await call
            assert refusal.value.status == 404
        with pytest.raises(Refusal) as refusal:
            await store.execute(c.RemovePermission(ref_of(target), "zoe", ADMIN))
        assert refusal.value.reason is Reason.PERMISSION_NOT_FOUND
        for one in due:
            command = c.ExpireObject(one.oid) if one.key is None else c.ExpireItem(one.oid, one.key)
            assert await store.execute(command) is not None
        await store.execute(c.ExpirePermission(target.oid, "zoe", Match.EXACT))
        assert await store.list_due(clock.at, 10) == []
        assert await store.list_due_permissions(clock.at, 10) == []

    async def test_9_dates_are_the_clocks_and_no_write_is_refused_for_them(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        clock.pass_seconds(YEAR)
        target = await at.map()
        first = await at.desk.add(target, key="a")
        clock.pass_seconds(-YEAR)
        again = await at.desk.update_item(target, "a", b'{"n":1}')
        added = await at.desk.add(target, key="b")
        assert again.item.updated_at == again.object.updated_at == again.event.at == clock.at
        assert added.item.created_at == added.event.at == clock.at
        assert again.item.created_at == first.item.created_at == clock.at + int(YEAR * 1000)
        log = await store.read_log(target.oid, 0, 10)
        assert [event.seq for event in log] == [1, 2, 3, 4]
        assert [event.event_id for event in log] == [-1, 0, 1, 2]
        later = await at.map()
        page = await store.list_objects(at.service.oid, Kind.MAP, None, False, 9, clock.at)
        assert [one.oid for one in page] == [later.oid, target.oid]  # by their dates
        edge = (page[0].created_at, page[0].oid)
        page = await store.list_objects(at.service.oid, Kind.MAP, edge, False, 9, clock.at)
        assert [one.oid for one in page] == [target.oid]
        await at.desk.remove(target)
        assert await store.find_object(target.oid) is None

    @pytest.mark.parametrize("limit", [4, 100])
    async def test_9_events_with_dates_to_come_go_with_the_first_old_one_behind_them(
        self, at: Setting, store: Store, clock: Clock, limit: int
    ) -> None:
        clock.pass_seconds(YEAR)
        target = await at.map()
        for number in range(20):
            await at.desk.put(target, f"k{number % 3}")
        clock.pass_seconds(-YEAR)
        assert await store.trim_log(clock.at, 0, limit) == 0
        await at.desk.put(target, "k0")
        await at.desk.put(target, "k0")
        clock.pass_seconds(60)
        await at.desk.put(target, "k0")
        assert await store.trim_log(clock.at - 60_000, 0, limit) == 0  # the old one is too young
        forgotten = 0
        while done := await store.trim_log(clock.at - 59_999, 0, limit):
            assert done <= limit
            forgotten += done
        assert forgotten == 23
        assert [event.seq for event in await store.read_log(target.oid, 0, 99)] == [24]

    async def test_9_young_events_stay_before_one_of_a_clock_that_was_behind(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        target = await at.map()
        await at.desk.put(target, "old")
        clock.pass_seconds(60)
        await at.desk.put(target, "young")
        clock.pass_seconds(-50 * YEAR)
        await at.desk.put(target, "early")
        assert await store.trim_log(clock.at - DAY_MS, clock.at - 7 * DAY_MS, 100) == 0
        clock.pass_seconds(50 * YEAR)
        assert await store.trim_log(clock.at - 1_000, 0, 100) == 2
        assert [event.seq for event in await store.read_log(target.oid, 0, 9)] == [3, 4]
        clock.pass_seconds(60)
        assert await store.trim_log(clock.at - 1_000, 0, 100) == 2

    async def test_9_tombstones_with_dates_to_come_age_from_when_that_is_seen(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        async def count_tombstones() -> int:
            snapshot = await store.snapshot(target.oid, -1, 10)
            assert snapshot is not None
            return len(snapshot.tombstones)

        clock.pass_seconds(YEAR)
        target = await at.map()
        for key in ("a", "b"):
            await at.desk.put(target, key)
            await at.desk.remove_item(target, key)
            clock.pass_seconds(60)
            if key == "a":  # its removal is forgotten while the clock is wrong, that of b later
                await store.trim_log(clock.at, clock.at - 7 * DAY_MS, 100)
        clock.pass_seconds(-YEAR)
        await store.trim_log(clock.at - 1_000, clock.at - 7 * DAY_MS, 100)
        assert await count_tombstones() == 2
        await at.desk.put(target, "c")
        clock.pass_seconds(60)
        await at.desk.put(target, "d")
        await store.trim_log(clock.at - 1_000, clock.at - 7 * DAY_MS, 100)
        assert await count_tombstones() == 2
        clock.pass_seconds(7 * 86_400)
        await store.trim_log(0, clock.at - 7 * DAY_MS, 100)
        assert await count_tombstones() == 2
        clock.pass_seconds(1)
        await store.trim_log(0, clock.at - 7 * DAY_MS, 100)
        assert await count_tombstones() == 0

    async def test_9_statistics_tell_how_far_the_clock_is_behind(
        self, at: Setting, store: Store, clock: Clock
    ) -> None:
        await at.map()
        clock.pass_seconds(3_600)
        assert store.statistics().clock_behind_seconds == 0
        await at.map()
        clock.pass_seconds(-3_600)
        assert store.statistics().clock_behind_seconds == 3_600
        await at.map()
        clock.pass_seconds(600)
        assert store.statistics().clock_behind_seconds == 3_000
        clock.pass_seconds(3_600)
        assert store.statistics().clock_behind_seconds == 0
