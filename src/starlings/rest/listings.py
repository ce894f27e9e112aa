"""Listings of objects: the same for all four kinds, in the order of their creation. [rest-api 4]"""

from __future__ import annotations

from starlings.core.objects import Kind, SyncObject
from starlings.node.pages import Page
from starlings.rest.paging import Position, list_page, parse_page_request
from starlings.rest.render import PLURALS, render_object
from starlings.rest.requests import Request
from starlings.rest.responses import Response

__all__ = ["list_objects"]


async def list_objects(kind: Kind, request: Request, service_name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    key = PLURALS[kind].lower()
    asked = parse_page_request(request.query, node.limits, key, tuple)

    async def read(
        start: Position | None, is_inclusive: bool, is_descending: bool, limit: int
    ) -> Page[SyncObject]:
        assert start is None or isinstance(start, tuple)
        if start is not None and is_inclusive:
            start = (start[0], start[1] + 1)
        return await node.list_objects(service, kind, start, is_descending, limit)

    return await list_page(
        request,
        asked,
        read,
        lambda found: (found.created_at, found.oid),
        key,
        lambda found: render_object(request.base_url, service, found),
    )
