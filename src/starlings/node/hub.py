"""Who listens to what, and fan-out.

The hub hears every committed event of this node, in order, and hands it to the subscriptions of its
object. What goes out over the wire is made once for an event, at the first subscriber that wants
it, and the same bytes go to all: a ``Delivery`` is an event together with that frame. Objects that
nobody listens to cost one look-up in a dictionary.

Listeners are called on the event loop, in the step after the results of the batch were handed out,
so a caller has the reply to its own change before the event. They must not block: what can't be
sent at once is theirs to queue, within their bounds.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from starlings.core.events import VISIBLE, Event, EventType
from starlings.core.objects import SyncObject
from starlings.node.node import Message
from starlings.storage.store import Batch

__all__ = ["Delivery", "Hub", "HubStatistics", "Listener", "MessageDelivery"]


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


class Listener(Protocol):
    """One subscription, as the hub sees it."""

    def hear(self, delivery: Delivery) -> None:
        """An event of the object, in the order of its log, each once. May end the subscription."""

    def hear_message(self, delivery: MessageDelivery) -> None:
        """A message of the stream."""


class HubStatistics(NamedTuple):
    """Counts since the start; the first two are the present numbers."""

    objects: int
    listeners: int
    events: int
    deliveries: int


class _Watched:
    """The listeners of one object."""

    __slots__ = ("listeners", "service_sid")

    def __init__(self, service_sid: str) -> None:
        self.service_sid = service_sid
        self.listeners: dict[Listener, None] = {}


class Hub:
    """Belongs to the event loop. ``publish`` is to be called with every batch of the store."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._watched: dict[int, _Watched] = {}
        self._listeners = self._events = self._deliveries = 0

    def watch(self, oid: int, service_sid: str, listener: Listener) -> None:
        """Have ``listener`` hear every event of an object from now on."""
        watched = self._watched.get(oid)
        if watched is None:
            watched = self._watched[oid] = _Watched(service_sid)
        if listener not in watched.listeners:
            watched.listeners[listener] = None
            self._listeners += 1

    def unwatch(self, oid: int, listener: Listener) -> None:
        """The opposite of ``watch``; nothing happens if it doesn't listen."""
        watched = self._watched.get(oid)
        if watched is None or listener not in watched.listeners:
            return
        del watched.listeners[listener]
        self._listeners -= 1
        if not watched.listeners:
            del self._watched[oid]

    def publish(self, batch: Batch) -> None:
        """Hand the events of a batch to whoever listens."""
        for target, event in batch.events:
            watched = self._watched.get(event.oid)
            if watched is None:
                continue
            delivery = Delivery(target, event, watched.service_sid, self._encoder)
            listeners = list(watched.listeners)
            self._events += 1
            self._deliveries += len(listeners)
            for listener in listeners:
                listener.hear(delivery)

    def publish_message(self, message: Message) -> None:
        """Hand a message to whoever listens to its stream."""
        watched = self._watched.get(message.stream.oid)
        if watched is None:
            return
        frame = self._encoder.encode_message(message, watched.service_sid)
        delivery = MessageDelivery(message, frame)
        listeners = list(watched.listeners)
        self._events += 1
        self._deliveries += len(listeners)
        for listener in listeners:
            listener.hear_message(delivery)

    def statistics(self) -> HubStatistics:
        return HubStatistics(len(self._watched), self._listeners, self._events, self._deliveries)
