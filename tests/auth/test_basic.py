"""HTTP Basic: who is let in, who is refused, who is slowed down."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from starlings.auth.basic import BasicAuthenticator
from starlings.auth.failures import BURST, REFILL_SECONDS
from starlings.core.errors import Reason, Refusal
from tests.auth.sources import (
    ACCOUNT,
    AUTH_TOKEN,
    KEY,
    KEY_SECRET,
    OTHER_KEY,
    OTHER_SECRET,
    ListedCredentials,
    a_header,
    a_keyring,
)

HERE = "192.0.2.1"


def refusal_of(
    authenticator: BasicAuthenticator, header: bytes | None, address: str = HERE
) -> Refusal:
    with pytest.raises(Refusal) as caught:
        authenticator.authenticate(header, address)
    return caught.value


def test_the_account_and_each_of_its_keys_are_let_in() -> None:
    authenticator = BasicAuthenticator(a_keyring())
    for username, password in (
        (ACCOUNT, AUTH_TOKEN),
        (KEY, KEY_SECRET),
        (OTHER_KEY, OTHER_SECRET),
    ):
        for _ in range(2):
            assert authenticator.authenticate(a_header(username, password), HERE) == ACCOUNT


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (ACCOUNT, "wrong"),
        (ACCOUNT, ""),
        (ACCOUNT, KEY_SECRET),
        (ACCOUNT.lower(), AUTH_TOKEN),
        (KEY, OTHER_SECRET),
        (KEY, AUTH_TOKEN),
        ("AC" + "f" * 32, AUTH_TOKEN),
        ("SK" + "f" * 32, KEY_SECRET),
        ("", ""),
        ("SK", ""),
    ],
)
def test_wrong_credentials_are_refused(username: str, password: str) -> None:
    refusal = refusal_of(BasicAuthenticator(a_keyring()), a_header(username, password))
    assert (refusal.code, refusal.status) == (20003, 401)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Basic",
        b"Basic ",
        b"Basic ====",
        b"Basic " + base64.b64encode(b"no colon"),
        b"Basic " + base64.b64encode(b"\xff\xfe:\xff"),
        b"Bearer " + base64.b64encode(f"{ACCOUNT}:{AUTH_TOKEN}".encode()),
        a_header(ACCOUNT, AUTH_TOKEN)[6:],
        a_header(ACCOUNT, AUTH_TOKEN) + b"!",
        b"Basic " + b"A" * 5000,
    ],
)
def test_a_malformed_header_is_unauthenticated_however_often_it_comes(header: bytes | None) -> None:
    authenticator = BasicAuthenticator(a_keyring())
    for _ in range(BURST + 5):
        assert refusal_of(authenticator, header).reason is Reason.UNAUTHENTICATED


def test_the_name_of_the_scheme_has_no_case() -> None:
    header = b"bAsIc " + a_header(ACCOUNT, AUTH_TOKEN)[6:]
    assert BasicAuthenticator(a_keyring()).authenticate(header, HERE) == ACCOUNT


def test_too_many_wrong_ones_are_slowed_down_while_right_ones_are_served() -> None:
    authenticator = BasicAuthenticator(a_keyring(), lambda: 1.0)
    wrong = a_header(ACCOUNT, "wrong")
    for _ in range(BURST):
        assert refusal_of(authenticator, wrong).status == 401
    refusal = refusal_of(authenticator, wrong)
    assert (refusal.code, refusal.status) == (20429, 429)
    assert refusal.retry_after_seconds == REFILL_SECONDS
    for _ in range(2):
        assert authenticator.authenticate(a_header(KEY, KEY_SECRET), HERE) == ACCOUNT
    assert refusal_of(authenticator, wrong, "192.0.2.99").status == 401
    statistics = authenticator.statistics()
    assert (statistics.failures, statistics.limited) == (BURST + 2, 1)


async def test_a_revoked_key_is_refused_although_it_was_remembered() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    authenticator = BasicAuthenticator(keyring)
    assert authenticator.authenticate(a_header(KEY, KEY_SECRET), HERE) == ACCOUNT
    source.revoke(KEY)
    await keyring.refresh()
    assert refusal_of(authenticator, a_header(KEY, KEY_SECRET)).status == 401
    assert authenticator.authenticate(a_header(OTHER_KEY, OTHER_SECRET), HERE) == ACCOUNT


def test_memory_is_bounded_whatever_right_headers_come() -> None:
    authenticator = BasicAuthenticator(a_keyring())
    encoded = a_header(ACCOUNT, AUTH_TOKEN)[6:]
    for blanks in range(900):
        authenticator.authenticate(b"Basic" + b" " * (blanks + 1) + encoded, HERE)
        authenticator.authenticate(b"basic" + b" " * (blanks + 1) + encoded, HERE)
    assert authenticator.statistics().remembered <= 1024


@given(st.binary(max_size=200))
@example(b"Basic \xff")
def test_any_bytes_are_let_in_or_refused_and_nothing_else(header: bytes) -> None:
    refusal = refusal_of(BasicAuthenticator(a_keyring()), header)
    assert refusal.status == 401


@given(st.binary(max_size=100), st.text(max_size=50))
def test_any_credentials_and_any_address_are_refused(credentials: bytes, address: str) -> None:
    header = b"Basic " + base64.b64encode(credentials)
    assert refusal_of(BasicAuthenticator(a_keyring()), header, address).status == 401


@pytest.mark.parametrize(
    ("username", "told"),
    [
        (ACCOUNT, f"account={ACCOUNT} reason='wrong secret'"),
        (KEY, f"key={KEY} reason='wrong secret'"),
        ("SK" + "f" * 32, f"key=SK{'f' * 32} reason='not known'"),
        ("hunter1", "account=- reason='not known'"),
        (f"SK{'f' * 32}\nA log-in failed", "key=- reason='not known'"),
    ],
)
def test_a_failed_log_in_is_told_with_its_address_and_never_a_secret(
    caplog: pytest.LogCaptureFixture, username: str, told: str
) -> None:
    caplog.set_level("INFO")
    authenticator = BasicAuthenticator(a_keyring())
    refusal_of(authenticator, a_header(username, "hunter2"))
    assert caplog.messages == [f"A log-in failed address={HERE} {told}"]


def test_a_header_of_another_scheme_is_told_without_what_is_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    refusal_of(BasicAuthenticator(a_keyring()), b"Bearer hunter2")
    assert caplog.messages == [f"A log-in failed address={HERE} reason='no Basic credentials'"]


def test_no_credentials_at_all_are_no_failure_to_tell_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    refusal_of(BasicAuthenticator(a_keyring()), None)
    assert caplog.messages == []
