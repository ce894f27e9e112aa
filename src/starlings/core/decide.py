"""The one door to the rules: from a command to its decision.

Every store calls ``decide`` inside the transaction in which it applies the result, so all stores
have the same rules, and REST and the socket too.
"""

from __future__ import annotations

from typing import assert_never

from starlings.core import commands as c
from starlings.core.creation import create_object
from starlings.core.documents import update_document
from starlings.core.items import remove_item, update_item
from starlings.core.lifetimes import expire_item, expire_object, remove_object, set_object_ttl
from starlings.core.limits import Limits
from starlings.core.lists import add_list_item
from starlings.core.maps import add_map_item, put_map_item
from starlings.core.permissions import expire_permission, remove_permission, set_permission
from starlings.core.services import create_service, remove_service, update_service
from starlings.core.state import Decision, State

__all__ = ["decide"]


def decide(state: State, command: c.Command, now: int, limits: Limits) -> Decision:
    """What a command changes, or a refusal. Reads ``state``, changes nothing.

    Args:
        state: The view inside the transaction.
        now: Milliseconds since 1970, UTC, by the clock: less than at an earlier command if that was
            set back.

    Raises:
        Refusal: The command can't be carried out; nothing of it was.
        IdTaken: A creation's minted id is in use.
    """
    match command:
        case c.AddListItem():
            return add_list_item(state, command, now, limits)
        case c.PutMapItem():
            return put_map_item(state, command, now, limits)
        case c.UpdateDocument():
            return update_document(state, command, now, limits)
        case c.UpdateItem():
            return update_item(state, command, now, limits)
        case c.AddMapItem():
            return add_map_item(state, command, now, limits)
        case c.RemoveItem():
            return remove_item(state, command, now)
        case c.CreateObject():
            return create_object(state, command, now, limits)
        case c.RemoveObject():
            return remove_object(state, command, now)
        case c.SetObjectTtl():
            return set_object_ttl(state, command, now, limits)
        case c.SetPermission():
            return set_permission(state, command, now, limits)
        case c.RemovePermission():
            return remove_permission(state, command, now)
        case c.ExpireItem():
            return expire_item(state, command, now)
        case c.ExpireObject():
            return expire_object(state, command, now)
        case c.ExpirePermission():
            return expire_permission(state, command, now)
        case c.CreateService():
            return create_service(state, command, now, limits)
        case c.UpdateService():
            return update_service(state, command, now, limits)
        case c.RemoveService():
            return remove_service(state, command)
        case _:
            assert_never(command)
