"""Events and their deliveries for tests of the hub and its subscriptions, without a store."""

from __future__ import annotations

from starlings.core.events import Event, EventType
from starlings.core.objects import Actor, Kind, SyncObject
from starlings.node.hub import Delivery, MessageDelivery, Sink
from starlings.node.node import Message
from starlings.node.subscription import Owner, Subscription

__all__ = ["Frames", "RecordingOwner", "a_delivery", "a_message", "an_event", "an_object"]

OID = 7


def an_object(kind: Kind = Kind.MAP, *, event_id: int = -1, oid: int = OID) -> SyncObject:
    return SyncObject(
        oid, f"{kind.sid_prefix}{oid:032x}", 1, kind, "name", b"{}", 1, event_id, 0, 0, 0, 0,
        None, "system",
    )  # fmt: skip


def an_event(
    event_id: int,
    event_type: EventType = EventType.ITEM_UPDATED,
    *,
    key: str = "k",
    endpoint: str | None = None,
    oid: int = OID,
) -> Event:
    return Event(
        oid, event_id + 2, event_id, event_type, 0, key, b"{}", None, "system", endpoint, None
    )


class Frames:
    """Implements ``hub.Encoder``: the frame tells what it is of."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode_event(self, target: SyncObject, event: Event, service_sid: str) -> bytes:
        self.encoded += 1
        return f"{event.type.name} {event.event_id}".encode()

    def mute_removal(self, frame: bytes) -> bytes:
        return b"muted " + frame

    def encode_message(self, message: Message, service_sid: str) -> bytes:
        self.encoded += 1
        return b"message " + message.data


def a_delivery(
    event_id: int,
    event_type: EventType = EventType.ITEM_UPDATED,
    *,
    key: str = "k",
    endpoint: str | None = None,
) -> Delivery:
    event = an_event(event_id, event_type, key=key, endpoint=endpoint)
    return Delivery(an_object(event_id=event_id), event, "IS", Frames())


def a_message(text: str, endpoint: str | None = None) -> MessageDelivery:
    actor = Actor("bob", endpoint)
    message = Message(f"TZ{text}", an_object(Kind.STREAM), text.encode(), actor, 0)
    return MessageDelivery(message, b"message " + text.encode())


class RecordingOwner(Owner):
    """Writes down what a subscription asks of its session."""

    def __init__(self, endpoint: str = "EP-own", sink: Sink | None = None) -> None:
        self.endpoint = endpoint
        self._sink = sink
        self.sent: list[str] = []
        self.gaps = 0
        self.removed = 0
        self.permissions = 0

    def send_framed(self, frame: bytes) -> None:
        self.sent.append(frame.decode())

    @property
    def sink(self) -> Sink | None:
        return self._sink

    def is_told_by_reply(self, subscription: Subscription, event: Event) -> bool:
        return event.endpoint == self.endpoint

    def on_gap(self, subscription: Subscription) -> None:
        self.gaps += 1

    def on_removed(self, subscription: Subscription) -> None:
        self.removed += 1

    def on_permission(self, subscription: Subscription, delivery: Delivery) -> None:
        self.permissions += 1
