"""The items of lists and maps: each function takes the collection's kind first. [rest-api 2.4, 2.5]

A list item is named by its index, a map item by its key. An update never creates: create-or-update
is the SDK's business.
"""

from __future__ import annotations

from functools import partial

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import Limits
from starlings.core.maps import check_key
from starlings.core.objects import Item, ItemKey, Kind, Service, SyncObject
from starlings.node.pages import Page
from starlings.rest.forms import Form
from starlings.rest.paging import (
    Position,
    list_page,
    parse_from_index,
    parse_from_key,
    parse_page_request,
)
from starlings.rest.parameters import get_data, get_text, get_ttl, parse_whole_number
from starlings.rest.render import encode, render_item
from starlings.rest.requests import REST_ACTOR, Request
from starlings.rest.responses import NO_CONTENT, Response

__all__ = ["create_item", "fetch_item", "list_items", "remove_item", "update_item"]

_DATA_MISSING = {
    Kind.LIST: Reason.LIST_ITEM_DATA_MISSING,
    Kind.MAP: Reason.MAP_ITEM_DATA_MISSING,
}


async def create_item(kind: Kind, request: Request, service_name: str, name: str) -> Response:
    node = request.node
    limits = node.limits
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    form = await request.read_form()
    key = _get_key(form, limits) if kind is Kind.MAP else None
    data = get_data(form, limits, limits.data_bytes, _DATA_MISSING[kind])
    if data is None:
        raise Refusal(_DATA_MISSING[kind])
    ttl = get_ttl(form, limits, "ItemTtl", "Ttl")
    collection_ttl = get_ttl(form, limits, "CollectionTtl")
    request_id = request.request_id
    outcome = await node.execute_on_item(
        c.AddListItem(ref, data, ttl, collection_ttl, REST_ACTOR, request_id)
        if key is None
        else c.AddMapItem(ref, key, data, ttl, collection_ttl, REST_ACTOR, request_id)
    )
    return _answer(201, request, service, outcome.object, outcome.item)


async def list_items(kind: Kind, request: Request, service_name: str, name: str) -> Response:
    """One page counts as one read. [rest-api 12.15]"""
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    if kind is Kind.LIST:
        asked = parse_page_request(request.query, node.limits, "li", int, parse_from_index)
    else:
        parse_from = partial(parse_from_key, most_characters=node.limits.key_characters)
        asked = parse_page_request(request.query, node.limits, "mi", str, parse_from)
    collection = await node.get_object(ref, REST_ACTOR)

    async def read(
        start: Position | None, is_inclusive: bool, is_descending: bool, limit: int
    ) -> Page[Item]:
        assert not isinstance(start, tuple)
        return await node.list_items(collection, start, is_inclusive, is_descending, limit)

    return await list_page(
        request,
        asked,
        read,
        lambda item: item.key,
        "items",
        lambda item: render_item(request.base_url, service, collection, item),
    )


async def fetch_item(
    kind: Kind, request: Request, service_name: str, name: str, segment: str
) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    key = _parse_key(kind, segment, node.limits)
    collection, item = await node.read_item(ref, key, REST_ACTOR)
    return _answer(200, request, service, collection, item)


async def update_item(
    kind: Kind, request: Request, service_name: str, name: str, segment: str
) -> Response:
    """Raises Refusal NOTHING_TO_UPDATE, for CollectionTtl alone too. [rest-api 5]"""
    node = request.node
    limits = node.limits
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    key = _parse_key(kind, segment, limits)
    form = await request.read_form()
    data = get_data(form, limits, limits.data_bytes, _DATA_MISSING[kind])
    ttl = get_ttl(form, limits, "ItemTtl", "Ttl")
    collection_ttl = get_ttl(form, limits, "CollectionTtl")
    if data is None and ttl is None:
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    outcome = await node.execute_on_item(
        c.UpdateItem(
            ref,
            key,
            data,
            ttl,
            collection_ttl,
            request.get_if_match(),
            REST_ACTOR,
            request.request_id,
        )
    )
    return _answer(200, request, service, outcome.object, outcome.item)


async def remove_item(
    kind: Kind, request: Request, service_name: str, name: str, segment: str
) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    key = _parse_key(kind, segment, node.limits)
    await node.execute(
        c.RemoveItem(ref, key, request.get_if_match(), REST_ACTOR, request.request_id)
    )
    return NO_CONTENT


def _parse_key(kind: Kind, segment: str, limits: Limits) -> ItemKey:
    """The item that a path names. Raises Refusal BAD_LIST_INDEX, BAD_MAP_KEY."""
    if kind is Kind.MAP:
        check_key(segment, limits)
        return segment
    index = parse_whole_number(segment)
    if index is None:
        raise Refusal(Reason.BAD_LIST_INDEX)
    return index


def _get_key(form: Form, limits: Limits) -> str:
    """The Key. Raises Refusal BAD_MAP_KEY, also if it is missing."""
    key = get_text(form, "Key", Reason.BAD_MAP_KEY)
    if key is None:
        raise Refusal(Reason.BAD_MAP_KEY, "Invalid Map Item key: Key is missing")
    check_key(key, limits)
    return key


def _answer(
    status: int, request: Request, service: Service, collection: SyncObject, item: Item
) -> Response:
    body = encode(render_item(request.base_url, service, collection, item))
    return Response(status, body, item.revision)
