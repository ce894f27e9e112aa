"""Paths that an HTTP library has shortened on the way.

Nobody forbids the key, name or identity ``..``, and the SDK carries it safely. But in a path most
HTTP libraries take it for "one level up", written ``%2E%2E`` too, and send ``…/Items/..`` as
``…/``: who means to remove an item would remove its Map, or the whole service with a name. Such a
path is known by its trailing slash. So a change at one is refused where there is something called
``..`` that could have been meant.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind, ObjectRef
from starlings.node.node import Node
from starlings.rest.render import PLURALS
from starlings.rest.requests import REST_ACTOR

__all__ = ["refuse_shortened"]

_UP = ".."
_KINDS = {plural: kind for kind, plural in PLURALS.items()}


async def refuse_shortened(
    node: Node, account_sid: str, raw_path: bytes, captured: Sequence[str]
) -> None:
    """Check the path of a change.

    Args:
        captured: What the router captured of ``raw_path``: the service, then perhaps the object.

    Raises:
        Refusal: BAD_PARAMETER: it may have meant something called ``..``; and what looking for the
            service and the object says.
    """
    if not raw_path.endswith(b"/") or len(captured) > 2:
        return
    service = await node.get_service(account_sid, captured[0])
    if len(captured) == 1:
        is_ambiguous = any(
            [await node.store.find_object_named(service.oid, kind, _UP) for kind in Kind]
        )
    else:
        kind = _KINDS[raw_path.split(b"/")[4].decode()]
        found = await node.get_object(ObjectRef(service.oid, kind, captured[1]), REST_ACTOR)
        is_ambiguous = bool(await node.store.list_grants(found.oid, _UP)) or (
            kind is Kind.MAP and await node.store.find_item(found.oid, _UP) is not None
        )
    if is_ambiguous:
        raise Refusal(
            Reason.BAD_PARAMETER,
            f"Invalid path: it ends with a slash, and there is a {_UP!r} below it, which HTTP"
            " libraries shorten to that; leave out the slash to mean what the path names",
        )
