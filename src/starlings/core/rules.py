"""Checks and steps that the rules of every kind of object share."""

from __future__ import annotations

import re

from starlings.core.access import Right, check_access
from starlings.core.errors import Reason, Refusal
from starlings.core.events import Event, EventType, owner_key
from starlings.core.limits import Limits
from starlings.core.objects import Actor, Item, ItemKey, ObjectRef, Service, SyncObject
from starlings.core.sids import find_oid, is_sid
from starlings.core.state import State

__all__ = [
    "advance",
    "check_data",
    "check_identity",
    "check_name",
    "check_revision",
    "check_ttl",
    "expiry_of",
    "get_object",
    "get_service",
    "is_text",
    "parse_if_match",
    "removal_of_item",
    "removal_of_object",
]

_REVISION = re.compile(r"[0-9a-fA-F]{1,16}")


def get_service(state: State, oid: int) -> Service:
    """Raises Refusal SERVICE_NOT_FOUND: it was removed meanwhile."""
    service = state.find_service(oid)
    if service is None:
        raise Refusal(Reason.SERVICE_NOT_FOUND)
    return service


def get_object(
    state: State, ref: ObjectRef, actor: Actor, right: Right, now: int
) -> tuple[Service, SyncObject]:
    """The object that a reference names, with its service, if the actor has the right to it.

    Raises:
        Refusal: SERVICE_NOT_FOUND; the kind's not-found reason for an unknown SID, NAME_NOT_FOUND
            for an unknown name; both also from the moment of expiry on; ACCESS_DENIED.
    """
    service = get_service(state, ref.service_oid)
    oid = find_oid(ref.name)
    if oid is not None:
        found = state.find_object(oid)
        if found is not None and (
            found.sid != ref.name or found.service_oid != ref.service_oid or found.kind != ref.kind
        ):
            found = None
        reason = ref.kind.not_found
    else:
        found = state.find_object_named(ref.service_oid, ref.kind, ref.name)
        reason = Reason.NAME_NOT_FOUND
    if found is None or not found.is_live(now):
        raise Refusal(reason)
    check_access(state, service, found, actor, right, now)
    return service, found


def is_text(text: str) -> bool:
    """False for a string that not every store can keep: with half of a surrogate pair, or NUL."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(name: str, limits: Limits) -> None:
    """Raises Refusal BAD_NAME. [rest-api 1.6]"""
    if not 1 <= len(name) <= limits.name_characters or is_sid(name) or not is_text(name):
        raise Refusal(
            Reason.BAD_NAME,
            f"Invalid unique name. Expected a string with length 1-{limits.name_characters}"
            " not matching the SID pattern [A-Z]{2}[a-f0-9]{32}",
        )


def check_data(data: bytes, limits: Limits) -> None:
    """Raises Refusal DATA_TOO_LARGE. [54006]"""
    if len(data) > limits.data_bytes:
        raise Refusal(
            Reason.DATA_TOO_LARGE,
            f"Data too large: {len(data)} bytes, at most {limits.data_bytes} are allowed",
        )


def check_identity(identity: str, limits: Limits) -> None:
    """Raises Refusal BAD_IDENTITY: empty, too long, or with control characters. [rest-api 12.20]"""
    if (
        not 1 <= len(identity) <= limits.identity_characters
        or not is_text(identity)
        or any(ord(character) < 32 or 127 <= ord(character) < 160 for character in identity)
    ):
        raise Refusal(
            Reason.BAD_IDENTITY,
            f"Invalid identity: expected 1-{limits.identity_characters} characters"
            " without control characters",
        )


def check_ttl(ttl: int | None, limits: Limits, field: str = "Ttl") -> None:
    """Raises Refusal BAD_TTL. [54011]"""
    if ttl is not None and not 0 <= ttl <= limits.ttl_seconds:
        raise Refusal(
            Reason.BAD_TTL, f"Invalid {field}: expected 0-{limits.ttl_seconds} seconds, got {ttl}"
        )


def expiry_of(ttl: int | None, now: int, current: int | None = None) -> int | None:
    """When something expires once its time to live was set to ``ttl`` (None: was not set)."""
    if ttl is None:
        return current
    return None if ttl == 0 else now + ttl * 1000


def parse_if_match(text: str) -> str:
    """A revision out of an If-Match value: bare, quoted, weak, or ``*``. [rest-api 3]

    Raises:
        Refusal: BAD_IF_MATCH: not a revision.
    """
    value = text.strip()
    if value == "*":
        return value
    value = value.removeprefix("W/")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if _REVISION.fullmatch(value) is None:
        raise Refusal(
            Reason.BAD_IF_MATCH, f"Invalid If-Match header: {text[:64]!r} is not a revision"
        )
    return value.lower().lstrip("0") or "0"


def check_revision(if_match: str | None, revision: str, reason: Reason) -> None:
    """Refuse with ``reason`` unless the condition holds for something of this revision."""
    if if_match is not None and if_match != "*" and if_match != revision:
        raise Refusal(
            reason, f"{reason.title}: If-Match is {if_match}, the current revision is {revision}"
        )


def advance(
    target: SyncObject,
    now: int,
    *,
    event_id: int | None = None,
    item_change: int = 0,
    expires_at: int | None,
) -> SyncObject:
    """The object one event later. ``event_id`` None: the event is not visible."""
    return SyncObject(
        target.oid,
        target.sid,
        target.service_oid,
        target.kind,
        target.unique_name,
        target.data,
        target.seq + 1,
        target.event_id if event_id is None else event_id,
        target.next_index,
        target.item_count + item_change,
        target.created_at,
        now,
        expires_at,
        target.created_by,
        target.is_removed,
    )


def removal_of_object(
    target: SyncObject, actor: Actor, request_id: str | None, now: int
) -> tuple[SyncObject, Event]:
    """The removed object and its last event. Its rows are purged later."""
    removed = target._replace(
        seq=target.seq + 1, updated_at=now, is_removed=True, expires_at=None, data=None
    )
    event = Event(
        target.oid,
        removed.seq,
        target.event_id,
        EventType.OBJECT_REMOVED,
        now,
        owner_key(target.service_oid, target.sid),
        target.data,
        None,
        actor.identity,
        actor.endpoint,
        request_id,
    )
    return removed, event


def removal_of_item(
    target: SyncObject, item: Item, actor: Actor, request_id: str | None, now: int
) -> tuple[SyncObject, Event]:
    """The collection without the item, and the event that tells so, with the data before."""
    event_id = target.event_id + 1
    after = advance(target, now, event_id=event_id, item_change=-1, expires_at=target.expires_at)
    key: ItemKey = item.key
    event = Event(
        target.oid,
        after.seq,
        event_id,
        EventType.ITEM_REMOVED,
        now,
        key,
        item.data,
        None,
        actor.identity,
        actor.endpoint,
        request_id,
    )
    return after, event
