"""Permissions of one object, by identity: each function takes the kind first. [rest-api 2.7]

Those of streams are ours: the documented API has none, but access control covers streams as well.
[rest-api 6]
"""

from __future__ import annotations

from starlings.core import commands as c
from starlings.core.objects import Kind, Permission
from starlings.core.rules import check_identity
from starlings.core.state import PermissionOutcome
from starlings.node.node import Page
from starlings.rest.paging import Position, list_page, parse_page_request
from starlings.rest.parameters import get_flag
from starlings.rest.render import encode, render_permission
from starlings.rest.requests import REST_ACTOR, Request
from starlings.rest.responses import NO_CONTENT, Response

__all__ = ["fetch_permission", "list_permissions", "remove_permission", "set_permission"]


async def list_permissions(kind: Kind, request: Request, service_name: str, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    asked = parse_page_request(request.query, node.limits, "permissions", str)
    found = await node.get_object_for_permissions(ref)

    async def read(
        start: Position | None, is_inclusive: bool, is_descending: bool, limit: int
    ) -> Page[Permission]:
        assert start is None or isinstance(start, str)
        if start is not None and is_inclusive:
            start += "\0"  # what sorts next: an identity has no control characters
        return await node.list_permissions(found, start, is_descending, limit)

    return await list_page(
        request,
        asked,
        read,
        lambda permission: permission.identity,
        "permissions",
        lambda permission: render_permission(request.base_url, service, found, permission),
    )


async def fetch_permission(
    kind: Kind, request: Request, service_name: str, name: str, identity: str
) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    check_identity(identity, node.limits)
    found, permission = await node.read_permission(ref, identity)
    body = encode(render_permission(request.base_url, service, found, permission))
    return Response(200, body)


async def set_permission(
    kind: Kind, request: Request, service_name: str, name: str, identity: str
) -> Response:
    """Replaces all three flags; one that is missing is false."""
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    check_identity(identity, node.limits)
    form = await request.read_form()
    outcome = await node.execute(
        c.SetPermission(
            ref,
            identity,
            get_flag(form, "Read") or False,
            get_flag(form, "Write") or False,
            get_flag(form, "Manage") or False,
            REST_ACTOR,
            request.request_id,
        )
    )
    assert isinstance(outcome, PermissionOutcome)
    body = encode(render_permission(request.base_url, service, outcome.object, outcome.permission))
    return Response(200, body)


async def remove_permission(
    kind: Kind, request: Request, service_name: str, name: str, identity: str
) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    check_identity(identity, node.limits)
    await node.execute(c.RemovePermission(ref, identity, REST_ACTOR, request.request_id))
    return NO_CONTENT
