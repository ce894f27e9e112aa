"""Who listens to what, and fan-out.

The hub hears every committed event of this node, in order, and hands it to the subscriptions of its
object. What goes out over the wire is made once for an event, at the first subscriber that wants
it, and the same bytes go to all: a ``Delivery`` is an event together with that frame. Objects that
nobody listens to cost one look-up in a dictionary.

Theory of operation of a large fan-out. A listener says, by what it returns, that it was sent all
events of its object so far and wants the next one as it is: it is *in step*. From ``FEW_LISTENERS``
on, the hub keeps one last event id for all who are in step instead of asking each, and what a batch
holds for them is broadcast to their sinks as one piece. What they don't all want alike (a removal,
a grant, an item that one of them removed itself) and what isn't the next event puts them *out of
step*, all or the one whom it concerns: each of these is asked again, as any other listener is.

While further batches are on their way from the store, a fan-out to ``MANY_LISTENERS`` waits for the
next one: what that holds for the same object goes out with it, in the same writes. It waits for
``MOST_WAIT_SECONDS`` at most: the disk may stand still meanwhile.

Listeners are called on the event loop, in the step after the results of the batch were handed out,
so a caller has the reply to its own change before the event. They must not block: what can't be
sent at once is theirs to queue, within their bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from starlings.core.events import VISIBLE, Event, EventType
from starlings.core.objects import SyncObject
from starlings.node.node import Message
from starlings.storage.store import Batch

__all__ = [
    "FEW_LISTENERS",
    "MANY_LISTENERS",
    "MOST_WAIT_SECONDS",
    "Broadcast",
    "Delivery",
    "Follower",
    "Hub",
    "HubStatistics",
    "Listener",
    "MessageDelivery",
    "Sink",
    "send_to_each",
]

FEW_LISTENERS = 16
"""Of one object: below this each is simply asked."""

MANY_LISTENERS = 64
"""In step: a fan-out to them takes longer than a commit."""

MOST_WAIT_SECONDS = 0.02
"""For a batch that is on its way; most take a tenth of it."""

_UNHEARD = frozenset({EventType.OBJECT_CREATED, EventType.OBJECT_EXPIRY_SET})
"""Hidden events that listeners do nothing about."""


class Encoder(Protocol):
    """Makes the complete frames that are sent to every subscriber alike."""

    def encode_event(self, target: SyncObject, event: Event, service_sid: str) -> bytes: ...

    def mute_removal(self, frame: bytes) -> bytes:
        """An ``ITEM_REMOVED`` frame for whoever removed the item: counted, but not told again."""
        ...

    def encode_message(self, message: Message, service_sid: str) -> bytes: ...


class Delivery:
    """An event on its way to the subscribers of its object, with the frame for all of them.

    What every subscription looks at is here at hand: this is read once for each subscriber.
    """

    __slots__ = (
        "_encoder",
        "_own_frame",
        "event",
        "event_id",
        "frame",
        "is_item_removal",
        "is_visible",
        "service_sid",
        "target",
    )

    def __init__(
        self, target: SyncObject, event: Event, service_sid: str, encoder: Encoder
    ) -> None:
        self._encoder = encoder
        self._own_frame = b""
        self.target = target
        self.event = event
        self.event_id = event.event_id
        self.service_sid = service_sid
        self.is_visible = event.type in VISIBLE
        self.is_item_removal = event.type is EventType.ITEM_REMOVED
        self.frame = b""
        """Empty for events that no subscriber is sent."""
        if self.is_visible or event.type is EventType.OBJECT_REMOVED:
            self.frame = encoder.encode_event(target, event, service_sid)

    @property
    def own_frame(self) -> bytes:
        """Of an item's removal: the frame for whoever removed it, who knows from its reply."""
        if not self._own_frame:
            self._own_frame = self._encoder.mute_removal(self.frame)
        return self._own_frame


class MessageDelivery(NamedTuple):
    """A message of a stream on its way."""

    message: Message
    frame: bytes


