"""The rules that the items of lists and maps share: add, change, remove."""

from __future__ import annotations

from typing import NamedTuple

from starlings.core.access import Right, check_access
from starlings.core.commands import RemoveItem, UpdateItem
from starlings.core.errors import Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.limits import Limits
from starlings.core.objects import SYSTEM, Actor, Item, ItemKey, Kind, ObjectRef, SyncObject
from starlings.core.rules import (
    advance,
    check_data,
    check_revision,
    check_ttl,
    expiry_of,
    get_object,
    removal_of_item,
)
from starlings.core.state import Change, Decision, DropItem, ItemOutcome, State

__all__ = [
    "ItemWrite",
    "check_item",
    "get_collection",
    "remove_item",
    "update_item",
    "write_item",
]

_NOT_FOUND = {Kind.LIST: Reason.LIST_ITEM_NOT_FOUND, Kind.MAP: Reason.MAP_ITEM_NOT_FOUND}
_MISMATCH = {
    Kind.LIST: Reason.LIST_ITEM_REVISION_MISMATCH,
    Kind.MAP: Reason.MAP_ITEM_REVISION_MISMATCH,
}


class ItemWrite(NamedTuple):
    """An item to be added or replaced, once everything about it has been checked."""

    key: ItemKey
    present: Item | None
    """The row now stored under the key, expired or not."""
    data: bytes
    ttl: int | None
    collection_ttl: int | None
    actor: Actor
    request_id: str | None


def get_collection(
    state: State, ref: ObjectRef, actor: Actor, collection_ttl: int | None, now: int
) -> SyncObject:
    """The list or map that a write of an item names. Its time to live, too, is changed only by who
    may manage it. [rest-api 6]

    Raises:
        Refusal: The collection's 404s, ACCESS_DENIED.
    """
    service, target = get_object(state, ref, actor, Right.WRITE, now)
    if collection_ttl is not None:
        check_access(state, service, target, actor, Right.MANAGE, now)
    return target


def check_item(
    data: bytes | None, ttl: int | None, collection_ttl: int | None, limits: Limits
) -> None:
    """What is checked before any look at the items. [rest-api 11]

    Raises:
        Refusal: BAD_TTL, DATA_TOO_LARGE.
    """
    check_ttl(ttl, limits, "ItemTtl")
    check_ttl(collection_ttl, limits, "CollectionTtl")
    if data is not None:
        check_data(data, limits)


def write_item(target: SyncObject, write: ItemWrite, now: int, limits: Limits) -> Decision:
    """Decide the addition or replacement of an item.

    An item whose time is up, but which no sweep has removed yet, is removed first: subscribers see
    it go and come anew.

    Raises:
        Refusal: BAD_PARAMETER (the collection is full).
    """
    changes: list[Change] = []
    events: list[tuple[SyncObject, Event]] = []
    present = write.present
    if present is not None and not present.is_live(now):
        target, gone = removal_of_item(target, present, Actor(SYSTEM), None, now)
        events.append((target, gone))
        present = None
    is_added = present is None
    if is_added and target.item_count >= limits.items:
        raise Refusal(
            Reason.BAD_PARAMETER,
            f"The {target.kind.word} is full: at most {limits.items} items are allowed",
        )
    event_id = target.event_id + 1
    collection_expires_at = expiry_of(write.collection_ttl, now, target.expires_at)
    after = advance(
        target,
        now,
        event_id=event_id,
        item_change=1 if is_added else 0,
        expires_at=collection_expires_at,
    )
    if isinstance(write.key, int) and write.key >= after.next_index:
        after = after._replace(next_index=write.key + 1)
    item = _make_item(target.oid, write, present, event_id, now)
    event = Event(
        target.oid,
        after.seq,
        event_id,
        EventType.ITEM_ADDED if is_added else EventType.ITEM_UPDATED,
        now,
        write.key,
        item.data,
        item.expires_at,
        write.actor.identity,
        write.actor.endpoint,
        write.request_id,
    )
    changes += (after, item)
    events.append((after, event))
    return Decision(tuple(changes), tuple(events), ItemOutcome(after, item, event, is_added))


def update_item(state: State, command: UpdateItem, now: int, limits: Limits) -> Decision:
    """Decide a change of an item that exists: data, time to live, or both. [rest-api 2.4, 2.5]

    ``collection_ttl`` comes only together with one of the two. [rest-api 5]

    Raises:
        Refusal: The collection's 404s, ACCESS_DENIED, NOTHING_TO_UPDATE, the item's 404, its
            revision mismatch, and those of ``check_item``.
    """
    target = get_collection(state, command.ref, command.actor, command.collection_ttl, now)
    if command.data is None and command.ttl is None:
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    check_item(command.data, command.ttl, command.collection_ttl, limits)
    item = _get_item(state, target, command.key, now)
    check_revision(command.if_match, item.revision, _MISMATCH[target.kind])
    write = ItemWrite(
        command.key,
        item,
        item.data if command.data is None else command.data,
        command.ttl,
        command.collection_ttl,
        command.actor,
        command.request_id,
    )
    return write_item(target, write, now, limits)


def remove_item(state: State, command: RemoveItem, now: int) -> Decision:
    """Decide the removal of an item.

    Raises:
        Refusal: The collection's 404s, ACCESS_DENIED, the item's 404, its revision mismatch.
    """
    _, target = get_object(state, command.ref, command.actor, Right.WRITE, now)
    item = _get_item(state, target, command.key, now)
    check_revision(command.if_match, item.revision, _MISMATCH[target.kind])
    after, event = removal_of_item(target, item, command.actor, command.request_id, now)
    return Decision(
        (after, DropItem(target.oid, item.key)),
        ((after, event),),
        ItemOutcome(after, item, event),
    )


def _make_item(oid: int, write: ItemWrite, present: Item | None, event_id: int, now: int) -> Item:
    """The item after the write; what it was before, unless it is new, is ``present``."""
    if present is None:
        return Item(
            oid,
            write.key,
            write.data,
            event_id,
            event_id,
            now,
            now,
            expiry_of(write.ttl, now),
            write.actor.identity,
        )
    return Item(
        oid,
        write.key,
        write.data,
        event_id,
        present.added_id,
        present.created_at,
        now,
        expiry_of(write.ttl, now, present.expires_at),
        present.created_by,
    )


def _get_item(state: State, target: SyncObject, key: ItemKey, now: int) -> Item:
    item = state.find_item(target.oid, key)
    if item is None or not item.is_live(now):
        raise Refusal(_NOT_FOUND[target.kind])
    return item
