"""The rules of permissions.

Each change is an event of the object, hidden from subscribers, so that every node hears of it. Its
key is the identity, prefix or ``*``; its data are the flags, and the match unless that is exact.
"""

from __future__ import annotations

from starlings.core.access import EVERYBODY, Right, check_unrestricted
from starlings.core.commands import ExpirePermission, RemovePermission, SetPermission
from starlings.core.errors import Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.limits import Limits
from starlings.core.objects import SYSTEM, Actor, Match, Permission, SyncObject
from starlings.core.rules import advance, check_identity, check_ttl, expiry_of, get_object
from starlings.core.state import Decision, DropPermission, PermissionOutcome, State

__all__ = [
    "check_grantee",
    "expire_permission",
    "permission_event",
    "remove_permission",
    "set_permission",
]


def permission_event(
    after: SyncObject, permission: Permission, actor: Actor, request_id: str | None, now: int
) -> Event:
    """The event of a grant; ``after`` is the object after it."""
    match = "" if permission.match is Match.EXACT else f',"match":"{permission.match.word}"'
    flags = (
        f'{{"read":{_word(permission.may_read)},"write":{_word(permission.may_write)},'
        f'"manage":{_word(permission.may_manage)}{match}}}'
    )
    return Event(
        after.oid,
        after.seq,
        after.event_id,
        EventType.PERMISSION_SET,
        now,
        permission.identity,
        flags.encode(),
        permission.expires_at,
        actor.identity,
        actor.endpoint,
        request_id,
    )


def check_grantee(identity: str, match: Match, limits: Limits) -> None:
    """Refuse what nobody can be: a permission for everybody has the identity ``*``.

    Raises:
        Refusal: BAD_IDENTITY, BAD_PARAMETER.
    """
    check_identity(identity, limits)
    if match is Match.EVERYBODY and identity != EVERYBODY:
        raise Refusal(
            Reason.BAD_PARAMETER, f"Invalid Match: everybody goes with the identity {EVERYBODY}"
        )


def set_permission(state: State, command: SetPermission, now: int, limits: Limits) -> Decision:
    """Decide a grant: a full replacement, not a patch. [rest-api 2.7]

    Raises:
        Refusal: The object's 404s, ACCESS_DENIED, BAD_IDENTITY, BAD_TTL; BAD_PARAMETER: the object
            has as many patterns as it may.
    """
    _, target = get_object(state, command.ref, command.actor, Right.MANAGE, now)
    check_unrestricted(command.actor)
    check_grantee(command.identity, command.match, limits)
    check_ttl(command.ttl, limits)
    permission = Permission(
        target.oid,
        command.identity,
        command.match,
        command.may_read,
        command.may_write,
        command.may_manage,
        expiry_of(command.ttl, now),
    )
    if command.match is not Match.EXACT:
        _check_room(state, permission, limits)
    after = _untouched(target, now)
    event = permission_event(after, permission, command.actor, command.request_id, now)
    return Decision((after, permission), ((after, event),), PermissionOutcome(after, permission))


def remove_permission(state: State, command: RemovePermission, now: int) -> Decision:
    """Decide the end of a grant.

    Raises:
        Refusal: The object's 404s, ACCESS_DENIED, PERMISSION_NOT_FOUND; the latter from the moment
            of expiry on. [rest-api 12.8]
    """
    _, target = get_object(state, command.ref, command.actor, Right.MANAGE, now)
    check_unrestricted(command.actor)
    permission = state.find_permission(target.oid, command.identity, command.match)
    if permission is None or not permission.is_live(now):
        raise Refusal(Reason.PERMISSION_NOT_FOUND)
    return _remove(target, permission, command.actor, command.request_id, now)


def expire_permission(state: State, command: ExpirePermission, now: int) -> Decision:
    """Remove a permission whose time is up, exactly once; one of an expired object goes with it."""
    target = state.find_object(command.oid)
    permission = state.find_permission(command.oid, command.identity, command.match)
    if target is None or not target.is_live(now) or permission is None or permission.is_live(now):
        return Decision((), (), None)
    return _remove(target, permission, Actor(SYSTEM), None, now)


def _check_room(state: State, permission: Permission, limits: Limits) -> None:
    patterns = state.list_patterns(permission.oid)
    is_new = state.find_permission(*permission[:3]) is None
    if is_new and len(patterns) >= limits.patterns:
        raise Refusal(
            Reason.BAD_PARAMETER,
            f"Too many permissions for prefixes: an object may have {limits.patterns}",
        )


def _remove(
    target: SyncObject, permission: Permission, actor: Actor, request_id: str | None, now: int
) -> Decision:
    after = _untouched(target, now)
    match = permission.match
    event = Event(
        target.oid,
        after.seq,
        after.event_id,
        EventType.PERMISSION_REMOVED,
        now,
        permission.identity,
        None if match is Match.EXACT else f'{{"match":"{match.word}"}}'.encode(),
        None,
        actor.identity,
        actor.endpoint,
        request_id,
    )
    return Decision(
        (after, DropPermission(target.oid, permission.identity, match)),
        ((after, event),),
        PermissionOutcome(after, permission),
    )


def _untouched(target: SyncObject, now: int) -> SyncObject:
    """One event later, but with the date of the last change of content: a permission is none."""
    return advance(target, now, expires_at=target.expires_at)._replace(updated_at=target.updated_at)


def _word(flag: bool) -> str:
    return "true" if flag else "false"
