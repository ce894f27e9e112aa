"""Services: the tenants that own objects. [rest-api 2.1]"""

from __future__ import annotations

from starlings.core import commands as c
from starlings.core.errors import Reason
from starlings.core.objects import Service
from starlings.core.state import ServiceOutcome
from starlings.node.pages import Page
from starlings.rest.forms import Form
from starlings.rest.paging import Position, list_page, parse_page_request
from starlings.rest.parameters import get_flag, get_text, get_whole_number
from starlings.rest.render import encode, render_service
from starlings.rest.requests import REST_ACTOR, Request
from starlings.rest.responses import NO_CONTENT, Response

__all__ = [
    "create_service",
    "fetch_service",
    "list_services",
    "remove_service",
    "update_service",
]


async def create_service(request: Request) -> Response:
    settings = _parse_settings(await request.read_form())
    service = await request.node.create_service(
        request.account_sid, settings, REST_ACTOR, request.request_id
    )
    return Response(201, encode(render_service(request.base_url, service)))


async def list_services(request: Request) -> Response:
    node = request.node
    asked = parse_page_request(request.query, node.limits, "services", tuple)

    async def read(
        start: Position | None, is_inclusive: bool, is_descending: bool, limit: int
    ) -> Page[Service]:
        assert start is None or isinstance(start, tuple)
        if start is not None and is_inclusive:
            start = (start[0], start[1] + 1)
        return await node.list_services(request.account_sid, start, is_descending, limit)

    return await list_page(
        request,
        asked,
        read,
        lambda service: (service.created_at, service.oid),
        "services",
        lambda service: render_service(request.base_url, service),
    )


async def fetch_service(request: Request, name: str) -> Response:
    service = await request.node.get_service(request.account_sid, name)
    return Response(200, encode(render_service(request.base_url, service)))


async def update_service(request: Request, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, name)
    settings = _parse_settings(await request.read_form())
    outcome = await node.execute(
        c.UpdateService(service.oid, settings, REST_ACTOR, request.request_id)
    )
    assert isinstance(outcome, ServiceOutcome)
    return Response(200, encode(render_service(request.base_url, outcome.service)))


async def remove_service(request: Request, name: str) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, name)
    await node.execute(c.RemoveService(service.oid, REST_ACTOR, request.request_id))
    return NO_CONTENT


def _parse_settings(form: Form) -> c.ServiceSettings:
    """The settings given; an empty WebhookUrl clears it.

    Raises:
        Refusal: BAD_PARAMETER, BAD_FRIENDLY_NAME, BAD_WEBHOOK_URL.
    """
    name = get_text(form, "FriendlyName", Reason.BAD_FRIENDLY_NAME)
    url = get_text(form, "WebhookUrl", Reason.BAD_WEBHOOK_URL)
    return c.ServiceSettings(
        friendly_name=c.UNSET if name is None else name,
        webhook_url=c.UNSET if url is None else url or None,
        has_webhooks_from_rest=_given_flag(form, "WebhooksFromRestEnabled"),
        has_reachability_webhooks=_given_flag(form, "ReachabilityWebhooksEnabled"),
        has_acl=_given_flag(form, "AclEnabled"),
        has_debouncing=_given_flag(form, "ReachabilityDebouncingEnabled"),
        debouncing_window_ms=_given_window(form),
    )


def _given_flag(form: Form, field: str) -> bool | c.Unset:
    flag = get_flag(form, field)
    return c.UNSET if flag is None else flag


def _given_window(form: Form) -> int | c.Unset:
    window = get_whole_number(form, "ReachabilityDebouncingWindow")
    return c.UNSET if window is None else window
