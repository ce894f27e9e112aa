"""What a client has opened and read, on one connection."""

from __future__ import annotations

from typing import cast

from starlings.core.objects import Kind, SyncObject
from starlings.node.subscription import Subscription
from starlings.ws.holds import Hold, Holds


def an_object(sid: str, event_id: int = 0, kind: Kind = Kind.MAP) -> SyncObject:
    return SyncObject(
        1, sid, 1, kind, None, None, 0, event_id, 0, 0, 0, 0, None, "alice", is_removed=False
    )


def a_subscription() -> Subscription:
    return cast(Subscription, object())


def test_an_object_that_is_opened_again_is_another_to_the_client() -> None:
    holds = Holds({}, 10)
    holds.note_open(an_object("MP1"))
    first = holds.hold_of("MP1")
    assert first.is_of(holds.hold_of("MP1"))
    holds.note_open(an_object("MP2"))
    assert first.is_of(holds.hold_of("MP1"))
    holds.note_open(an_object("MP1"))
    assert not first.is_of(holds.hold_of("MP1"))


def test_the_same_subscription_is_the_same_hold_and_nothing_is_none() -> None:
    subscriptions = {"MP1": a_subscription()}
    holds = Holds(subscriptions, 10)
    first = holds.hold_of("MP1")
    assert first.is_of(holds.hold_of("MP1"))
    subscriptions["MP1"] = a_subscription()
    assert not first.is_of(holds.hold_of("MP1"))
    assert not Hold(None, None).is_of(Hold(None, None))


def test_only_lists_and_maps_are_kept_in_mind() -> None:
    holds = Holds({}, 10)
    for kind in (Kind.DOCUMENT, Kind.STREAM):
        holds.note_open(an_object("ET1", kind=kind))
    assert holds.hold_of("ET1") == Hold(None, None)


def test_the_first_reading_without_a_subscription_counts_once() -> None:
    subscriptions = {"MP2": a_subscription()}
    holds = Holds(subscriptions, 10)
    for event_id in (3, 5):
        holds.note_read(an_object("MP1", event_id))
        holds.note_read(an_object("MP2", event_id))
    assert [holds.take_read("MP1"), holds.take_read("MP1"), holds.take_read("MP2")] == [
        3,
        None,
        None,
    ]


def test_beyond_the_bound_the_oldest_are_forgotten() -> None:
    holds = Holds({}, 2)
    for sid in ("MP1", "MP2", "MP1", "MP3"):
        holds.note_open(an_object(sid))
        holds.note_read(an_object(sid))
    assert [holds.hold_of(sid).opening for sid in ("MP1", "MP2", "MP3")] == [3, None, 4]
    assert [holds.take_read(sid) for sid in ("MP1", "MP2", "MP3")] == [None, 0, 0]
