"""Every change that happened, as the log keeps it and the feed delivers it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from starlings.core.objects import ItemKey, Service, SyncObject

__all__ = ["VISIBLE", "Committed", "Event", "EventType", "ServiceChanged", "owner_key"]


class EventType(IntEnum):
    """What happened. The numbers are stored: never reuse one."""

    OBJECT_CREATED = 1
    OBJECT_REMOVED = 2
    OBJECT_EXPIRY_SET = 3
    DOCUMENT_UPDATED = 4
    ITEM_ADDED = 5
    ITEM_UPDATED = 6
    ITEM_REMOVED = 7
    CONTEXT_UPDATED = 8
    PERMISSION_SET = 9
    PERMISSION_REMOVED = 10


VISIBLE = frozenset(
    {
        EventType.DOCUMENT_UPDATED,
        EventType.ITEM_ADDED,
        EventType.ITEM_UPDATED,
        EventType.ITEM_REMOVED,
        EventType.CONTEXT_UPDATED,
    }
)
"""Events that take an event id of their object and are replayed to subscribers."""


class Event(NamedTuple):
    """One event in an object's log, in the column order of the stores."""

    oid: int
    seq: int
    """Place in the object's log, from 1, gap-free."""
    event_id: int
    """The object's event id after this event; a visible event has its own, others repeat the last.
    """
    type: EventType
    at: int
    key: ItemKey | None
    """Items: the index or key. Permissions: the identity. Of a removed object ``owner_key``, since
    the log is all that is left of it."""
    data: bytes | None
    """Data after the change; of a removed item those before. Permissions: the flags as JSON."""
    expires_at: int | None
    """When the object or item expires after the change."""
    identity: str
    endpoint: str | None
    request_id: str | None

    @property
    def shown_key(self) -> ItemKey | None:
        """The key as callers know it: of an item or permission."""
        return None if self.type is EventType.OBJECT_REMOVED else self.key


def owner_key(service_oid: int, sid: str) -> str:
    """The key of the last event of an object: whose it was, and the whole of its SID."""
    return f"{service_oid}/{sid}"


class Committed(NamedTuple):
    """An event that is durable, with the object as it was after it."""

    object: SyncObject
    event: Event


class ServiceChanged(NamedTuple):
    """A service was created, updated or (``service`` None) removed."""

    service_oid: int
    service: Service | None
