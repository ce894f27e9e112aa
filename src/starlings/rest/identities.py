"""Revocation of an identity. Ours; the documented API can only delete the key that signs for all.

Sessions of the identity end, and its access tokens issued up to now are refused, in all services of
the account. New tokens are good: whether there are any is for the application to decide.
"""

from __future__ import annotations

from typing import Protocol

from starlings.core.rules import check_identity
from starlings.rest.render import encode, format_date
from starlings.rest.requests import Request
from starlings.rest.responses import Response

__all__ = ["Revoker", "revoke_identity"]


class Revoker(Protocol):
    """Keeps the record of revoked identities, and ends their sessions."""

    async def revoke_identity(self, account_sid: str, identity: str) -> int:
        """The moment up to which tokens are refused, in milliseconds since 1970.

        Raises:
            Fault: UNAVAILABLE: it can't be written now; nothing has changed.
        """
        ...


async def revoke_identity(revoker: Revoker, request: Request, identity: str) -> Response:
    check_identity(identity, request.node.limits)
    revoked_at = await revoker.revoke_identity(request.account_sid, identity)
    body = {
        "account_sid": request.account_sid,
        "identity": identity,
        "date_revoked": format_date(revoked_at),
    }
    return Response(200, encode(body))
