"""The simulation must notice a broken server: each test breaks one thing, and wants to be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any
from unittest.mock import patch

import pytest

from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.objects import Item
from starlings.node.hub import Delivery, Hub
from starlings.node.live_query import LiveQuery, Member, Phase
from starlings.node.on_disconnect import Action, OnDisconnectState
from starlings.node.presence import PresenceState, PresenceWrite
from starlings.node.presence_room import PresenceRoom
from starlings.node.queries import Queries
from starlings.node.repeats import Answer, Repeats
from starlings.node.subscription import Mode, Subscription
from starlings.storage.store import Batch
from starlings.wire.subscriptions import CorrelationId, SubscriptionEntry
from starlings.ws.catchup import CatchUp
from starlings.ws.queries import SessionQueries
from starlings.ws.session import SyncSession
from tests.simulation.held_loop import Stuck, run_held
from tests.simulation.live_queries import LiveQueries
from tests.simulation.presence import Presence
from tests.simulation.world import PartMaker, Violation, World, small_bounds

MOST_SEEDS = 60


def assert_noticed(
    owner: type,
    name: str,
    broken: Callable[..., Any],
    *parts: PartMaker,
    saying: str = "",
    trouble: float | None = None,
) -> None:
    """Some seed must find it, within a few.

    Args:
        saying: What has to be in the accusation.
        trouble: How many answers of the store are faults, and how many events get lost; None: as
            the seed says.
    """
    for seed in range(MOST_SEEDS):
        with small_bounds(), patch.object(owner, name, broken):
            world = World(seed, None, parts)
            if trouble is not None:
                world.fault_share = world.lost_share = trouble
            try:
                run_held(world.run())
            except Violation as violation:
                if saying in str(violation):
                    return
    pytest.fail(f"nobody noticed that {owner.__name__}.{name} is broken")


def test_held_events_that_are_dropped_are_noticed() -> None:
    def go_live(self: Subscription, last_id: int) -> bool:
        held = [one.event_id for one in self._held or () if isinstance(one, Delivery)]
        self.last_id = max([last_id, *held])
        self.mode = Mode.LIVE
        self._held = None
        return True

    assert_noticed(Subscription, "go_live", go_live)


def test_one_event_in_a_hundred_that_is_not_sent_is_noticed() -> None:
    original = Subscription.hear
    heard = 0

    def hear(self: Subscription, delivery: Delivery) -> None:
        nonlocal heard
        heard += 1
        if heard % 100 == 0 and self.mode is Mode.LIVE and delivery.is_visible:
            self.last_id = max(self.last_id, delivery.event_id)
        else:
            original(self, delivery)

    assert_noticed(Subscription, "hear", hear)


def test_an_event_that_is_sent_twice_is_noticed() -> None:
    original = Subscription.hear

    def hear(self: Subscription, delivery: Delivery) -> None:
        original(self, delivery)
        if self.mode is Mode.LIVE and delivery.is_visible and delivery.event_id % 10 == 0:
            self._send(delivery.frame)

    assert_noticed(Subscription, "hear", hear)


def test_events_before_the_reply_are_noticed() -> None:
    original = SyncSession._reply

    def reply(self: SyncSession, *arguments: Any) -> None:
        asyncio.get_running_loop().call_later(0.001, original, self, *arguments)

    assert_noticed(SyncSession, "_reply", reply)


def test_a_page_whose_last_event_is_left_out_is_noticed() -> None:
    original = CatchUp._send_page

    def send_page(self: CatchUp, target: Any, events: Any, after_id: Any, number: Any) -> Any:
        replayed = original(self, target, events[:-1], after_id, number)
        return replayed._replace(last_id=events[-1].event_id) if events else replayed

    assert_noticed(CatchUp, "_send_page", send_page)


def test_a_removal_that_is_not_told_is_noticed() -> None:
    original = Hub.publish

    def publish(self: Hub, batch: Batch) -> None:
        events = [one for one in batch.events if one.event.type is not EventType.OBJECT_REMOVED]
        original(self, batch._replace(events=events))

    assert_noticed(Hub, "publish", publish)


def test_a_permission_that_is_taken_in_vain_is_noticed() -> None:
    async def check_access(self: SyncSession, subscription: Subscription) -> None:
        """As if nothing had happened."""

    assert_noticed(SyncSession, "check_access", check_access)


def test_a_request_that_is_carried_out_twice_is_noticed() -> None:
    async def answer(self: Repeats, key: object, carry_out: Callable[[], Any]) -> Answer:
        result: Answer = await carry_out()
        return result

    assert_noticed(Repeats, "answer", answer)


def test_a_catch_up_that_waits_for_ever_is_noticed() -> None:
    async def wait_for_room(self: SyncSession) -> None:
        while self._connection.queued_bytes > 1_500:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    assert_noticed(SyncSession, "wait_for_room", wait_for_room)


def test_removals_of_others_that_are_muted_are_noticed() -> None:
    def is_told_by_reply(self: SyncSession, subscription: Subscription, event: Event) -> bool:
        return True

    assert_noticed(SyncSession, "is_told_by_reply", is_told_by_reply)


# Live queries


def test_one_change_in_fifty_of_a_result_that_is_not_told_is_noticed() -> None:
    original = LiveQuery._tell_lazily
    told = 0

    def tell_lazily(self: LiveQuery, encode: Callable[[], bytes]) -> None:
        nonlocal told
        told += 1
        if told % 50:
            original(self, encode)

    assert_noticed(LiveQuery, "_tell_lazily", tell_lazily, LiveQueries, saying="left out")


def test_a_change_of_a_result_that_is_told_twice_is_noticed() -> None:
    original = LiveQuery._tell

    def tell(self: LiveQuery, frame: bytes) -> None:
        original(self, frame)
        if self.event_id % 10 == 0:
            original(self, frame)

    assert_noticed(LiveQuery, "_tell", tell, LiveQueries, saying="came after")


def test_changes_of_a_result_in_another_order_are_noticed() -> None:
    original = LiveQuery._tell
    kept: dict[LiveQuery, bytes] = {}

    def tell(self: LiveQuery, frame: bytes) -> None:
        if self.event_id % 10 == 0 and self not in kept:
            kept[self] = frame
        else:
            original(self, frame)
            if self in kept:
                original(self, kept.pop(self))

    assert_noticed(LiveQuery, "_tell", tell, LiveQueries, saying="came after")


def test_a_removal_of_what_is_not_in_the_result_is_noticed() -> None:
    original = LiveQuery._apply

    def apply(self: LiveQuery, key: str, event: Event, data: object) -> None:
        if key not in self.members and self._member_of(key, event, data) is None:
            frame = self._encoder.encode_item_removed(self.id, key, event.event_id)
            self._tell(frame)
        original(self, key, event, data)

    assert_noticed(LiveQuery, "_apply", apply, LiveQueries, saying="is not in the result")


def test_a_result_with_what_is_not_asked_for_is_noticed() -> None:
    original = LiveQuery._member_of

    def member_of(self: LiveQuery, key: str, event: Event, data: object) -> Member | None:
        if event.event_id % 10 == 0 and event.data is not None:
            return Member(event.data, event.event_id)
        return original(self, key, event, data)

    assert_noticed(LiveQuery, "_member_of", member_of, LiveQueries, saying="not what is asked")


def test_a_reading_that_is_ahead_of_its_news_is_noticed() -> None:
    original = LiveQuery.load

    def load(self: LiveQuery, event_id: int, items: Iterable[Item], seen_id: int) -> bool:
        return original(self, event_id, items)

    assert_noticed(LiveQuery, "load", load, LiveQueries, saying="left out")


def test_a_gap_in_the_news_of_a_query_that_is_overlooked_is_noticed() -> None:
    original = LiveQuery.hear

    def hear(self: LiveQuery, event: Event, data: object) -> None:
        if self.phase is Phase.LIVE and event.event_id > self.event_id:
            self.event_id = event.event_id - 1
        original(self, event, data)

    assert_noticed(LiveQuery, "hear", hear, LiveQueries, saying="left out")


def test_a_live_query_that_fails_in_passing_trouble_is_noticed() -> None:
    async def load_anew(self: Queries, live: LiveQuery) -> None:
        try:
            await self.wait_until_loaded(live)
        except (Refusal, Fault):
            live.end(Refusal(Reason.QUERY_INDEX_NOT_FOUND))

    assert_noticed(
        Queries,
        "_load_anew",
        load_anew,
        LiveQueries,
        saying="has failed with 400",
        trouble=0.1,
    )


def test_a_result_from_before_its_confirmation_is_noticed() -> None:
    original = SessionQueries.establish

    async def establish(
        self: SessionQueries, entry: SubscriptionEntry, correlation_id: CorrelationId
    ) -> None:
        known = self._held.get(entry.object_sid)
        if known is not None and known.live is not None:
            known.live.listen(known)
            await asyncio.sleep(0.1)
        await original(self, entry, correlation_id)

    assert_noticed(
        SessionQueries, "establish", establish, LiveQueries, saying="before its confirmation"
    )


def test_a_permission_that_is_taken_from_a_query_in_vain_is_noticed() -> None:
    async def check_access(self: SessionQueries) -> None:
        """As if nothing had happened."""

    assert_noticed(SessionQueries, "check_access", check_access, LiveQueries, saying="goes on")


# Presence


def test_a_ghost_is_noticed() -> None:
    original = PresenceState.disconnect

    def disconnect(self: PresenceState, identity: str, endpoint: str, deadline: float) -> None:
        if identity != "erik":
            original(self, identity, endpoint, deadline)

    assert_noticed(PresenceState, "disconnect", disconnect, Presence, saying="present are")


def test_somebody_who_is_lost_is_noticed() -> None:
    original = PresenceState.connect

    def connect(self: PresenceState, identity: str, endpoint: str, now: int) -> None:
        original(self, identity, endpoint, now)
        if identity == "frida":
            del self._changed[identity]

    assert_noticed(PresenceState, "connect", connect, Presence, saying="present are")


def test_an_entry_that_goes_before_the_window_is_over_is_noticed() -> None:
    original = PresenceState.disconnect

    def disconnect(self: PresenceState, identity: str, endpoint: str, deadline: float) -> None:
        original(self, identity, endpoint, deadline - 0.5)

    assert_noticed(PresenceState, "disconnect", disconnect, Presence, saying="was removed at")


def test_a_restart_without_time_to_come_back_is_noticed() -> None:
    original = PresenceState.restore

    def restore(self: PresenceState, item: Item, now: int, deadline: float) -> None:
        original(self, item, now, deadline - 9.0)

    assert_noticed(PresenceState, "restore", restore, Presence, saying="was removed at")


def test_a_restart_that_forgets_who_was_there_is_noticed() -> None:
    def restore(self: PresenceState, item: Item, now: int, deadline: float) -> None:
        """As if there had been no entry."""

    assert_noticed(PresenceState, "restore", restore, Presence)


def test_who_comes_a_second_time_without_having_left_is_noticed() -> None:
    original = PresenceState.connect

    def connect(self: PresenceState, identity: str, endpoint: str, now: int) -> None:
        known = self._presences.get(identity)
        if known is not None and not known.connections:
            known.since = now
        original(self, identity, endpoint, now)

    assert_noticed(PresenceState, "connect", connect, Presence, saying="came twice")


def test_what_was_published_and_gets_lost_is_noticed() -> None:
    original = PresenceState.disconnect

    def disconnect(self: PresenceState, identity: str, endpoint: str, deadline: float) -> None:
        original(self, identity, endpoint, deadline)
        self._presences[identity].published = None

    assert_noticed(PresenceState, "disconnect", disconnect, Presence, saying="had published")


def test_needless_writes_are_noticed() -> None:
    original = PresenceState.take

    def take(self: PresenceState, now: float, limit: int) -> list[PresenceWrite]:
        writes = original(self, now, limit)
        for identity, one in self._presences.items():
            if one.connections and one.written is not None and not one.is_busy:
                one.is_busy = True
                writes.append(PresenceWrite(identity, one.written))
        return writes

    assert_noticed(PresenceState, "take", take, Presence, saying="nothing has changed")


def test_an_action_in_spite_of_a_return_is_noticed() -> None:
    original = OnDisconnectState.connect

    def connect(self: OnDisconnectState, endpoint: str) -> None:
        gone_at = self._gone_at.get(endpoint)
        original(self, endpoint)
        if gone_at is not None:
            self._gone_at[endpoint] = gone_at

    assert_noticed(OnDisconnectState, "connect", connect, Presence, saying="was performed at")


def test_an_action_that_is_repeated_after_a_fault_is_noticed() -> None:
    def is_done(self: OnDisconnectState, action: Action) -> bool:
        return False

    assert_noticed(
        OnDisconnectState, "is_done", is_done, Presence, saying="performed twice", trouble=0.3
    )


def test_an_action_that_is_never_performed_is_noticed() -> None:
    original = OnDisconnectState.take

    def take(self: OnDisconnectState, now: float, limit: int) -> list[Action]:
        return [one for one in original(self, now, limit) if not one.key.endswith("-2")]

    assert_noticed(OnDisconnectState, "take", take, Presence, saying="waits for ever")


def test_an_action_that_is_dropped_unperformed_is_noticed() -> None:
    async def change(self: PresenceRoom, action: Action) -> None:
        """As if it had been refused."""

    assert_noticed(PresenceRoom, "_change", change, Presence, saying="was dropped")


# The loop


def test_a_world_that_stands_still_does_not_hang() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run_held(wait())


def test_a_world_that_goes_round_in_circles_does_not_hang() -> None:
    async def turn() -> None:
        asyncio.get_running_loop().call_soon(again)
        await asyncio.get_running_loop().create_future()

    def again() -> None:
        asyncio.get_running_loop().call_soon(again)

    with pytest.raises(Stuck):
        run_held(turn())
