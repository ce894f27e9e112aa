"""Which credentials there are after a start, by what was fixed and what was there."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError
from starlings.app.first_start import ensure_credentials
from starlings.auth.keyring import Keyring
from starlings.auth.sealing import Sealer, SealingError
from starlings.core.limits import OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite.credentials import CredentialStore
from starlings.storage.sqlite.store import SqliteStore

ACCOUNT, OTHER_ACCOUNT = "AC" + "1" * 32, "AC" + "2" * 32
KEY, OTHER_KEY = "SK" + "1" * 32, "SK" + "2" * 32
TOKEN, SECRET = "t" * 32, "s" * 32
ALL = Settings(account_sid=ACCOUNT, auth_token=TOKEN, api_key_sid=KEY, api_key_secret=SECRET)
SEALER = Sealer(b"k" * 32)


@pytest.fixture
async def directory(tmp_path: Path) -> DataDirectory:
    await (await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)).close()
    return DataDirectory(tmp_path)


@pytest.fixture
def store(directory: DataDirectory) -> Iterator[CredentialStore]:
    opened = directory.open_credentials()
    yield opened
    opened.close()


def begin(
    directory: DataDirectory,
    store: CredentialStore,
    settings: Settings,
    sealer: Sealer = SEALER,
) -> Keyring:
    """One start; what is good after it."""
    ensure_credentials(directory, store, sealer, settings, 5)
    return Keyring(store, sealer)


def secret_of(keyring: Keyring, sid: str) -> str | None:
    if sid.startswith("AC"):
        account = keyring.find_account(sid)
        return None if account is None else account.auth_token
    key = keyring.find_key(sid)
    return None if key is None else key.secret


def test_made_credentials_are_shown_and_good(
    directory: DataDirectory, store: CredentialStore
) -> None:
    keyring = begin(directory, store, Settings())
    shown = json.loads(directory.credentials.read_text())
    assert list(shown) == ["account_sid", "auth_token", "api_key_sid", "api_key_secret"]
    assert secret_of(keyring, shown["account_sid"]) == shown["auth_token"]
    assert secret_of(keyring, shown["api_key_sid"]) == shown["api_key_secret"]
    assert len(shown["auth_token"]) == len(shown["api_key_secret"]) == 32


def test_a_later_start_makes_and_shows_nothing(
    directory: DataDirectory, store: CredentialStore
) -> None:
    begin(directory, store, Settings())
    directory.credentials.unlink()
    version = store.read_version()
    begin(directory, store, Settings())
    assert store.read_version() == version
    assert not directory.credentials.exists()


def test_fixed_ones_are_shown_nowhere(directory: DataDirectory, store: CredentialStore) -> None:
    keyring = begin(directory, store, ALL)
    assert (secret_of(keyring, ACCOUNT), secret_of(keyring, KEY)) == (TOKEN, SECRET)
    assert not directory.credentials.exists()
    version = store.read_version()
    begin(directory, store, ALL)
    assert store.read_version() == version


def test_other_fixed_secrets_replace_the_old_ones(
    directory: DataDirectory, store: CredentialStore
) -> None:
    begin(directory, store, ALL)
    changed = Settings(
        account_sid=ACCOUNT, auth_token="x" * 32, api_key_sid=KEY, api_key_secret="y" * 32
    )
    keyring = begin(directory, store, changed)
    assert (secret_of(keyring, ACCOUNT), secret_of(keyring, KEY)) == ("x" * 32, "y" * 32)


def test_an_auth_token_alone_is_that_of_the_account_that_is_there(
    directory: DataDirectory, store: CredentialStore
) -> None:
    begin(directory, store, ALL)
    keyring = begin(directory, store, Settings(auth_token="x" * 32))
    assert secret_of(keyring, ACCOUNT) == "x" * 32


def test_another_fixed_account_and_key_are_added(
    directory: DataDirectory, store: CredentialStore
) -> None:
    begin(directory, store, ALL)
    keyring = begin(
        directory,
        store,
        Settings(
            account_sid=OTHER_ACCOUNT,
            auth_token=TOKEN,
            api_key_sid=OTHER_KEY,
            api_key_secret=SECRET,
        ),
    )
    for sid in (ACCOUNT, OTHER_ACCOUNT, KEY, OTHER_KEY):
        assert secret_of(keyring, sid) is not None
    other = keyring.find_key(OTHER_KEY)
    assert other is not None
    assert other.account_sid == OTHER_ACCOUNT


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(account_sid=OTHER_ACCOUNT), "STARLINGS_AUTH_TOKEN is needed"),
        (Settings(api_key_sid=OTHER_KEY), "STARLINGS_API_KEY_SECRET is needed"),
        (Settings(api_key_secret=SECRET), "needs STARLINGS_API_KEY_SID"),
        (
            Settings(
                account_sid=OTHER_ACCOUNT, auth_token=TOKEN, api_key_sid=KEY, api_key_secret=SECRET
            ),
            "belongs to another account",
        ),
    ],
)
def test_what_does_not_fit_the_store_is_told(
    directory: DataDirectory, store: CredentialStore, settings: Settings, said: str
) -> None:
    begin(directory, store, ALL)
    with pytest.raises(OperatorError, match=said):
        begin(directory, store, settings)


def test_a_revoked_fixed_key_stays_revoked(
    directory: DataDirectory, store: CredentialStore, caplog: pytest.LogCaptureFixture
) -> None:
    begin(directory, store, ALL)
    store.revoke_key(KEY, 6)
    with caplog.at_level(logging.WARNING):
        keyring = begin(directory, store, ALL)
    assert secret_of(keyring, KEY) is None
    assert f"stays so api_key_sid={KEY}" in caplog.text


def test_a_short_fixed_secret_is_warned_of_but_not_shown(
    directory: DataDirectory, store: CredentialStore, caplog: pytest.LogCaptureFixture
) -> None:
    begin(directory, store, Settings(account_sid=ACCOUNT, auth_token="hunter2"))
    assert "short enough to be guessed name=auth_token" in caplog.text
    assert "hunter2" not in caplog.text


def test_after_the_secret_key_was_lost_fixing_and_revoking_mend_it(
    directory: DataDirectory, store: CredentialStore
) -> None:
    begin(directory, store, ALL)
    other = Sealer(b"n" * 32)
    fixed = Settings(account_sid=ACCOUNT, auth_token="x" * 32)
    with pytest.raises(SealingError, match=ACCOUNT):
        begin(directory, store, Settings(), other)
    with pytest.raises(SealingError, match=KEY):
        begin(directory, store, fixed, other)
    store.revoke_key(KEY, 6)
    keyring = begin(directory, store, fixed, other)
    assert (secret_of(keyring, ACCOUNT), secret_of(keyring, KEY)) == ("x" * 32, None)
    begin(directory, store, Settings(), other)


def test_a_secret_key_file_is_made_once_and_for_its_owner_only(directory: DataDirectory) -> None:
    with pytest.raises(OperatorError, match=r"secret\.key is missing"):
        directory.open_sealer(None)
    sealed = directory.open_sealer(None, may_make_key=True).seal(SECRET, KEY)
    assert directory.secret_key.stat().st_mode & 0o777 == 0o600
    assert directory.open_sealer(None, may_make_key=True).open(sealed, KEY) == SECRET


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"c2hvcnQ="])
def test_a_secret_key_file_that_is_no_key_is_told(directory: DataDirectory, content: bytes) -> None:
    directory.secret_key.write_bytes(content)
    with pytest.raises(OperatorError, match=r"secret\.key can't be used"):
        directory.open_sealer(None, may_make_key=True)
