"""The rules of time to live and removal, for every kind of object: set a time, remove, expire."""

from __future__ import annotations

from starlings.core.access import Right
from starlings.core.commands import ExpireItem, ExpireObject, RemoveObject, SetObjectTtl
from starlings.core.errors import Reason
from starlings.core.events import Event, EventType
from starlings.core.limits import Limits
from starlings.core.objects import SYSTEM, Actor, Kind
from starlings.core.rules import (
    advance,
    check_revision,
    check_ttl,
    expiry_of,
    get_object,
    removal_of_item,
    removal_of_object,
)
from starlings.core.state import Decision, DropItem, ItemOutcome, ObjectOutcome, State

__all__ = ["expire_item", "expire_object", "remove_object", "set_object_ttl"]

_NOTHING_DUE = Decision((), (), None)


def set_object_ttl(state: State, command: SetObjectTtl, now: int, limits: Limits) -> Decision:
    """Decide a new time to live of a list, map or stream: its date moves, its revision doesn't.
    [rest-api 12.10]

    Raises:
        Refusal: The object's 404s, ACCESS_DENIED, BAD_TTL.
    """
    _, target = get_object(state, command.ref, command.actor, Right.MANAGE, now)
    check_ttl(command.ttl, limits)
    expires_at = expiry_of(command.ttl, now)
    after = advance(target, now, expires_at=expires_at)
    event = Event(
        target.oid,
        after.seq,
        after.event_id,
        EventType.OBJECT_EXPIRY_SET,
        now,
        None,
        None,
        expires_at,
        command.actor.identity,
        command.actor.endpoint,
        command.request_id,
    )
    return Decision((after,), ((after, event),), ObjectOutcome(after, event))


def remove_object(state: State, command: RemoveObject, now: int) -> Decision:
    """Decide the removal of an object with everything in it. Only documents have a condition.
    [rest-api 3]

    Raises:
        Refusal: The object's 404s, ACCESS_DENIED, DOCUMENT_REVISION_MISMATCH.
    """
    _, target = get_object(state, command.ref, command.actor, Right.MANAGE, now)
    if target.kind is Kind.DOCUMENT:
        check_revision(command.if_match, target.revision, Reason.DOCUMENT_REVISION_MISMATCH)
    removed, event = removal_of_object(target, command.actor, command.request_id, now)
    return Decision((removed,), ((removed, event),), ObjectOutcome(removed, event))


def expire_object(state: State, command: ExpireObject, now: int) -> Decision:
    """Remove an object whose time is up, or whose service is gone, exactly once.

    A second sweep finds nothing due.
    """
    target = state.find_object(command.oid)
    if target is None:
        return _NOTHING_DUE
    if target.is_live(now) and state.find_service(target.service_oid) is not None:
        return _NOTHING_DUE
    removed, event = removal_of_object(target, Actor(SYSTEM), None, now)
    return Decision((removed,), ((removed, event),), ObjectOutcome(removed, event))


def expire_item(state: State, command: ExpireItem, now: int) -> Decision:
    """Remove an item whose time is up, exactly once; one in an expired collection goes with it."""
    target = state.find_object(command.oid)
    if target is None or not target.is_live(now):
        return _NOTHING_DUE
    item = state.find_item(command.oid, command.key)
    if item is None or item.is_live(now):
        return _NOTHING_DUE
    after, event = removal_of_item(target, item, Actor(SYSTEM), None, now)
    return Decision(
        (after, DropItem(command.oid, item.key)),
        ((after, event),),
        ItemOutcome(after, item, event),
    )
