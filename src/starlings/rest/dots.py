"""Paths that an HTTP library has shortened on the way.

Nobody forbids the key, name or identity ``..``, and the SDK carries it safely. But in a path most
HTTP libraries take it for "one level up", written ``%2E%2E`` too, and send ``…/Items/..`` as
``…/``: who means to remove an item would remove its Map, or the whole service with a name. And
``.`` they leave out: who means to update ``…/Documents/.`` would create another document. Such a
path is known by its trailing slash. So a change at one is refused where there is something called
``..`` or ``.`` that could have been meant.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind, ObjectRef
from starlings.node.node import Node
from starlings.rest.render import PLURALS
from starlings.rest.requests import REST_ACTOR

__all__ = ["refuse_shortened"]

_UP = ".."
_HERE = "."
_KINDS = {plural: kind for kind, plural in PLURALS.items()}


async def refuse_shortened(node: Node, account_sid: str, raw_path: bytes) -> None:
    """Check the path of a change, which the router knows.

    Raises:
        Refusal: BAD_PARAMETER: it may have meant something called ``..`` or ``.``; and what looking
            for the service and the object says.
    """
    if not raw_path.endswith(b"/"):
        return
    segments = [unquote_to_bytes(segment).decode() for segment in raw_path[:-1].split(b"/")]
    match segments:
        case [_, _, "Services", service]:
            meant, is_there = _UP, await _has_named_so(node, account_sid, service, tuple(Kind), _UP)
        case [_, _, "Services", service, plural] if plural in _KINDS:
            kinds = (_KINDS[plural],)
            meant, is_there = _HERE, await _has_named_so(node, account_sid, service, kinds, _HERE)
        case [_, _, "Services", service, plural, name] if plural in _KINDS:
            meant, is_there = (
                _UP,
                await _has_below(node, account_sid, service, _KINDS[plural], name),
            )
        case _:
            return
    if is_there:
        raise Refusal(
            Reason.BAD_PARAMETER,
            f"Invalid path: it ends with a slash, and there is a {meant!r} below it, which HTTP"
            " libraries shorten to that; leave out the slash to mean what the path names",
        )


async def _has_named_so(
    node: Node, account_sid: str, service_name: str, kinds: tuple[Kind, ...], name: str
) -> bool:
    service = await node.get_service(account_sid, service_name)
    return any([await node.store.find_object_named(service.oid, kind, name) for kind in kinds])


async def _has_below(
    node: Node, account_sid: str, service_name: str, kind: Kind, name: str
) -> bool:
    """Whether an object has an item or a permission called ``..``."""
    service = await node.get_service(account_sid, service_name)
    found = await node.get_object(ObjectRef(service.oid, kind, name), REST_ACTOR)
    if kind is Kind.MAP and await node.store.find_item(found.oid, _UP) is not None:
        return True
    # Permissions for everybody and for prefixes are listed with those of any identity.
    return any(grant.identity == _UP for grant in await node.store.list_grants(found.oid, _UP))
