"""Accounts and API keys: who may ask, and with which secret. [rest-api 1.3, 7]

Secrets appear here only *sealed*: encrypted with a key that is kept outside the database
(``starlings.auth.sealing``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = [
    "Account",
    "ApiKey",
    "CredentialsUnreadable",
    "RevokedIdentity",
    "is_account_sid",
    "is_api_key_sid",
]

_ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
_API_KEY_SID = re.compile(r"SK[0-9a-fA-F]{32}")


class CredentialsUnreadable(Exception):
    """Where credentials are kept can't be read now (locked, disk error); asking again may help."""


@dataclass(frozen=True, slots=True)
class Account:
    """The owner of services and of API keys. ``created_at``: milliseconds since 1970, UTC."""

    sid: str
    auth_token_sealed: bytes = field(repr=False)
    created_at: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that signs access tokens and may call REST in place of its account.

    ``revoked_at`` is None while the key is good. Both times: milliseconds since 1970, UTC.
    """

    sid: str
    account_sid: str
    friendly_name: str | None
    secret_sealed: bytes = field(repr=False)
    created_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class RevokedIdentity:
    """An identity of an account's tokens of which those issued up to ``revoked_at`` (milliseconds
    since 1970, UTC) are good no longer. It stays on record: how long such a token might live isn't
    known.
    """

    account_sid: str
    identity: str
    revoked_at: int


def is_account_sid(text: str) -> bool:
    """True for ``AC`` and 32 hexadecimal digits, of either case. [rest-api 1.5]"""
    return _ACCOUNT_SID.fullmatch(text) is not None


def is_api_key_sid(text: str) -> bool:
    """True for ``SK`` and 32 hexadecimal digits, of either case. [rest-api 1.5]"""
    return _API_KEY_SID.fullmatch(text) is not None
