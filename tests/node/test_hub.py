"""Who hears what, and how often it is encoded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.events import Committed, EventType
from starlings.core.objects import Actor, Kind
from starlings.node.hub import Delivery, Hub, MessageDelivery, Sink, send_to_each
from starlings.node.node import Message
from starlings.node.subscription import Subscription
from starlings.storage.store import Batch
from tests.node.deliveries import OID, Frames, RecordingOwner, an_event, an_object


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


# In step.


class Script(NamedTuple):
    """One thing that happens to an object with some subscribers."""

    what: str
    """An event type's name, or ``lost``, ``repeated``, ``join``, ``leave``, ``repair``."""
    who: int
    """Which session caused it, or whom it concerns."""
    is_last: bool
    """Of its batch."""


class Room:
    """Subscribers of one map on one hub, each with an outbox that only writes down."""

    def __init__(self, few: int) -> None:
        self.few = few
        self.broadcasts = 0
        self.hub = Hub(Frames(), self._broadcast)
        self.members: dict[int, tuple[Subscription, RecordingOwner]] = {}
        self.told: list[tuple[int, list[str], int, int, int]] = []
        self.event_id = 0
        self.batch: list[Committed] = []

    def _broadcast(self, sinks: Collection[Sink], frames: list[bytes]) -> None:
        self.broadcasts += 1
        send_to_each(sinks, frames)

    def run(self, steps: list[Script]) -> list[tuple[int, list[str], int, int, int]]:
        with patch("starlings.node.hub.FEW_LISTENERS", self.few):
            for step in steps:
                self._take(step)
            self._publish()
        for who in list(self.members):
            self._leave(who)
        return self.told

    def _take(self, step: Script) -> None:
        match step.what:
            case "join":
                self._publish()
                if step.who not in self.members:
                    sink = ToOwner()
                    owner = sink.owner = RecordingOwner(f"EP{step.who}", sink)
                    subscription = Subscription(OID, "MP", Kind.MAP, owner)
                    self.hub.watch(OID, "IS", subscription)
                    subscription.go_live(self.event_id)
                    self.members[step.who] = subscription, owner
            case "leave":
                self._publish()
                self._leave(step.who)
            case "repair":
                self._publish()
                for subscription, owner in self.members.values():
                    if owner.gaps:
                        owner.gaps = 0
                        owner.sent.append("repaired")
                        subscription.go_live(self.event_id)
            case "lost":
                self.event_id += 1
            case "repeated":
                self._add(EventType.ITEM_UPDATED, self.event_id, None)
            case name:
                event_type = EventType[name]
                if event_type in (EventType.ITEM_UPDATED, EventType.ITEM_REMOVED):
                    self.event_id += 1
                self._add(event_type, self.event_id, f"EP{step.who}")
        if step.is_last:
            self._publish()

    def _add(self, event_type: EventType, event_id: int, endpoint: str | None) -> None:
        self.batch.append(
            Committed(
                an_object(event_id=event_id), an_event(event_id, event_type, endpoint=endpoint)
            )
        )

    def _publish(self) -> None:
        if self.batch:
            batch, self.batch = self.batch, []
            self.hub.publish(Batch(batch, []))

    def _leave(self, who: int) -> None:
        if who in self.members:
            subscription, owner = self.members.pop(who)
            self.hub.unwatch(OID, subscription)
            told = (who, owner.sent, owner.gaps, owner.removed, owner.permissions)
            self.told.append(told)


class ToOwner:
    """The outbox of a ``RecordingOwner``."""

    owner: RecordingOwner

    def append(self, frame: bytes) -> None:
        self.owner.send_framed(frame)


STEPS = st.builds(
    Script,
    st.sampled_from(
        [
            *["ITEM_UPDATED"] * 6,
            "ITEM_REMOVED",
            "OBJECT_EXPIRY_SET",
            "PERMISSION_SET",
            "OBJECT_REMOVED",
            "lost",
            "repeated",
            *["join"] * 3,
            "leave",
            "repair",
        ]
    ),
    st.integers(0, 4),
    st.booleans(),
)


@given(st.lists(STEPS, max_size=40))
def test_those_in_step_are_told_the_same_as_those_who_are_asked(steps: list[Script]) -> None:
    everybody = [Script("join", who, True) for who in range(4)]
    asked, in_step = Room(few=1000), Room(few=2)
    assert in_step.run(everybody + steps) == asked.run(everybody + steps)
    assert asked.broadcasts == 0


def a_crowd(hub: Hub, size: int) -> list[tuple[Subscription, RecordingOwner]]:
    """Live subscribers of one map, in step after event 1."""
    crowd = []
    for place in range(size):
        sink = ToOwner()
        owner = sink.owner = RecordingOwner(f"EP{place}", sink)
        subscription = Subscription(OID, "MP", Kind.MAP, owner)
        hub.watch(OID, "IS", subscription)
        subscription.go_live(0)
        crowd.append((subscription, owner))
    hub.publish(a_batch(1))
    return crowd


