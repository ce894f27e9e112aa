"""The first start: an account and an API key, made or taken from the environment.

Made values are shown in DIR/credentials.json, once; fixed ones (``STARLINGS_ACCOUNT_SID`` and its
siblings) are in no file. A later start with other fixed values adds or replaces them, and leaves
everything else as it is.

A first start may be cut short anywhere, by a kill or a full disk. It writes the file first, and
then account and key in one transaction. So as long as the database has no account, what the file
shows was made but is not in force: the next start takes it from there. Once it has one, the file
is never written again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import string
from collections.abc import Callable
from pathlib import Path

from starlings.app.directory import DataDirectory, write_private
from starlings.app.errors import OperatorError
from starlings.auth.sealing import Sealer, SealingError
from starlings.core import sids
from starlings.core.credentials import Account, ApiKey, is_account_sid, is_api_key_sid
from starlings.settings import Settings
from starlings.storage.sqlite.credentials import CredentialStore

__all__ = ["ensure_credentials", "make_key"]

logger = logging.getLogger("starlings.app")

_SECRET_ALPHABET = string.ascii_letters + string.digits
_SECRET_CHARACTERS = 32
_SHORT_CHARACTERS = 16
_PAIRS = (("account_sid", "auth_token"), ("api_key_sid", "api_key_secret"))
_CHECKS: dict[str, Callable[[str], object]] = {
    "account_sid": is_account_sid,
    "auth_token": len,
    "api_key_sid": is_api_key_sid,
    "api_key_secret": len,
}


def ensure_credentials(
    directory: DataDirectory,
    store: CredentialStore,
    sealer: Sealer,
    settings: Settings,
    now: int,
) -> None:
    """See that there is an account and that fixed credentials are the ones in force.

    Raises:
        OperatorError: Fixed values that don't fit together or the store, a file that isn't ours in
            the place of credentials.json, or they can't be written.
        SealingError: A secret key that opens nothing.
        CredentialsUnreadable: The store can't be read or written.
    """
    accounts = store.list_accounts()
    if accounts:
        account_sid = settings.account_sid or accounts[0].sid
        _ensure_account(store, sealer, settings, account_sid, accounts, now)
        _ensure_key(store, sealer, settings, account_sid, now)
    else:
        _begin(directory, store, sealer, settings, now)
    for name in ("auth_token", "api_key_secret"):
        if len(getattr(settings, name) or "x" * _SHORT_CHARACTERS) < _SHORT_CHARACTERS:
            logger.warning("A fixed secret is short enough to be guessed name=%s", name)
    if all(key.revoked_at is not None for key in store.list_keys()):
        logger.warning("There is no good API key: make one with `starlings keys create`")
    outdated = _list_outdated(directory.credentials, store, sealer)
    if outdated:
        logger.warning(
            "credentials.json shows secrets that are not good any more names=%s",
            ",".join(outdated),
        )


def make_key(
    store: CredentialStore, sealer: Sealer, account_sid: str, friendly_name: str | None, now: int
) -> tuple[str, str]:
    """Add a new API key; its SID and its secret."""
    sid, secret = sids.API_KEY + secrets.token_hex(16), _make_secret()
    store.put_key(ApiKey(sid, account_sid, friendly_name, sealer.seal(secret, sid), now))
    return sid, secret


def _begin(
    directory: DataDirectory, store: CredentialStore, sealer: Sealer, settings: Settings, now: int
) -> None:
    """Add the first account and its API key."""
    begun = _read_begun(directory.credentials)
    made = {
        name: begun.get(name) or make()
        for name, make in _MAKERS.items()
        if getattr(settings, name) is None
    }
    if made:  # also what was read: whoever wrote it may not have come to the sync
        write_private(directory.credentials, json.dumps(made, indent=2) + "\n")
    sid, token, key_sid, secret = (made.get(name) or getattr(settings, name) for name in _MAKERS)
    account = Account(sid, sealer.seal(token, sid), now)
    store.put_first(account, ApiKey(key_sid, sid, None, sealer.seal(secret, key_sid), now))
    logger.info("Account added account_sid=%s", sid)
    logger.info("API key added api_key_sid=%s", key_sid)
    if made:
        logger.info("Credentials written file=%s", directory.credentials.absolute())


def _read_begun(file: Path) -> dict[str, str]:
    """What a first start that was cut short has made; empty if there was none.

    Raises:
        OperatorError: There is something else in the file: it is not ours to replace.
    """
    try:
        begun = _read_shown(file)
    except OSError as error:
        raise OperatorError(f"{file} can't be read: {error.strerror}") from error
    if begun is None:
        raise OperatorError(
            f"{file} shows no credentials, and the database has no account yet: move that file away"
        )
    return begun


def _read_shown(file: Path) -> dict[str, str] | None:
    """What credentials.json shows; empty if it is empty or not there, None if it isn't ours."""
    try:
        shown = json.loads(file.read_text(encoding="utf-8").strip() or "{}")
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    is_ours = isinstance(shown, dict) and all(
        name in _CHECKS and isinstance(value, str) and _CHECKS[name](value)
        for name, value in shown.items()
    )
    return shown if is_ours else None


