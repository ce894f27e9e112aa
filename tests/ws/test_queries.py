"""The queries of one session, up to the frames it is sent; no socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.limits import OFF, Limits
from starlings.core.objects import Actor, Kind, ObjectRef
from starlings.node.clock import Sources
from starlings.node.hub import Hub
from starlings.node.node import Node
from starlings.node.queries import Queries, QueryBounds
from starlings.storage.memory import MemoryStore
from starlings.wire.messages import HttpRequest, Request
from starlings.wire.subscriptions import SubscriptionEntry
from starlings.ws.access_checks import AccessChecks, Check
from starlings.ws.queries import ABANDONED_SECONDS, LIVE_QUERY, QueryFrames, SessionQueries
from starlings.ws.render import EventEncoder
from tests.contracts.desk import ADMIN, Clock, Desk

BLUE = 'team == "blue"'


class Payloads:
    """Makes frames that are nothing but their payload."""

    def frame(self, payload: bytes) -> bytes:
        return payload


class Peer:
    """The session's end: what was sent, and whether it has room."""

    def __init__(self, checks: AccessChecks) -> None:
        self.sent: list[Any] = []
        self.checks = checks
        self.room: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.is_sent_away = False

    def send(self, frame: bytes) -> None:
        self.sent.append(json.loads(frame))

    async def wait_for_room(self) -> None:
        if self.room is not None:
            await self.room()

    def send_away(self) -> None:
        self.is_sent_away = True

    def check(self, key: Hashable, check: Check) -> bool:
        return self.checks.add(key, check)

    def take(self) -> list[Any]:
        """What was sent since the last time, each as its type and the event's own fields."""
        sent, self.sent = self.sent, []
        return [
            (one["event_type"], one["event"] if "event" in one else one["events"]) for one in sent
        ]


@dataclass
class World:
    """A node with a Map named ``workers``; sessions ask."""

    limits: Limits = OFF
    bounds: QueryBounds | None = None
    has_acl: bool = False

    async def open(self) -> World:
        self.clock = Clock()
        self.store = MemoryStore(self.limits, self.clock)
        sources = Sources(self.clock, lambda: self.clock.at / 1000, lambda bits: 1)
        self.node = Node(self.store, self.limits, sources)
        self.hub = Hub(EventEncoder("https://h", 1))
        self.store.listen(self.hub.publish)
        self.tasks: list[asyncio.Task[None]] = []
        self.checks = AccessChecks(self._spawn)
        frames = QueryFrames(Payloads())
        self.queries = Queries(self.node, self.hub, frames, self._spawn, self.bounds)
        self.desk = Desk(self.store, self.clock)
        settings = c.ServiceSettings(has_acl=self.has_acl)
        self.service = await self.desk.create_service(settings)
        await self.make_map()
        return self

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def make_map(self) -> None:
        await self.do(self.desk.creation(self.service, Kind.MAP, "workers"))

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.service.oid, Kind.MAP, "workers")

    async def do(self, command: c.Command) -> None:
        """Carry a command out, and whatever follows from it."""
        await self.store.execute(command)
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks)

    async def put(self, key: str, team: str = "blue") -> None:
        data = json.dumps({"team": team}).encode()
        await self.do(c.PutMapItem(self.ref, key, data, None, None, ADMIN))

    async def remove_map(self) -> None:
        await self.do(c.RemoveObject(self.ref, None, ADMIN))

    async def permit(self, *, may_read: bool) -> None:
        await self.do(c.SetPermission(self.ref, "alice", may_read, False, False, ADMIN))

    def session(self, identity: str = "alice", others: int = 0) -> Session:
        actor = Actor(identity, "e1", is_unrestricted=False)
        peer = Peer(self.checks)
        return Session(
            SessionQueries(self.queries, Payloads(), self.service, actor, peer, lambda: others),
            peer,
        )


@dataclass
class Session:
    """What a client can do."""

    queries: SessionQueries
    peer: Peer

    async def post(self, body: object, index: str = "workers") -> Any:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request("TM1", HttpRequest("/v3/Insights/x/Items", "POST"), None, payload)
        answer = await self.queries.search(request, index)
        assert answer.status == 200
        return json.loads(answer.body)

    async def live(self, text: str = BLUE) -> Any:
        return await self.post({"query_string": text, "type": "live_query"})

    async def establish(
        self, query_id: str, last_id: int | None, text: str | None = BLUE, index: str = "workers"
    ) -> None:
        entry = SubscriptionEntry(query_id, LIVE_QUERY, last_id, index, text)
        await self.queries.establish(entry, 77)

    async def follow(self) -> Any:
        """A live query, established."""
        answer = await self.live()
        await self.establish(answer["query_id"], answer["last_event_id"])
        self.peer.take()
        return answer


async def refusal_of(asked: Coroutine[Any, Any, object]) -> Reason:
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value.reason


def established(query_id: str, last_event_id: int) -> tuple[str, list[dict[str, object]]]:
    return (
        "subscription_established",
        [
            {
                "object_sid": query_id,
                "object_type": "live_query",
                "replay_status": "completed",
                "last_event_id": last_event_id,
            }
        ],
    )


# Searches


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
