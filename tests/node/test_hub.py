"""Who hears what, and how often it is encoded."""

from __future__ import annotations

from starlings.core.events import Committed, EventType
from starlings.core.objects import Actor, Kind
from starlings.node.hub import Delivery, Hub, MessageDelivery
from starlings.node.node import Message
from starlings.storage.store import Batch
from tests.node.deliveries import OID, Frames, an_event, an_object


class Ear:
    """A listener that writes down what it hears, and may leave."""

    def __init__(self, hub: Hub | None = None) -> None:
        self.heard: list[Delivery | MessageDelivery] = []
        self._hub = hub

    def hear(self, delivery: Delivery) -> None:
        self.heard.append(delivery)
        if self._hub is not None:
            self._hub.unwatch(OID, self)

    def hear_message(self, delivery: MessageDelivery) -> None:
        self.heard.append(delivery)


def a_batch(*event_ids: int, oid: int = OID) -> Batch:
    return Batch(
        [Committed(an_object(event_id=one, oid=oid), an_event(one, oid=oid)) for one in event_ids],
        [],
    )


def test_every_listener_gets_the_same_frame_encoded_once() -> None:
    frames = Frames()
    hub, ears = Hub(frames), [Ear() for _ in range(100)]
    for ear in ears:
        hub.watch(OID, "IS", ear)
    hub.publish(a_batch(1, 2))
    assert frames.encoded == 2
    first = [one.frame for one in ears[0].heard]
    assert first == [b"ITEM_UPDATED 1", b"ITEM_UPDATED 2"]
    assert all(
        [id(one.frame) for one in ear.heard] == [id(one.frame) for one in ears[0].heard]
        for ear in ears
    )
    assert hub.statistics() == (1, 100, 2, 200)


def test_what_nobody_listens_to_is_not_encoded() -> None:
    frames = Frames()
    hub, ear = Hub(frames), Ear()
    hub.watch(OID, "IS", ear)
    hub.publish(a_batch(1, oid=OID + 1))
    assert (frames.encoded, ear.heard, hub.statistics().events) == (0, [], 0)


def test_hidden_events_have_no_frame_but_a_removal_has() -> None:
    frames = Frames()
    target = an_object()
    granted = Delivery(target, an_event(1, EventType.PERMISSION_SET), "IS", frames)
    removed = Delivery(target, an_event(1, EventType.OBJECT_REMOVED), "IS", frames)
    assert (granted.is_visible, granted.frame) == (False, b"")
    assert (removed.is_visible, removed.frame) == (False, b"OBJECT_REMOVED 1")


def test_to_watch_twice_is_to_hear_once() -> None:
    hub, ear = Hub(Frames()), Ear()
    hub.watch(OID, "IS", ear)
    hub.watch(OID, "IS", ear)
    hub.publish(a_batch(1))
    assert len(ear.heard) == 1
    hub.unwatch(OID, ear)
    assert hub.statistics()[:2] == (0, 0)
    hub.unwatch(OID, ear)
    assert hub.statistics()[:2] == (0, 0)


def test_a_listener_may_leave_while_it_hears() -> None:
    hub = Hub(Frames())
    leaving, staying = Ear(hub), Ear()
    hub.watch(OID, "IS", leaving)
    hub.watch(OID, "IS", staying)
    hub.publish(a_batch(1, 2))
    assert (len(leaving.heard), len(staying.heard)) == (1, 2)


def test_messages_reach_the_listeners_of_their_stream() -> None:
    hub, ear, other = Hub(Frames()), Ear(), Ear()
    hub.watch(OID, "IS", ear)
    hub.watch(OID + 1, "IS", other)
    hub.publish_message(Message("TZ1", an_object(Kind.STREAM), b"{}", Actor("bob"), 0))
    hub.publish_message(Message("TZ2", an_object(Kind.STREAM, oid=99), b"{}", Actor("bob"), 0))
    assert [one.frame for one in ear.heard] == [b"message {}"]
    assert other.heard == []
