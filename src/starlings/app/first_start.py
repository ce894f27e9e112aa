"""The first start: an account and an API key, made or taken from the environment.

Made values are shown in DIR/credentials.json, once; fixed ones (``STARLINGS_ACCOUNT_SID`` and its
siblings) are in no file. A later start with other fixed values adds or replaces them, and leaves
everything else as it is.
"""

from __future__ import annotations

import json
import logging
import secrets
import string

from starlings.app.directory import DataDirectory, write_private
from starlings.app.errors import OperatorError
from starlings.auth.sealing import Sealer, SealingError
from starlings.core import sids
from starlings.core.credentials import Account, ApiKey
from starlings.settings import Settings
from starlings.storage.sqlite.credentials import CredentialStore

__all__ = ["ensure_credentials", "make_key"]

logger = logging.getLogger("starlings.app")

_SECRET_ALPHABET = string.ascii_letters + string.digits
_SECRET_CHARACTERS = 32
_SHORT_CHARACTERS = 16


def ensure_credentials(
    directory: DataDirectory,
    store: CredentialStore,
    sealer: Sealer,
    settings: Settings,
    now: int,
) -> None:
    """See that there is an account and that fixed credentials are the ones in force.

    Raises:
        OperatorError: Fixed values that don't fit together or the store, or a secret key that opens
            nothing.
    """
    accounts = store.list_accounts()
    is_first = not accounts
    made: dict[str, str] = {}
    account_sid = settings.account_sid
    if account_sid is None:
        if is_first:
            account_sid = made["account_sid"] = sids.ACCOUNT + secrets.token_hex(16)
        else:
            account_sid = accounts[0].sid
    known = next((account for account in accounts if account.sid == account_sid), None)
    token = settings.auth_token
    if known is None:
        if token is None:
            if not is_first:
                raise OperatorError(
                    "STARLINGS_ACCOUNT_SID names a new account: STARLINGS_AUTH_TOKEN is needed too"
                )
            token = made["auth_token"] = secrets.token_hex(16)
        store.put_account(Account(account_sid, sealer.seal(token, account_sid), now))
        logger.info("Account added account_sid=%s", account_sid)
    elif token is not None and not _is_sealed(sealer, known.auth_token_sealed, known.sid, token):
        store.put_account(Account(account_sid, sealer.seal(token, account_sid), now))
        logger.info("Auth token replaced by the fixed one account_sid=%s", account_sid)
    _ensure_key(store, sealer, settings, account_sid, is_first, made, now)
    for name in ("auth_token", "api_key_secret"):
        if len(getattr(settings, name) or "x" * _SHORT_CHARACTERS) < _SHORT_CHARACTERS:
            logger.warning("A fixed secret is short enough to be guessed name=%s", name)
    if made:
        write_private(directory.credentials, json.dumps(made, indent=2) + "\n")


def make_key(
    store: CredentialStore, sealer: Sealer, account_sid: str, friendly_name: str | None, now: int
) -> tuple[str, str]:
    """Add a new API key; its SID and its secret."""
    sid, secret = sids.API_KEY + secrets.token_hex(16), _make_secret()
    store.put_key(ApiKey(sid, account_sid, friendly_name, sealer.seal(secret, sid), now))
    return sid, secret


def _ensure_key(
    store: CredentialStore,
    sealer: Sealer,
    settings: Settings,
    account_sid: str,
    is_first: bool,
    made: dict[str, str],
    now: int,
) -> None:
    sid, secret = settings.api_key_sid, settings.api_key_secret
    if sid is None:
        if not is_first:
            if secret is not None:
                raise OperatorError("STARLINGS_API_KEY_SECRET needs STARLINGS_API_KEY_SID")
            return
        sid = made["api_key_sid"] = sids.API_KEY + secrets.token_hex(16)
    known = next((key for key in store.list_keys() if key.sid == sid), None)
    if known is None:
        if secret is None:
            if not is_first:
                raise OperatorError(
                    "STARLINGS_API_KEY_SID names a new key: STARLINGS_API_KEY_SECRET is needed too"
                )
            secret = made["api_key_secret"] = _make_secret()
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
