"""Searching Maps, over a store in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import OFF
from starlings.node.queries import QueryBounds, parse_query_text, query_id_of
from tests.contracts.desk import ADMIN
from tests.node.query_world import ALICE, Holder, World, refusal_of, some_turns

# Indexes


async def test_a_maps_unique_name_and_its_sid_are_indexes() -> None:
    world = await World().open()
    await world.put("a")
    assert await world.find("") == ["a"]
    assert await world.find("", world.map.sid) == ["a"]


@pytest.mark.parametrize("name", ["", "nothing", "MP" + "0" * 32, "ET" + "0" * 32, "x" * 999])
async def test_any_other_name_is_an_unknown_index(name: str) -> None:
    world = await World().open()
    assert await refusal_of(world.find("", name)) is Reason.QUERY_INDEX_NOT_FOUND


async def test_an_index_of_another_service_is_unknown() -> None:
    world = await World().open()
    world.service = await world.desk.create_service()
    assert await refusal_of(world.find("")) is Reason.QUERY_INDEX_NOT_FOUND


async def test_who_may_not_read_the_map_may_not_search_it() -> None:
    world = await World().open(c.ServiceSettings(has_acl=True))
    assert await refusal_of(world.find("", actor=ALICE)) is Reason.ACCESS_DENIED
    assert await refusal_of(world.hold(Holder(), actor=ALICE)) is Reason.ACCESS_DENIED
    await world.execute(c.SetPermission(world.ref(), "alice", True, False, False, ADMIN))
    assert await world.find("", actor=ALICE) == []


# Texts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, Reason.BAD_QUERY),
        ("(", Reason.BAD_QUERY),
        (" or ".join(['a == "x"'] * 16), Reason.TOO_MANY_OPERATORS),
        (f"a in [{','.join('1' * 30)}]", Reason.QUERY_ARRAY_TOO_LONG),
    ],
)
def test_what_is_no_query_is_refused_with_its_code(text: str | None, reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        parse_query_text(text)
    assert caught.value.reason is reason


def test_a_refused_query_is_told_where_it_is_wrong() -> None:
    with pytest.raises(Refusal, match="at character 7"):
        parse_query_text('data.a = "x"')


def test_the_id_of_a_live_query_is_of_its_history_map_and_meaning() -> None:
    ids = {
        query_id_of(epoch, sid, form)
        for epoch in ("e1", "e2")
        for sid in ("MP1", "MP2")
        for form in ("", "a")
    }
    assert len(ids) == 8
    assert query_id_of("e1", "MP1", "") in ids


# Searching


async def test_a_search_goes_through_all_pages() -> None:
    world = await World().open()
    await world.put_all({f"k{n:04}": "blue" if n % 3 else "red" for n in range(1203)})
    found = await world.find('team == "red"')
    assert found == [f"k{n:04}" for n in range(0, 1203, 3)]
    assert world.store.pages == 3


async def test_a_search_leaves_out_what_has_expired() -> None:
    world = await World().open()
    await world.put("a", ttl=10)
    world.clock.pass_seconds(10)
    assert await world.find("") == []


async def test_a_search_lets_others_run_between_items() -> None:
    world = await World().open()
    await world.put_all({f"k{n}": "x" * 1000 for n in range(400)})
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(count_turns())
    await world.find('team == "red"')
    other.cancel()
    assert turns >= 3


async def test_a_map_beyond_the_bound_is_not_searched() -> None:
    world = await World(bounds=QueryBounds(scanned_items=3)).open()
    for key in "abc":
        await world.put(key)
    assert await world.find("") == ["a", "b", "c"]
    await world.put("d")
    assert await refusal_of(world.find("")) is Reason.DATA_TOO_LARGE
    assert await refusal_of(world.hold(Holder())) is Reason.DATA_TOO_LARGE
    assert world.queries.statistics()[:3] == (0, 0, 0)


async def test_a_result_beyond_the_bound_is_refused() -> None:
    world = await World(bounds=QueryBounds(result_bytes=200)).open()
    await world.put("a", "blue")
    await world.put("b", "b" * 200)
    assert await world.find('team == "blue"') == ["a"]
    assert await refusal_of(world.find("")) is Reason.DATA_TOO_LARGE


async def test_only_so_many_maps_are_read_at_once_and_only_so_many_searches_wait() -> None:
    world = await World(bounds=QueryBounds(readings=2, waiting=3)).open()
    world.store.gate = asyncio.Event()
    searches = [asyncio.ensure_future(world.find("")) for _ in range(5)]
    await some_turns()
    assert (world.store.pages, world.queries.statistics().waiting) == (2, 3)
    with pytest.raises(Refusal) as caught:
        world.queries.take(world.map, "alice")
    assert caught.value.reason is Reason.TOO_MANY_REQUESTS
    world.store.gate.set()
    assert await asyncio.gather(*searches) == [[]] * 5
    world.queries.take(world.map, "alice")


async def test_searches_are_counted_by_identity_and_by_index() -> None:
    rates = replace(OFF.rates, queries=3.0, queries_per_identity=2.0, burst_seconds=1.0)
    world = await World(replace(OFF, rates=rates)).open()
    take = world.queries.take
    take(world.map, "alice")
    take(world.map, "alice")
    with pytest.raises(Refusal, match=f"query-map-{world.map.sid}") as caught:
        take(world.map, "alice")
    assert caught.value.reason is Reason.RATE_LIMITED
    take(world.map, "bob")
    with pytest.raises(Refusal):
        take(world.map, "carol")
    world.clock.pass_seconds(1)
    take(world.map, "alice")
