"""The events of one object: who changed what, and when. Ours; the documented API has none.

Read from the log, which is kept for a time (``log_retention``); also of an object that is gone, by
its SID. Pages as everywhere; ``From`` is a sequence.
"""

from __future__ import annotations

from typing import Any

import msgspec

from starlings.core.errors import Reason, Refusal
from starlings.core.events import VISIBLE, Event
from starlings.core.objects import Kind
from starlings.core.wording import name_event
from starlings.node.pages import Page
from starlings.rest.paging import Position, list_page, parse_page_request
from starlings.rest.parameters import parse_whole_number
from starlings.rest.render import format_date
from starlings.rest.requests import Request
from starlings.rest.responses import Response

__all__ = ["list_events", "render_event"]


async def list_events(kind: Kind, request: Request, service_name: str, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    asked = parse_page_request(request.query, node.limits, "events", int, _parse_sequence)
    oid = await node.find_history(ref)

    async def read(
        start: Position | None, is_inclusive: bool, is_descending: bool, limit: int
    ) -> Page[Event]:
        assert start is None or isinstance(start, int)
        if start is not None and is_inclusive:
            start += 1 if is_descending else -1
        return await node.list_history(oid, start, is_descending, limit)

    return await list_page(
        request,
        asked,
        read,
        lambda event: event.seq,
        "events",
        lambda event: render_event(kind, event),
    )


def render_event(kind: Kind, event: Event) -> dict[str, Any]:
    """One event; ``revision`` is the object's after it, ``item_revision`` the item's.

    ``key`` is the item's key or index, or the identity of a permission.
    """
    is_visible = event.type in VISIBLE
    number = event.event_id if kind is Kind.DOCUMENT else event.event_id + 1
    is_of_item = is_visible and event.key is not None
    return {
        "sequence": event.seq,
        "event_id": event.event_id if is_visible else None,
        "type": name_event(kind, event.type),
        "key": event.shown_key,
        "revision": None if kind is Kind.STREAM else f"{number:x}",
        "item_revision": f"{event.event_id:x}" if is_of_item else None,
        "data": None if event.data is None else msgspec.Raw(event.data),
        "date_created": format_date(event.at),
        "date_expires": None if event.expires_at is None else format_date(event.expires_at),
        "identity": event.identity,
        "endpoint": event.endpoint,
        "request_id": event.request_id,
    }


def _parse_sequence(text: str) -> int:
    """A ``From``. Raises Refusal BAD_PARAMETER."""
    number = parse_whole_number(text)
    if number is None:
        raise Refusal(Reason.BAD_PARAMETER, "Invalid From: expected a whole number")
    return number
