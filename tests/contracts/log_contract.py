"""What every store keeps of what happened, and for how long: removal and purge, replay,
snapshots and trimming. A part of ``StoreContract``."""

from __future__ import annotations

import asyncio

import pytest

from starlings.core import commands as c
from starlings.core.errors import Refusal
from starlings.core.events import EventType
from starlings.core.objects import Actor, Kind
from starlings.storage.store import Store
from tests.contracts.desk import ADMIN, Clock, ref_of
from tests.contracts.setting import COLLECTIONS, Setting, key_of

__all__ = ["LogContract"]


class LogContract:
    # Removal and purge

    @COLLECTIONS
    async def test_removal_hides_at_once_and_purge_deletes_in_chunks(
        self, at: Setting, store: Store, kind: Kind
    ) -> None:
        target = await at.desk.create(at.service, kind)
        for number in range(25):
            await at.desk.add(target, key=key_of(kind, f"k{number}"))
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
