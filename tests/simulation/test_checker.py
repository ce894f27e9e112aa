"""The simulation must notice a broken server: each test breaks one thing, and wants to be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlings.core.events import Event, EventType
from starlings.node.hub import Delivery, Hub
from starlings.node.repeats import Answer, Repeats
from starlings.node.subscription import Mode, Subscription
from starlings.storage.store import Batch
from starlings.ws.catchup import CatchUp
from starlings.ws.session import SyncSession
from tests.simulation.broken import assert_noticed


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
