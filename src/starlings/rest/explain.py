"""Why may an identity do something with an object, or not? Ours; the documented API has no answer.

Told is what would be decided at this moment for a client with a good token for the service.
"""

from __future__ import annotations

from typing import Any

from starlings.core.access import OPERATIONS, is_permitted
from starlings.core.objects import Kind, Permission
from starlings.core.rules import check_identity
from starlings.rest.render import PLURALS, encode, format_date
from starlings.rest.requests import Request
from starlings.rest.responses import Response
from starlings.rest.urls import quote_segment

__all__ = ["explain_permissions"]

_ACL_IS_OFF = "acl is off"
_NO_GRANT = "no grant"


async def explain_permissions(
    kind: Kind, request: Request, service_name: str, name: str, identity: str
) -> Response:
    node = request.node
    service = await node.get_service(request.account_sid, service_name)
    ref = request.aim(service, kind, name)
    check_identity(identity, node.limits)
    found = await node.get_object_for_permissions(ref)
    deciding = await node.find_deciding_permission(found.oid, identity)
    because: object = _NO_GRANT if deciding is None else _render_grant(deciding)
    if not service.has_acl:
        because = _ACL_IS_OFF
    operations = {
        operation: {
            "allowed": not service.has_acl or is_permitted(deciding, right),
            "needs": right.value,
            "because": because,
        }
        for operation, right in OPERATIONS[kind].items()
    }
    url = f"{request.base_url}/v1/Services/{service.sid}/{PLURALS[kind]}/{found.sid}/Permissions/"
    body = {
        "account_sid": service.account_sid,
        "service_sid": service.sid,
        f"{kind.word}_sid": found.sid,
        "identity": identity,
        "acl_enabled": service.has_acl,
        "operations": operations,
        "url": f"{url}{quote_segment(identity)}/Explain",
    }
    return Response(200, encode(body))


def _render_grant(grant: Permission) -> dict[str, Any]:
    return {
        "match": grant.match.word,
        "identity": grant.identity,
        "read": grant.may_read,
        "write": grant.may_write,
        "manage": grant.may_manage,
        "date_expires": None if grant.expires_at is None else format_date(grant.expires_at),
    }
