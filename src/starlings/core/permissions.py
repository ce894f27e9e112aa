"""The rules of permissions.

Each change is an event of the object, hidden from subscribers, so that every node hears of it.
"""

from __future__ import annotations

from starlings.core.access import Right, check_unrestricted
from starlings.core.commands import RemovePermission, SetPermission
from starlings.core.errors import Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.limits import Limits
from starlings.core.objects import Actor, Permission, SyncObject
from starlings.core.rules import advance, check_identity, get_object
from starlings.core.state import Decision, DropPermission, PermissionOutcome, State

__all__ = ["permission_event", "remove_permission", "set_permission"]


def permission_event(
    after: SyncObject, permission: Permission, actor: Actor, request_id: str | None, now: int
) -> Event:
    """The event of a grant; ``after`` is the object after it."""
    flags = (
        f'{{"read":{_word(permission.may_read)},"write":{_word(permission.may_write)},'
        f'"manage":{_word(permission.may_manage)}}}'
    )
    return Event(
        after.oid,
        after.seq,
        after.event_id,
        EventType.PERMISSION_SET,
        now,
        permission.identity,
        flags.encode(),
        None,
        actor.identity,
        actor.endpoint,
        request_id,
    )


def set_permission(state: State, command: SetPermission, now: int, limits: Limits) -> Decision:
    """Decide a grant: a full replacement, not a patch. [rest-api 2.7]

    Raises:
        Refusal: The object's 404s, ACCESS_DENIED, BAD_IDENTITY.
    """
    _, target = get_object(state, command.ref, command.actor, Right.MANAGE, now)
    check_unrestricted(command.actor)
    check_identity(command.identity, limits)
    permission = Permission(
        target.oid, command.identity, command.may_read, command.may_write, command.may_manage
    )
    after = _untouched(target, now)
    event = permission_event(after, permission, command.actor, command.request_id, now)
    return Decision((after, permission), ((after, event),), PermissionOutcome(after, permission))


def remove_permission(state: State, command: RemovePermission, now: int) -> Decision:
    """Decide the end of a grant.

    Raises:
        Refusal: The object's 404s, ACCESS_DENIED, PERMISSION_NOT_FOUND. [rest-api 12.8]
    """
    _, target = get_object(state, command.ref, command.actor, Right.MANAGE, now)
    check_unrestricted(command.actor)
    permission = state.find_permission(target.oid, command.identity)
    if permission is None:
        raise Refusal(Reason.PERMISSION_NOT_FOUND)
    after = _untouched(target, now)
    event = Event(
        target.oid,
        after.seq,
        after.event_id,
        EventType.PERMISSION_REMOVED,
        now,
        command.identity,
        None,
        None,
        command.actor.identity,
        command.actor.endpoint,
        command.request_id,
    )
    return Decision(
        (after, DropPermission(target.oid, command.identity)),
        ((after, event),),
        PermissionOutcome(after, permission),
    )


def _untouched(target: SyncObject, now: int) -> SyncObject:
    """One event later, but with the date of the last change of content: a permission is none."""
    return advance(target, now, expires_at=target.expires_at)._replace(updated_at=target.updated_at)


def _word(flag: bool) -> str:
    return "true" if flag else "false"
