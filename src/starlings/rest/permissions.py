"""Permissions of one object, by identity: each function takes the kind first. [rest-api 2.7]

Those of streams are ours: the documented API has none, but access control covers streams as well.
[rest-api 6] Ours are also ``Match`` and ``Ttl``, the permissions for everybody and for a beginning
of identities, and those that end by themselves; without these parameters, which no helper library
sends, all is as documented.
"""

from __future__ import annotations

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind, Match, Permission
from starlings.core.permissions import check_grantee
from starlings.core.state import PermissionOutcome
from starlings.node.pages import Page
from starlings.rest.forms import Form, parse_form
from starlings.rest.paging import Position, list_page, parse_page_request
from starlings.rest.parameters import get_flag, get_ttl
from starlings.rest.render import encode, render_permission
from starlings.rest.requests import REST_ACTOR, Request
from starlings.rest.responses import NO_CONTENT, Response
from starlings.storage.store import GrantPlace

__all__ = ["fetch_permission", "list_permissions", "remove_permission", "set_permission"]

_MATCHES = {match.word: match for match in Match}


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
        place = None if start is None else _place_of(start)
        if place is not None and is_inclusive:
            place = (place[0], place[1] + (1 if is_descending else -1))
        return await node.list_permissions(found, place, is_descending, limit)

    return await list_page(
        request,
        asked,
        read,
        _position_of,
        "permissions",
        lambda permission: render_permission(request.base_url, service, found, permission),
    )


async def fetch_permission(
    kind: Kind, request: Request, service_name: str, name: str, identity: str
) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    match = _get_match(parse_form(request.query))
    check_grantee(identity, match, node.limits)
    found, permission = await node.read_permission(ref, identity, match)
    body = encode(render_permission(request.base_url, service, found, permission))
    return Response(200, body)


async def set_permission(
    kind: Kind, request: Request, service_name: str, name: str, identity: str
) -> Response:
    """Replaces all three flags and the time to live; a flag that is missing is false.

    ``Match`` may stand in the query too, as it does in the ``url`` of a permission.
    """
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    form = await request.read_form()
    named = parse_form(request.query)
    match = _get_match(named | form)
    if "Match" in named and match is not _get_match(named):
        raise Refusal(Reason.BAD_PARAMETER, "Invalid Match: not the same in body and query")
    check_grantee(identity, match, node.limits)
    outcome = await node.execute(
        c.SetPermission(
            ref,
            identity,
            get_flag(form, "Read") or False,
            get_flag(form, "Write") or False,
            get_flag(form, "Manage") or False,
            REST_ACTOR,
            request.request_id,
            match,
            get_ttl(form, node.limits, "Ttl"),
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
    match = _get_match(parse_form(request.query))
    check_grantee(identity, match, node.limits)
    await node.execute(c.RemovePermission(ref, identity, REST_ACTOR, request.request_id, match))
    return NO_CONTENT


def _get_match(form: Form) -> Match:
    """Raises Refusal BAD_PARAMETER."""
    match = _MATCHES.get(form.get("Match", Match.EXACT.word))
    if match is None:
        raise Refusal(Reason.BAD_PARAMETER, f"Invalid Match: expected one of {', '.join(_MATCHES)}")
    return match


def _position_of(permission: Permission) -> str:
    """As page tokens hold it: of an exact permission just the identity, which has no NUL."""
    if permission.match is Match.EXACT:
        return permission.identity
    return f"{permission.identity}\0{permission.match.value}"


def _place_of(position: str) -> GrantPlace:
    """Raises Refusal BAD_PAGE_TOKEN."""
    identity, _, number = position.partition("\0")
    if number and number not in ("2", "3"):
        raise Refusal(Reason.BAD_PAGE_TOKEN)
    return identity, int(number or Match.EXACT)
