"""Streams and their messages, which pass and are never stored. [rest-api 2.6]"""

from __future__ import annotations

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind
from starlings.rest.parameters import get_data, get_name, get_ttl
from starlings.rest.render import encode, render_message, render_object
from starlings.rest.requests import REST_ACTOR, Request
from starlings.rest.responses import NO_CONTENT, Response

__all__ = [
    "create_stream",
    "fetch_stream",
    "publish_message",
    "remove_stream",
    "update_stream",
]


async def create_stream(request: Request, service_name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    form = await request.read_form()
    outcome = await node.create_object(
        service,
        Kind.STREAM,
        get_name(form, node.limits),
        None,
        get_ttl(form, node.limits, "Ttl"),
        REST_ACTOR,
        request.request_id,
    )
    return Response(201, encode(render_object(request.base_url, service, outcome.object)))


async def fetch_stream(request: Request, service_name: str, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    found = await node.read_object(request.aim(service, Kind.STREAM, name), REST_ACTOR)
    return Response(200, encode(render_object(request.base_url, service, found)))


async def update_stream(request: Request, service_name: str, name: str) -> Response:
    """Raises Refusal NOTHING_TO_UPDATE besides what the parameter and the rule say."""
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, Kind.STREAM, name)
    ttl = get_ttl(await request.read_form(), node.limits, "Ttl")
    if ttl is None:
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    outcome = await node.execute_on_object(c.SetObjectTtl(ref, ttl, REST_ACTOR, request.request_id))
    return Response(200, encode(render_object(request.base_url, service, outcome.object)))


async def remove_stream(request: Request, service_name: str, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, Kind.STREAM, name)
    await node.execute(c.RemoveObject(ref, None, REST_ACTOR, request.request_id))
    return NO_CONTENT


async def publish_message(request: Request, service_name: str, name: str) -> Response:
    node = request.node
    limits = node.limits
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, Kind.STREAM, name)
    form = await request.read_form()
    data = get_data(form, limits, limits.message_bytes, Reason.MESSAGE_DATA_MISSING)
    if data is None:
        raise Refusal(Reason.MESSAGE_DATA_MISSING)
    message = await node.publish_message(ref, data, REST_ACTOR)
    return Response(201, encode(render_message(message)))
