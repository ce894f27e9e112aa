"""Access tokens: what a client shows to connect. Verified with every check of rest-api section 7,
and minted.

Order of the checks: size and form (20101), header (20102), issuer and subject (20103), signature
(20107), and only of a token that is signed: expiry (20104), start (20105), life (20157), grants
(20106), and whether its identity was revoked since it was issued (20104: the client asks for a new
one, which is the application's to give). So nobody without a secret learns more than whether an API
key exists.

The clock tolerance holds for ``nbf`` and for the longest life, which fail when the signer's clock
is ahead. It doesn't hold for ``exp``: the socket ends a session at that moment, and the client's
next attempt with the same token must be told 20104, or it would be let in and dropped again until
the tolerance is over. [wire-protocol 4.4]
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import jwt
from jwt.algorithms import HMACAlgorithm

from starlings.auth.keyring import Keyring, LiveKey
from starlings.core import sids
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import Limits
from starlings.core.objects import SYSTEM

__all__ = [
    "CONTENT_TYPE",
    "DEFAULT_SERVICE",
    "TOKEN_BYTES",
    "AccessToken",
    "Claimed",
    "find_identity_fault",
    "mint_token",
    "read_claimed",
    "verify_token",
]

TOKEN_BYTES: Final = 8 * 1024
"""The longest token that is looked at. [ours]"""
CONTENT_TYPE: Final = "twilio-fpa;v=1"
DEFAULT_SERVICE: Final = "default"

_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
_ISSUED: Final = re.compile(r"-([0-9]{1,12})\Z")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a good token says.

    ``service`` is a service SID or ``default``; whether there is such a service is the node's to
    say. ``expires_at``: milliseconds since 1970, UTC.
    """

    identity: str
    account_sid: str
    key_sid: str
    service: str
    expires_at: int


class _Hmac(HMACAlgorithm):
    """Without PyJWT's look at the key: our secrets are text of the documented length, 32
    characters, never PEM or DER.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> str | None:
        return None


def _make_signer() -> jwt.PyJWS:
    signer = jwt.PyJWS(algorithms=[])
    signer.register_algorithm("HS256", _Hmac(HMACAlgorithm.SHA256))
    signer.register_algorithm("HS384", _Hmac(HMACAlgorithm.SHA384))
    signer.register_algorithm("HS512", _Hmac(HMACAlgorithm.SHA512))
    return signer


_signer = _make_signer()


def verify_token(text: str, keyring: Keyring, limits: Limits, now: int) -> AccessToken:
    """Read an access token.

    Args:
        text: The token as sent, anything at all.
        now: Milliseconds since 1970, UTC.

    Raises:
        Refusal: One of the ``TOKEN_…`` reasons; SERVICE_NOT_FOUND if the grant names what can't be
            a service.
    """
    claims, key = _verify_signature(text, keyring)
    exp = _check_times(claims, limits, now)
    identity, service = _read_grants(claims, limits)
    revoked_at = keyring.find_revocation(key.account_sid, identity)
    if revoked_at is not None and _issue_second(claims) * 1000 <= revoked_at:
        raise Refusal(Reason.TOKEN_EXPIRED, "The Access Token was revoked with its identity")
    return AccessToken(identity, key.account_sid, key.sid, service, int(exp * 1000))


def mint_token(key: LiveKey, identity: str, service: str, ttl_seconds: int, now: int) -> str:
    """Sign an access token as the official helper libraries do.

    Args:
        service: A service SID or ``default``.
        now: Milliseconds since 1970, UTC.
    """
    seconds = now // 1000
    claims = {
        "jti": f"{key.sid}-{seconds}",
        "iss": key.sid,
        "sub": key.account_sid,
        "nbf": seconds,
        "exp": seconds + ttl_seconds,
        "grants": {"identity": identity, "data_sync": {"service_sid": service}},
    }
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return _signer.encode(payload, key.secret, "HS256", {"cty": CONTENT_TYPE})


def find_identity_fault(identity: str, limits: Limits) -> str | None:
    """Why a client may not have this identity, in words that follow a "needs"; None if it may.

    1 character to the limit, no control characters [rest-api 12.20], no half of a surrogate pair;
    and not the server's own, by which history, ``created_by`` and webhooks tell its changes.
    """
    if not 1 <= len(identity) <= limits.identity_characters or any(
        character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"
        for character in identity
    ):
        return (
            f"1 to {limits.identity_characters} characters, none of them a control character"
            " or half a character"
        )
    if identity == SYSTEM:
        return f'another name than "{SYSTEM}", which is the server\'s own'
    return None


class Claimed(NamedTuple):
    """Who a token says it is of: not verified, to find out whose it is that was refused.

    None for what it doesn't say.
    """

    key_sid: str | None
    identity: str | None


def read_claimed(text: str) -> Claimed:
    """What any text that was sent as a token claims."""
    try:
        _, claims = _decode(text)
    except Refusal:
        return Claimed(None, None)
    issuer, grants = claims.get("iss"), claims.get("grants")
    identity = grants.get("identity") if isinstance(grants, dict) else None
    return Claimed(
        issuer if isinstance(issuer, str) and sids.is_sid(issuer) else None,
        identity if isinstance(identity, str) else None,
    )


def _verify_signature(text: str, keyring: Keyring) -> tuple[dict[str, Any], LiveKey]:
    header, claims = _decode(text)
    if (
        header.get("typ") != "JWT"
        or header.get("cty") != CONTENT_TYPE
        or header.get("alg") not in _ALGORITHMS
        or "crit" in header
        or "b64" in header
    ):
        raise Refusal(Reason.TOKEN_BAD_HEADER)
    issuer, subject = claims.get("iss"), claims.get("sub")
    key = keyring.find_key(issuer) if isinstance(issuer, str) else None
    if key is None or subject != key.account_sid:
        raise Refusal(Reason.TOKEN_BAD_ISSUER)
    try:
        _signer.decode_complete(text, key.secret, algorithms=_ALGORITHMS)
    except jwt.PyJWTError as error:
        raise Refusal(Reason.TOKEN_BAD_SIGNATURE) from error
    return claims, key


def _decode(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, not yet to be believed."""
    if len(text) > TOKEN_BYTES or not text.isascii():
        raise Refusal(Reason.TOKEN_MALFORMED)
    try:
        decoded = _signer.decode_complete(text, options={"verify_signature": False})
        claims = json.loads(decoded["payload"])
    except jwt.InvalidTokenError as error:
        # DecodeError: not three parts of base64 with a JSON object in front. Its siblings: a header
        # PyJWT will not have.
        is_form = isinstance(error, jwt.DecodeError)
        raise Refusal(Reason.TOKEN_MALFORMED if is_form else Reason.TOKEN_BAD_HEADER) from error
    except (ValueError, RecursionError) as error:
        raise Refusal(Reason.TOKEN_MALFORMED) from error
    if not isinstance(claims, dict):
        raise Refusal(Reason.TOKEN_MALFORMED)
    return decoded["header"], claims


