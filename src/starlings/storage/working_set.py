"""The rows that a batch of commands works on: read once, decided on in memory, written once.

``WorkingSet`` is the ``State`` of the rules inside a store's transaction. It asks ``Rows`` for what
it doesn't know, shows later commands what earlier ones changed, and collects what is to be written:
however often a batch changes a row, the row is written once. Because the writer is the only one who
changes rows, it may keep those it knows from batch to batch, within a bound.

A batch goes: ``apply`` each decision, write what ``changes`` tells, commit, ``keep``. If writing or
committing fails: ``forget``, which leaves it as it was at first, knowing nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from starlings.core.events import Committed, Event, ServiceChanged
from starlings.core.objects import Item, ItemKey, Kind, Match, Permission, Service, SyncObject
from starlings.core.state import Decision, DropItem, DropPermission, DropService

__all__ = ["Changes", "Rows", "WorkingSet"]

_OBJECT_BYTES = 700
"""What an object costs in memory beside its data, roughly."""
_ITEM_BYTES = 500
"""The same for an item."""
_ABSENCE_BYTES = 150
"""What it costs to remember that an id is nobody's."""

_Grant = tuple[int, str, Match]
"""The key of a permission: oid, identity, match."""


class Rows(Protocol):
    """The committed rows, as a transaction reads them; removed objects too, by oid only."""

    def load_service(self, oid: int) -> Service | None: ...

    def load_default_service(self, account_sid: str) -> Service | None: ...

    def count_services(self, account_sid: str) -> int: ...

    def load_object(self, oid: int) -> SyncObject | None: ...

    def load_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None: ...

    def load_item(self, oid: int, key: ItemKey) -> Item | None: ...

    def load_permission(self, oid: int, identity: str, match: Match) -> Permission | None: ...

    def load_patterns(self, oid: int) -> list[Permission]: ...


class Changes(NamedTuple):
    """What a batch writes, each row once, in its final form."""

    objects: list[tuple[SyncObject | None, SyncObject]]
    """Before (None: new) and after."""
    items: list[Item]
    dropped_items: list[tuple[int, ItemKey]]
    permissions: list[Permission]
    dropped_permissions: list[tuple[int, str, Match]]
    services: list[Service]
    dropped_services: list[int]
    events: list[Event]


