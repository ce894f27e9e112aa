"""The live queries of one session, up to the frames it is sent; no socket."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.limits import OFF
from starlings.node.queries import QueryBounds
from starlings.ws.options import WebSocketOptions
from starlings.ws.queries import ABANDONED_SECONDS, BATCH_ENTRIES, LIVE_QUERY
from tests.contracts.desk import ADMIN
from tests.ws.query_world import World, established, refusal_of

# Subscriptions


async def test_a_subscription_without_changes_is_only_confirmed() -> None:
    world = await World().open()
    await world.put("a")
    session = world.session()
    answer = await session.live()
    await world.put("b", "red")
    await session.establish(answer["query_id"], answer["last_event_id"])
    assert session.peer.take() == [established(answer["query_id"], 1)]


async def test_changes_before_the_subscription_come_as_the_whole_result() -> None:
    world = await World().open()
    await world.put("a")
    session = world.session()
    answer = await session.live()
    await world.put("a", "red")
    await world.put("b")
    assert session.peer.take() == []
    await session.establish(answer["query_id"], answer["last_event_id"])
    items = [{"key": "b", "data": {"team": "blue"}, "revision": 2}]
    result = {"query_id": answer["query_id"], "items": items, "last_event_id": 2}
    assert session.peer.take() == [
        ("live_query_updated", result),
        established(answer["query_id"], 2),
    ]


async def test_changes_after_the_subscription_come_one_by_one() -> None:
    world = await World().open()
    session = world.session()
    query_id = (await session.follow())["query_id"]
    await world.put("a")
    await world.put("a", "red")
    assert session.peer.take() == [
        (
            "live_query_item_updated",
            {
                "query_id": query_id,
                "item_key": "a",
                "item_revision": 0,
                "last_event_id": 0,
                "item_data": {"team": "blue"},
            },
        ),
        (
            "live_query_item_removed",
            {"query_id": query_id, "item_key": "a", "item_revision": 1, "last_event_id": 1},
        ),
    ]


@pytest.mark.parametrize("last_id", [0, None], ids=["behind", "without an event"])
async def test_a_new_session_takes_a_query_up_again_with_the_whole_result(
    last_id: int | None,
) -> None:
    world = await World().open()
    await world.put("a")
    before = world.session()
    query_id = (await before.follow())["query_id"]
    before.queries.end()
    assert world.hub.statistics()[:2] == (0, 0)
    await world.put("b")
    after = world.session()
    await after.establish(query_id, last_id)
    kinds = [kind for kind, _ in after.peer.take()]
    assert kinds == ["live_query_updated", "subscription_established"]
    await world.put("c")
    assert [kind for kind, _ in after.peer.take()] == ["live_query_item_updated"]


async def test_establishing_again_on_the_same_session_repeats_nothing() -> None:
    world = await World().open()
    session = world.session()
    query_id = (await session.follow())["query_id"]
    await world.put("a")
    session.peer.take()
    await session.establish(query_id, 0)
    assert session.peer.take() == [established(query_id, 0)]
    await world.put("b")
    assert len(session.peer.take()) == 1


async def test_a_query_of_a_map_that_is_another_one_now_is_not_taken_up() -> None:
    world = await World().open()
    query_id = (await world.session().live())["query_id"]
    await world.remove_map()
    again = world.session()
    assert await refusal_of(again.establish(query_id, 0)) is Reason.QUERY_INDEX_NOT_FOUND
    await world.make_map()
    assert await refusal_of(again.establish(query_id, 0)) is Reason.QUERY_INDEX_NOT_FOUND
    assert len(again.queries) == 0
    assert world.hub.statistics()[:2] == (0, 0)


@pytest.mark.parametrize("text", [None, "("])
async def test_a_subscription_without_a_query_is_refused(text: str | None) -> None:
    world = await World().open()
    asked = world.session().establish("QR" + "0" * 32, 0, text)
    assert await refusal_of(asked) is Reason.BAD_QUERY


async def test_a_cancelled_query_is_silent_and_free() -> None:
    world = await World().open()
    session = world.session()
    session.queries.drop((await session.follow())["query_id"])
    await world.put("a")
    assert session.peer.take() == []
    assert world.queries.statistics().live_queries == 0


# Ends and bounds


async def test_a_removed_map_empties_the_result_and_fails_the_subscription() -> None:
    world = await World().open()
    await world.put("a")
    session = world.session()
    query_id = (await session.follow())["query_id"]
    await world.remove_map()
    assert [one["correlation_id"] for one in session.peer.sent[1:]] == [None]
    result, failed = session.peer.take()
    assert result == (
        "live_query_updated",
        {"query_id": query_id, "items": [], "last_event_id": 0},
    )
    assert failed[0] == "subscription_failed"
    assert failed[1][0]["error"]["code"] == 54502
    assert len(session.queries) == 0


async def test_who_loses_the_permission_to_read_gets_no_more() -> None:
    world = await World(has_acl=True).open()
    await world.permit(may_read=True)
    session = world.session()
    await session.follow()
    await world.do(c.SetPermission(world.ref, "bob", False, False, False, ADMIN))
    await world.put("a")
    assert [kind for kind, _ in session.peer.take()] == ["live_query_item_updated"]
    await world.permit(may_read=False)
    ((kind, failed),) = session.peer.take()
    assert (kind, failed[0]["error"]["code"]) == ("subscription_failed", 54007)
    await world.put("b")
    assert session.peer.take() == []
    assert world.queries.statistics().live_queries == 0


async def test_who_cant_be_checked_is_sent_away_and_keeps_the_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World(has_acl=True).open()
    await world.permit(may_read=True)
    session = world.session()
    await session.follow()

    async def may_read(*_: object) -> bool:
        raise Fault(Reason.UNAVAILABLE)

    monkeypatch.setattr(world.node, "may_read", may_read)
    await world.permit(may_read=True)
    assert session.peer.is_sent_away
    assert session.peer.take() == []  # told that it failed, the client would never ask again


async def test_a_result_that_grows_too_large_fails_and_leaves_the_items_alone() -> None:
    world = await World(bounds=QueryBounds(result_bytes=200)).open()
    session = world.session()
    await session.follow()
    for key in "abc":
        await world.put(key)
    kinds = [kind for kind, _ in session.peer.take()]
    assert kinds == ["live_query_item_updated"] * 2 + ["subscription_failed"]


async def test_live_queries_count_as_subscriptions() -> None:
    world = await World(replace(OFF, subscriptions=3)).open()
    session = world.session(others=1)
    first = await session.live()
    await session.live("")
    assert await refusal_of(session.live('team == "red"')) is Reason.TOO_MANY_SUBSCRIPTIONS
    await session.establish(first["query_id"], first["last_event_id"])
    session.queries.drop(first["query_id"])
    await session.live('team == "red"')


async def test_whatever_a_client_has_asked_fits_one_message_when_it_comes_back() -> None:
    world = await World().open()
    session = world.session()
    # Quotes and backslashes are twice as long in the JSON of the subscription.
    texts = [f'a == "{number}{chr(92) * 8_000}"' for number in range(11)]
    asked = [((await session.live(text))["query_id"], text) for text in texts[:10]]
    assert await refusal_of(session.live(texts[10])) is Reason.DATA_TOO_LARGE
    entries = [
        {
            "object_sid": query_id,
            "object_type": LIVE_QUERY,
            "last_event_id": 2**53,
            "index_name": "workers",
            "query_string": text,
        }
        for query_id, text in asked
    ]
    short = {**entries[0], "query_string": ""}
    body = {"requests": entries + [short] * (BATCH_ENTRIES - len(entries))}
    most = WebSocketOptions().max_message_bytes
    assert most - 50_000 < len(json.dumps(body)) < most - 2_000  # for all around it
    session.queries.drop(asked[0][0])
    await session.live(texts[10])


async def test_a_query_that_nobody_subscribes_to_is_let_go_in_time() -> None:
    world = await World().open()
    session = world.session()
    await session.follow()
    await session.live("")
    world.clock.pass_seconds(ABANDONED_SECONDS + 1)
    await session.live('team == "red"')
    assert len(session.queries) == 2
    assert world.queries.statistics().live_queries == 2


async def test_the_end_of_a_session_leaves_nothing_behind_even_while_a_query_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World().open()
    session = world.session()
    gate = asyncio.Event()
    list_items = world.store.list_items

    async def list_items_late(*arguments: Any) -> Any:
        await gate.wait()
        return await list_items(*arguments)

    monkeypatch.setattr(world.store, "list_items", list_items_late)
    search = asyncio.ensure_future(session.live())
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.queries.statistics().readings == 1
    session.queries.end()
    gate.set()
    with pytest.raises(Refusal):
        await search
    assert world.queries.statistics()[:3] == (0, 0, 0)
    assert world.hub.statistics()[:2] == (0, 0)
