"""The documented shape of every answer: fields, types, SID prefixes, dates, URLs. [rest-api 2]"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

__all__ = ["assert_shape"]

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

_Check = Callable[[Any], bool]


def _sid(prefix: str) -> _Check:
    pattern = re.compile(f"{prefix}[0-9a-f]{{32}}")
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _revision(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"0|[1-9a-f][0-9a-f]*", value) is not None


def _date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value) is not None


def _url(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[!-~]+/v1/[!-~]+", value) is not None


def _webhook(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("http")


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _links(*names: str) -> _Check:
    return lambda value: sorted(value) == sorted(names) and all(map(_url, value.values()))


def _or_null(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


_OWNER: dict[str, _Check] = {"account_sid": _sid("AC"), "service_sid": _sid("IS")}
_DATES: dict[str, _Check] = {"date_created": _date, "date_updated": _date}
_OBJECT: dict[str, _Check] = {
    **_OWNER,
    **_DATES,
    "unique_name": _or_null(_text),
    "url": _url,
    "date_expires": _or_null(_date),
    "created_by": _text,
}
_COLLECTION: dict[str, _Check] = {
    **_OBJECT,
    "links": _links("items", "permissions"),
    "revision": _revision,
}
_ITEM: dict[str, _Check] = {
    **{name: check for name, check in _OBJECT.items() if name != "unique_name"},
    "revision": _revision,
    "data": _object,
}
_PERMISSION: dict[str, _Check] = {
    **_OWNER,
    "identity": _text,
    "read": _flag,
    "write": _flag,
    "manage": _flag,
    "url": _url,
    "match": lambda value: value in ("exact", "prefix", "everybody"),
    "date_expires": _or_null(_date),
}
_EXPLANATION: dict[str, _Check] = {
    **_OWNER,
    "identity": _text,
    "acl_enabled": _flag,
    "operations": _object,
    "url": _url,
}
_EVENT: dict[str, _Check] = {
    "sequence": _number,
    "event_id": _or_null(_number),
    "type": _text,
    "key": lambda value: value is None or _text(value) or _number(value),
    "revision": _or_null(_revision),
    "item_revision": _or_null(_revision),
    "data": _or_null(_object),
    "date_created": _date,
    "date_expires": _or_null(_date),
    "identity": _text,
    "endpoint": _or_null(_text),
    "request_id": _or_null(_text),
}
_SHAPES: dict[str, dict[str, _Check]] = {
    **{f"{plural}/Events": _EVENT for plural in ("Documents", "Lists", "Maps", "Streams")},
    "Revoke": {"account_sid": _sid("AC"), "identity": _text, "date_revoked": _date},
    "Services": {
        **_DATES,
        "sid": _sid("IS"),
        "account_sid": _sid("AC"),
        "unique_name": _or_null(_text),
        "friendly_name": _or_null(_text),
        "url": _url,
        "webhook_url": _or_null(_webhook),
        "webhooks_from_rest_enabled": _flag,
        "reachability_webhooks_enabled": _flag,
        "acl_enabled": _flag,
        "reachability_debouncing_enabled": _flag,
        "reachability_debouncing_window": _number,
        "links": _links("documents", "lists", "maps", "streams"),
    },
    "Documents": {
        **_OBJECT,
        "sid": _sid("ET"),
        "links": _links("permissions"),
        "revision": _revision,
        "data": _object,
    },
    "Lists": {**_COLLECTION, "sid": _sid("ES")},
    "Maps": {**_COLLECTION, "sid": _sid("MP")},
    "Streams": {**_OBJECT, "sid": _sid("TO"), "links": _links("messages")},
    "Lists/Items": {**_ITEM, "index": _number, "list_sid": _sid("ES")},
    "Maps/Items": {**_ITEM, "key": _text, "map_sid": _sid("MP")},
    "Streams/Messages": {"sid": _sid("TZ"), "data": _object},
    "Documents/Permissions": {**_PERMISSION, "document_sid": _sid("ET")},
    "Lists/Permissions": {**_PERMISSION, "list_sid": _sid("ES")},
    "Maps/Permissions": {**_PERMISSION, "map_sid": _sid("MP")},
    "Streams/Permissions": {**_PERMISSION, "stream_sid": _sid("TO")},
    "Documents/Permissions/Explain": {**_EXPLANATION, "document_sid": _sid("ET")},
    "Lists/Permissions/Explain": {**_EXPLANATION, "list_sid": _sid("ES")},
    "Maps/Permissions/Explain": {**_EXPLANATION, "map_sid": _sid("MP")},
    "Streams/Permissions/Explain": {**_EXPLANATION, "stream_sid": _sid("TO")},
}
_META: dict[str, _Check] = {
    "key": _text,
    "page": _number,
    "page_size": _number,
    "first_page_url": _url,
    "previous_page_url": _or_null(_url),
    "url": _url,
    "next_page_url": _or_null(_url),
}


def assert_shape(method: str, path: str, body: Any) -> None:
    """The body of a success has exactly the documented fields, each of its type."""
    segments = [unquote(segment) for segment in path.rstrip("/").split("/")[2:]]
    words = segments[::2] if len(segments) < 3 else segments[2::2]
    shape = _SHAPES["/".join(words)]
    is_listing = method == "GET" and len(segments) % 2 == 1 and segments[-1] != "Explain"
    if not is_listing:
        _assert_fields(shape, body)
        return
    key = words[-1].lower()
    assert sorted(body) == sorted([key, "meta"])
    _assert_fields(_META, body["meta"])
    assert body["meta"]["key"] == key
    assert len(body[key]) <= body["meta"]["page_size"]
    for entry in body[key]:
        _assert_fields(shape, entry)


def _assert_fields(shape: dict[str, _Check], body: Any) -> None:
    assert sorted(body) == sorted(shape)
    wrong = {name: value for name, value in body.items() if not shape[name](value)}
    assert wrong == {}
