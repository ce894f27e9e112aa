"""The port to the outbox: webhooks that wait for their delivery, durably.

What a committed event fires is written by the store together with the event. What is no event (a
stream's message, an endpoint that came or went) is added here. Adapter: ``sqlite``.

Invariants:

1. A webhook waits from the commit of its event until it is settled as delivered, or until it is
   given up: then it is a dead letter, which only an operator or its age takes away. Only if too
   many wait for its service, the oldest of them are dropped, in the transaction that adds another.
2. Within a lane, the one with the lowest id comes first; ids are given in the order of the commits
   and never given twice.
3. A webhook's token is the same for ever, through restarts and through retries by an operator.
4. Each method is durable, or raises Fault UNAVAILABLE and has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from starlings.core.webhook_rules import Webhook

__all__ = ["FIRST_LANE", "Entry", "FailedAttempt", "Lane", "Outbox", "OutboxCounts", "Reached"]

FIRST_LANE = -(1 << 63)
"""Before every lane."""


class Entry(NamedTuple):
    """A webhook that waits."""

    id: int
    token: str
    """32 hexadecimal digits, by which a receiver knows a delivery that it has had before."""
    attempts: int
    """That failed."""
    due_at: int
    """Not to be tried before, in milliseconds since 1970; 0 if it never failed."""
    since: int
    """When it happened, or when an operator last made it wait again: its age counts from here."""
    webhook: Webhook


class Lane(NamedTuple):
    """A lane in which something waits, and when its first is due."""

    lane: int
    due_at: int


class FailedAttempt(NamedTuple):
    """What came of an attempt that failed: the next one is due later, or never."""

    id: int
    due_at: int
    error: str
    is_dead: bool


class Reached(NamedTuple):
    """An endpoint whose coming was told, and whose going was not."""

    service_oid: int
    identity: str
    endpoint: str


class OutboxCounts(NamedTuple):
    """Of all services: webhooks that wait, and dead letters."""

    waiting: int
    dead: int


class Outbox(Protocol):
    """Webhooks that wait. All methods belong to the event loop of the store."""

    @property
    def dropped(self) -> int:
        """Webhooks dropped since the start because too many waited for their service."""
        ...

    def listen(self, listener: Callable[[Sequence[Webhook]], None]) -> None:
        """Have ``listener`` called with what was added, once it is durable. What events fire is
        not told here: the store tells of the events.
        """
        ...

    async def add(
        self,
        webhooks: Sequence[Webhook],
        came: Sequence[Reached] = (),
        went: Sequence[Reached] = (),
    ) -> None:
        """Add webhooks that no event fired, and note the endpoints that they told of."""
        ...

    async def list_reached(self) -> list[Reached]: ...

    async def list_services(self) -> list[int]:
        """The oids of services for which something waits."""
        ...

    async def list_lanes(self, service_oid: int, after: int, limit: int) -> list[Lane]:
        """Lanes of a service in which something waits, ascending, above ``after``."""
        ...

    async def read_lane(self, service_oid: int, lane: int, limit: int) -> list[Entry]:
        """What comes first in a lane."""
        ...

    async def settle(self, delivered: Sequence[int], failed: Sequence[FailedAttempt]) -> None:
        """Forget what was delivered; note what failed."""
        ...

    async def bury(self, service_oid: int, before: int, error: str, limit: int) -> int:
        """Make dead letters of what waits since before ``before``; how many there were."""
        ...

    async def forget_dead(self, before: int, limit: int) -> int:
        """Delete dead letters of what happened before ``before``; how many there were."""
        ...

    async def read_version(self) -> int:
        """Moves whenever an operator made something wait again."""
        ...

    async def count(self) -> OutboxCounts: ...
