"""Accounts and keys in the database."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from starlings.core.credentials import Account, ApiKey, CredentialsUnreadable
from starlings.core.limits import OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.storage.sqlite.credentials import CredentialStore
from starlings.storage.sqlite.store import SqliteStore
from tests.ops.stores import DATABASE, run_sql

ACCOUNT = Account("AC" + "0" * 32, b"sealed", 5)
KEY = ApiKey("SK" + "1" * 32, ACCOUNT.sid, "name", b"sealed", 6)


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    await (await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)).close()
    return tmp_path / DATABASE


@pytest.fixture
def store(database: Path) -> Iterator[CredentialStore]:
    opened = CredentialStore.open(database)
    yield opened
    opened.close()


def test_what_was_put_is_listed_the_oldest_first(store: CredentialStore) -> None:
    older = ApiKey("SK" + "2" * 32, ACCOUNT.sid, None, b"sealed", 4)
    store.put_account(ACCOUNT)
    store.put_key(KEY)
    store.put_key(older)
    assert store.list_accounts() == [ACCOUNT]
    assert store.list_keys() == [older, KEY]


def test_putting_a_known_one_replaces_its_secret_only(store: CredentialStore) -> None:
    store.put_account(ACCOUNT)
    store.put_account(Account(ACCOUNT.sid, b"other", 99))
    store.put_key(KEY)
    store.put_key(ApiKey(KEY.sid, ACCOUNT.sid, "other", b"other", 99))
    assert store.list_accounts() == [Account(ACCOUNT.sid, b"other", 5)]
    assert store.list_keys() == [ApiKey(KEY.sid, ACCOUNT.sid, "name", b"other", 6)]


def test_a_key_is_revoked_once_and_stays_so(store: CredentialStore) -> None:
    store.put_key(KEY)
    assert store.revoke_key(KEY.sid, 7)
    assert not store.revoke_key(KEY.sid, 8)
    store.put_key(KEY)
    assert [key.revoked_at for key in store.list_keys()] == [7]
    assert not store.revoke_key("SK" + "f" * 32, 9)


def test_every_change_moves_the_version_also_for_another_connection(
    store: CredentialStore, database: Path
) -> None:
    other = CredentialStore.open(database, is_read_only=True)
    versions = [other.read_version()]
    for change in (
        lambda: store.put_account(ACCOUNT),
        lambda: store.put_key(KEY),
        lambda: store.revoke_key(KEY.sid, 7),
    ):
        change()
        versions.append(other.read_version())
    other.close()
    assert versions == [0, 1, 2, 3]


def test_it_reads_while_a_writer_holds_its_transaction(
    store: CredentialStore, database: Path
) -> None:
    store.put_account(ACCOUNT)
    other = CredentialStore.open(database)
    other._connection.execute("BEGIN IMMEDIATE")
    assert store.list_accounts() == [ACCOUNT]
    assert store.read_version() == 1
    other.close()


def test_a_read_only_one_changes_nothing(store: CredentialStore, database: Path) -> None:
    other = CredentialStore.open(database, is_read_only=True)
    with pytest.raises(CredentialsUnreadable, match="readonly"):
        other.put_account(ACCOUNT)
    other.close()
    assert store.list_accounts() == []


def test_a_change_that_fails_leaves_nothing_behind(store: CredentialStore, database: Path) -> None:
    run_sql(database.parent, "DROP TABLE meta")
    with pytest.raises(CredentialsUnreadable):
        store.put_account(ACCOUNT)
    assert run_sql(database.parent, "SELECT count(*) FROM account") == [(0,)]


@pytest.mark.parametrize("content", [None, b"", b"no database" * 100])
def test_what_is_no_database_of_ours_is_unreadable(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "other.db"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CredentialsUnreadable, match=r"other\.db"):
        CredentialStore.open(file)


def test_closing_waits_for_a_thread_that_reads(database: Path) -> None:
    for _ in range(30):
        store = CredentialStore.open(database)
        begun = threading.Event()

        def read(store: CredentialStore = store, begun: threading.Event = begun) -> None:
            while True:
                store.list_keys()
                begun.set()

        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(read)
            assert begun.wait(10)
            store.close()
            with pytest.raises(CredentialsUnreadable, match="closed"):
                reading.result(10)
