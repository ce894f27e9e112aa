"""Searches of one session, up to the frames it is sent; no socket."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from starlings.core.errors import Reason
from starlings.core.limits import OFF
from tests.ws.query_world import World, refusal_of


async def test_an_instant_query_answers_with_items_whose_revisions_are_numbers() -> None:
    world = await World().open()
    for n in range(12):
        await world.put("a", f"t{n}")
    answer = await world.session().post({"query_string": ""})
    assert answer == {"items": [{"key": "a", "data": {"team": "t11"}, "revision": 11}]}
    assert world.queries.statistics().live_queries == 0


async def test_a_live_query_answers_with_its_id_and_the_newest_event() -> None:
    world = await World().open()
    await world.put("a")
    await world.put("b", "red")
    answer = await world.session().live()
    assert answer == {
        "query_id": answer["query_id"],
        "last_event_id": 1,
        "items": [{"key": "a", "data": {"team": "blue"}, "revision": 0}],
    }
    assert answer["query_id"].startswith("QR")
    assert len(answer["query_id"]) == 34
    same = await world.session("bob").live("data.team EQ 'blue'")
    assert same["query_id"] == answer["query_id"]
    assert (await world.session().live(""))["query_id"] != answer["query_id"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, Reason.BAD_QUERY),
        ({"query_string": None}, Reason.BAD_QUERY),
        ({"query_string": "("}, Reason.BAD_QUERY),
        ({"query_string": 5}, Reason.BAD_PARAMETER),
        ({"query_string": "", "type": "other"}, Reason.BAD_PARAMETER),
        ([], Reason.BAD_PARAMETER),
        (b"", Reason.BAD_PARAMETER),
        (b"\xff", Reason.BAD_PARAMETER),
    ],
)
async def test_a_body_that_asks_nothing_is_refused(body: object, reason: Reason) -> None:
    world = await World().open()
    assert await refusal_of(world.session().post(body)) is reason


async def test_an_unknown_index_is_refused_before_the_query_is_looked_at() -> None:
    world = await World().open()
    asked = world.session().post({"query_string": "("}, "nothing")
    assert await refusal_of(asked) is Reason.QUERY_INDEX_NOT_FOUND


async def test_searches_are_throttled_and_subscriptions_are_not() -> None:
    rates = replace(OFF.rates, queries_per_identity=1.0, burst_seconds=2.0)
    world = await World(replace(OFF, rates=rates)).open()
    session = world.session()
    await session.follow()
    answer = await session.live()
    assert await refusal_of(session.live()) is Reason.RATE_LIMITED
    await session.establish(answer["query_id"], 0)


async def test_a_session_reads_one_result_at_a_time_and_waits_for_room() -> None:
    world = await World().open()
    session = world.session()
    gate = asyncio.Event()
    waiting = 0

    async def room() -> None:
        nonlocal waiting
        waiting += 1
        await gate.wait()

    session.peer.room = room
    searches = [asyncio.ensure_future(session.post({"query_string": ""})) for _ in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert waiting == 1
    gate.set()
    assert await asyncio.gather(*searches) == [{"items": []}] * 3


async def test_an_answer_that_waited_for_room_is_of_the_moment_at_which_it_goes_out() -> None:
    world = await World().open()
    session = world.session()
    await session.follow()  # so changes are sent while the answer waits

    async def room() -> None:
        await world.put("a")

    session.peer.room = room
    answer = await session.live()
    assert [item["key"] for item in answer["items"]] == ["a"]
    ((_, told),) = session.peer.take()
    assert told["last_event_id"] == answer["last_event_id"]


async def test_a_map_removed_while_the_answer_waits_for_room_is_an_unknown_index() -> None:
    world = await World().open()
    session = world.session()
    session.peer.room = world.remove_map
    assert await refusal_of(session.live()) is Reason.QUERY_INDEX_NOT_FOUND


async def test_a_query_that_ends_while_the_permission_is_looked_up_is_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World().open()
    session = world.session()
    get_index = world.queries.get_index
    looked_up = 0

    async def get_index_and_end(*arguments: Any) -> Any:
        nonlocal looked_up
        looked_up += 1
        index = await get_index(*arguments)
        if looked_up == 4:  # the last time, when the result is there
            await world.remove_map()
        return index

    monkeypatch.setattr(world.queries, "get_index", get_index_and_end)
    assert await refusal_of(session.live()) is Reason.QUERY_INDEX_NOT_FOUND
    assert len(session.queries) == 0
