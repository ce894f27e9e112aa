"""Who asks a store for changes in tests: short words for commands, a clock that is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from starlings.core import commands as c
from starlings.core import sids
from starlings.core.errors import Reason, Refusal
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
from starlings.core.state import ItemOutcome, ObjectOutcome, PermissionOutcome, ServiceOutcome
from starlings.storage.store import Store

__all__ = ["ACCOUNT_SID", "ADMIN", "Clock", "Desk", "reason_of"]

ACCOUNT_SID = "AC" + "0" * 32
ADMIN = Actor(SYSTEM)


@dataclass
class Clock:
    """Milliseconds since 1970 that pass only when a test says so."""

    at: int = 1_800_000_000_000

    def __call__(self) -> int:
        return self.at

    def pass_seconds(self, seconds: float) -> None:
        self.at += int(seconds * 1000)


@dataclass
class Desk:
    """Asks one store; mints ids from a plain counter, so two desks mint the same."""

    store: Store
    clock: Clock
    _numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    async def create_service(
        self,
        settings: c.ServiceSettings | None = None,
        *,
        unique_name: str | None = None,
        account_sid: str = ACCOUNT_SID,
    ) -> Service:
        oid = self.mint_oid()
        command = c.CreateService(
            oid,
            sids.format_sid(sids.SERVICE, oid, 7),
            account_sid,
            unique_name,
            settings or c.ServiceSettings(),
            ADMIN,
        )
        outcome = await self.store.execute(command)
        assert isinstance(outcome, ServiceOutcome)
        return outcome.service

    def creation(
        self,
        service: Service,
        kind: Kind,
        name: str | None = None,
        *,
        data: bytes | None = None,
        ttl: int | None = None,
        actor: Actor = ADMIN,
        oid: int | None = None,
    ) -> c.CreateObject:
        oid = self.mint_oid() if oid is None else oid
        sid = sids.format_sid(kind.sid_prefix, oid, 7)
        return c.CreateObject(service.oid, kind, oid, sid, name, data, ttl, actor)

    async def create(
        self,
        service: Service,
        kind: Kind,
        name: str | None = None,
        *,
        data: bytes | None = None,
        ttl: int | None = None,
        actor: Actor = ADMIN,
    ) -> SyncObject:
        command = self.creation(service, kind, name, data=data, ttl=ttl, actor=actor)
        outcome = await self.store.execute(command)
        assert isinstance(outcome, ObjectOutcome)
        return outcome.object

    async def add(
        self,
        target: SyncObject,
        data: bytes = b"{}",
        *,
        key: str | None = None,
        ttl: int | None = None,
        collection_ttl: int | None = None,
        actor: Actor = ADMIN,
        request_id: str | None = None,
    ) -> ItemOutcome:
        """Add a list item, or a map item under a key."""
        ref = ref_of(target)
        command: c.Command
        if key is None:
            command = c.AddListItem(ref, data, ttl, collection_ttl, actor, request_id)
        else:
            command = c.AddMapItem(ref, key, data, ttl, collection_ttl, actor, request_id)
        return await self._item(command)

    async def put(
        self,
        target: SyncObject,
        key: str,
        data: bytes = b"{}",
        *,
        ttl: int | None = None,
        if_match: str | None = None,
    ) -> ItemOutcome:
        return await self._item(c.PutMapItem(ref_of(target), key, data, ttl, if_match, ADMIN, None))

    async def update_item(
        self,
        target: SyncObject,
        key: ItemKey,
        data: bytes | None = None,
        *,
        ttl: int | None = None,
        collection_ttl: int | None = None,
        if_match: str | None = None,
        actor: Actor = ADMIN,
    ) -> ItemOutcome:
        return await self._item(
            c.UpdateItem(ref_of(target), key, data, ttl, collection_ttl, if_match, actor)
        )

    async def remove_item(
        self, target: SyncObject, key: ItemKey, *, if_match: str | None = None
    ) -> ItemOutcome:
        return await self._item(c.RemoveItem(ref_of(target), key, if_match, ADMIN))

    async def update_document(
        self,
        target: SyncObject,
        data: bytes | None = None,
        *,
        ttl: int | None = None,
        if_match: str | None = None,
    ) -> SyncObject:
        command = c.UpdateDocument(ref_of(target), data, ttl, if_match, ADMIN)
        outcome = await self.store.execute(command)
        assert isinstance(outcome, ObjectOutcome)
        return outcome.object

    async def set_ttl(self, target: SyncObject, ttl: int) -> SyncObject:
        outcome = await self.store.execute(c.SetObjectTtl(ref_of(target), ttl, ADMIN))
        assert isinstance(outcome, ObjectOutcome)
        return outcome.object

    async def remove(self, target: SyncObject, *, if_match: str | None = None) -> SyncObject:
        outcome = await self.store.execute(c.RemoveObject(ref_of(target), if_match, ADMIN))
        assert isinstance(outcome, ObjectOutcome)
        return outcome.object

    async def grant(
        self, target: SyncObject, identity: str, flags: tuple[bool, bool, bool] = (True,) * 3
    ) -> Permission:
        command = c.SetPermission(ref_of(target), identity, *flags, ADMIN)
        outcome = await self.store.execute(command)
        assert isinstance(outcome, PermissionOutcome)
        return outcome.permission

    async def find_permission(self, oid: int, identity: str) -> Permission | None:
        """The exact one, expired or not."""
        grants = await self.store.list_grants(oid, identity)
        return next((one for one in grants if one.match is Match.EXACT), None)

    async def list_all(self, target: SyncObject) -> list[Item]:
        return await self.store.list_items(target.oid, None, True, False, 1_000_000, self.clock.at)

    def mint_oid(self) -> int:
        number = self._numbers()
        return sids.mint_oid(number % sids.BUCKETS, self.clock.at, number // sids.BUCKETS)

    async def _item(self, command: c.Command) -> ItemOutcome:
        outcome = await self.store.execute(command)
        assert isinstance(outcome, ItemOutcome)
        return outcome


def ref_of(target: SyncObject) -> ObjectRef:
    return ObjectRef(target.service_oid, target.kind, target.sid)


def reason_of(error: object) -> Reason:
    """Why something was refused."""
    assert isinstance(error, Refusal), error
    return error.reason
