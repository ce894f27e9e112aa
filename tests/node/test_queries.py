"""Searching Maps, and sharing live queries on them, over a store in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.limits import OFF, Limits
from starlings.core.objects import Actor, Item, ItemKey, Kind, ObjectRef, Service, SyncObject
from starlings.core.query import parse_query
from starlings.node.clock import Sources
from starlings.node.hub import Hub
from starlings.node.live_query import LiveQuery, Member
from starlings.node.node import Node
from starlings.node.queries import Queries, QueryBounds, parse_query_text, query_id_of
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ADMIN, Clock, Desk

ALICE = Actor("alice", "e1", is_unrestricted=False)
BLUE = parse_query('team == "blue"')


async def refusal_of(asked: Awaitable[object]) -> Reason:
    """Why something that is asked is refused."""
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value.reason


async def some_turns() -> None:
    """Let everything run that waits for nothing but its turn."""
    for _ in range(20):
        await asyncio.sleep(0)


class Frames:
    def encode_item_updated(self, query_id: str, key: str, member: Member) -> bytes:
        return f"+{key}".encode()

    def encode_item_removed(self, query_id: str, key: str, event_id: int) -> bytes:
        return f"-{key}".encode()

    def encode_result(
        self, query_id: str, members: Iterable[tuple[str, Member]], event_id: int
    ) -> bytes:
        return ("=" + ",".join(sorted(key for key, _ in members))).encode()


class NoFrames:
    """The Map's own subscribers are none of ours."""

    def encode_event(self, *_: object) -> bytes:
        return b""

    def mute_removal(self, *_: object) -> bytes:
        return b""

    def encode_message(self, *_: object) -> bytes:
        return b""


class Holder:
    def __init__(self) -> None:
        self.frames: list[str] = []
        self.refusals: list[Reason] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame.decode())

    def on_permission(self, identity: str) -> None:
        """Told to sessions; nothing to see here."""

    def on_ended(self, refusal: Refusal) -> None:
        self.refusals.append(refusal.reason)


class SlowStore(MemoryStore):
    """Counts pages of items, and can be made to wait before it hands them out."""

    pages = 0
    gate: asyncio.Event | None = None
    fault: Fault | None = None

    async def list_items(
        self,
        oid: int,
        start: ItemKey | None,
        is_inclusive: bool,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[Item]:
        self.pages += 1
        if self.fault is not None:
            raise self.fault
        page = await super().list_items(oid, start, is_inclusive, is_descending, limit, now)
        if self.gate is not None:
            await self.gate.wait()
        return page


@dataclass
class World:
    """A node with one service, and what asks it."""

    limits: Limits = OFF
    bounds: QueryBounds | None = None

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.store = SlowStore(self.limits, self.clock)
        sources = Sources(self.clock, lambda: self.clock.at / 1000, lambda bits: 1)
        self.node = Node(self.store, self.limits, sources)
        self.hub = Hub(NoFrames())
        self.store.listen(self.hub.publish)
        self.desk = Desk(self.store, self.clock)
        self.tasks: list[asyncio.Task[None]] = []
        self.queries = Queries(self.node, self.hub, Frames(), self.spawn, self.bounds)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def open(self, settings: c.ServiceSettings | None = None) -> World:
        self.service: Service = await self.desk.create_service(settings)
        self.map = await self.make_map("workers")
        return self

    async def make_map(self, name: str | None) -> SyncObject:
        outcome = await self.store.execute(self.desk.creation(self.service, Kind.MAP, name))
        return outcome.object  # type: ignore[union-attr]  # a creation makes an object

    def ref(self, name: str | None = None) -> ObjectRef:
        return ObjectRef(self.service.oid, Kind.MAP, name or self.map.sid)

    async def execute(self, command: c.Command) -> None:
        """Carry a command out, and let its events be heard."""
        await self.store.execute(command)
        await some_turns()

    async def put(self, key: str, team: str = "blue", *, ttl: int | None = None) -> None:
        data = json.dumps({"team": team}).encode()
        await self.execute(c.PutMapItem(self.ref(), key, data, ttl, None, ADMIN))

    async def put_all(self, teams: dict[str, str]) -> None:
        """Many items, whose events nobody wants to hear."""
        for key, team in teams.items():
            data = json.dumps({"team": team}).encode()
            await self.store.execute(c.PutMapItem(self.ref(), key, data, None, None, ADMIN))

    async def remove(self, key: str) -> None:
        await self.execute(c.RemoveItem(self.ref(), key, None, ADMIN))

    async def find(self, text: str, name: str = "workers", actor: Actor = ADMIN) -> list[ItemKey]:
        index = await self.queries.get_index(self.service, name, actor)
        return [one.key for one in await self.queries.search(index, parse_query(text))]

    async def hold(self, holder: Holder, name: str = "workers", actor: Actor = ADMIN) -> LiveQuery:
        return await self.queries.hold(self.service, name, BLUE, actor, holder)

    async def follow_a_while(self) -> int:
        """Somebody has the result, and goes: the event that it was as of."""
        holder = Holder()
        live = await self.hold(holder)
        event_id = live.event_id
        self.queries.release(live, holder)
        return event_id


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


# Live queries


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
