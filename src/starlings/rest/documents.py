"""Documents: one JSON object each, replaced as a whole. [rest-api 2.2]"""

from __future__ import annotations

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind, Service, SyncObject
from starlings.rest.parameters import get_data, get_name, get_ttl
from starlings.rest.render import encode, render_object
from starlings.rest.requests import REST_ACTOR, Request
from starlings.rest.responses import NO_CONTENT, Response

__all__ = ["create_document", "fetch_document", "remove_document", "update_document"]


async def create_document(request: Request, service_name: str) -> Response:
    node = request.node
    limits = node.limits
    service = await node.get_service(request.account_sid, service_name)
    form = await request.read_form()
    outcome = await node.create_object(
        service,
        Kind.DOCUMENT,
        get_name(form, limits),
        get_data(form, limits, limits.data_bytes, Reason.DOCUMENT_DATA_MISSING),
        get_ttl(form, limits, "Ttl"),
        REST_ACTOR,
        request.request_id,
    )
    return _answer(201, request, service, outcome.object)


async def fetch_document(request: Request, service_name: str, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    found = await node.read_object(request.aim(service, Kind.DOCUMENT, name), REST_ACTOR)
    return _answer(200, request, service, found)


async def update_document(request: Request, service_name: str, name: str) -> Response:
    """Raises Refusal NOTHING_TO_UPDATE besides what the parameters and the rule say."""
    node = request.node
    limits = node.limits
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, Kind.DOCUMENT, name)
    form = await request.read_form()
    data = get_data(form, limits, limits.data_bytes, Reason.DOCUMENT_DATA_MISSING)
    ttl = get_ttl(form, limits, "Ttl")
    if data is None and ttl is None:
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    outcome = await node.execute_on_object(
        c.UpdateDocument(ref, data, ttl, request.get_if_match(), REST_ACTOR, request.request_id)
    )
    return _answer(200, request, service, outcome.object)


async def remove_document(request: Request, service_name: str, name: str) -> Response:
    """The one removal of an object that obeys If-Match. [rest-api 3]"""
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, Kind.DOCUMENT, name)
    await node.execute(c.RemoveObject(ref, request.get_if_match(), REST_ACTOR, request.request_id))
    return NO_CONTENT


def _answer(status: int, request: Request, service: Service, found: SyncObject) -> Response:
    body = encode(render_object(request.base_url, service, found))
    return Response(status, body, found.revision)
