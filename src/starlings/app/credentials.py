"""The operator's work on accounts and keys, beside a running server or without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError
from starlings.app.first_start import make_key
from starlings.auth.keyring import Keyring, LiveKey
from starlings.auth.sealing import SealingError
from starlings.auth.tokens import DEFAULT_SERVICE, find_identity_fault, mint_token
from starlings.core import sids
from starlings.core.credentials import ApiKey, CredentialsUnreadable, RevokedIdentity
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.rules import check_identity
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite.credentials import CredentialStore

__all__ = [
    "IdentityRevoker",
    "NewKey",
    "create_key",
    "list_keys",
    "list_revoked_identities",
    "make_token",
    "revoke_identity",
    "revoke_key",
]


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key just made: the only time that its secret is shown."""

    sid: str
    account_sid: str
    secret: str = field(repr=False)


def create_key(settings: Settings, account_sid: str | None, friendly_name: str | None) -> NewKey:
    """Make an API key.

    Args:
        account_sid: Whose it is; None for the only account.

    Raises:
        OperatorError: No such account, several to choose from, or no usable data directory.
    """
    directory = DataDirectory(settings.data)
    with _open(directory) as store:
        account_sid = _choose_account(store, account_sid)
        sealer = directory.open_sealer(settings.secret_key)
        for account in store.list_accounts():
            # A key sealed with another secret key than the server's would be ignored by it.
            if account.sid == account_sid:
                sealer.open(account.auth_token_sealed, account.sid)
        now = SYSTEM_SOURCES.now()
        sid, secret = make_key(store, sealer, account_sid, friendly_name, now)
    return NewKey(sid, account_sid, secret)


def list_keys(settings: Settings) -> list[ApiKey]:
    """All keys, the revoked ones too, the oldest first. Raises OperatorError."""
    with _open(DataDirectory(settings.data), is_read_only=True) as store:
        return store.list_keys()


def revoke_key(settings: Settings, sid: str) -> None:
    """End a key for good.

    Raises:
        OperatorError: No key of this SID is good.
    """
    with _open(DataDirectory(settings.data)) as store:
        if not store.revoke_key(sid, SYSTEM_SOURCES.now()):
            raise OperatorError(f"There is no API key {sid} that could be revoked")


def revoke_identity(settings: Settings, account_sid: str | None, identity: str) -> RevokedIdentity:
    """Refuse the tokens that an identity has been issued up to now.

    Args:
        account_sid: Whose identity; None for the only account.

    Raises:
        OperatorError: No such account, several to choose from, no identity, or no usable data
            directory.
    """
    try:
        check_identity(identity, settings.limits_in_force)
    except Refusal as refusal:
        raise OperatorError(refusal.message) from refusal
    with _open(DataDirectory(settings.data)) as store:
        account_sid = _choose_account(store, account_sid)
        revoked = RevokedIdentity(account_sid, identity, SYSTEM_SOURCES.now())
        store.revoke_identity(revoked)
    return revoked


def list_revoked_identities(settings: Settings) -> list[RevokedIdentity]:
    """Identities whose older tokens are refused, the earliest first. Raises OperatorError."""
    with _open(DataDirectory(settings.data), is_read_only=True) as store:
        return store.list_revoked_identities()


class IdentityRevoker:
    """Revokes identities in a running server: durable, and in force, when it returns."""

    def __init__(
        self, credentials: CredentialStore, keyring: Keyring, now: Callable[[], int]
    ) -> None:
        self._credentials = credentials
        self._keyring = keyring
        self._now = now

    async def revoke_identity(self, account_sid: str, identity: str) -> int:
        """End the sessions of an identity and refuse its tokens issued up to the moment that this
        answers with, in milliseconds since 1970.

        Raises:
            Fault: UNAVAILABLE: it can't be written now; nothing has changed.
        """
        revoked = RevokedIdentity(account_sid, identity, self._now())
        try:
            await asyncio.to_thread(self._credentials.revoke_identity, revoked)
        except CredentialsUnreadable as error:
            raise Fault(Reason.UNAVAILABLE, "Credentials can't be written at the moment") from error
        await self._keyring.refresh()
        return revoked.revoked_at


def make_token(
    settings: Settings, identity: str, service: str, ttl_seconds: int, key_sid: str | None
) -> str:
    """An access token, signed with the fixed API key, else the newest good one of the data
    directory.

    Args:
        key_sid: Sign with this key of the data directory.

    Raises:
        OperatorError: No key to sign with, or something that the server would refuse.
    """
    limits = settings.limits_in_force
    fault = find_identity_fault(identity, limits)
    if fault is not None:
        raise OperatorError(f"--identity needs {fault}")
    if service != DEFAULT_SERVICE and not (
        sids.is_sid(service) and service.startswith(sids.SERVICE)
    ):
        raise OperatorError("--service needs a service SID (IS…) or default")
    if not 1 <= ttl_seconds <= limits.token_seconds:
        raise OperatorError(f"--ttl needs 1 to {limits.token_seconds} seconds")
    key = _find_signing_key(settings, key_sid)
    return mint_token(key, identity, service, ttl_seconds, SYSTEM_SOURCES.now())


def _choose_account(store: CredentialStore, account_sid: str | None) -> str:
    """The account that was named, or the only one. Raises OperatorError."""
    known = [account.sid for account in store.list_accounts()]
    if account_sid is None:
        if len(known) != 1:
            raise OperatorError(f"There are {len(known)} accounts: say which with --account")
        return known[0]
    if account_sid not in known:
        raise OperatorError(f"There is no account {account_sid}")
    return account_sid


def _find_signing_key(settings: Settings, key_sid: str | None) -> LiveKey:
    sid, secret, account_sid = (
        settings.api_key_sid,
        settings.api_key_secret,
        settings.account_sid,
    )
    if key_sid is None and sid and secret and account_sid:
        return LiveKey(sid, account_sid, secret)
    directory = DataDirectory(settings.data)
    if not directory.has_database() and directory.credentials.exists():
        return _read_shown_key(directory, key_sid)
    with _open(directory, is_read_only=True) as store:
        known = [key for key in store.list_keys() if key_sid in (None, key.sid)]
        good = [key for key in known if key.revoked_at is None]
        if not good and key_sid is not None:
            raise OperatorError(
                f"The API key {key_sid} was revoked" if known else f"There is no API key {key_sid}"
            )
        if not good:
            raise OperatorError(
                "There is no good API key to sign with: make one with `starlings keys create`"
            )
        key = good[-1]
        sealer = directory.open_sealer(settings.secret_key)
        return LiveKey(key.sid, key.account_sid, sealer.open(key.secret_sealed, key.sid))


def _read_shown_key(directory: DataDirectory, key_sid: str | None) -> LiveKey:
    """The key in a copied credentials.json: enough to sign on a machine without the database."""
    try:
        shown = json.loads(directory.credentials.read_text(encoding="utf-8"))
        key = LiveKey(shown["api_key_sid"], shown["account_sid"], shown["api_key_secret"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(f"{directory.credentials} can't be used: {error!r}") from error
    if key_sid not in (None, key.sid):
        raise OperatorError(f"There is no API key {key_sid} in {directory.credentials}")
    return key


@contextlib.contextmanager
def _open(directory: DataDirectory, *, is_read_only: bool = False) -> Iterator[CredentialStore]:
    store = directory.open_credentials(is_read_only=is_read_only)
    try:
        with contextlib.closing(store):
            yield store
    except CredentialsUnreadable as error:
        raise OperatorError(f"The credentials can't be used now: {error}") from error
    except SealingError as error:
        raise OperatorError(str(error)) from error