def _check_times(claims: dict[str, Any], limits: Limits, now: int) -> float:
    """Seconds since 1970 at which the token expires."""
    now_seconds = now / 1000
    exp = _number(claims.get("exp"))
    if exp is None or exp <= now_seconds:
        raise Refusal(Reason.TOKEN_EXPIRED)
    if claims.get("nbf") is not None:
        nbf = _number(claims["nbf"])
        if nbf is None or nbf > now_seconds + limits.clock_skew_seconds:
            raise Refusal(Reason.TOKEN_NOT_YET_VALID)
    if exp > now_seconds + limits.token_seconds + limits.clock_skew_seconds:
        raise Refusal(Reason.TOKEN_LIVES_TOO_LONG)
    return exp


def _issue_second(claims: dict[str, Any]) -> float:
    """When a token was issued, in whole seconds since 1970.

    All official helper libraries end ``jti`` with it; only some give ``iat`` as well. Of two the
    earlier one counts; a token that tells neither may be of any age.
    """
    found = _ISSUED.search(jti) if isinstance(jti := claims.get("jti"), str) else None
    told = [float(found[1])] if found is not None else []
    iat = _number(claims.get("iat"))
    if iat is not None:
        told.append(math.floor(iat))
    return min(told, default=0.0)


def _number(value: object) -> float | None:
    """A JSON number as float; None for anything else, and for what no clock shows."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _read_grants(claims: dict[str, Any], limits: Limits) -> tuple[str, str]:
    """Identity and service of the Sync grant."""
    grants = claims.get("grants")
    sync = grants.get("data_sync") if isinstance(grants, dict) else None
    if not isinstance(grants, dict) or not isinstance(sync, dict):
        raise Refusal(Reason.TOKEN_BAD_GRANTS, "The Access Token has no data_sync grant")
    identity = grants.get("identity")
    if not isinstance(identity, str):
        raise Refusal(Reason.TOKEN_BAD_GRANTS, "The Access Token has no identity")
    fault = find_identity_fault(identity, limits)
    if fault is not None:
        raise Refusal(Reason.TOKEN_BAD_GRANTS, f"The Access Token's identity needs {fault}")
    service = sync.get("service_sid") or DEFAULT_SERVICE
    if not isinstance(service, str):
        raise Refusal(Reason.TOKEN_BAD_GRANTS, "The service_sid of the grant is not a string")
    if service != DEFAULT_SERVICE and not (
        sids.is_sid(service) and service.startswith(sids.SERVICE)
    ):
        raise Refusal(Reason.SERVICE_NOT_FOUND)
    return identity, service
