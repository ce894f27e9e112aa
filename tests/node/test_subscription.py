"""Every interleaving of a catch-up and what happens meanwhile."""

from __future__ import annotations

from itertools import product
from unittest.mock import patch

import pytest

from starlings.core.events import EventType
from starlings.core.objects import Kind
from starlings.node.subscription import Mode, Subscription
from tests.node.deliveries import OID, RecordingOwner, a_delivery, a_message

REMOVED = EventType.OBJECT_REMOVED
GRANTED = EventType.PERMISSION_SET


def a_subscription(kind: Kind = Kind.MAP) -> tuple[Subscription, RecordingOwner]:
    owner = RecordingOwner()
    return Subscription(OID, f"{kind.sid_prefix}{OID:032x}", kind, owner), owner


def a_live_one(last_id: int = 0, kind: Kind = Kind.MAP) -> tuple[Subscription, RecordingOwner]:
    subscription, owner = a_subscription(kind)
    assert subscription.go_live(last_id)
    return subscription, owner


def ids(owner: RecordingOwner) -> list[int]:
    return [int(one.split()[1]) for one in owner.sent]


@pytest.mark.parametrize(
    ("heard_before", "caught_up_to", "heard_after"),
    list(product(range(6), range(6), range(6))),
)
def test_each_event_comes_once_and_in_order_wherever_the_catch_up_ends(
    heard_before: int, caught_up_to: int, heard_after: int
) -> None:
    """Events 1 … happen; the log was read to ``caught_up_to`` while they were being heard."""
    last = max(heard_before, caught_up_to) + heard_after
    subscription, owner = a_subscription()
    for event_id in range(1, heard_before + 1):
        subscription.hear(a_delivery(event_id))
    assert owner.sent == []
    assert subscription.go_live(caught_up_to)
    for event_id in range(heard_before + 1, last + 1):
        subscription.hear(a_delivery(event_id))
    assert ids(owner) == list(range(caught_up_to + 1, last + 1))
    assert subscription.last_id == last
    assert owner.gaps == 0


@pytest.mark.parametrize("lost", range(1, 6))
@pytest.mark.parametrize("live_from", range(6))
def test_lost_news_are_repaired_from_the_log(lost: int, live_from: int) -> None:
    subscription, owner = a_subscription()
    sent_by_repair: list[int] = []

    def repair_up_to(event_id: int) -> None:
        sent_by_repair.extend(range(subscription.last_id + 1, event_id + 1))
        owner.sent.extend(f"log {one}" for one in range(subscription.last_id + 1, event_id + 1))
        assert subscription.go_live(event_id)

    for event_id in range(1, 8):
        if event_id == live_from + 1:
            assert subscription.go_live(live_from)
        if event_id != lost:
            subscription.hear(a_delivery(event_id))
        if owner.gaps:
            owner.gaps = 0
            repair_up_to(event_id)
    if subscription.mode is Mode.HOLDING:
        assert subscription.go_live(live_from)
    assert ids(owner) == list(range(live_from + 1, 8))


def test_an_event_heard_twice_is_sent_once() -> None:
    subscription, owner = a_live_one()
    for event_id in (1, 1, 2, 1, 2, 3):
        subscription.hear(a_delivery(event_id))
    assert ids(owner) == [1, 2, 3]


def test_after_a_gap_everything_is_held() -> None:
    subscription, owner = a_live_one(1)
    subscription.hear(a_delivery(3))
    subscription.hear(a_delivery(4))
    assert (owner.gaps, owner.sent, subscription.last_id) == (1, [], 1)
    assert subscription.go_live(3)
    assert ids(owner) == [4]


def test_a_gap_among_held_events_asks_for_one_more_catch_up() -> None:
    subscription, owner = a_subscription()
    for event_id in (1, 2, 4, 5):
        subscription.hear(a_delivery(event_id))
    assert subscription.go_live(0)
    assert (ids(owner), owner.gaps, subscription.mode) == ([1, 2], 1, Mode.HOLDING)
    assert subscription.go_live(4)
    assert ids(owner) == [1, 2, 5]


def test_too_many_held_events_ask_for_one_more_catch_up() -> None:
    subscription, owner = a_subscription()
    with patch("starlings.node.subscription.MOST_HELD", 3):
        for event_id in range(1, 6):
            subscription.hear(a_delivery(event_id))
        assert not subscription.go_live(0)
        assert (owner.sent, subscription.mode, subscription.last_id) == ([], Mode.HOLDING, 0)
        subscription.hear(a_delivery(6))
        assert subscription.go_live(5)
    assert ids(owner) == [6]


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("hidden", [REMOVED, GRANTED])
def test_a_removal_or_permission_survives_an_overflow(place: int, hidden: EventType) -> None:
    subscription, owner = a_subscription()
    with patch("starlings.node.subscription.MOST_HELD", 3):
        for event_id in range(1, 7):
            if event_id == place:
                subscription.hear(a_delivery(event_id - 1, hidden))
            subscription.hear(a_delivery(event_id))
        if place in (0, 7):
            subscription.hear(a_delivery(6, hidden))
        assert not subscription.go_live(0)
        assert owner.removed == 0
        assert subscription.go_live(6)
    assert (owner.removed, owner.permissions) == ((1, 0) if hidden is REMOVED else (0, 1))