def test_what_a_batch_holds_for_a_crowd_is_broadcast_as_one() -> None:
    sent: list[tuple[int, list[bytes]]] = []
    hub = Hub(Frames(), lambda sinks, frames: sent.append((len(sinks), list(frames))))
    a_crowd(hub, 20)
    hub.publish(a_batch(2, 3))
    assert sent == [(20, [b"ITEM_UPDATED 2", b"ITEM_UPDATED 3"])]
    assert hub.statistics() == (1, 20, 3, 60)


def test_a_listener_without_a_sink_is_asked() -> None:
    hub = Hub(Frames())
    crowd = a_crowd(hub, 20)
    owner = RecordingOwner()
    subscription = Subscription(OID, "MP", Kind.MAP, owner)
    hub.watch(OID, "IS", subscription)
    subscription.go_live(1)
    hub.publish(a_batch(2))
    hub.publish(a_batch(3))
    assert owner.sent == ["ITEM_UPDATED 2", "ITEM_UPDATED 3"]
    assert crowd[0][1].sent == ["ITEM_UPDATED 1", "ITEM_UPDATED 2", "ITEM_UPDATED 3"]


def test_who_removed_an_item_gets_the_muted_frame_out_of_a_crowd() -> None:
    hub = Hub(Frames())
    crowd = a_crowd(hub, 20)
    removal = Committed(an_object(event_id=2), an_event(2, EventType.ITEM_REMOVED, endpoint="EP7"))
    hub.publish(Batch([removal, *a_batch(3).events], []))
    assert crowd[7][1].sent[1:] == ["muted ITEM_REMOVED 2", "ITEM_UPDATED 3"]
    assert crowd[8][1].sent[1:] == ["ITEM_REMOVED 2", "ITEM_UPDATED 3"]


def test_a_message_goes_to_a_crowd_but_its_sender() -> None:
    hub = Hub(Frames())
    crowd = []
    for place in range(20):
        sink = ToOwner()
        owner = sink.owner = RecordingOwner(f"EP{place}", sink)
        subscription = Subscription(OID, "TO", Kind.STREAM, owner)
        hub.watch(OID, "IS", subscription)
        subscription.go_live(-1)
        crowd.append(owner)
    stream = an_object(Kind.STREAM)
    for text, endpoint in (("a", None), ("b", "EP3"), ("c", "EP3"), ("d", None)):
        hub.publish_message(Message("TZ", stream, text.encode(), Actor("bob", endpoint), 0))
    assert crowd[3].sent == ["message a", "message d"]
    assert crowd[4].sent == ["message a", "message b", "message c", "message d"]


def test_a_broadcast_that_fails_is_a_gap_that_is_repaired() -> None:
    def fail(sinks: Collection[Sink], frames: list[bytes]) -> None:
        raise MemoryError

    hub = Hub(Frames(), fail)
    crowd = a_crowd(hub, 20)
    with pytest.raises(MemoryError):
        hub.publish(a_batch(2))
    hub.publish(a_batch(3))
    assert all((one.last_id, owner.gaps) == (1, 1) for one, owner in crowd)


def test_a_large_fan_out_waits_for_a_batch_that_is_on_its_way_once() -> None:
    sent: list[list[bytes]] = []
    more = [False]
    later: list[Callable[[], None]] = []
    hub = Hub(
        Frames(),
        lambda _, frames: sent.append(list(frames)),
        lambda: more[0],
        lambda _, call: later.append(call),
    )
    a_crowd(hub, 100)
    more[0] = True
    hub.publish(a_batch(2))
    assert sent == []
    hub.publish(a_batch(3))
    assert sent == [[b"ITEM_UPDATED 2", b"ITEM_UPDATED 3"]]
    hub.publish(a_batch(4))
    hub.publish(Batch([], []))
    assert sent[1:] == [[b"ITEM_UPDATED 4"]]


def test_a_large_fan_out_does_not_wait_for_a_disk_that_stands_still() -> None:
    sent: list[list[bytes]] = []
    later: list[Callable[[], None]] = []
    hub = Hub(
        Frames(),
        lambda _, frames: sent.append(list(frames)),
        lambda: True,
        lambda seconds, call: later.append(call) if seconds <= 0.02 else None,
    )
    a_crowd(hub, 100)
    hub.publish(a_batch(2))
    assert (sent, len(later)) == ([], 1)
    later.pop()()
    assert sent == [[b"ITEM_UPDATED 2"]]
    hub.publish(a_batch(3))
    hub.publish(Batch([], []))
    later.pop()()
    assert sent == [[b"ITEM_UPDATED 2"], [b"ITEM_UPDATED 3"]]


def test_a_small_fan_out_waits_for_nothing() -> None:
    sent: list[list[bytes]] = []
    hub = Hub(Frames(), lambda _, frames: sent.append(list(frames)), lambda: True, lambda *_: None)
    a_crowd(hub, 20)
    hub.publish(a_batch(2))
    assert sent == [[b"ITEM_UPDATED 2"]]
