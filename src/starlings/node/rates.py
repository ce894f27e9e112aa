"""How often callers may do what: the node's rates, as ``core.limits.Rates`` has them. [rest-api 10]

Each rate has a bucket for each object (creations: for each service), which holds
``burst_seconds`` worth of it. Who asks for more is refused with RATE_LIMITED, and nothing is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from starlings.core import commands as c
from starlings.core.access import Right
from starlings.core.limits import Rates
from starlings.core.objects import Actor, Kind, ObjectRef, Service, SyncObject
from starlings.node.throttle import Throttle, cost_of_write

__all__ = ["CallerRates", "Charge", "charge_of"]


class Charge(NamedTuple):
    """What a command takes from which object's rates."""

    ref: ObjectRef
    actor: Actor
    right: Right
    """That the actor must have first: who may not write is told so, and takes nothing."""
    payload_bytes: int | None
    """Of a write; None: it counts as one of permissions."""


def charge_of(command: c.Command) -> Charge | None:
    """What a command takes; None: nothing, or what the node takes where it makes the command."""
    match command:
        case c.SetPermission() | c.RemovePermission():
            return Charge(command.ref, command.actor, Right.MANAGE, None)
        case c.SetObjectTtl() | c.RemoveObject():
            return Charge(command.ref, command.actor, Right.MANAGE, 0)
        case c.RemoveItem():
            return Charge(command.ref, command.actor, Right.WRITE, 0)
        case (
            c.UpdateDocument() | c.AddListItem() | c.AddMapItem() | c.PutMapItem() | c.UpdateItem()
        ):
            return Charge(command.ref, command.actor, Right.WRITE, len(command.data or b""))
        case _:
            return None


class CallerRates:
    """Takes from the rates. One per node; each method raises Refusal RATE_LIMITED."""

    def __init__(self, rates: Rates, monotonic: Callable[[], float]) -> None:
        self._rates = rates
        self._throttle = Throttle(monotonic)
        self.are_commands_held = rates.writes is not None or rates.permissions is not None
        """False: ``take_command`` would take nothing from anything."""

    def take_command(self, charge: Charge, target: SyncObject) -> None:
        """What a command is charged; ``target`` is the object that it names."""
        if charge.payload_bytes is None:
            self.take_permission(target)
        else:
            self._take_write(target, charge.payload_bytes)

    def take_read(self, target: SyncObject) -> None:
        self._take("read", target, self._rates.reads)

    def take_permission(self, target: SyncObject) -> None:
        """A read or a write of an object's permissions."""
        self._take("permission", target, self._rates.permissions)

    def take_message(self, stream: SyncObject) -> None:
        self._take("publish", stream, self._rates.messages)

    def take_creation(self, service: Service, kind: Kind) -> None:
        """All kinds of object share the rate of their service."""
        rate = self._rates.creations
        if rate is not None:
            self._throttle.take(
                ("create", service.oid),
                rate,
                rate * self._rates.burst_seconds,
                lambda: f"Rate limit exceeded for create-{kind.word}-{service.sid}",
            )

    def _take_write(self, target: SyncObject, payload_bytes: int) -> None:
        rate = self._rates.writes
        if rate is not None:
            cost = cost_of_write(payload_bytes, rate, self._rates.large_writes)
            self._take("write", target, rate, cost)

    def _take(self, verb: str, target: SyncObject, rate: float | None, cost: float = 1.0) -> None:
        if rate is not None:
            self._throttle.take(
                (verb, target.oid),
                rate,
                rate * self._rates.burst_seconds,
                lambda: f"Rate limit exceeded for {verb}-{target.kind.word}-{target.sid}",
                cost=cost,
            )
