"""Keys and identities revoked beside a running server: sessions end within a second, tokens are
refused from then on, also after a restart. [rest-api 7, docs/reference/access.md]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from starlings.wire.codec import decode_downstream, encode_upstream
from starlings.wire.messages import Init, Reply
from tests.e2e.server import ServerProcess
from tests.ops.commands import starlings

ALLOWED_SECONDS = 1.0


class Session:
    """A client that has shown a token; nothing but that."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self._socket = socket
        socket.send(encode_upstream(Init(id="TM1", token=token)))
        answer = decode_downstream(_bytes(socket.recv(timeout=10)))
        assert isinstance(answer, Reply)
        self.status = answer.status.code

    @property
    def is_open(self) -> bool:
        try:
            self._socket.recv(timeout=0.05)
        except TimeoutError:
            return True
        except ConnectionClosed:
            return False
        return True

    def wait_until_closed(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._socket.recv(timeout=max(0.0, deadline - time.monotonic()))
            except ConnectionClosed:
                return


def _bytes(message: str | bytes) -> bytes:
    assert isinstance(message, bytes)
    return message


@contextmanager
def session(server: ServerProcess, token: str) -> Iterator[Session]:
    with connect(server.ws_url, proxy=None) as socket:
        yield Session(socket, token)


def mint(server: ServerProcess, identity: str, *more: str) -> str:
    return _run(server, "token", "--identity", identity, *more).strip()


def _run(server: ServerProcess, *arguments: str) -> str:
    done = starlings(*arguments, "--data", server.data)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for_the_next_second() -> None:
    time.sleep(1.05 - time.time() % 1)


def status_of(server: ServerProcess, token: str) -> int:
    with session(server, token) as tried:
        return tried.status


def test_a_revoked_key_takes_its_sessions_along_and_no_others(server: ServerProcess) -> None:
    other = json.loads(_run(server, "keys", "create", "--json"))["api_key_sid"]
    doomed = json.loads(_run(server, "keys", "create", "--json"))["api_key_sid"]
    time.sleep(0.6)  # until the server knows the keys
    token = mint(server, "zoe", "--key", doomed)
    with (
        session(server, token) as ending,
        session(server, mint(server, "zoe", "--key", other)) as staying,
    ):
        assert (ending.status, staying.status) == (200, 200)
        _run(server, "keys", "revoke", doomed)
        ending.wait_until_closed(ALLOWED_SECONDS)
        assert staying.is_open
    assert status_of(server, token) == 401


@pytest.mark.parametrize("way", ["command", "rest"])
def test_a_revoked_identity_is_out_until_it_gets_a_new_token_even_after_a_restart(
    tmp_path: Path, way: str
) -> None:
    with ServerProcess(tmp_path) as server:
        token, others = mint(server, "zoë/1"), mint(server, "zoë")
        with session(server, token) as ending, session(server, others) as staying:
            assert (ending.status, staying.status) == (200, 200)
            if way == "command":
                assert "zoë/1" in _run(server, "identities", "revoke", "zoë/1")
            else:
                credentials = server.credentials
                answer = httpx.post(
                    f"{server.base_url}/v1/Identities/zo%C3%AB%2F1/Revoke",
                    auth=(credentials.account_sid, credentials.auth_token),
                    trust_env=False,
                )
                assert answer.status_code == 200, answer.text
                # In force when it is answered: not only within a second.
                assert status_of(server, token) == 401
            ending.wait_until_closed(ALLOWED_SECONDS)
            assert staying.is_open
        assert status_of(server, token) == 401
        wait_for_the_next_second()
        renewed = mint(server, "zoë/1")
        assert status_of(server, renewed) == 200
        server.restart()
        assert [status_of(server, one) for one in (token, renewed, others)] == [401, 200, 200]
        listed = json.loads(_run(server, "identities", "revoked", "--json"))
        assert [one["identity"] for one in listed] == ["zoë/1"]
        server.stop()


def test_an_operator_is_told_what_cannot_be_revoked(server: ServerProcess, tmp_path: Path) -> None:
    for identity in ("", "x" * 257, "bell\a"):
        refused = starlings("identities", "revoke", identity, "--data", server.data)
        assert (refused.returncode, "Invalid identity" in refused.stderr) == (2, True)
    unknown = ("--account", "AC" + "0" * 32)
    refused = starlings("identities", "revoke", "zoe", *unknown, "--data", server.data)
    assert (refused.returncode, "There is no account" in refused.stderr) == (2, True)
    refused = starlings("identities", "revoke", "zoe", "--data", tmp_path)
    assert (refused.returncode, "There is no database" in refused.stderr) == (2, True)
