"""The simulation must notice live queries that are broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.events import Event
from starlings.core.objects import Item
from starlings.node.live_query import LiveQuery, Member, Phase
from starlings.node.queries import Queries
from starlings.wire.subscriptions import CorrelationId, SubscriptionEntry
from starlings.ws.queries import SessionQueries
from tests.simulation.broken import assert_noticed
from tests.simulation.live_queries import LiveQueries


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
