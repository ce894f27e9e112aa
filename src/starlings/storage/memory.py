"""The store as plain dictionaries: the model that other stores are compared with, and the fake of
all tests.

It shares the rules with them and nothing else. Nothing is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from starlings.core.commands import Command
from starlings.core.decide import decide
from starlings.core.errors import Fault, IdTaken, Reason, Refusal
from starlings.core.events import VISIBLE, Committed, Event, EventType, ServiceChanged
from starlings.core.limits import Limits
from starlings.core.objects import (
    Item,
    ItemKey,
    Kind,
    Match,
    Permission,
    Service,
    SyncObject,
    Tombstone,
)
from starlings.core.state import Change, DropItem, DropPermission, DropService, Outcome
from starlings.storage.cuts import make_cut_id
from starlings.storage.store import (
    Batch,
    CommitListener,
    Due,
    GrantPlace,
    Place,
    Snapshot,
    StoreStatistics,
)

__all__ = ["MemoryStore"]

_Placed = TypeVar("_Placed", Service, SyncObject)


class _Rows:
    """The rows, as the rules read them (``core.state.State``)."""

    def __init__(self) -> None:
        self.services: dict[int, Service] = {}
        self.objects: dict[int, SyncObject] = {}
        self.items: dict[int, dict[ItemKey, Item]] = {}
        self.permissions: dict[int, dict[GrantPlace, Permission]] = {}

    def find_service(self, oid: int) -> Service | None:
        return self.services.get(oid)

    def find_default_service(self, account_sid: str) -> Service | None:
        for row in self.services.values():
            if row.unique_name is not None and row.account_sid == account_sid:
                return row
        return None

    def count_services(self, account_sid: str) -> int:
        return sum(
            row.unique_name is None and row.account_sid == account_sid
            for row in self.services.values()
        )

    def find_object(self, oid: int) -> SyncObject | None:
        found = self.objects.get(oid)
        return None if found is None or found.is_removed else found

    def find_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None:
        for row in self.objects.values():
            named = (row.service_oid, row.kind, row.unique_name)
            if named == (service_oid, kind, name) and not row.is_removed:
                return row
        return None

    def is_oid_taken(self, oid: int) -> bool:
        return oid in self.objects

    def find_item(self, oid: int, key: ItemKey) -> Item | None:
        return self.items.get(oid, {}).get(key)

    def find_permission(self, oid: int, identity: str, match: Match) -> Permission | None:
        return self.permissions.get(oid, {}).get((identity, match))

    def list_patterns(self, oid: int) -> list[Permission]:
        rows = self.permissions.get(oid, {}).values()
        return [row for row in rows if row.match is not Match.EXACT]

    def apply(self, change: Change) -> ServiceChanged | None:
        match change:
            case SyncObject():
                self.objects[change.oid] = change
            case Item():
                self.items.setdefault(change.oid, {})[change.key] = change
            case Permission():
                place = (change.identity, change.match)
                self.permissions.setdefault(change.oid, {})[place] = change
            case DropItem(oid, key):
                del self.items[oid][key]
            case DropPermission(oid, identity, match):
                del self.permissions[oid][identity, match]
            case Service():
                self.services[change.oid] = change
                return ServiceChanged(change.oid, change)
            case DropService(oid):
                del self.services[oid]
                return ServiceChanged(oid, None)
        return None


class MemoryStore:
    """Implements ``Store``."""

    def __init__(self, limits: Limits, now: Callable[[], int], epoch: str = "memory") -> None:
        self._epoch = epoch
        self._limits = limits
        self._now = now
        self._newest_at = 0
        self._rows = _Rows()
        self._log: list[Event] = []
        self._tombstones: list[Tombstone] = []
        self._listeners: list[CommitListener] = []
        self._untold = 0
        self._cut_id = 0
        self._is_closed = False
        self._commands = self._refusals = 0

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def cut_id(self) -> int:
        return self._cut_id

    def cut_history(self) -> None:
        """What a restore does to the ids of events. [storage.cuts]"""
        objects = [one for one in self._rows.objects.values() if one.kind is not Kind.STREAM]
        highest_id = max((one.event_id for one in objects), default=0)
        self._cut_id = make_cut_id(self._now(), highest_id)
        for one in objects:
            self._rows.objects[one.oid] = one._replace(event_id=self._cut_id)

    async def execute(self, command: Command) -> Outcome:
        if self._is_closed:
            raise Fault(Reason.UNAVAILABLE, "The store is closed")
        self._commands += 1
        now = self._now()
        try:
            decision = decide(self._rows, command, now, self._limits)
        except (Refusal, IdTaken):
            self._refusals += 1
            raise
        applied = [self._rows.apply(change) for change in decision.changes]
        services = [changed for changed in applied if changed is not None]
        self._log += (event for _, event in decision.events)
        if decision.events or services:
            self._newest_at = max(self._newest_at, now)
            batch = Batch([Committed(*pair) for pair in decision.events], services)
            self._tell_listeners(batch)
        return decision.outcome

    def listen(self, listener: CommitListener) -> None:
        self._listeners.append(listener)

    @property
    def has_untold(self) -> bool:
        return self._untold > 0

    def _tell_listeners(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        self._untold += 1
        loop.call_soon(self._count_told)
        for listener in self._listeners:
            loop.call_soon(listener, batch)

    def _count_told(self) -> None:
        self._untold -= 1

    async def find_service(self, oid: int) -> Service | None:
        return self._rows.find_service(oid)

    async def find_default_service(self, account_sid: str) -> Service | None:
        return self._rows.find_default_service(account_sid)

    async def list_services(
        self,
        start: Place | None,
        is_descending: bool,
        limit: int,
        account_sid: str | None = None,
    ) -> list[Service]:
        rows = [
            row
            for row in self._rows.services.values()
            if account_sid is None or row.account_sid == account_sid
        ]
        return _by_place(rows, start, is_descending, limit)

    async def find_object(self, oid: int) -> SyncObject | None:
        return self._rows.find_object(oid)

    async def find_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None:
        return self._rows.find_object_named(service_oid, kind, name)

    async def list_objects(
        self,
        service_oid: int,
        kind: Kind,
        start: Place | None,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[SyncObject]:
        rows = (
            row
            for row in self._rows.objects.values()
            if row.service_oid == service_oid and row.kind == kind and row.is_live(now)
        )
        return _by_place(rows, start, is_descending, limit)

    async def find_item(self, oid: int, key: ItemKey) -> Item | None:
        return self._rows.find_item(oid, key)

    async def list_items(
        self,
        oid: int,
        start: ItemKey | None,
        is_inclusive: bool,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[Item]:
        def rank(key: ItemKey) -> tuple[int, bytes]:
            return (key, b"") if isinstance(key, int) else (0, key.encode())

        def is_wanted(row: Item) -> bool:
            if not row.is_live(now):
                return False
            if start is None or (is_inclusive and row.key == start):
                return True
            here, there = rank(row.key), rank(start)
            return here < there if is_descending else here > there

        rows = [row for row in self._rows.items.get(oid, {}).values() if is_wanted(row)]
        rows.sort(key=lambda row: rank(row.key), reverse=is_descending)
        return rows[:limit]

    async def list_grants(self, oid: int, identity: str) -> list[Permission]:
        own = self._rows.find_permission(oid, identity, Match.EXACT)
        return ([] if own is None else [own]) + self._rows.list_patterns(oid)

    async def list_permissions(
        self,
        oid: int,
        start: GrantPlace | None,
        is_descending: bool,
        limit: int,
        now: int = 0,
    ) -> list[Permission]:
        def rank(identity: str, match: int) -> tuple[bytes, int]:
            return identity.encode(errors="replace"), match

        ranked = [
            (rank(row.identity, row.match), row)
            for row in self._rows.permissions.get(oid, {}).values()
            if row.is_live(now)
        ]
        ranked.sort(key=lambda pair: pair[0], reverse=is_descending)
        if start is not None:
            edge = rank(*start)
            ranked = [
                pair for pair in ranked if (pair[0] < edge if is_descending else pair[0] > edge)
            ]
        return [row for _, row in ranked[:limit]]

    async def read_log(
        self, oid: int, start: int, limit: int, is_descending: bool = False
    ) -> list[Event]:
        events = [event for event in self._log if event.oid == oid]
        if is_descending:
            return [event for event in reversed(events) if event.seq < start][:limit]
        return [event for event in events if event.seq > start][:limit]

    async def replay(self, oid: int, after_id: int, limit: int) -> list[Event] | None:
        present = self._rows.find_object(oid)
        events = [
            event
            for event in self._log
            if event.oid == oid and event.event_id > after_id and event.type in VISIBLE
        ]
        if events:
            return events[:limit] if events[0].event_id == after_id + 1 else None
        return None if present is not None and present.event_id > after_id else []

    async def snapshot(self, oid: int, after_id: int, limit: int) -> Snapshot | None:
        present = self._rows.find_object(oid)
        if present is None:
            return None
        buried = self._tombstones + [
            _bury(event) for event in self._log if event.type is EventType.ITEM_REMOVED
        ]
        changed: list[Item | Tombstone] = [*self._rows.items.get(oid, {}).values(), *buried]
        newer = [row for row in changed if row.oid == oid and row.event_id > after_id]
        newer.sort(key=lambda row: row.event_id)
        chosen = newer[:limit]
        return Snapshot(
            present,
            [row for row in chosen if isinstance(row, Item)],
            [row for row in chosen if isinstance(row, Tombstone)],
            len(newer) <= limit,
        )

    async def list_due(self, now: int, limit: int) -> list[Due]:
        due = []
        for row in self._rows.objects.values():
            if row.is_removed:
                continue
            if row.expires_at is not None and row.expires_at <= now:
                due.append(Due(row.oid, None, row.expires_at))
                continue
            for item in self._rows.items.get(row.oid, {}).values():
                if item.expires_at is not None and item.expires_at <= now:
                    due.append(Due(row.oid, item.key, item.expires_at))
        return sorted(due, key=lambda one: one.expires_at)[:limit]

    async def list_due_permissions(self, now: int, limit: int) -> list[Permission]:
        due = [
            row
            for oid, rows in self._rows.permissions.items()
            for row in rows.values()
            if not row.is_live(now) and self._rows.find_object(oid) is not None
        ]
        return sorted(due, key=lambda row: row.expires_at or 0)[:limit]

    async def list_orphans(self, limit: int) -> list[SyncObject]:
        return [
            row
            for row in self._rows.objects.values()
            if not row.is_removed and row.service_oid not in self._rows.services
        ][:limit]

    async def purge(self, limit: int) -> int:
        deleted = 0
        for row in [row for row in self._rows.objects.values() if row.is_removed]:
            items = self._rows.items.get(row.oid, {})
            for key in list(items)[: limit - deleted]:
                del items[key]
                deleted += 1
            if deleted >= limit:
                break
            deleted += len(self._rows.permissions.pop(row.oid, {})) + 1
            self._tombstones = [one for one in self._tombstones if one.oid != row.oid]
            del self._rows.objects[row.oid]
        return deleted

    async def trim_log(self, before: int, tombstones_before: int, limit: int) -> int:
        now = self._now()
        old = self._count_old(before, now, limit)
        gone, self._log = self._log[:old], self._log[old:]
        self._tombstones += (
            _bury(event._replace(at=min(event.at, now)))
            for event in gone
            if event.type is EventType.ITEM_REMOVED and self._rows.find_object(event.oid)
        )
        if self._log and self._log[0].at <= now:
            self._tombstones = [one._replace(at=min(one.at, now)) for one in self._tombstones]
        kept = [one for one in self._tombstones if one.at >= tombstones_before]
        forgotten = old + len(self._tombstones) - len(kept)
        self._tombstones = kept
        return forgotten

    async def shrink(self) -> int:
        return 0

    def _count_old(self, before: int, now: int, limit: int) -> int:
        """How many events the log may forget from its front, at most ``limit``."""
        old = 0
        for number, event in enumerate(self._log[:limit], 1):
            if event.at < before:
                old = number
            elif event.at <= now:
                return old
        behind = next((event for event in self._log[limit:] if event.at <= now), None)
        return limit if old == 0 and behind is not None and behind.at < before else old

    def statistics(self) -> StoreStatistics:
        behind_seconds = max(0, self._newest_at - self._now()) / 1000
        return StoreStatistics(
            self._commands, self._commands, self._refusals, 0, 0, 1, 0.0, 0, 0, behind_seconds
        )

    async def close(self) -> None:
        self._is_closed = True


def _by_place(
    rows: Iterable[_Placed], start: Place | None, is_descending: bool, limit: int
) -> list[_Placed]:
    ordered = sorted(rows, key=lambda row: (row.created_at, row.oid), reverse=is_descending)
    if start is not None:
        ordered = [
            row
            for row in ordered
            if (
                (row.created_at, row.oid) < start
                if is_descending
                else (row.created_at, row.oid) > start
            )
        ]
    return ordered[:limit]


def _bury(event: Event) -> Tombstone:
    assert event.key is not None
    return Tombstone(event.oid, event.event_id, event.key, event.data, event.at, event.endpoint)
