"""The target of a tunnelled request: which operation, on which object. [wire-protocol 6.1, 6.2]

A path is split at ``/`` first, and each segment is percent-decoded exactly once after that. ``.``,
``..``, ``+`` and an encoded slash are plain parts of names: no library that normalises paths comes
near them. Parameter values arrive encoded as well. [trap 6]

Every path exists in two forms, both equal, since clients follow the URLs they once received::

    /v3/Documents/{object_ref}
    /v3/Services/{service}/Documents/{object_ref}

Permissions of objects have no client request: their paths are not found here, as on the real
service.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias
from urllib.parse import unquote

from msgspec import Struct

from starlings.wire.messages import HttpValue, all_values

__all__ = [
    "BadQuery",
    "Kind",
    "NoRoute",
    "Operation",
    "PageQuery",
    "Route",
    "parse_page_query",
    "parse_params",
    "parse_target",
]


class Kind(Enum):
    """What a request is about."""

    DOCUMENT = "document"
    LIST = "list"
    MAP = "map"
    STREAM = "stream"
    SUBSCRIPTIONS = "subscriptions"
    INSIGHTS = "insights"
    CONFIGURATION = "configuration"


class Operation(Enum):
    """What a request wants; ``_OPERATIONS`` says which kinds have it."""

    READ = "read"
    """An object, or the configuration."""
    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"
    READ_ITEMS = "read items"
    """A page, or with ``Index`` or ``Key`` one item, which is never 404. [trap 8]"""
    ADD_ITEM = "add item"
    READ_ITEM = "read item"
    """By its own URL, as Kotlin's ``mutateItem`` does: one item, not a page, and 404 without."""
    PUT_ITEM = "put item"
    """Create or replace a map item."""
    UPDATE_ITEM = "update item"
    REMOVE_ITEM = "remove item"
    READ_CONTEXT = "read context"
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    """Establish and cancel; ``subscriptions.decode_subscriptions`` reads the body."""
    SEARCH = "search"


class Route(Struct, frozen=True):
    """A request that exists.

    Attributes:
        service: The Service in the path, or None in the short form. It must be the token's one.
        object_ref: SID or unique name of an object, or the name of an index of Insights.
        key: Key of a map item, or index of a list item: 1 to 15 decimal digits.
    """

    kind: Kind
    operation: Operation
    service: str | None = None
    object_ref: str | None = None
    key: str | None = None


class NoRoute(Struct, frozen=True):
    """A request that does not exist, and the HTTP status that says so.

    ``status`` is 400 (a segment is not UTF-8), 404, or 405 with the methods in ``allowed``.
    """

    status: int
    message: str
    allowed: tuple[str, ...] = ()


Target: TypeAlias = Route | NoRoute

_COLLECTIONS = {
    ("v3", "Documents"): Kind.DOCUMENT,
    ("v3", "Lists"): Kind.LIST,
    ("v3", "Maps"): Kind.MAP,
    ("v3", "Streams"): Kind.STREAM,
}

_KINDS = {
    **_COLLECTIONS,
    ("v3", "Configuration"): Kind.CONFIGURATION,
    ("v3", "Insights"): Kind.INSIGHTS,
    ("v4", "Subscriptions"): Kind.SUBSCRIPTIONS,
}

_OBJECT = {"GET": Operation.READ, "POST": Operation.UPDATE, "DELETE": Operation.REMOVE}
_ITEMS = {"GET": Operation.READ_ITEMS, "POST": Operation.ADD_ITEM}
_ITEM = {
    "GET": Operation.READ_ITEM,
    "POST": Operation.UPDATE_ITEM,
    "DELETE": Operation.REMOVE_ITEM,
}

# By kind, number of segments from the collection on, and the name of the third segment.
_OPERATIONS: Mapping[tuple[Kind, int, str], Mapping[str, Operation]] = {
    **{(kind, 1, ""): {"POST": Operation.CREATE} for kind in _COLLECTIONS.values()},
    **{(kind, 2, ""): _OBJECT for kind in _COLLECTIONS.values()},
    (Kind.LIST, 3, "Items"): _ITEMS,
    (Kind.LIST, 4, "Items"): _ITEM,
    (Kind.LIST, 3, "Context"): {"GET": Operation.READ_CONTEXT},
    # Kotlin adds map items with POST to the collection, JavaScript with PUT to the item.
    (Kind.MAP, 3, "Items"): _ITEMS,
    (Kind.MAP, 4, "Items"): {**_ITEM, "PUT": Operation.PUT_ITEM},
    (Kind.STREAM, 3, "Messages"): {"POST": Operation.PUBLISH},
    (Kind.SUBSCRIPTIONS, 1, ""): {"POST": Operation.SUBSCRIBE},
    (Kind.INSIGHTS, 3, "Items"): {"POST": Operation.SEARCH},
    (Kind.CONFIGURATION, 1, ""): {"GET": Operation.READ},
}

