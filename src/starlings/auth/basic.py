"""HTTP Basic: an account SID with its auth token, or an API key SID with its secret. [rest-api 1.3]

Whoever comes with right credentials is served, however many failures its address has: only failures
take from the bound.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from starlings.auth.failures import FailureLimiter
from starlings.auth.keyring import Keyring
from starlings.auth.refusal_log import RefusalLog
from starlings.core.errors import Reason, Refusal
from starlings.core.sids import is_sid

__all__ = ["BasicAuthenticator", "BasicStatistics"]

_MOST_HEADER_BYTES: Final = 1024
_MOST_REMEMBERED: Final = 1024


class BasicStatistics(NamedTuple):
    """Counts since the start."""

    failures: int
    limited: int
    """Failures that were answered with 429."""
    remembered: int
    """Header values in the cache now."""


class BasicAuthenticator:
    """Tells the account of a caller from its ``Authorization`` header.

    Checked headers are remembered by a keyed hash, so that the next request of the same caller
    costs one hash and one look-up whose time says nothing of any secret. A change of the
    credentials empties the memory.
    """

    def __init__(self, keyring: Keyring, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keyring = keyring
        self._limiter = FailureLimiter(monotonic)
        self._log = RefusalLog(logging.getLogger("starlings.auth"), monotonic)
        self._hash_key = os.urandom(32)
        self._nobody = os.urandom(32).hex()
        self._accounts: dict[bytes, str] = {}
        """Account SIDs by the keyed hash of a header value that was right."""
        self._generation = keyring.generation
        self._failures = 0
        self._limited = 0

    def authenticate(self, authorization: bytes | None, address: str) -> str:
        """The account SID of the caller.

        Args:
            authorization: The header's value; None if there is none.
            address: Where the caller is, for the bound on failures.

        Raises:
            Refusal: UNAUTHENTICATED without credentials or with wrong ones; TOO_MANY_REQUESTS after
                too many wrong ones.
        """
        if authorization is None or len(authorization) > _MOST_HEADER_BYTES:
            raise Refusal(Reason.UNAUTHENTICATED)
        if self._generation != self._keyring.generation:
            self._accounts.clear()
            self._generation = self._keyring.generation
        digest = hashlib.blake2b(authorization, digest_size=16, key=self._hash_key).digest()
        account_sid = self._accounts.get(digest)
        if account_sid is not None:
            return account_sid
        try:
            username, password = _parse_header(authorization)
        except Refusal:
            self._log.tell("A log-in failed", address, reason="no Basic credentials")
            raise
        account_sid = self._check(username, password)
        if account_sid is None:
            raise self._refuse(username, address)
        if len(self._accounts) >= _MOST_REMEMBERED:
            self._accounts.clear()
        self._accounts[digest] = account_sid
        return account_sid

    def statistics(self) -> BasicStatistics:
        return BasicStatistics(self._failures, self._limited, len(self._accounts))

    def _check(self, username: str, password: str) -> str | None:
        """The account SID; None if the credentials are wrong. An unknown user takes as long as a
        known one.
        """
        secret, account_sid = self._nobody, None
        if username.startswith("SK"):
            key = self._keyring.find_key(username)
            if key is not None:
                secret, account_sid = key.secret, key.account_sid
        else:
            account = self._keyring.find_account(username)
            if account is not None:
                secret, account_sid = account.auth_token, account.sid
        return account_sid if _is_equal(secret, password) else None

    def _refuse(self, username: str, address: str) -> Refusal:
        self._failures += 1
        # What is no SID may be a secret in the wrong place.
        sid = username if is_sid(username) else None
        if username.startswith("SK"):
            is_known = self._keyring.find_key(username) is not None
            named = {"key": sid}
        else:
            is_known = self._keyring.find_account(username) is not None
            named = {"account": sid}
        reason = "wrong secret" if is_known else "not known"
        self._log.tell("A log-in failed", address, **named, reason=reason)
        wait_seconds = self._limiter.take(address)
        if wait_seconds is None:
            return Refusal(Reason.UNAUTHENTICATED)
        self._limited += 1
        return Refusal(
            Reason.TOO_MANY_REQUESTS,
            "Too many failed log-ins from this address",
            retry_after_seconds=wait_seconds,
        )


def _parse_header(value: bytes) -> tuple[str, str]:
    """User name and password of a ``Basic`` header value. [RFC 7617]

    Raises:
        Refusal: UNAUTHENTICATED: another scheme, not base64, not UTF-8, no colon.
    """
    scheme, _, encoded = value.strip().partition(b" ")
    if scheme.lower() != b"basic":
        raise Refusal(Reason.UNAUTHENTICATED)
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Refusal(Reason.UNAUTHENTICATED) from error
    username, colon, password = text.partition(":")
    if not colon:
        raise Refusal(Reason.UNAUTHENTICATED)
    return username, password


def _is_equal(secret: str, given: str) -> bool:
    """Equality in a time that depends on the length of what was given, at most."""
    return hmac.compare_digest(
        hashlib.sha256(secret.encode()).digest(), hashlib.sha256(given.encode()).digest()
    )
