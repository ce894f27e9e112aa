"""The rules of documents: one JSON object, replaced as a whole."""

from __future__ import annotations

from starlings.core.access import Right
from starlings.core.commands import UpdateDocument
from starlings.core.errors import Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.limits import Limits
from starlings.core.rules import (
    advance,
    check_data,
    check_revision,
    check_ttl,
    expiry_of,
    get_object,
)
from starlings.core.state import Decision, ObjectOutcome, State

__all__ = ["update_document"]


def update_document(state: State, command: UpdateDocument, now: int, limits: Limits) -> Decision:
    """Decide a change of a document's data, time to live, or both; each is an event. [rest-api
    12.10]

    Raises:
        Refusal: The document's 404s, ACCESS_DENIED, NOTHING_TO_UPDATE, DATA_TOO_LARGE, BAD_TTL,
            DOCUMENT_REVISION_MISMATCH.
    """
    _, document = get_object(state, command.ref, command.actor, Right.WRITE, now)
    if command.data is None and command.ttl is None:
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    check_ttl(command.ttl, limits)
    if command.data is not None:
        check_data(command.data, limits)
    check_revision(command.if_match, document.revision, Reason.DOCUMENT_REVISION_MISMATCH)
    event_id = document.event_id + 1
    expires_at = expiry_of(command.ttl, now, document.expires_at)
    after = advance(document, now, event_id=event_id, expires_at=expires_at)
    if command.data is not None:
        after = after._replace(data=command.data)
    event = Event(
        document.oid,
        after.seq,
        event_id,
        EventType.DOCUMENT_UPDATED,
        now,
        None,
        after.data,
        expires_at,
        command.actor.identity,
        command.actor.endpoint,
        command.request_id,
    )
    return Decision((after,), ((after, event),), ObjectOutcome(after, event))
