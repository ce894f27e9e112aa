"""Rows in dictionaries, as the rules read them: the least that is a ``State``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlings.core.commands import Command
from starlings.core.decide import decide
from starlings.core.limits import Limits, Rates
from starlings.core.objects import (
    SYSTEM,
    Actor,
    Item,
    ItemKey,
    Kind,
    Match,
    ObjectRef,
    Permission,
    Service,
    SyncObject,
)
from starlings.core.state import Decision

__all__ = ["ADMIN", "EVE", "LIMITS", "NOW", "ZOE", "Shelf", "a_service", "an_item", "an_object"]

NOW = 1_800_000_000_000
LIMITS = Limits(rates=Rates.off())
ADMIN = Actor(SYSTEM)
ZOE = Actor("zoe", "EP1", is_unrestricted=False)
EVE = Actor("eve", "EP2", is_unrestricted=False)


@dataclass
class Shelf:
    """Implements ``State``; a test puts in what it needs."""

    service: Service | None
    objects: list[SyncObject] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    permissions: list[Permission] = field(default_factory=list)
    services: int = 1

    def find_service(self, oid: int) -> Service | None:
        return self.service if self.service is not None and self.service.oid == oid else None

    def find_default_service(self, account_sid: str) -> Service | None:
        return self.service if self.service is not None and self.service.unique_name else None

    def count_services(self, account_sid: str) -> int:
        return self.services

    def find_object(self, oid: int) -> SyncObject | None:
        return next((one for one in self.objects if one.oid == oid and not one.is_removed), None)

    def find_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None:
        wanted = (service_oid, kind, name)
        return next(
            (one for one in self.objects if (one.service_oid, one.kind, one.unique_name) == wanted),
            None,
        )

    def is_oid_taken(self, oid: int) -> bool:
        return any(one.oid == oid for one in self.objects)

    def find_item(self, oid: int, key: ItemKey) -> Item | None:
        return next((one for one in self.items if (one.oid, one.key) == (oid, key)), None)

    def find_permission(self, oid: int, identity: str, match: Match) -> Permission | None:
        wanted = (oid, identity, match)
        return next((one for one in self.permissions if one[:3] == wanted), None)

    def list_patterns(self, oid: int) -> Sequence[Permission]:
        return [one for one in self.permissions if one.oid == oid and one.match is not Match.EXACT]

    def decide(self, command: Command, *, now: int = NOW, limits: Limits = LIMITS) -> Decision:
        return decide(self, command, now, limits)


def a_service(*, has_acl: bool = False, unique_name: str | None = None) -> Service:
    sid = "IS" + "0" * 31 + "1"
    return Service(1, sid, "AC" + "0" * 32, unique_name, None, NOW, NOW, has_acl=has_acl)


def an_object(
    kind: Kind, *, event_id: int | None = None, expires_at: int | None = None, item_count: int = 0
) -> SyncObject:
    if event_id is None:
        event_id = 0 if kind is Kind.DOCUMENT else -1
    return SyncObject(
        0x20,
        f"{kind.sid_prefix}{0x20:016x}{7:016x}",
        1,
        kind,
        "room",
        b"{}" if kind is Kind.DOCUMENT else None,
        event_id + 2,
        event_id,
        item_count,
        item_count,
        NOW - 1_000,
        NOW - 1_000,
        expires_at,
        "system",
    )


def an_item(key: ItemKey, *, event_id: int = 0, expires_at: int | None = None) -> Item:
    return Item(
        0x20, key, b'{"a":1}', event_id, event_id, NOW - 500, NOW - 500, expires_at, "system"
    )


def ref_of(target: SyncObject) -> ObjectRef:
    return ObjectRef(target.service_oid, target.kind, target.sid)
