"""A session's interest in one object: catch-up, then live, without a gap, a repetition or a step
back. [wire-protocol 8.4, 8.5]

Theory of operation. The hub hears of a subscription first; from then on it is told every event.
While its owner reads what the client has missed, events are *held*. When the catch-up has reached
event N, ``go_live(N)`` drops what was held up to N, passes on the rest, and from then on each event
goes straight to the client::

    HOLDING --go_live(N)--> LIVE --hold()--> HOLDING        any --end()--> ENDED

A grant that changes puts the subscription in *doubt* until its owner has looked whether the object
may still be read: meanwhile events are held as well, and it goes live when the doubt is over. So
nothing that was committed after a right was taken away goes to whoever lost it.

What is held is bounded: past ``MOST_HELD`` the subscription forgets it and remembers only that it
did. ``go_live`` then says no, and the owner catches up once more from where it is: the log has it
all. An event that isn't the successor of the last one (the news was lost on its way) does the same
by itself: it holds, and calls ``on_gap``.

No I/O, no clock: every interleaving is a plain test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from starlings.core.events import Event, EventType
from starlings.core.objects import Kind
from starlings.node.hub import Delivery, MessageDelivery, Sink

__all__ = ["MOST_HELD", "Mode", "Owner", "Subscription"]

MOST_HELD = 1_000
"""Events that are held during a catch-up; of data there are at most as many times 16 KiB."""

_PERMISSIONS = frozenset({EventType.PERMISSION_SET, EventType.PERMISSION_REMOVED})


class Mode(Enum):
    """Of a subscription: see the head of this module."""

    HOLDING = "holding"
    LIVE = "live"
    ENDED = "ended"


_LIVE = Mode.LIVE  # looked at for every delivery, and an enumeration's members are slow to find


class Owner:
    """What a subscription needs of its session. A base class, so that a call costs one look-up."""

    __slots__ = ()

    endpoint: str

    @property
    def send_framed(self) -> Callable[[bytes], None]:
        """Sends a complete frame; read once by each subscription, since it is called often."""
        raise NotImplementedError

    @property
    def sink(self) -> Sink | None:
        """Where frames go, if they may go there unchanged and past ``send_framed``."""
        raise NotImplementedError

    def is_told_by_reply(self, subscription: Subscription, event: Event) -> bool:
        """True for the removal of an item that the client asked for under this subscription."""
        raise NotImplementedError

    def on_gap(self, subscription: Subscription) -> None:
        raise NotImplementedError

    def on_removed(self, subscription: Subscription) -> None:
        raise NotImplementedError

    def on_permission(self, subscription: Subscription, delivery: Delivery) -> None:
        raise NotImplementedError


class Subscription:
    """Implements ``hub.Listener`` for one session and object."""

    __slots__ = (
        "_doubts",
        "_goes_live",
        "_held",
        "_overflowed",
        "_owner",
        "_send",
        "is_confirmed",
        "kind",
        "last_id",
        "mode",
        "oid",
        "sid",
        "sink",
    )

    def __init__(self, oid: int, sid: str, kind: Kind, owner: Owner) -> None:
        self.oid = oid
        self.sid = sid
        self.kind = kind
        self.last_id = -1
        """The newest event that the client has, as far as it was sent to it. While the subscription
        is in step with others the hub knows better, and says so by ``step_out``."""
        self.mode = Mode.HOLDING
        self.is_confirmed = False
        """Whether the client was told that it is established."""
        self._owner = owner
        self._send = owner.send_framed
        self.sink = owner.sink
        self._held: deque[Delivery | MessageDelivery] | None = deque()
        self._overflowed = False
        self._doubts = 0
        self._goes_live = False
        """Once there is no doubt."""

    # From the hub

    @property
    def endpoint(self) -> str:
        return self._owner.endpoint

    def hear(self, delivery: Delivery) -> Subscription | None:
        if self.mode is _LIVE:
            if not delivery.is_visible:
                self._hear_hidden(delivery)
            elif delivery.event_id == self.last_id + 1:
                self.last_id = delivery.event_id
                if delivery.is_item_removal and self._owner.is_told_by_reply(self, delivery.event):
                    # Reported by its reply already: told again it would seem somebody else's. [8.4]
                    self._send(delivery.own_frame)
                else:
                    self._send(delivery.frame)
                return self._follower()
            elif delivery.event_id > self.last_id:
                self.hold()
                self._owner.on_gap(self)
            elif delivery.event_id == self.last_id:
                return self._follower()
        elif self.mode is Mode.HOLDING:
            if delivery.event.type in _PERMISSIONS:
                # A long catch-up must not go on for somebody who may read no more.
                self._owner.on_permission(self, delivery)
            else:
                self._hold(delivery)
        return None

    def hear_message(self, delivery: MessageDelivery) -> Subscription | None:
        if self.mode is _LIVE:
            if delivery.message.actor.endpoint != self._owner.endpoint:
                self._send(delivery.frame)
            return self._follower()
        if self.mode is Mode.HOLDING:
            self._hold(delivery)
        return None

    def _follower(self) -> Subscription | None:
        return None if self.sink is None else self

    def step_out(self, last_id: int) -> None:
        if self.kind is not Kind.STREAM:
            self.last_id = last_id

    # From the owner

    def hold(self) -> None:
        """Hold events from now on, for a catch-up from ``last_id``."""
        self.mode = Mode.HOLDING
        self._held = deque()
        self._overflowed = False

    def go_live(self, last_id: int) -> bool:
        """The catch-up has reached event ``last_id``: pass on what came meanwhile.

        In doubt it does so when that is over.

        False: too much came meanwhile. The subscription holds anew; catch up again from
            ``last_id``.
        """
        if self.mode is Mode.ENDED:
            return True
        self.last_id = last_id
        if self._doubts:
            self._goes_live = True
            return True
        if self._overflowed:
            hidden = deque(one for one in self._held or () if _is_hidden(one))
            self.hold()
            self._held = hidden
            return False
        held, self._held = self._held, None
        self.mode = Mode.LIVE
        for delivery in held or ():
            if self.mode is not Mode.LIVE:
                if self.mode is Mode.HOLDING:
                    self._hold(delivery)
            elif isinstance(delivery, Delivery):
                if delivery.event_id > last_id or not delivery.is_visible:
                    self.hear(delivery)
            else:
                self.hear_message(delivery)
        return True

    def begin_doubt(self) -> None:
        """Pass nothing on until ``end_doubt`` was called as often as this."""
        self._doubts += 1
        if self.mode is Mode.LIVE:
            self.hold()
            self._goes_live = True

    def end_doubt(self) -> None:
        """The owner has looked: the object may be read, or this has ended."""
        self._doubts -= 1
        if self._doubts or not self._goes_live or self.mode is not Mode.HOLDING:
            return
        self._goes_live = False
        if not self.go_live(self.last_id):
            self._owner.on_gap(self)

    def end(self) -> None:
        """Pass nothing on any more."""
        self.mode = Mode.ENDED
        self._held = None

    # Within

    def _hold(self, delivery: Delivery | MessageDelivery) -> None:
        held = self._held
        assert held is not None
        # Removal is not caught up from the log: it must not be lost.
        if len(held) < MOST_HELD or _is_hidden(delivery):
            held.append(delivery)
        elif self.kind is Kind.STREAM:
            # Messages are passing: the oldest one goes.
            oldest = next((i for i, one in enumerate(held) if not _is_hidden(one)), None)
            if oldest is not None:
                del held[oldest]
                held.append(delivery)
        else:
            self._overflowed = True

    def _hear_hidden(self, delivery: Delivery) -> None:
        match delivery.event.type:
            case EventType.OBJECT_REMOVED:
                self.end()
                if delivery.event.endpoint != self._owner.endpoint:
                    self._send(delivery.frame)
                self._owner.on_removed(self)
            case event_type if event_type in _PERMISSIONS:
                self._owner.on_permission(self, delivery)
            case _:
                pass


def _is_hidden(delivery: Delivery | MessageDelivery) -> bool:
    """True for what the log's replay doesn't tell: a removal, a new time to live."""
    return isinstance(delivery, Delivery) and not delivery.is_visible
