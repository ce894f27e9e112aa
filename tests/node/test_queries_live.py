"""Live queries that are shared, read anew and let go, over a store in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.query import parse_query
from starlings.node.live_query import LiveQuery
from starlings.node.queries import QueryBounds
from tests.contracts.desk import ADMIN
from tests.node.query_world import Holder, World, refusal_of, some_turns


async def test_the_same_query_is_read_once_for_all_who_hold_it() -> None:
    world = await World().open()
    await world.put("a")
    world.store.gate = asyncio.Event()
    holds = [asyncio.ensure_future(world.hold(Holder())) for _ in range(5)]
    await asyncio.sleep(0)
    world.store.gate.set()
    lives = await asyncio.gather(*holds)
    assert len(set(lives)) == 1
    assert list(lives[0].members) == ["a"]
    assert world.store.pages == 1
    other = parse_query('data.team   EQ "blue"')
    again = await world.queries.hold(world.service, world.map.sid, other, ADMIN, Holder())
    assert again is lives[0]


async def test_what_happens_during_the_reading_is_in_the_result() -> None:
    world = await World().open()
    await world.put("goes")
    await world.put("stays")
    world.store.gate = asyncio.Event()
    hold = asyncio.ensure_future(world.hold(Holder()))
    await some_turns()
    await world.put("comes")
    await world.remove("goes")
    world.store.gate.set()
    live = await hold
    assert sorted(live.members) == ["comes", "stays"]
    assert live.event_id == 3


async def test_events_reach_who_listens_as_long_as_it_holds() -> None:
    world = await World().open()
    holder = Holder()
    live = await world.hold(holder)
    await world.put("quiet")
    live.listen(holder)
    await world.put("a")
    await world.put("a", "red")
    world.queries.release(live, holder)
    await world.put("b")
    assert holder.frames == ["+a", "-a"]
    assert world.hub.statistics()[:2] == (0, 0)
    assert world.queries.statistics()[:3] == (0, 0, 0)


async def test_an_expired_item_leaves_when_it_is_swept() -> None:
    world = await World().open()
    await world.put("a", ttl=10)
    holder = Holder()
    (await world.hold(holder)).listen(holder)
    world.clock.pass_seconds(10)
    await world.execute(c.ExpireItem(world.map.oid, "a"))
    assert holder.frames == ["-a"]


async def test_a_removed_map_empties_and_ends_its_live_queries() -> None:
    world = await World().open()
    await world.put("a")
    holder = Holder()
    (await world.hold(holder)).listen(holder)
    await world.execute(c.RemoveObject(world.ref(), None, ADMIN))
    assert holder.frames == ["="]
    assert holder.refusals == [Reason.QUERY_INDEX_NOT_FOUND]
    assert world.hub.statistics()[:2] == (0, 0)
    assert await refusal_of(world.hold(Holder())) is Reason.QUERY_INDEX_NOT_FOUND


async def test_a_map_removed_during_the_reading_is_an_unknown_index() -> None:
    world = await World().open()
    world.store.gate = asyncio.Event()
    hold = asyncio.ensure_future(world.hold(Holder()))
    await some_turns()
    await world.execute(c.RemoveObject(world.ref(), None, ADMIN))
    world.store.gate.set()
    assert await refusal_of(hold) is Reason.QUERY_INDEX_NOT_FOUND
    assert world.queries.statistics()[:3] == (0, 0, 0)


async def test_who_leaves_during_the_reading_takes_nothing_from_the_others() -> None:
    world = await World().open()
    await world.put("a")
    world.store.gate = asyncio.Event()
    first, second = Holder(), Holder()
    holds = [asyncio.ensure_future(world.hold(one)) for one in (first, second)]
    await some_turns()
    live = next(iter(world.queries._indexes.values())).queries['data.team == "blue"']
    world.queries.release(live, first)
    world.store.gate.set()
    assert await refusal_of(holds[0]) is Reason.QUERY_INDEX_NOT_FOUND
    assert list((await holds[1]).members) == ["a"]


async def test_a_fault_of_the_store_reaches_all_who_wait_and_leaves_nothing_behind() -> None:
    world = await World().open()
    world.store.fault = Fault(Reason.UNAVAILABLE)
    holds = [asyncio.ensure_future(world.hold(Holder())) for _ in range(3)]
    for hold in holds:
        with pytest.raises(Fault):
            await hold
    assert world.queries.statistics()[:3] == (0, 0, 0)
    world.store.fault = None
    assert (await world.hold(Holder())).is_loaded


async def test_different_queries_on_one_map_are_bounded() -> None:
    world = await World(bounds=QueryBounds(live_queries=1)).open()
    await world.hold(Holder())
    await world.hold(Holder())
    other = world.queries.hold(world.service, "workers", parse_query(""), ADMIN, Holder())
    assert await refusal_of(other) is Reason.TOO_MANY_SUBSCRIPTIONS


async def test_lost_news_are_made_good_by_reading_anew() -> None:
    world = await World().open()
    await world.put("a")
    holder = Holder()
    (await world.hold(holder)).listen(holder)
    publish, world.store._listeners[:] = world.hub.publish, []
    await world.put("lost")
    world.store.listen(publish)
    await world.put("b", "red")
    await asyncio.gather(*world.tasks)
    assert holder.frames == ["=a,lost"]
    await world.put("c")
    assert holder.frames == ["=a,lost", "+c"]


async def lose_news(world: World, holder: Holder) -> LiveQuery:
    """Somebody listens, and an event gets lost while the store can't be read."""
    live = await world.hold(holder)
    live.listen(holder)
    publish, world.store._listeners[:] = world.hub.publish, []
    await world.put("lost")
    world.store.listen(publish)
    world.store.fault = Fault(Reason.UNAVAILABLE)
    await world.put("b")
    return live


