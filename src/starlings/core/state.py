"""What the rules read and what they answer.

``State`` is the view that a store gives to a rule, inside the transaction in which the rule's
decision will be applied: it shows all that earlier commands of the same batch have changed. A rule
only reads it. A ``Decision`` lists the rows to write, the events to log in order, and the outcome
for the caller; a refused command raises instead and has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from starlings.core.events import Event
from starlings.core.objects import Item, ItemKey, Kind, Match, Permission, Service, SyncObject

__all__ = [
    "Change",
    "Decision",
    "DropItem",
    "DropPermission",
    "DropService",
    "ItemOutcome",
    "ObjectOutcome",
    "Outcome",
    "PermissionOutcome",
    "ServiceOutcome",
    "State",
]


class State(Protocol):
    """The rows a rule may ask for.

    Each answers None for what does not exist; removed objects don't.
    """

    def find_service(self, oid: int) -> Service | None: ...

    def find_default_service(self, account_sid: str) -> Service | None: ...

    def count_services(self, account_sid: str) -> int: ...

    def find_object(self, oid: int) -> SyncObject | None: ...

    def find_object_named(self, service_oid: int, kind: Kind, name: str) -> SyncObject | None: ...

    def is_oid_taken(self, oid: int) -> bool:
        """Whether an object has the oid, also one that is removed and not purged yet."""
        ...

    def find_item(self, oid: int, key: ItemKey) -> Item | None: ...

    def find_permission(self, oid: int, identity: str, match: Match) -> Permission | None: ...

    def list_patterns(self, oid: int) -> Sequence[Permission]:
        """The object's permissions that are not exact, expired ones too, in no particular order;
        at most ``limits.patterns``.
        """
        ...


class DropItem(NamedTuple):
    """Delete an item's row."""

    oid: int
    key: ItemKey


class DropPermission(NamedTuple):
    """Delete a permission's row."""

    oid: int
    identity: str
    match: Match


class DropService(NamedTuple):
    """Delete a service's row; its objects are orphans from then on."""

    oid: int


Change = SyncObject | Item | Permission | Service | DropItem | DropPermission | DropService
"""A row to insert or replace, by its primary key, or one to delete."""


class ServiceOutcome(NamedTuple):
    """The service as it is now; of a removed one as it was."""

    service: Service


class ObjectOutcome(NamedTuple):
    """The object as it is now, and the event that made it so."""

    object: SyncObject
    event: Event | None = None


class ItemOutcome(NamedTuple):
    """The collection as it is now, one item of it, and the event that changed that."""

    object: SyncObject
    item: Item
    """As it is now; of a removed item as it was."""
    event: Event
    is_added: bool = False


class PermissionOutcome(NamedTuple):
    """The object as it is now, and a permission to it; a removed one as it was."""

    object: SyncObject
    permission: Permission


Outcome = ServiceOutcome | ObjectOutcome | ItemOutcome | PermissionOutcome | None
"""What the caller is told. None: nothing was there to do (an expiry that is no longer due)."""


class Decision(NamedTuple):
    """What a rule decided: all of it is carried out, or nothing."""

    changes: tuple[Change, ...]
    """To be applied in this order: what is removed may free the name of what follows."""
    events: tuple[tuple[SyncObject, Event], ...]
    """Each with its object as of that event."""
    outcome: Outcome