@pytest.mark.parametrize("held", [True, False])
def test_a_removal_is_told_last_and_ends_the_subscription(held: bool) -> None:
    subscription, owner = a_subscription()
    if not held:
        subscription.go_live(0)
    subscription.hear(a_delivery(1))
    subscription.hear(a_delivery(1, REMOVED))
    if held:
        assert subscription.go_live(0)
    assert owner.sent == ["ITEM_UPDATED 1", "OBJECT_REMOVED 1"]
    assert (owner.removed, subscription.mode) == (1, Mode.ENDED)
    subscription.hear(a_delivery(2))
    subscription.hear_message(a_message("late"))
    assert len(owner.sent) == 2


def test_an_ended_subscription_stays_ended() -> None:
    subscription, owner = a_subscription()
    subscription.hear(a_delivery(1))
    subscription.end()
    assert subscription.go_live(0)
    assert (subscription.mode, owner.sent) == (Mode.ENDED, [])


def test_in_doubt_nothing_is_passed_on_until_all_doubts_are_over() -> None:
    subscription, owner = a_live_one()
    subscription.begin_doubt()
    subscription.hear(a_delivery(1))
    subscription.begin_doubt()
    subscription.hear(a_delivery(2))
    subscription.end_doubt()
    assert owner.sent == []
    subscription.end_doubt()
    subscription.hear(a_delivery(3))
    assert ids(owner) == [1, 2, 3]
    assert owner.gaps == 0


def test_a_catch_up_that_ends_in_doubt_goes_live_after_it() -> None:
    subscription, owner = a_subscription()
    subscription.begin_doubt()
    subscription.hear(a_delivery(1))
    subscription.hear(a_delivery(2))
    assert subscription.go_live(1)
    assert owner.sent == []
    subscription.end_doubt()
    assert ids(owner) == [2]


def test_a_doubt_that_ends_before_the_catch_up_changes_nothing() -> None:
    subscription, owner = a_subscription()
    subscription.begin_doubt()
    subscription.hear(a_delivery(1))
    subscription.end_doubt()
    assert subscription.mode is Mode.HOLDING
    assert owner.sent == []
    assert subscription.go_live(0)
    assert ids(owner) == [1]


def test_too_much_in_doubt_asks_for_a_catch_up() -> None:
    subscription, owner = a_live_one()
    with patch("starlings.node.subscription.MOST_HELD", 2):
        subscription.begin_doubt()
        for event_id in (1, 2, 3):
            subscription.hear(a_delivery(event_id))
        subscription.end_doubt()
    assert owner.sent == []
    assert owner.gaps == 1
    assert subscription.go_live(3)
    subscription.hear(a_delivery(4))
    assert ids(owner) == [4]


def test_a_doubt_that_ends_after_the_subscription_changes_nothing() -> None:
    subscription, owner = a_live_one()
    subscription.begin_doubt()
    subscription.hear(a_delivery(1))
    subscription.end()
    subscription.end_doubt()
    assert subscription.mode is Mode.ENDED
    assert owner.sent == []


def test_an_own_removal_of_an_item_is_muted_and_others_are_told() -> None:
    subscription, owner = a_live_one()
    subscription.hear(a_delivery(1, EventType.ITEM_REMOVED, endpoint="EP-own"))
    subscription.hear(a_delivery(2, EventType.ITEM_REMOVED, endpoint="EP-other"))
    subscription.hear(a_delivery(3, EventType.ITEM_UPDATED, endpoint="EP-own"))
    assert owner.sent == ["muted ITEM_REMOVED 1", "ITEM_REMOVED 2", "ITEM_UPDATED 3"]
    assert owner.gaps == 0


def test_an_own_removal_of_the_object_is_not_echoed() -> None:
    subscription, owner = a_live_one()
    subscription.hear(a_delivery(0, REMOVED, endpoint="EP-own"))
    assert (owner.sent, owner.removed) == ([], 1)


def test_other_hidden_events_are_passed_over() -> None:
    subscription, owner = a_live_one()
    subscription.hear(a_delivery(0, EventType.OBJECT_EXPIRY_SET))
    subscription.hear(a_delivery(1))
    assert ids(owner) == [1]


def test_messages_are_held_and_passed_on_but_not_to_their_sender() -> None:
    subscription, owner = a_subscription(Kind.STREAM)
    subscription.hear_message(a_message("one"))
    subscription.hear_message(a_message("own", "EP-own"))
    assert subscription.go_live(-1)
    subscription.hear_message(a_message("two"))
    subscription.hear_message(a_message("own", "EP-own"))
    assert owner.sent == ["message one", "message two"]


def test_of_too_many_messages_the_oldest_go_and_a_removal_stays() -> None:
    subscription, owner = a_subscription(Kind.STREAM)
    with patch("starlings.node.subscription.MOST_HELD", 3):
        subscription.hear(a_delivery(-1, EventType.OBJECT_EXPIRY_SET))
        for text in "abcd":
            subscription.hear_message(a_message(text))
        subscription.hear(a_delivery(-1, REMOVED))
        assert subscription.go_live(-1)
    assert owner.sent == ["message c", "message d", "OBJECT_REMOVED -1"]
    assert owner.removed == 1


def test_nothing_but_hidden_events_leaves_no_room_for_messages() -> None:
    subscription, owner = a_subscription(Kind.STREAM)
    with patch("starlings.node.subscription.MOST_HELD", 1):
        subscription.hear(a_delivery(-1, EventType.OBJECT_EXPIRY_SET))
        subscription.hear_message(a_message("a"))
        assert subscription.go_live(-1)
    assert owner.sent == []
