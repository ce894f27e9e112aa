"""Who may call, and what everybody else is told. [REST 1.3]"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.raw import NO_SUCH, assert_refused
from tests.e2e.server import ServerProcess

PATHS = ["/v1/Services", "/v1/Services/default", "/v1/Services/default/Documents"]

_addresses = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that believes its proxy: each request can come from an address of its own.

    Failed log-ins are counted by address, and these tests have many.
    """
    trusting = {"STARLINGS_TRUSTED_PROXIES": "127.0.0.1"}
    with ServerProcess(tmp_path_factory.mktemp("data"), environment=trusting) as server:
        yield server
        assert "Traceback" not in server.stderr, server.stderr


def _get(
    server: ServerProcess, path: str, authorization: str | None = None, address: str = ""
) -> httpx.Response:
    number = next(_addresses)
    headers = {"X-Forwarded-For": address or f"198.18.{number // 250}.{number % 250 + 1}"}
    if authorization is not None:
        headers["Authorization"] = authorization
    return httpx.get(f"{server.base_url}{path}", headers=headers, trust_env=False)


def _basic(text: bytes) -> str:
    return f"Basic {base64.b64encode(text).decode()}"


def test_the_account_and_an_api_key_may_call(server: ServerProcess) -> None:
    credentials = server.credentials
    for name, secret in (
        (credentials.account_sid, credentials.auth_token),
        (credentials.api_key_sid, credentials.api_key_secret),
    ):
        for path in PATHS:
            authorization = _basic(f"{name}:{secret}".encode())
            assert _get(server, path, authorization).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_call_without_credentials_is_refused(server: ServerProcess, path: str) -> None:
    response = _get(server, path)

    assert_refused(response, 401, 20003)
    assert response.headers["www-authenticate"].lower().startswith("basic")


def test_wrong_credentials_are_refused(server: ServerProcess) -> None:
    own = server.credentials
    for name, secret in (
        (own.account_sid, "wrong"),
        (own.account_sid, ""),
        (own.account_sid, own.auth_token.upper() + "x"),
        (own.account_sid, own.auth_token[:-1]),
        (own.account_sid, own.api_key_secret),
        (own.api_key_sid, own.auth_token),
        (own.api_key_sid, own.api_key_secret[:-1]),
        (f"AC{NO_SUCH}", own.auth_token),
        (f"SK{NO_SUCH}", own.api_key_secret),
        ("", own.auth_token),
        ("", ""),
    ):
        authorization = _basic(f"{name}:{secret}".encode())
        assert_refused(_get(server, PATHS[0], authorization), 401, 20003)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic YWJj",  # no colon
        _basic(b"\xff\xfe:\xfd"),
        _basic(b"\x00:\x00"),
        _basic(b"a" * 6000),
        "Bearer abc",
        "Digest username=a",
    ],
)
def test_malformed_credentials_are_refused(server: ServerProcess, authorization: str) -> None:
    assert_refused(_get(server, PATHS[0], authorization), 401, 20003)


def test_credentials_come_before_everything_else(server: ServerProcess) -> None:
    """[REST 11, check order]"""
    for path in (f"/v1/Services/IS{NO_SUCH}", f"/v1/Services/default/Documents/ET{NO_SUCH}"):
        assert_refused(_get(server, path), 401, 20003)


def test_guessing_is_slowed_down_by_address_and_spares_the_right_credentials(
    server: ServerProcess,
) -> None:
    own = server.credentials
    wrong = _basic(f"{own.account_sid}:wrong".encode())
    right = _basic(f"{own.account_sid}:{own.auth_token}".encode())

    answers = [_get(server, PATHS[0], wrong, "192.0.2.1") for _ in range(30)]

    assert_refused(answers[0], 401, 20003)
    assert_refused(answers[-1], 429, 20429)
    assert_refused(_get(server, PATHS[0], wrong, "192.0.2.2"), 401, 20003)
    assert _get(server, PATHS[0], right, "192.0.2.1").status_code == 200


def test_secrets_are_kept_private(server: ServerProcess) -> None:
    secrets = (server.credentials.auth_token, server.credentials.api_key_secret)

    assert (server.data / "credentials.json").stat().st_mode & 0o077 == 0
    for secret in secrets:
        assert secret not in server.stdout
        assert secret not in server.stderr
