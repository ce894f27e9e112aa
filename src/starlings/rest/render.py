"""Values as JSON: the fields of each resource, in the documented order. [rest-api 2]

``data`` goes out byte for byte as it is stored, so numbers and the order of keys are as the writer
sent them. Dates have no fraction: the Python helper parses only ``%Y-%m-%dT%H:%M:%SZ``. URLs are
absolute and name objects by SID, however the caller named them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from starlings.core.objects import Item, Kind, Match, Permission, Service, SyncObject
from starlings.node.node import Message
from starlings.rest.urls import quote_segment

__all__ = [
    "PLURALS",
    "encode",
    "format_date",
    "render_item",
    "render_message",
    "render_object",
    "render_permission",
    "render_service",
]

encode = msgspec.json.Encoder().encode
"""The JSON of what the ``render_`` functions return."""

PLURALS = {
    Kind.DOCUMENT: "Documents",
    Kind.LIST: "Lists",
    Kind.MAP: "Maps",
    Kind.STREAM: "Streams",
}
"""The path segment of each kind. In lower case it is the key of its listing."""

_SID_FIELDS = {kind: f"{kind.word}_sid" for kind in Kind}
_NO_DATA = msgspec.Raw(b"{}")


class _ServiceLinks(msgspec.Struct, frozen=True, gc=False):
    documents: str
    lists: str
    maps: str
    streams: str


class _ServiceBody(msgspec.Struct, frozen=True, gc=False):
    sid: str
    unique_name: str | None
    account_sid: str
    friendly_name: str | None
    date_created: str
    date_updated: str
    url: str
    webhook_url: str | None
    webhooks_from_rest_enabled: bool
    reachability_webhooks_enabled: bool
    acl_enabled: bool
    reachability_debouncing_enabled: bool
    reachability_debouncing_window: int
    links: _ServiceLinks


class _DocumentLinks(msgspec.Struct, frozen=True, gc=False):
    permissions: str


class _DocumentBody(msgspec.Struct, frozen=True, gc=False):
    sid: str
    unique_name: str | None
    account_sid: str
    service_sid: str
    url: str
    links: _DocumentLinks
    revision: str
    data: msgspec.Raw
    date_expires: str | None
    date_created: str
    date_updated: str
    created_by: str


class _CollectionLinks(msgspec.Struct, frozen=True, gc=False):
    items: str
    permissions: str


class _CollectionBody(msgspec.Struct, frozen=True, gc=False):
    sid: str
    unique_name: str | None
    account_sid: str
    service_sid: str
    url: str
    links: _CollectionLinks
    revision: str
    date_expires: str | None
    date_created: str
    date_updated: str
    created_by: str


class _StreamLinks(msgspec.Struct, frozen=True, gc=False):
    messages: str


class _StreamBody(msgspec.Struct, frozen=True, gc=False):
    sid: str
    unique_name: str | None
    account_sid: str
    service_sid: str
    url: str
    links: _StreamLinks
    date_expires: str | None
    date_created: str
    date_updated: str
    created_by: str


class _ListItemBody(msgspec.Struct, frozen=True, gc=False):
    index: int
    account_sid: str
    service_sid: str
    list_sid: str
    url: str
    revision: str
    data: msgspec.Raw
    date_expires: str | None
    date_created: str
    date_updated: str
    created_by: str


class _MapItemBody(msgspec.Struct, frozen=True, gc=False):
    key: str
    account_sid: str
    service_sid: str
    map_sid: str
    url: str
    revision: str
    data: msgspec.Raw
    date_expires: str | None
    date_created: str
    date_updated: str
    created_by: str


class _MessageBody(msgspec.Struct, frozen=True, gc=False):
    sid: str
    data: msgspec.Raw


def render_service(base_url: str, service: Service) -> object:
    url = f"{base_url}/v1/Services/{service.sid}"
    return _ServiceBody(
        service.sid,
        service.unique_name,
        service.account_sid,
        service.friendly_name,
        format_date(service.created_at),
        format_date(service.updated_at),
        url,
        service.webhook_url,
        service.has_webhooks_from_rest,
        service.has_reachability_webhooks,
        service.has_acl,
        service.has_debouncing,
        service.debouncing_window_ms,
        _ServiceLinks(f"{url}/Documents", f"{url}/Lists", f"{url}/Maps", f"{url}/Streams"),
    )


def render_object(base_url: str, service: Service, found: SyncObject) -> object:
    """A document, list, map or stream."""
    kind = found.kind
    url = f"{base_url}/v1/Services/{service.sid}/{PLURALS[kind]}/{found.sid}"
    head = (found.sid, found.unique_name, service.account_sid, service.sid, url)
    tail = (
        None if found.expires_at is None else format_date(found.expires_at),
        format_date(found.created_at),
        format_date(found.updated_at),
        found.created_by,
    )
    if kind is Kind.DOCUMENT:
        data = _NO_DATA if found.data is None else msgspec.Raw(found.data)
        links = _DocumentLinks(f"{url}/Permissions")
        return _DocumentBody(*head, links, found.revision, data, *tail)
    if kind is Kind.STREAM:
        return _StreamBody(*head, _StreamLinks(f"{url}/Messages"), *tail)
    return _CollectionBody(
        *head, _CollectionLinks(f"{url}/Items", f"{url}/Permissions"), found.revision, *tail
    )


def render_item(base_url: str, service: Service, collection: SyncObject, item: Item) -> object:
    """An item of a list or a map."""
    key = item.key
    url = f"{base_url}/v1/Services/{service.sid}/{PLURALS[collection.kind]}/{collection.sid}/Items/"
    tail = (
        item.revision,
        msgspec.Raw(item.data),
        None if item.expires_at is None else format_date(item.expires_at),
        format_date(item.created_at),
        format_date(item.updated_at),
        item.created_by,
    )
    if isinstance(key, int):
        return _ListItemBody(
            key, service.account_sid, service.sid, collection.sid, f"{url}{key}", *tail
        )
    url += quote_segment(key)
    return _MapItemBody(key, service.account_sid, service.sid, collection.sid, url, *tail)


def render_message(message: Message) -> object:
    return _MessageBody(message.sid, msgspec.Raw(message.data))


def render_permission(
    base_url: str, service: Service, found: SyncObject, permission: Permission
) -> object:
    """What an identity may do with an object; the SID's field is named after the kind. ``match``
    and ``date_expires`` are ours.
    """
    url = f"{base_url}/v1/Services/{service.sid}/{PLURALS[found.kind]}/{found.sid}/Permissions/"
    match = permission.match
    query = "" if match is Match.EXACT else f"?Match={match.word}"
    return {
        "account_sid": service.account_sid,
        "service_sid": service.sid,
        _SID_FIELDS[found.kind]: found.sid,
        "identity": permission.identity,
        "read": permission.may_read,
        "write": permission.may_write,
        "manage": permission.may_manage,
        "url": f"{url}{quote_segment(permission.identity)}{query}",
        "match": match.word,
        "date_expires": None
        if permission.expires_at is None
        else format_date(permission.expires_at),
    }


def format_date(at: int) -> str:
    """Milliseconds since 1970 as ``YYYY-MM-DDTHH:MM:SSZ``; a fraction of a second is cut off."""
    return _format_second(at // 1000)


@lru_cache(maxsize=4096)
def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
