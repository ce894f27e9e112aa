"""The rule that creates an object of any kind."""

from __future__ import annotations

from starlings.core.access import creators_permission
from starlings.core.commands import CreateObject
from starlings.core.errors import IdTaken, Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.limits import Limits
from starlings.core.objects import SYSTEM, Actor, Kind, SyncObject
from starlings.core.permissions import permission_event
from starlings.core.rules import (
    advance,
    check_data,
    check_name,
    check_ttl,
    expiry_of,
    get_service,
    removal_of_object,
)
from starlings.core.state import Change, Decision, ObjectOutcome, State

__all__ = ["create_object"]


def create_object(state: State, command: CreateObject, now: int, limits: Limits) -> Decision:
    """Decide a creation. Who creates under access control gets all rights on the object. [rest-api
    12.7]

    An object of the same name whose time is up, but which no sweep has removed yet, is removed
    first.

    Raises:
        Refusal: SERVICE_NOT_FOUND, BAD_NAME, BAD_TTL, DATA_TOO_LARGE, NAME_TAKEN.
        IdTaken: The minted id is in use.
    """
    service = get_service(state, command.service_oid)
    check_ttl(command.ttl, limits)
    if command.data is not None:
        check_data(command.data, limits)
    changes: list[Change] = []
    events: list[tuple[SyncObject, Event]] = []
    name = command.unique_name
    if name is not None:
        check_name(name, limits)
        present = state.find_object_named(command.service_oid, command.kind, name)
        if present is not None:
            if present.is_live(now):
                raise Refusal(Reason.NAME_TAKEN)
            removed, gone = removal_of_object(present, Actor(SYSTEM), None, now)
            changes.append(removed)
            events.append((removed, gone))
    if state.is_oid_taken(command.oid):
        raise IdTaken
    created = _make_object(command, now)
    event = Event(
        created.oid,
        created.seq,
        created.event_id,
        EventType.OBJECT_CREATED,
        now,
        None,
        created.data,
        created.expires_at,
        command.actor.identity,
        command.actor.endpoint,
        command.request_id,
    )
    permission = creators_permission(service, command.oid, command.actor)
    if permission is None:
        changes.append(created)
        events.append((created, event))
        return Decision(tuple(changes), tuple(events), ObjectOutcome(created, event))
    granted = advance(created, now, expires_at=created.expires_at)
    grant = permission_event(granted, permission, command.actor, command.request_id, now)
    changes += [granted, permission]
    events += [(created, event), (granted, grant)]
    return Decision(tuple(changes), tuple(events), ObjectOutcome(granted, event))


def _make_object(command: CreateObject, now: int) -> SyncObject:
    """The object as it is after its first event. [rest-api 9]"""
    is_document = command.kind is Kind.DOCUMENT
    data = b"{}" if is_document and command.data is None else command.data
    return SyncObject(
        command.oid,
        command.sid,
        command.service_oid,
        command.kind,
        command.unique_name,
        data,
        seq=1,
        event_id=0 if is_document else -1,
        next_index=0,
        item_count=0,
        created_at=now,
        updated_at=now,
        expires_at=expiry_of(command.ttl, now),
        created_by=command.actor.identity,
    )
