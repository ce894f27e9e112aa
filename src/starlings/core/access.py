"""Who may read, write and manage an object. [rest-api 6]

Permissions bind clients of services with ``has_acl`` only; REST and the server itself may do
everything. The three rights are independent and belong to the object; items have none of their own.
"""

from __future__ import annotations

from enum import Enum

from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Actor, Permission, Service, SyncObject
from starlings.core.state import State

__all__ = ["Right", "check_access", "check_unrestricted", "creators_permission", "is_permitted"]


class Right(Enum):
    READ = "read"
    """Open, query items, receive events."""
    WRITE = "write"
    """Change data; add, update and remove items; publish messages."""
    MANAGE = "manage"
    """Remove the object; change the time to live of a collection."""


def is_permitted(permission: Permission | None, right: Right) -> bool:
    """True if this permission grants the right; a missing one grants none."""
    if permission is None:
        return False
    match right:
        case Right.READ:
            return permission.may_read
        case Right.WRITE:
            return permission.may_write
        case Right.MANAGE:
            return permission.may_manage


def check_access(
    state: State, service: Service, target: SyncObject, actor: Actor, right: Right
) -> None:
    """Refuse unless the actor has the right to this object.

    Raises:
        Refusal: ACCESS_DENIED. [54007]
    """
    if actor.is_unrestricted or not service.has_acl:
        return
    if not is_permitted(state.find_permission(target.oid, actor.identity), right):
        raise Refusal(
            Reason.ACCESS_DENIED,
            f"Access forbidden for identity: {right.value} permission on this"
            f" {target.kind.word} is missing",
        )


def check_unrestricted(actor: Actor) -> None:
    """Refuse clients, whatever their rights: they never edit permissions. [rest-api 6]

    Raises:
        Refusal: ACCESS_DENIED. [54007]
    """
    if not actor.is_unrestricted:
        raise Refusal(Reason.ACCESS_DENIED, "Access forbidden: clients can't edit permissions")


def creators_permission(service: Service, oid: int, actor: Actor) -> Permission | None:
    """All three rights for the client that creates an object; None: nobody. [rest-api 12.7]"""
    if actor.is_unrestricted or not service.has_acl:
        return None
    return Permission(oid, actor.identity, may_read=True, may_write=True, may_manage=True)
