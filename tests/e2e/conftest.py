"""Servers and clients for the tests that go through a real process and a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from twilio.rest import Client  # type: ignore[import-untyped]

from tests.e2e.raw import raw_client
from tests.e2e.server import Limits, ServerProcess


def _serve(tmp_path_factory: pytest.TempPathFactory, limits: Limits) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), limits=limits) as server:
        yield server
        # An answered 500 may hide behind a helper's retry; its traceback in the log does not.
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of this module's own, without rate limits."""
    yield from _serve(tmp_path_factory, "off")


@pytest.fixture(scope="module")
def limited_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of this module's own with the documented rate limits."""
    yield from _serve(tmp_path_factory, "documented")


def _helper(server: ServerProcess, *credentials: str) -> Client:
    client = Client(*credentials)
    client.sync.base_url = server.base_url
    # A proxy of the developer's environment must not come between.
    client.http_client.session.trust_env = False
    return client


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """The official helper library, signed in with the account's token."""
    credentials = server.credentials
    client = _helper(server, credentials.account_sid, credentials.auth_token)
    yield client
    client.http_client.session.close()


@pytest.fixture
def key_client(server: ServerProcess) -> Iterator[Client]:
    """The official helper library, signed in with an API key."""
    credentials = server.credentials
    client = _helper(
        server, credentials.api_key_sid, credentials.api_key_secret, credentials.account_sid
    )
    yield client
    client.http_client.session.close()


@pytest.fixture
def service(client: Client) -> Any:
    """The default service, through the helper library."""
    return client.sync.v1.services("default")


@pytest.fixture
def raw(server: ServerProcess) -> Iterator[httpx.Client]:
    """Plain HTTP below ``/v1/Services/default``."""
    with raw_client(server) as client:
        yield client


@pytest.fixture
def limited_raw(limited_server: ServerProcess) -> Iterator[httpx.Client]:
    """Plain HTTP below ``/v1/Services/default`` of the server with documented limits."""
    with raw_client(limited_server) as client:
        yield client
