"""Credentials held in lists: what a keyring reads in these tests."""

from __future__ import annotations

import base64

from starlings.auth.keyring import Keyring
from starlings.auth.sealing import Sealer
from starlings.core.credentials import (
    Account,
    ApiKey,
    CredentialsUnreadable,
    RevokedIdentity,
)

__all__ = [
    "ACCOUNT",
    "AUTH_TOKEN",
    "KEY",
    "KEY_SECRET",
    "OTHER_KEY",
    "OTHER_SECRET",
    "SEALER",
    "ListedCredentials",
    "a_header",
    "a_keyring",
]

ACCOUNT = "AC" + "0" * 32
AUTH_TOKEN = "t" * 32
KEY = "SK" + "1" * 32
KEY_SECRET = "s" * 32
OTHER_KEY = "SK" + "2" * 32
OTHER_SECRET = "o" * 32
SEALER = Sealer(b"k" * 32)


class ListedCredentials:
    """A ``CredentialSource`` over lists; ``is_broken`` makes it unreadable."""

    def __init__(self) -> None:
        self.version = 1
        self.accounts = [Account(ACCOUNT, SEALER.seal(AUTH_TOKEN, ACCOUNT), 0)]
        self.keys = [self.a_key(KEY, KEY_SECRET), self.a_key(OTHER_KEY, OTHER_SECRET)]
        self.revoked: list[RevokedIdentity] = []
        self.is_broken = False
        self.lists_read = 0

    @staticmethod
    def a_key(sid: str, secret: str, *, account: str = ACCOUNT, at: int | None = None) -> ApiKey:
        return ApiKey(sid, account, None, SEALER.seal(secret, sid), 0, at)

    def read_version(self) -> int:
        if self.is_broken:
            raise CredentialsUnreadable("broken")
        return self.version

    def list_accounts(self) -> list[Account]:
        self.lists_read += 1
        return list(self.accounts)

    def list_keys(self) -> list[ApiKey]:
        return list(self.keys)

    def list_revoked_identities(self) -> list[RevokedIdentity]:
        return list(self.revoked)

    def revoke_identity(self, identity: str, at: int) -> None:
        self.revoked.append(RevokedIdentity(ACCOUNT, identity, at))
        self.version += 1

    def revoke(self, sid: str) -> None:
        self.keys = [
            self.a_key(key.sid, "gone", at=1) if key.sid == sid else key for key in self.keys
        ]
        self.version += 1


def a_keyring(source: ListedCredentials | None = None) -> Keyring:
    return Keyring(source or ListedCredentials(), SEALER)


def a_header(username: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{username}:{password}".encode())