class Sink(Protocol):
    """Takes the complete frames for one connection."""

    def append(self, frame: bytes) -> None: ...


Broadcast = Callable[[Collection[Sink], list[bytes]], None]
"""Gives the same frames, in order, to many sinks; the sinks must not be changed meanwhile."""


def send_to_each(sinks: Collection[Sink], frames: list[bytes]) -> None:
    """The plain ``Broadcast``."""
    for sink in sinks:
        for frame in frames:
            sink.append(frame)


class Listener(Protocol):
    """One subscription, as the hub sees it."""

    def hear(self, delivery: Delivery) -> Follower | None:
        """An event of the object, in the order of its log, each once. May end the subscription.

        Returns: Itself, if it is in step: the frames of the events that follow may go to its sink
            without asking.
        """

    def hear_message(self, delivery: MessageDelivery) -> Follower | None:
        """A message of the stream; returns as ``hear`` does."""


class Follower(Listener, Protocol):
    """A listener that can be in step."""

    @property
    def endpoint(self) -> str:
        """Of its session, which may be the one that caused an event."""

    @property
    def sink(self) -> Sink | None: ...

    def step_out(self, last_id: int) -> None:
        """Its sink was given all up to event ``last_id``; from here on it is asked again."""


class HubStatistics(NamedTuple):
    """Counts since the start; the first two are the present numbers."""

    objects: int
    listeners: int
    events: int
    deliveries: int


class _Watched:
    """The listeners of one object."""

    __slots__ = ("in_step", "last_id", "listeners", "service_sid")

    def __init__(self, service_sid: str) -> None:
        self.service_sid = service_sid
        self.listeners: dict[Listener, None] = {}
        """Those that are asked."""
        self.in_step: dict[Follower, Sink] = {}
        self.last_id = -1
        """The event up to which all in step were sent everything."""

    def __len__(self) -> int:
        return len(self.listeners) + len(self.in_step)

    def __contains__(self, listener: object) -> bool:
        return listener in self.listeners or listener in self.in_step

    def discard(self, listener: Listener) -> None:
        self.listeners.pop(listener, None)
        self.in_step.pop(listener, None)  # type: ignore[call-overload]  # found by identity

    def step_in(self, followers: list[Follower], last_id: int) -> None:
        """Followers that have heard all up to ``last_id``. Nothing happens if the others are
        elsewhere, or if they are few."""
        if len(self) < FEW_LISTENERS:
            return
        if not self.in_step:
            self.last_id = last_id
        elif self.last_id != last_id:
            return
        for follower in followers:
            if follower in self.listeners and follower.sink is not None:
                del self.listeners[follower]
                self.in_step[follower] = follower.sink

    def step_out(self, follower: Follower) -> None:
        del self.in_step[follower]
        self.listeners[follower] = None
        follower.step_out(self.last_id)

    def all_step_out(self) -> None:
        for follower in list(self.in_step):
            self.step_out(follower)

    def find_in_step(self, endpoint: str | None) -> Follower | None:
        """Of the session that caused something."""
        if endpoint is None:
            return None
        return next((one for one in self.in_step if one.endpoint == endpoint), None)