class WorkingSet:
    """Implements ``core.state.State`` over ``Rows``."""

    def __init__(self, rows: Rows, memory_bytes: int) -> None:
        self._rows = rows
        self._memory_bytes = memory_bytes
        self._size_bytes = 0
        self._objects: dict[int, SyncObject | None] = {}
        self._names: dict[tuple[int, int, str], int | None] = {}
        self._services: dict[int, Service | None] = {}
        self._items: dict[tuple[int, ItemKey], Item | None] = {}
        self._items_bytes = 0
        """More than the items take: those known twice count twice."""
        self._permissions: dict[_Grant, Permission | None] = {}
        self._patterns: dict[int, dict[_Grant, Permission]] = {}
        """Of the objects for which all are known."""
        self._patterns_count = 0
        """More than the patterns known, objects without any included."""
        self._start_batch()

    def _start_batch(self) -> None:
        self._objects_before: dict[int, SyncObject | None] = {}
        self._changed_items: set[tuple[int, ItemKey]] = set()
        self._changed_permissions: set[_Grant] = set()
        self._changed_services: dict[int, None] = {}
        self.committed: list[Committed] = []

    # State

    def find_service(self, oid: int) -> Service | None:
        try:
            return self._services[oid]
        except KeyError:
            service = self._services[oid] = self._rows.load_service(oid)
            return service

    def find_default_service(self, account_sid: str) -> Service | None:
        for oid in self._changed_services:
            service = self._services[oid]
            if (
                service is not None
                and service.unique_name is not None
                and service.account_sid == account_sid
            ):
                return service
        service = self._rows.load_default_service(account_sid)
        return None if service is None else self.find_service(service.oid)

    def count_services(self, account_sid: str) -> int:
        def counts(service: Service | None) -> bool:
            return (
                service is not None
                and service.unique_name is None
                and service.account_sid == account_sid
            )

        count = self._rows.count_services(account_sid)
        for oid in self._changed_services:
            before, after = self._rows.load_service(oid), self._services[oid]
            count += counts(after) - counts(before)
        return count

    def find_object(self, oid: int) -> SyncObject | None:
        found = self._load_object(oid)
        return None if found is None or found.is_removed else found

    def find_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None:
        key = (service_oid, kind, name)
        try:
            oid = self._names[key]
        except KeyError:
            found = self._rows.load_object_named(service_oid, kind, name)
            if found is None:
                self._names[key] = None
                return None
            oid = self._names[key] = found.oid
            if oid not in self._objects:
                self.know_object(found)
        return None if oid is None else self.find_object(oid)

    def is_oid_taken(self, oid: int) -> bool:
        return self._load_object(oid) is not None

    def find_item(self, oid: int, key: ItemKey) -> Item | None:
        place = (oid, key)
        try:
            return self._items[place]
        except KeyError:
            item = self._rows.load_item(oid, key)
            self.know_item(place, item)
            return item

    def find_permission(self, oid: int, identity: str, match: Match) -> Permission | None:
        place = (oid, identity, match)
        try:
            return self._permissions[place]
        except KeyError:
            permission = self._permissions[place] = self._rows.load_permission(*place)
            return permission

    def list_patterns(self, oid: int) -> Sequence[Permission]:
        known = self._patterns.get(oid)
        if known is None:
            known = {(oid, row.identity, row.match): row for row in self._rows.load_patterns(oid)}
            for place in self._changed_permissions:
                if place[0] == oid and place[2] is not Match.EXACT:
                    _put_pattern(known, place, self._permissions[place])
            self._patterns[oid] = known
            self._patterns_count += 1 + len(known)
        return list(known.values())

    # Loading ahead

    def knows_object(self, oid: int) -> bool:
        return oid in self._objects

    def knows_item(self, place: tuple[int, ItemKey]) -> bool:
        return place in self._items

    def find_known_oid(self, service_oid: int, kind: Kind, name: str) -> int | None:
        """The oid of a name that was met before."""
        return self._names.get((service_oid, kind, name))

    def know_object(self, row: SyncObject) -> None:
        """Take note of a row that was read in this transaction."""
        self._size_bytes += _OBJECT_BYTES + len(row.data or b"")
        self._objects[row.oid] = row

    def know_no_object(self, oid: int) -> None:
        self._size_bytes += _ABSENCE_BYTES
        self._objects[oid] = None

    def know_item(self, place: tuple[int, ItemKey], row: Item | None) -> None:
        """Take note of a row, or of its absence, that was read in this transaction."""
        self._items_bytes += _ITEM_BYTES + (0 if row is None else len(row.data))
        self._items[place] = row

    def _load_object(self, oid: int) -> SyncObject | None:
        try:
            return self._objects[oid]
        except KeyError:
            row = self._rows.load_object(oid)
            if row is None:
                self.know_no_object(oid)
            else:
                self.know_object(row)
            return row

    # Changing

    def apply(self, decision: Decision) -> None:
        """Take over what a rule decided."""
        for change in decision.changes:
            match change:
                case SyncObject():
                    self._put_object(change)
                case Item():
                    place = (change.oid, change.key)
                    self.know_item(place, change)
                    self._changed_items.add(place)
                case DropItem(oid, key):
                    self._items[oid, key] = None
                    self._changed_items.add((oid, key))
                case Permission():
                    self._put_permission((change.oid, change.identity, change.match), change)
                case DropPermission():
                    self._put_permission(change, None)
                case Service():
                    self._services[change.oid] = change
                    self._changed_services[change.oid] = None
                case DropService(oid):
                    self._services[oid] = None
                    self._changed_services[oid] = None
        for pair in decision.events:
            self.committed.append(Committed(*pair))

    def _put_permission(self, place: _Grant, row: Permission | None) -> None:
        place = (*place,)
        self._permissions[place] = row
        self._changed_permissions.add(place)
        known = self._patterns.get(place[0])
        if known is not None and place[2] is not Match.EXACT:
            _put_pattern(known, place, row)
            self._patterns_count += row is not None

    def _put_object(self, row: SyncObject) -> None:
        before = self._objects.get(row.oid)
        self._objects_before.setdefault(row.oid, before)
        if before is None:
            self._size_bytes += _OBJECT_BYTES
        self._size_bytes += len(row.data or b"") - len((before and before.data) or b"")
        self._objects[row.oid] = row
        if row.unique_name is not None and (before is None or row.is_removed):
            key = (row.service_oid, row.kind, row.unique_name)
            self._names[key] = None if row.is_removed else row.oid

    def changes(self) -> Changes:
        """What the batch writes."""
        objects = []
        for oid, before in self._objects_before.items():
            after = self._objects[oid]
            assert after is not None
            objects.append((before, after))
        items, dropped_items = [], []
        for place in self._changed_items:
            item = self._items[place]
            if item is None:
                dropped_items.append(place)
            else:
                items.append(item)
        permissions, dropped_permissions = [], []
        for grant in self._changed_permissions:
            permission = self._permissions[grant]
            if permission is None:
                dropped_permissions.append(grant)
            else:
                permissions.append(permission)
        services, dropped_services = [], []
        for oid in self._changed_services:
            service = self._services[oid]
            if service is None:
                dropped_services.append(oid)
            else:
                services.append(service)
        return Changes(
            objects,
            items,
            dropped_items,
            permissions,
            dropped_permissions,
            services,
            dropped_services,
            [event for _, event in self.committed],
        )

    def service_changes(self) -> list[ServiceChanged]:
        return [ServiceChanged(oid, self._services[oid]) for oid in self._changed_services]

    # Ending a batch

    def keep(self) -> None:
        """The batch is committed: keep the rows, within the bound, for the next one."""
        self._start_batch()
        if self._items_bytes > self._memory_bytes // 2:
            self._forget_items()
        if len(self._permissions) + self._patterns_count > 10_000:
            self._forget_permissions()
        if len(self._services) > 10_000:
            self._services.clear()
        if self._size_bytes > self._memory_bytes // 2 or len(self._names) > 200_000:
            self._objects.clear()
            self._names.clear()
            self._size_bytes = 0

    def forget(self) -> None:
        """The batch failed, or rows were changed behind our back: know nothing."""
        self._start_batch()
        self._forget_items()
        self._forget_permissions()
        self._services.clear()
        self._objects.clear()
        self._names.clear()
        self._size_bytes = 0

    def forget_object(self, oid: int) -> None:
        """An object's rows were purged."""
        self._forget_items()
        self._forget_permissions()
        row = self._objects.pop(oid, None)
        if row is not None:
            self._size_bytes -= _OBJECT_BYTES + len(row.data or b"")

    def _forget_items(self) -> None:
        self._items.clear()
        self._items_bytes = 0

    def _forget_permissions(self) -> None:
        self._permissions.clear()
        self._patterns.clear()
        self._patterns_count = 0


def _put_pattern(known: dict[_Grant, Permission], place: _Grant, row: Permission | None) -> None:
    if row is None:
        known.pop(place, None)
    else:
        known[place] = row
