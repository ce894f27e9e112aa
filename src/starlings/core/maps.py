"""The rules of maps: items under keys that the caller chooses."""

from __future__ import annotations

from starlings.core.commands import MUST_NOT_EXIST, AddMapItem, PutMapItem
from starlings.core.errors import Reason, Refusal
from starlings.core.items import ItemWrite, check_item, get_collection, write_item
from starlings.core.limits import Limits
from starlings.core.rules import check_revision, is_text
from starlings.core.state import Decision, State

__all__ = ["add_map_item", "check_key", "put_map_item"]


def check_key(key: str, limits: Limits) -> None:
    """Raises Refusal BAD_MAP_KEY. [54209]"""
    if not 1 <= len(key) <= limits.key_characters or not is_text(key):
        raise Refusal(
            Reason.BAD_MAP_KEY,
            f"Invalid Map Item key: expected 1-{limits.key_characters} characters without NUL,"
            f" got {len(key)}",
        )


def add_map_item(state: State, command: AddMapItem, now: int, limits: Limits) -> Decision:
    """Decide an addition under a free key; a key whose item expired is free. [rest-api 5]

    Raises:
        Refusal: The map's 404s, ACCESS_DENIED, BAD_MAP_KEY, MAP_KEY_TAKEN, and those of
            ``check_item`` and ``write_item``.
    """
    target = get_collection(state, command.ref, command.actor, command.collection_ttl, now)
    check_key(command.key, limits)
    check_item(command.data, command.ttl, command.collection_ttl, limits)
    present = state.find_item(target.oid, command.key)
    if present is not None and present.is_live(now):
        raise Refusal(Reason.MAP_KEY_TAKEN)
    write = ItemWrite(
        command.key,
        present,
        command.data,
        command.ttl,
        command.collection_ttl,
        command.actor,
        command.request_id,
    )
    return write_item(target, write, now, limits)


def put_map_item(state: State, command: PutMapItem, now: int, limits: Limits) -> Decision:
    """Decide an addition or replacement, as the SDK's ``set`` and ``mutate`` ask for it.
    [wire-protocol 6.2]

    A revision as condition demands that the item exists: an item that is gone is a mismatch, so
    that the client reads again.

    Raises:
        Refusal: The map's 404s, ACCESS_DENIED, BAD_MAP_KEY, MAP_ITEM_REVISION_MISMATCH, and those
            of ``check_item`` and ``write_item``.
    """
    target = get_collection(state, command.ref, command.actor, None, now)
    check_key(command.key, limits)
    check_item(command.data, command.ttl, None, limits)
    present = state.find_item(target.oid, command.key)
    is_there = present is not None and present.is_live(now)
    if command.if_match == MUST_NOT_EXIST:
        if is_there:
            raise Refusal(
                Reason.MAP_ITEM_REVISION_MISMATCH, "Map Item revision mismatch: the key exists"
            )
    elif command.if_match is not None:
        revision = present.revision if present is not None and is_there else "none"
        if command.if_match == "*" and not is_there:
            raise Refusal(
                Reason.MAP_ITEM_REVISION_MISMATCH, "Map Item revision mismatch: no such key"
            )
        check_revision(command.if_match, revision, Reason.MAP_ITEM_REVISION_MISMATCH)
    write = ItemWrite(
        command.key,
        present,
        command.data,
        command.ttl,
        None,
        command.actor,
        command.request_id,
    )
    return write_item(target, write, now, limits)
