"""The credentials that are good now, opened, in memory, and kept up with the store.

The store is asked twice a second for its version of the credentials, one number; only when it moved
are accounts and keys read again. So a key created or revoked by another process (``starlings
keys``) takes effect within a second. Several keys are good side by side: that is how secrets are
rotated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from starlings.auth.sealing import Sealer, SealingError
from starlings.core.credentials import (
    Account,
    ApiKey,
    CredentialsUnreadable,
    RevokedIdentity,
)

__all__ = [
    "REFRESH_SECONDS",
    "CredentialSource",
    "Keyring",
    "KeyringStatistics",
    "LiveAccount",
    "LiveKey",
]

REFRESH_SECONDS = 0.5
"""How long a change of credentials may go unnoticed."""

logger = logging.getLogger("starlings.auth")


class CredentialSource(Protocol):
    """Where accounts and keys are kept. Called from one thread at a time, not always the same.

    Each method raises CredentialsUnreadable when the source can't answer now.
    """

    def read_version(self) -> int:
        """A number that moves with every change of the credentials; cheap."""
        ...

    def list_accounts(self) -> Sequence[Account]: ...

    def list_keys(self) -> Sequence[ApiKey]:
        """All keys, the revoked ones too, by creation."""
        ...

    def list_revoked_identities(self) -> Sequence[RevokedIdentity]: ...


@dataclass(frozen=True, slots=True)
class LiveAccount:
    """An account, its auth token opened."""

    sid: str
    auth_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LiveKey:
    """An API key that is good, its secret opened."""

    sid: str
    account_sid: str
    secret: str = field(repr=False)


class KeyringStatistics(NamedTuple):
    """What is good now, and counts since the start."""

    accounts: int
    keys: int
    refreshes: int
    """How often the credentials were read since the start."""
    failures: int
    """How often the source could not be read."""


class _Rows(NamedTuple):
    version: int
    accounts: Sequence[Account]
    keys: Sequence[ApiKey]
    revoked: Sequence[RevokedIdentity]


class Keyring:
    """Opened credentials. Belongs to the event loop; only the reading of the source happens on
    other threads.
    """

    def __init__(self, source: CredentialSource, sealer: Sealer) -> None:
        """Read all credentials.

        Raises:
            SealingError: The key doesn't open one that is good: better not to start than to refuse
                its owner.
            CredentialsUnreadable: The source can't be read.
        """
        self._source = source
        self._sealer = sealer
        self._accounts: dict[str, LiveAccount] = {}
        self._keys: dict[str, LiveKey] = {}
        self._version = -1
        self._refreshes = 0
        self._failures = 0
        self._listeners: list[Callable[[str], None]] = []
        self._revoked: dict[tuple[str, str], int] = {}
        self._identity_listeners: list[Callable[[str, str], object]] = []
        self._refreshing = asyncio.Lock()
        self.generation = 0
        """Moves whenever what is good changes: who remembers an answer compares it."""
        rows = self._read()
        assert rows is not None
        self._take(rows, is_strict=True)

    def derive_secret(self, purpose: str) -> bytes:
        """A secret of this installation for one purpose; the same after a restart."""
        return self._sealer.derive(purpose)

    def find_account(self, sid: str) -> LiveAccount | None:
        return self._accounts.get(sid)

    def find_key(self, sid: str) -> LiveKey | None:
        """The key, if it is good: not revoked, and its account known."""
        return self._keys.get(sid)

    def on_revoked(self, listener: Callable[[str], None]) -> None:
        """Have ``listener`` called, on the event loop, with the SID of each key that is good no
        longer.
        """
        self._listeners.append(listener)

    def find_revocation(self, account_sid: str, identity: str) -> int | None:
        """Up to when an identity's tokens were revoked, in milliseconds since 1970, UTC; None:
        they never were.
        """
        return self._revoked.get((account_sid, identity))

    def on_identity_revoked(self, listener: Callable[[str, str], object]) -> None:
        """Have ``listener`` called, on the event loop, with account and name of each identity that
        is revoked.
        """
        self._identity_listeners.append(listener)

    async def watch(self, interval_seconds: float = REFRESH_SECONDS) -> None:
        """Keep up with the source until cancelled. While it can't be read, what was good stays
        good.
        """
        while True:
            await asyncio.sleep(interval_seconds)
            await self.refresh()

    async def refresh(self) -> None:
        """Take over what changed in the source. Failures are logged, never raised."""
        async with self._refreshing:  # or an older reading might be taken after a newer one
            try:
                rows = await asyncio.to_thread(self._read)
            except CredentialsUnreadable as error:
                self._failures += 1
                logger.warning("Credentials could not be read, the known ones stay error=%s", error)
                return
            if rows is not None:
                self._take(rows, is_strict=False)

    def statistics(self) -> KeyringStatistics:
        return KeyringStatistics(
            len(self._accounts), len(self._keys), self._refreshes, self._failures
        )

    def _read(self) -> _Rows | None:
        """The rows, None if they are those that we have. The version is read first, so a change in
        between is read again.
        """
        version = self._source.read_version()
        if version == self._version:
            return None
        return _Rows(
            version,
            self._source.list_accounts(),
            self._source.list_keys(),
            self._source.list_revoked_identities(),
        )

    def _take(self, rows: _Rows, *, is_strict: bool) -> None:
        accounts: dict[str, LiveAccount] = {}
        keys: dict[str, LiveKey] = {}
        for account in rows.accounts:
            token = self._open(account.auth_token_sealed, account.sid, is_strict)
            if token is not None:
                accounts[account.sid] = LiveAccount(account.sid, token)
        for key in rows.keys:
            if key.revoked_at is not None or key.account_sid not in accounts:
                continue
            secret = self._open(key.secret_sealed, key.sid, is_strict)
            if secret is not None:
                keys[key.sid] = LiveKey(key.sid, key.account_sid, secret)
        gone = self._keys.keys() - keys.keys()
        if (accounts, keys) != (self._accounts, self._keys):
            self.generation += 1
        self._accounts, self._keys, self._version = accounts, keys, rows.version
        self._refreshes += 1
        for sid in sorted(gone):
            logger.info("API key is good no longer api_key_sid=%s", sid)
            for listener in self._listeners:
                listener(sid)
        self._take_revoked(rows.revoked)

    def _take_revoked(self, revoked: Sequence[RevokedIdentity]) -> None:
        known = self._revoked
        self._revoked = {(one.account_sid, one.identity): one.revoked_at for one in revoked}
        for identity, revoked_at in self._revoked.items():
            if known.get(identity) != revoked_at:
                for listener in self._identity_listeners:
                    listener(*identity)

    def _open(self, sealed: bytes, sid: str, is_strict: bool) -> str | None:
        try:
            return self._sealer.open(sealed, sid)
        except SealingError as error:
            if is_strict:
                raise
            logger.error("A credential is ignored sid=%s error=%s", sid, error)
            return None
