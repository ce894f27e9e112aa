"""Which credentials there are after a start, by what was fixed and what was there."""

import asyncio
import errno
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from starlings.app.directory import DataDirectory, write_private
from starlings.app.errors import OperatorError
from starlings.app.first_start import _begin, ensure_credentials
from starlings.app.serving import _open_keyring
from starlings.auth.keyring import Keyring
from starlings.auth.sealing import Sealer, SealingError
from starlings.core.credentials import CredentialsUnreadable
from starlings.core.limits import OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite.credentials import CredentialStore
from starlings.storage.sqlite.database import open_writer
from starlings.storage.sqlite.store import SqliteStore
from starlings.storage.sqlite.writer import Writer
from tests.ops.killing import kill_at_every_line

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
    directory: DataDirectory, store: CredentialStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keyring = begin(directory, store, Settings())
    assert f"Credentials written file={directory.credentials.absolute()}" in caplog.messages
    shown = json.loads(directory.credentials.read_text())
    assert list(shown) == ["account_sid", "auth_token", "api_key_sid", "api_key_secret"]
    assert secret_of(keyring, shown["account_sid"]) == shown["auth_token"]
    assert secret_of(keyring, shown["api_key_sid"]) == shown["api_key_secret"]
    assert len(shown["auth_token"]) == len(shown["api_key_secret"]) == 32


def start_once(path: Path) -> None:
    """A start up to the point where it would listen, as the server does it."""
    directory = DataDirectory(path)
    directory.make()

    async def open_all() -> None:
        directory.refuse_lost_database()
        opened = await SqliteStore.open(path, OFF, SYSTEM_SOURCES.now)
        credentials = directory.open_credentials()
        _open_keyring(Settings(data=path), directory, credentials, 5)
        credentials.close()
        await opened.close()

    with directory.lock():
        asyncio.run(open_all())


def test_a_first_start_killed_at_any_line_is_completed_by_the_next(tmp_path: Path) -> None:
    functions: list[Callable[..., object]] = [
        *(DataDirectory.make, DataDirectory.open_sealer, write_private),
        *(Writer.open, open_writer, CredentialStore.open),
        *(CredentialStore.put_first, CredentialStore._changing),
        *(CredentialStore._put_account, CredentialStore._put_key),
        *(_open_keyring, ensure_credentials, _begin),
    ]
    runs = kill_at_every_line(start_once, functions, tmp_path / "runs")
    assert len(runs) > 80
    lengths = set()
    for path in runs:
        directory = DataDirectory(path)
        left = directory.credentials.read_text() if directory.credentials.exists() else None
        had_account = is_in_force(directory)
        start_once(path)
        shown = json.loads(directory.credentials.read_text())
        assert left in (None, directory.credentials.read_text())
        assert left is not None or not had_account
        lengths.add((left is not None, had_account))
        store = directory.open_credentials()
        assert (len(store.list_accounts()), len(store.list_keys())) == (1, 1)
        keyring = Keyring(store, directory.open_sealer(None))
        assert secret_of(keyring, shown["account_sid"]) == shown["auth_token"]
        assert secret_of(keyring, shown["api_key_sid"]) == shown["api_key_secret"]
        store.close()
        assert directory.credentials.stat().st_mode & 0o777 == 0o600
        assert [file.name for file in path.iterdir() if file.name.startswith(".")] == []
    assert lengths == {(False, False), (True, False), (True, True)}


def is_in_force(directory: DataDirectory) -> bool:
    try:
        store = directory.open_credentials(is_read_only=True)
    except OperatorError:  # killed before there were tables
        return False
    accounts, keys = store.list_accounts(), store.list_keys()
    store.close()
    assert len(accounts) == len(keys)  # both or neither
    return len(accounts) == 1


