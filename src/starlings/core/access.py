"""Who may read, write and manage an object. [rest-api 6]

Permissions bind clients of services with ``has_acl`` only; REST and the server itself may do
everything. The three rights are independent and belong to the object; items have none of their own.

The documented model knows permissions of one identity each. Ours may also be for all identities
with a common beginning or for everybody, and may end by themselves. One of them decides, all by
itself, for all three rights (``find_deciding``): the identity's own, else the one of the longest
beginning, else the one for everybody. So a narrower permission can take away what a wider one
gives. Without any, nothing is allowed. The table of precedence is in ``docs/reference/access.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Actor, Kind, Match, Permission, Service, SyncObject
from starlings.core.state import State

__all__ = [
    "EVERYBODY",
    "OPERATIONS",
    "Right",
    "check_access",
    "check_unrestricted",
    "creators_permission",
    "denial",
    "find_deciding",
    "is_permitted",
    "may_concern",
]

EVERYBODY: Final = "*"
"""What stands for the identity in a permission for everybody."""


class Right(Enum):
    """One of the three things that a permission may grant."""

    READ = "read"
    """Open, query items, receive events."""
    WRITE = "write"
    """Change data; add, update and remove items; publish messages."""
    MANAGE = "manage"
    """Remove the object; change the time to live of a collection."""


_COLLECTION: Final = {
    "open": Right.READ,
    "subscribe": Right.READ,
    "read_items": Right.READ,
    "add_item": Right.WRITE,
    "update_item": Right.WRITE,
    "remove_item": Right.WRITE,
    "set_item_ttl": Right.WRITE,
    "set_ttl": Right.MANAGE,
    "remove": Right.MANAGE,
}
OPERATIONS: Final[Mapping[Kind, Mapping[str, Right]]] = {
    Kind.DOCUMENT: {
        "open": Right.READ,
        "subscribe": Right.READ,
        "update": Right.WRITE,
        "set_ttl": Right.WRITE,
        "remove": Right.MANAGE,
    },
    Kind.LIST: _COLLECTION,
    Kind.MAP: {**_COLLECTION, "query": Right.READ},
    Kind.STREAM: {
        "open": Right.READ,
        "subscribe": Right.READ,
        "publish": Right.WRITE,
        "set_ttl": Right.MANAGE,
        "remove": Right.MANAGE,
    },
}
"""What clients can do with an object of each kind, and the right that it takes."""


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


def find_deciding(grants: Iterable[Permission], identity: str, now: int) -> Permission | None:
    """The one permission that decides what an identity may do; None: it may do nothing.

    Args:
        grants: Of one object; those that are for others, or whose time is up, count for nothing.
    """
    deciding: Permission | None = None
    for grant in grants:
        if (
            grant.is_live(now)
            and _is_for(grant, identity)
            and (deciding is None or _narrowness(grant) > _narrowness(deciding))
        ):
            deciding = grant
    return deciding


def may_concern(grant_identity: str, identity: str) -> bool:
    """False if a permission of this identity, prefix or ``*`` can't be for ``identity``.

    True means: look. An exact permission of ``al`` is none for ``alice``, but changes of
    permissions are rare, and events of them tell only the text.
    """
    return grant_identity == EVERYBODY or identity.startswith(grant_identity)


def check_access(
    state: State, service: Service, target: SyncObject, actor: Actor, right: Right, now: int
) -> None:
    """Refuse unless the actor has the right to this object.

    Raises:
        Refusal: ACCESS_DENIED. [54007]
    """
    if actor.is_unrestricted or not service.has_acl:
        return
    # The identity's own one decides if there is any: then the others need not be read.
    deciding = state.find_permission(target.oid, actor.identity, Match.EXACT)
    if deciding is None or not deciding.is_live(now):
        deciding = find_deciding(state.list_patterns(target.oid), actor.identity, now)
    if not is_permitted(deciding, right):
        raise denial(target, right)


def denial(target: SyncObject, right: Right) -> Refusal:
    """The refusal of an actor who has no permission for it. [54007]"""
    return Refusal(
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
    return Permission(oid, actor.identity, Match.EXACT, True, True, True)


def _is_for(grant: Permission, identity: str) -> bool:
    match grant.match:
        case Match.EXACT:
            return grant.identity == identity
        case Match.PREFIX:
            return identity.startswith(grant.identity)
        case Match.EVERYBODY:
            return True


def _narrowness(grant: Permission) -> tuple[int, int]:
    """Greater for what is for fewer identities."""
    return -grant.match, len(grant.identity)
