"""What every store does with commands and whom it tells: a part of ``StoreContract``. Rules 1
to 5 and 8 of ``storage.store``."""

from __future__ import annotations

import asyncio

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.objects import Kind, ObjectRef, SyncObject
from starlings.core.state import ItemOutcome
from starlings.storage.store import Batch, Store
from tests.contracts.desk import ADMIN, Desk, reason_of, ref_of
from tests.contracts.setting import Setting

__all__ = ["CommitsContract"]


class CommitsContract:
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
        assert await at.desk.find_permission(creation.oid, "zoe") is None
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


async def _everything(store: Store, desk: Desk, target: SyncObject) -> object:
    return (
        await store.find_object(target.oid),
        await desk.list_all(target),
        await store.list_permissions(target.oid, None, False, 100),
        await store.read_log(target.oid, 0, 1_000),
    )
