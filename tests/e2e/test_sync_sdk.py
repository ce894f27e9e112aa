"""The official JavaScript SDK, unmodified, both majors: each file of tests/js/sync is one test.

The client gets one option, the server's address. See spec wire-protocol and tests/js/sync.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.e2e.node_tests import JS, RESTARTS_SECONDS, control, run_node_tests
from tests.e2e.server import ServerProcess

MAJORS = (3, 4)

pytestmark = [pytest.mark.js, pytest.mark.parametrize("major", MAJORS)]


@pytest.mark.parametrize(
    "suite",
    [
        "client",
        "tokens",
        "document",
        "list",
        "map",
        "stream",
        "outside",
        "reconnect",
        "query",
        "cached",
    ],
)
def test_the_official_sdk_works_unmodified(server: ServerProcess, suite: str, major: int) -> None:
    _run(server, suite, major)


def test_much_at_once_reaches_the_official_sdk(server: ServerProcess, major: int) -> None:
    _run(server, "many", major)


@pytest.mark.timeout(RESTARTS_SECONDS + 60)
def test_a_killed_server_loses_nothing_for_the_official_sdk(tmp_path: Path, major: int) -> None:
    with ServerProcess(tmp_path) as server, control(server) as url:
        _run(server, "crash", major, RESTARTS_SECONDS, STARLINGS_TEST_CONTROL_URL=url)
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()


@pytest.mark.timeout(RESTARTS_SECONDS + 60)
def test_after_a_restore_the_official_sdk_shows_the_restored_state(
    tmp_path: Path, major: int
) -> None:
    with ServerProcess(tmp_path / "data") as server, control(server) as url:
        _run(server, "restore", major, RESTARTS_SECONDS, STARLINGS_TEST_CONTROL_URL=url)
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()


def test_the_official_sdk_works_with_compression(tmp_path: Path, major: int) -> None:
    with ServerProcess(tmp_path, environment={"STARLINGS_WS_COMPRESSION": "1"}) as server:
        _run(server, "compression", major)
        credentials = server.credentials
        auth = credentials.account_sid, credentials.auth_token
        metrics = httpx.get(f"{server.base_url}/metrics", auth=auth).text
        before, after = (
            float(metrics.split(f"\nstarlings_ws_compressed_{when}_bytes_total ")[1].split()[0])
            for when in ("before", "after")
        )
        assert 0 < after < before / 2
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()


def test_every_suite_is_run(major: int) -> None:
    """A file that nobody runs proves nothing."""
    text = Path(__file__).read_text(encoding="utf-8")
    for file in (JS / "sync").glob("*.test.mjs"):
        assert f'"{file.name.removesuffix(".test.mjs")}"' in text, file
    assert f"twilio-sync{'-3' if major == 3 else ''}" in {
        entry.name for entry in (JS / "node_modules").iterdir()
    }


def _run(
    server: ServerProcess, suite: str, major: int, seconds: float = 100.0, **environment: str
) -> None:
    run_node_tests(
        server,
        f"sync/{suite}.test.mjs",
        seconds=seconds,
        environment={"STARLINGS_TEST_MAJOR": str(major)} | environment,
    )