_NOT_FOUND = NoRoute(404, "The requested resource was not found")
_NOT_UTF8 = NoRoute(400, "The path is not valid UTF-8")


def parse_target(method: str, path: str) -> Target:
    """Parse method and path of a tunnelled request.

    Args:
        method: Upper case, as clients send it.
        path: As it arrived, percent-encoded; without a query, which travels in ``params``.
    """
    segments = path.split("/")
    if "%" in path:
        try:
            segments = [unquote(one, errors="strict") for one in segments]
        except UnicodeDecodeError:
            return _NOT_UTF8
    if len(segments) < 3 or segments[0] or "" in segments[1:-1]:
        return _NOT_FOUND
    version, rest = segments[1], segments[2:]
    service = None
    if rest[0] == "Services" and len(rest) > 2:
        service, rest = rest[1], rest[2:]
    kind = _KINDS.get((version, rest[0]))
    if kind is None:
        return _NOT_FOUND
    operations = _OPERATIONS.get((kind, len(rest), rest[2] if len(rest) > 2 else ""))
    key = rest[3] if len(rest) > 3 else None
    if not rest[-1] and not (kind is Kind.MAP and key is not None):
        # An empty key of a map is for the rules to refuse: of a 404 on PUT the JavaScript SDK takes
        # the whole map for removed. [wire-protocol 9]
        return _NOT_FOUND
    if operations is None or (kind is Kind.LIST and key is not None and not _is_number(key)):
        return _NOT_FOUND
    operation = operations.get(method)
    if operation is None:
        return NoRoute(405, "The method is not allowed here", tuple(sorted(operations)))
    return Route(kind, operation, service, rest[1] if len(rest) > 1 else None, key)


# Parameters


class BadQuery(ValueError):
    """A parameter whose value cannot be used; answered with 400. ``name`` is the parameter."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The value of {name} is not valid")
        self.name = name


class PageQuery(Struct, frozen=True):
    """Which items of a list or map are asked for. [6.3]

    Attributes:
        only: Index or key of the one item wanted; the rest of the query then does not matter.
        start: Index or key to begin with (``From``), or None for the very first or last.
        is_ascending: Items >= ``start`` upwards, else items <= ``start`` downwards.
        is_inclusive: Whether the item at ``start`` itself belongs to the page.
        page_size: As asked for, >= 1, not yet capped; None leaves it to the server.
        hide_expired: Always true from JavaScript.
    """

    only: str | None = None
    start: str | None = None
    is_ascending: bool = True
    is_inclusive: bool = True
    page_size: int | None = None
    hide_expired: bool = False


def parse_params(params: Mapping[str, HttpValue] | None) -> dict[str, list[str]]:
    """Percent-decode the values of every parameter, once; names are taken as they are.

    Raises:
        BadQuery: A value is not UTF-8.
    """
    return {
        name: [_decode(name, one) for one in all_values(value)]
        for name, value in (params or {}).items()
    }


def parse_page_query(kind: Kind, params: Mapping[str, HttpValue] | None) -> PageQuery:
    """Parse the parameters of ``READ_ITEMS``. Unknown ones are ignored, a repeated one counts once.

    Args:
        kind: ``LIST`` reads ``Index``, whose positions are decimal numbers; ``MAP`` reads ``Key``.

    Raises:
        BadQuery: A value is outside what :class:`PageQuery` says.
    """
    values = {name: all_[0] for name, all_ in parse_params(params).items() if all_}
    only_name = "Index" if kind is Kind.LIST else "Key"
    only, start = values.get(only_name), values.get("From")
    if kind is Kind.LIST:
        _check_index(only_name, only)
        _check_index("From", start)
    return PageQuery(
        only,
        start,
        _choose(values, "Order", ("asc", "desc")) == "asc",
        _choose(values, "Bounds", ("inclusive", "exclusive")) == "inclusive",
        _parse_page_size(values.get("PageSize")),
        _choose(values, "HideExpired", ("false", "true")) == "true",
    )


def _decode(name: str, value: str) -> str:
    if "%" not in value:
        return value
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise BadQuery(name) from None


def _check_index(name: str, value: str | None) -> None:
    if value is not None and not _is_number(value):
        raise BadQuery(name)


def _parse_page_size(value: str | None) -> int | None:
    if value is None:
        return None
    if not _is_number(value) or int(value) < 1:
        raise BadQuery("PageSize")
    return int(value)


def _is_number(value: str) -> bool:
    # 15 digits stay below 2**53, which is as far as clients can count.
    return value.isascii() and value.isdigit() and len(value) <= 15


def _choose(values: Mapping[str, str], name: str, choices: tuple[str, str]) -> str:
    """The value of a two-way parameter; the first choice is the default."""
    value = values.get(name, choices[0])
    if value not in choices:
        raise BadQuery(name)
    return value