def test_a_first_start_on_a_disk_that_fills_up_is_completed_by_the_next(
    directory: DataDirectory, store: CredentialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CredentialsUnreadable("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_first", refuse)
        with pytest.raises(CredentialsUnreadable):
            begin(directory, store, Settings())
    shown = directory.credentials.read_text()
    keyring = begin(directory, store, Settings())
    assert directory.credentials.read_text() == shown
    for sid, secret in (("account_sid", "auth_token"), ("api_key_sid", "api_key_secret")):
        assert secret_of(keyring, json.loads(shown)[sid]) == json.loads(shown)[secret]


@pytest.mark.parametrize("syncs", range(4))
def test_a_file_that_can_not_be_synced_is_made_by_the_next_start(
    directory: DataDirectory, store: CredentialStore, monkeypatch: pytest.MonkeyPatch, syncs: int
) -> None:
    left = iter([True] * syncs)
    sync = os.fsync

    def fail(file: int) -> None:
        if not next(left, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OperatorError, match=r"can't be (written|used): .*No space left"):
            _open_keyring(Settings(), directory, store, 5)
    assert store.list_accounts() == []
    keyring = _open_keyring(Settings(), directory, store, 5)
    shown = json.loads(directory.credentials.read_text())
    assert secret_of(keyring, shown["account_sid"]) == shown["auth_token"]
    assert not list(directory.path.glob(".*"))


def test_what_was_begun_gives_way_to_what_is_fixed_now(
    directory: DataDirectory, store: CredentialStore
) -> None:
    begun = {
        "account_sid": OTHER_ACCOUNT,
        "auth_token": "x" * 32,
        "api_key_sid": OTHER_KEY,
        "api_key_secret": "y" * 32,
    }
    directory.credentials.write_text(json.dumps(begun))
    keyring = begin(directory, store, Settings(account_sid=ACCOUNT, api_key_secret=SECRET))
    assert secret_of(keyring, ACCOUNT) == "x" * 32
    assert secret_of(keyring, OTHER_KEY) == SECRET
    assert secret_of(keyring, OTHER_ACCOUNT) is None
    shown = json.loads(directory.credentials.read_text())
    assert shown == {"auth_token": "x" * 32, "api_key_sid": OTHER_KEY}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "not JSON",
        '{"account_sid": "AC1"}',
        '{"auth_token": 5}',
        '{"api_key_sid": "' + ACCOUNT + '"}',
        '{"api_key_secret": ""}',
        '{"notes": "mine"}',
    ],
)
def test_a_file_that_shows_no_credentials_is_not_replaced(
    directory: DataDirectory, store: CredentialStore, content: str
) -> None:
    directory.credentials.write_text(content)
    with pytest.raises(OperatorError, match=r"shows no credentials, .* move that file away"):
        begin(directory, store, Settings())
    assert directory.credentials.read_text() == content
    assert store.list_accounts() == []


@pytest.mark.parametrize("content", ["", "\n", "{}"])
def test_an_empty_file_is_replaced(
    directory: DataDirectory, store: CredentialStore, content: str
) -> None:
    directory.credentials.write_text(content)
    keyring = begin(directory, store, Settings())
    shown = json.loads(directory.credentials.read_text())
    assert secret_of(keyring, shown["account_sid"]) == shown["auth_token"]


@pytest.mark.parametrize("content", ["[]", "not JSON", "{}", '{"account_sid": "AC1"}', None])
def test_once_there_is_an_account_the_file_is_the_owners_own(
    directory: DataDirectory, store: CredentialStore, content: str | None
) -> None:
    begin(directory, store, Settings())
    if content is None:
        directory.credentials.unlink()
        directory.credentials.mkdir()
    else:
        directory.credentials.write_text(content)
    version = store.read_version()
    begin(directory, store, Settings())
    assert store.read_version() == version
    assert content is None or directory.credentials.read_text() == content


def outdated(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Names in the warnings so far, which are forgotten."""
    names = [
        record.getMessage().partition("names=")[2]
        for record in caplog.records
        if "credentials.json" in record.msg
    ]
    caplog.clear()
    return names


def test_a_file_that_shows_what_is_not_good_any_more_is_warned_of(
    directory: DataDirectory, store: CredentialStore, caplog: pytest.LogCaptureFixture
) -> None:
    begin(directory, store, Settings())
    shown = json.loads(directory.credentials.read_text())
    begin(directory, store, Settings())
    assert outdated(caplog) == []
    begin(directory, store, Settings(auth_token="x" * 32))
    assert outdated(caplog) == ["auth_token"]
    store.revoke_key(shown["api_key_sid"], 6)
    begin(directory, store, Settings())
    assert outdated(caplog) == ["auth_token,api_key_secret"]
    directory.credentials.write_text(json.dumps(shown | {"account_sid": OTHER_ACCOUNT}))
    begin(directory, store, Settings(auth_token=shown["auth_token"]))
    assert outdated(caplog) == ["auth_token,api_key_secret"]
    directory.credentials.unlink()
    begin(directory, store, Settings())
    assert outdated(caplog) == []
    for secret in (shown["auth_token"], shown["api_key_secret"]):
        assert secret not in caplog.text


def test_with_a_wrong_secret_key_nobody_is_told_to_delete_the_file(
    directory: DataDirectory, store: CredentialStore, caplog: pytest.LogCaptureFixture
) -> None:
    begin(directory, store, Settings())
    with pytest.raises(SealingError):
        begin(directory, store, Settings(), Sealer(b"n" * 32))
    assert outdated(caplog) == []


def test_an_account_without_a_good_key_is_warned_of(
    directory: DataDirectory, store: CredentialStore, caplog: pytest.LogCaptureFixture
) -> None:
    begin(directory, store, ALL)
    assert "no good API key" not in caplog.text
    store.revoke_key(KEY, 6)
    begin(directory, store, Settings())
    assert "There is no good API key: make one with `starlings keys create`" in caplog.text


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
