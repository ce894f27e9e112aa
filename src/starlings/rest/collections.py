"""Lists and maps, without their items: each function takes the kind first. [rest-api 2.3]"""

from __future__ import annotations

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind
from starlings.rest.parameters import get_name, get_ttl
from starlings.rest.render import encode, render_object
from starlings.rest.requests import REST_ACTOR, Request
from starlings.rest.responses import NO_CONTENT, Response

__all__ = [
    "create_collection",
    "fetch_collection",
    "remove_collection",
    "update_collection",
]


async def create_collection(kind: Kind, request: Request, service_name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    form = await request.read_form()
    outcome = await node.create_object(
        service,
        kind,
        get_name(form, node.limits),
        None,
        get_ttl(form, node.limits, "CollectionTtl", "Ttl"),
        REST_ACTOR,
        request.request_id,
    )
    return Response(201, encode(render_object(request.base_url, service, outcome.object)))


async def fetch_collection(kind: Kind, request: Request, service_name: str, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    found = await node.read_object(request.aim(service, kind, name), REST_ACTOR)
    return Response(200, encode(render_object(request.base_url, service, found)))


async def update_collection(kind: Kind, request: Request, service_name: str, name: str) -> Response:
    """Raises Refusal NOTHING_TO_UPDATE besides what the parameters and the rule say."""
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    form = await request.read_form()
    ttl = get_ttl(form, node.limits, "CollectionTtl", "Ttl")
    if ttl is None:
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    outcome = await node.execute_on_object(c.SetObjectTtl(ref, ttl, REST_ACTOR, request.request_id))
    return Response(200, encode(render_object(request.base_url, service, outcome.object)))


async def remove_collection(kind: Kind, request: Request, service_name: str, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    await node.execute(c.RemoveObject(ref, None, REST_ACTOR, request.request_id))
    return NO_CONTENT
