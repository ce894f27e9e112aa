"""The keyring: what is good now, and how changes arrive."""

import asyncio

import pytest

from starlings.auth.keyring import Keyring, LiveKey
from starlings.auth.sealing import Sealer, SealingError
from starlings.core.credentials import Account, ApiKey, CredentialsUnreadable
from tests.auth.sources import (
    ACCOUNT,
    AUTH_TOKEN,
    KEY,
    KEY_SECRET,
    OTHER_KEY,
    SEALER,
    ListedCredentials,
    a_keyring,
)

NEW_KEY = "SK" + "3" * 32


def test_two_keys_are_good_side_by_side() -> None:
    keyring = a_keyring()
    assert keyring.find_key(KEY) == LiveKey(KEY, ACCOUNT, KEY_SECRET)
    assert keyring.find_key(OTHER_KEY) is not None
    account = keyring.find_account(ACCOUNT)
    assert account is not None
    assert account.auth_token == AUTH_TOKEN


def test_secrets_are_not_in_what_is_shown() -> None:
    keyring = a_keyring()
    shown = repr((keyring.find_key(KEY), keyring.find_account(ACCOUNT)))
    assert KEY in shown
    assert KEY_SECRET not in shown
    assert AUTH_TOKEN not in shown


async def test_a_new_key_is_good_after_a_refresh() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    generation = keyring.generation
    source.keys.append(source.a_key(NEW_KEY, "n" * 32))
    source.version += 1
    await keyring.refresh()
    assert keyring.find_key(NEW_KEY) is not None
    assert keyring.generation != generation


async def test_a_revoked_key_is_good_no_longer_and_listeners_hear_of_it_once() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    heard: list[str] = []
    keyring.on_revoked(heard.append)
    source.revoke(KEY)
    await keyring.refresh()
    await keyring.refresh()
    assert keyring.find_key(KEY) is None
    assert keyring.find_key(OTHER_KEY) is not None
    assert heard == [KEY]


async def test_lists_are_read_only_when_the_version_moved() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    for _ in range(3):
        await keyring.refresh()
    assert source.lists_read == 1
    assert keyring.statistics().refreshes == 1


async def test_the_same_credentials_in_a_new_version_change_nothing() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    generation = keyring.generation
    source.version += 1
    await keyring.refresh()
    assert keyring.generation == generation


async def test_what_was_good_stays_good_while_the_source_cannot_be_read() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    source.is_broken = True
    source.revoke(KEY)
    await keyring.refresh()
    assert keyring.find_key(KEY) is not None
    assert keyring.statistics().failures == 1
    source.is_broken = False
    await keyring.refresh()
    assert keyring.find_key(KEY) is None


def test_a_source_that_cannot_be_read_at_first_is_an_error() -> None:
    source = ListedCredentials()
    source.is_broken = True
    with pytest.raises(CredentialsUnreadable):
        a_keyring(source)


def test_another_secret_key_is_an_error_at_first() -> None:
    with pytest.raises(SealingError):
        Keyring(ListedCredentials(), Sealer(b"x" * 32))


def test_a_revoked_key_that_does_not_open_is_no_error() -> None:
    source = ListedCredentials()
    foreign = Sealer(b"x" * 32).seal("secret", KEY)
    source.keys = [key for key in source.keys if key.sid != KEY]
    source.keys.append(ApiKey(KEY, ACCOUNT, None, foreign, 0, 5))
    assert a_keyring(source).find_key(KEY) is None


async def test_a_later_key_that_does_not_open_is_left_out_and_the_others_stay() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    source.accounts.append(Account("AC" + "9" * 32, b"damaged", 0))
    source.version += 1
    await keyring.refresh()
    assert keyring.find_account("AC" + "9" * 32) is None
    assert keyring.find_key(KEY) is not None


def test_a_key_without_its_account_is_not_good() -> None:
    source = ListedCredentials()
    source.keys.append(source.a_key(NEW_KEY, "n" * 32, account="AC" + "9" * 32))
    assert a_keyring(source).find_key(NEW_KEY) is None


async def test_watching_takes_over_changes_until_cancelled() -> None:
    source = ListedCredentials()
    keyring = Keyring(source, SEALER)
    revoked = asyncio.Event()
    keyring.on_revoked(lambda sid: revoked.set())
    watch = asyncio.create_task(keyring.watch(0.001))
    source.revoke(KEY)
    async with asyncio.timeout(5):
        await revoked.wait()
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    assert keyring.find_key(KEY) is None