async def test_lost_news_are_asked_for_until_the_store_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("starlings.node.queries.RELOAD_PAUSE_SECONDS", 0.0)
    world = await World().open()
    holder = Holder()
    await lose_news(world, holder)
    assert (holder.frames, holder.refusals) == ([], [])
    world.store.fault = None
    await asyncio.gather(*world.tasks)
    assert holder.frames == ["=b,lost"]


async def test_nobody_asks_for_lost_news_when_all_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("starlings.node.queries.RELOAD_PAUSE_SECONDS", 0.0)
    world = await World().open()
    holder = Holder()
    live = await lose_news(world, holder)
    world.queries.release(live, holder)
    await asyncio.gather(*world.tasks)
    assert world.queries.statistics()[:3] == (0, 0, 0)


async def test_lost_news_that_cant_be_made_good_end_the_query() -> None:
    world = await World(bounds=QueryBounds(result_bytes=100)).open()
    holder = Holder()
    (await world.hold(holder)).listen(holder)
    publish, world.store._listeners[:] = world.hub.publish, []
    await world.put("lost")
    world.store.listen(publish)
    await world.put("b")
    await asyncio.gather(*world.tasks)
    assert holder.refusals == [Reason.DATA_TOO_LARGE]
    assert world.queries.statistics()[:3] == (0, 0, 0)


@pytest.mark.parametrize("is_removed", [False, True])
async def test_a_change_between_the_head_and_the_items_leaves_nobody_behind(
    monkeypatch: pytest.MonkeyPatch, is_removed: bool
) -> None:
    """It is committed before the items are read, and told after them."""
    world = await World().open()
    await world.put("a")
    known_id = await world.follow_a_while()
    world.store._listeners.clear()  # the news are late
    list_items = world.store.list_items

    async def change_and_list(*arguments: Any) -> Any:
        if is_removed:
            await world.remove("a")
        else:
            await world.put("a", "blue")
        return await list_items(*arguments)

    monkeypatch.setattr(world.store, "list_items", change_and_list)
    live = await world.hold(Holder())
    assert not live.misses_nothing_since(known_id)


async def test_who_has_an_expired_item_gets_the_result_without_it() -> None:
    world = await World().open()
    await world.put("a", ttl=10)
    known_id = await world.follow_a_while()
    world.clock.pass_seconds(10)
    live = await world.hold(Holder())
    assert (live.members, live.event_id) == ({}, known_id)
    assert not live.misses_nothing_since(known_id)


async def test_a_query_that_ended_for_its_size_can_be_asked_again() -> None:
    world = await World(bounds=QueryBounds(result_bytes=200)).open()
    await world.put("a")
    holder = Holder()
    live = await world.hold(holder)
    await world.put("b")
    await world.put("c")
    assert holder.refusals == [Reason.DATA_TOO_LARGE]
    await world.remove("b")
    again = await world.hold(Holder())
    assert again is not live
    assert sorted(again.members) == ["a", "c"]
