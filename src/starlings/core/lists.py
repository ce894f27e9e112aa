"""The rules of lists: items in the order of their indexes, which the server makes."""

from __future__ import annotations

from starlings.core.commands import AddListItem
from starlings.core.items import ItemWrite, check_item, get_collection, write_item
from starlings.core.limits import Limits
from starlings.core.state import Decision, State

__all__ = ["add_list_item"]


def add_list_item(state: State, command: AddListItem, now: int, limits: Limits) -> Decision:
    """Decide an append. The index is the next one ever: removed ones are never used again.
    [rest-api 9]

    Raises:
        Refusal: The list's 404s, ACCESS_DENIED, and those of ``check_item`` and ``write_item``.
    """
    target = get_collection(state, command.ref, command.actor, command.collection_ttl, now)
    check_item(command.data, command.ttl, command.collection_ttl, limits)
    write = ItemWrite(
        target.next_index,
        None,
        command.data,
        command.ttl,
        command.collection_ttl,
        command.actor,
        command.request_id,
    )
    return write_item(target, write, now, limits)