class Hub:
    """Belongs to the event loop. ``publish`` is to be called with every batch of the store.

    Args:
        encoder: Makes the frames.
        broadcast: Sends them to those in step.
        has_more: Whether ``publish`` is sure to be called once more; ``Store.has_untold``.
        call_later: The event loop's; nothing is put off without it.
    """

    def __init__(
        self,
        encoder: Encoder,
        broadcast: Broadcast = send_to_each,
        has_more: Callable[[], bool] = lambda: False,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        self._encoder = encoder
        self._broadcast = broadcast
        self._has_more = has_more
        self._call_later = call_later
        self._put_off: dict[_Watched, list[Delivery]] = {}
        """Until the next batch."""
        self._is_timed = False
        """Whether ``_tell_put_off`` is to be called."""
        self._watched: dict[int, _Watched] = {}
        self._listeners = self._events = self._deliveries = 0

    def watch(self, oid: int, service_sid: str, listener: Listener) -> None:
        """Have ``listener`` hear every event of an object from now on."""
        watched = self._watched.get(oid)
        if watched is None:
            watched = self._watched[oid] = _Watched(service_sid)
        if listener not in watched:
            watched.listeners[listener] = None
            self._listeners += 1

    def unwatch(self, oid: int, listener: Listener) -> None:
        """The opposite of ``watch``; nothing happens if it doesn't listen."""
        watched = self._watched.get(oid)
        if watched is None or listener not in watched:
            return
        watched.discard(listener)
        self._listeners -= 1
        if not watched:
            del self._watched[oid]

    def publish(self, batch: Batch) -> None:
        """Hand the events of a batch to whoever listens: per object in order, all of one object
        together."""
        heard, self._put_off = self._put_off, {}
        were_put_off = set(heard)
        for target, event in batch.events:
            watched = self._watched.get(event.oid)
            if watched is not None:
                delivery = Delivery(target, event, watched.service_sid, self._encoder)
                heard.setdefault(watched, []).append(delivery)
        for watched, deliveries in heard.items():
            is_large = len(watched.in_step) >= MANY_LISTENERS and watched not in were_put_off
            if is_large and self._has_more() and self._call_later is not None:
                self._put_off[watched] = deliveries
                if not self._is_timed:
                    self._is_timed = True
                    self._call_later(MOST_WAIT_SECONDS, self._tell_put_off)
                continue
            self._events += len(deliveries)
            self._deliveries += len(deliveries) * len(watched)
            if watched.in_step:
                self._tell_in_step(watched, deliveries)
            self._tell_each(watched, deliveries)

    def _tell_put_off(self) -> None:
        self._is_timed = False
        if self._put_off:
            self.publish(Batch((), ()))

    def _tell_in_step(self, watched: _Watched, deliveries: list[Delivery]) -> None:
        frames: list[bytes] = []
        last_id = watched.last_id
        is_common = True
        for delivery in deliveries:
            if delivery.is_visible:
                if delivery.event_id == last_id + 1:
                    if delivery.is_item_removal:
                        remover = watched.find_in_step(delivery.event.endpoint)
                        if remover is not None:
                            self._send(watched, frames, last_id)
                            watched.step_out(remover)
                    frames.append(delivery.frame)
                    last_id += 1
                    continue
                is_common = delivery.event_id <= last_id  # or else news were lost
            else:
                is_common = delivery.event.type in _UNHEARD
            if not is_common:
                break
        self._send(watched, frames, last_id)
        if not is_common:
            # They hear all of it once more; what they have, they know by its id.
            watched.all_step_out()

    def _send(self, watched: _Watched, frames: list[bytes], last_id: int) -> None:
        if frames:
            self._broadcast(watched.in_step.values(), frames)
            # Only now: should that fail, the next event seems to come after a gap, and is repaired.
            watched.last_id = last_id
            frames.clear()

    def _tell_each(self, watched: _Watched, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            answers = [listener.hear(delivery) for listener in list(watched.listeners)]
        followers = [one for one in answers if one is not None]  # of the last event
        if followers:
            watched.step_in(followers, delivery.event_id)

    def publish_message(self, message: Message) -> None:
        """Hand a message to whoever listens to its stream."""
        watched = self._watched.get(message.stream.oid)
        if watched is None:
            return
        frame = self._encoder.encode_message(message, watched.service_sid)
        delivery = MessageDelivery(message, frame)
        self._events += 1
        self._deliveries += len(watched)
        if watched.in_step:
            sender = watched.find_in_step(message.actor.endpoint)
            if sender is not None:
                watched.step_out(sender)
            self._send(watched, [frame], watched.last_id)
        answers = [listener.hear_message(delivery) for listener in list(watched.listeners)]
        followers = [one for one in answers if one is not None]
        if followers:
            watched.step_in(followers, watched.last_id)

    def statistics(self) -> HubStatistics:
        return HubStatistics(len(self._watched), self._listeners, self._events, self._deliveries)
