"""What happened, in the words that people and webhooks read."""

from __future__ import annotations

from starlings.core.events import EventType
from starlings.core.objects import Kind

__all__ = ["name_event"]

_ITEM = {
    EventType.ITEM_ADDED: "item_added",
    EventType.ITEM_UPDATED: "item_updated",
    EventType.ITEM_REMOVED: "item_removed",
}
_OBJECT = {
    EventType.OBJECT_CREATED: "created",
    EventType.OBJECT_REMOVED: "removed",
    EventType.OBJECT_EXPIRY_SET: "expiry_set",
    EventType.DOCUMENT_UPDATED: "updated",
    EventType.CONTEXT_UPDATED: "context_updated",
    EventType.PERMISSION_SET: "permission_set",
    EventType.PERMISSION_REMOVED: "permission_removed",
}


def name_event(kind: Kind, event_type: EventType) -> str:
    """For example ``map_item_added``, ``document_updated``, ``list_permission_set``."""
    return f"{kind.word}_{_ITEM.get(event_type) or _OBJECT[event_type]}"