def _list_outdated(file: Path, store: CredentialStore, sealer: Sealer) -> list[str]:
    """Names of the secrets in credentials.json that nobody can log in with any more."""
    with contextlib.suppress(OSError):
        shown = _read_shown(file) or {}
        sealed = {account.sid: account.auth_token_sealed for account in store.list_accounts()}
        sealed |= {key.sid: key.secret_sealed for key in store.list_keys() if not key.revoked_at}
        return [
            name
            for sid_name, name in _PAIRS
            if (sid := shown.get(sid_name)) is not None
            and (secret := shown.get(name)) is not None
            and (sid not in sealed or _is_another(sealer, sealed[sid], sid, secret))
        ]
    return []


def _ensure_account(
    store: CredentialStore,
    sealer: Sealer,
    settings: Settings,
    account_sid: str,
    accounts: list[Account],
    now: int,
) -> None:
    token = settings.auth_token
    known = next((account for account in accounts if account.sid == account_sid), None)
    if known is None:
        if token is None:
            raise OperatorError(
                "STARLINGS_ACCOUNT_SID names a new account: STARLINGS_AUTH_TOKEN is needed too"
            )
        store.put_account(Account(account_sid, sealer.seal(token, account_sid), now))
        logger.info("Account added account_sid=%s", account_sid)
    elif token is not None and not _is_sealed(sealer, known.auth_token_sealed, known.sid, token):
        store.put_account(Account(account_sid, sealer.seal(token, account_sid), now))
        logger.info("Auth token replaced by the fixed one account_sid=%s", account_sid)


def _ensure_key(
    store: CredentialStore, sealer: Sealer, settings: Settings, account_sid: str, now: int
) -> None:
    sid, secret = settings.api_key_sid, settings.api_key_secret
    if sid is None:
        if secret is not None:
            raise OperatorError("STARLINGS_API_KEY_SECRET needs STARLINGS_API_KEY_SID")
        return
    known = next((key for key in store.list_keys() if key.sid == sid), None)
    if known is None:
        if secret is None:
            raise OperatorError(
                "STARLINGS_API_KEY_SID names a new key: STARLINGS_API_KEY_SECRET is needed too"
            )
        store.put_key(ApiKey(sid, account_sid, None, sealer.seal(secret, sid), now))
        logger.info("API key added api_key_sid=%s", sid)
    elif known.account_sid != account_sid:
        raise OperatorError(f"The API key {sid} belongs to another account, {known.account_sid}")
    elif known.revoked_at is not None:
        logger.warning("The fixed API key was revoked and stays so api_key_sid=%s", sid)
    elif secret is not None and not _is_sealed(sealer, known.secret_sealed, sid, secret):
        store.put_key(ApiKey(sid, account_sid, None, sealer.seal(secret, sid), now))
        logger.info("API key secret replaced by the fixed one api_key_sid=%s", sid)


def _make_secret() -> str:
    return "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_CHARACTERS))


def _is_sealed(sealer: Sealer, sealed: bytes, sid: str, secret: str) -> bool:
    try:
        return secrets.compare_digest(sealer.open(sealed, sid), secret)
    except SealingError:
        return False


def _is_another(sealer: Sealer, sealed: bytes, sid: str, secret: str) -> bool:
    """True if another secret than this one is sealed; False also if nobody knows."""
    try:
        return not secrets.compare_digest(sealer.open(sealed, sid), secret)
    except SealingError:
        return False


_MAKERS: dict[str, Callable[[], str]] = {
    "account_sid": lambda: sids.ACCOUNT + secrets.token_hex(16),
    "auth_token": lambda: secrets.token_hex(16),
    "api_key_sid": lambda: sids.API_KEY + secrets.token_hex(16),
    "api_key_secret": _make_secret,
}
