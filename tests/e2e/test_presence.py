"""Presence and on-disconnect actions with the official JavaScript SDK, unmodified, both majors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.node_tests import JS, RESTARTS_SECONDS, control, run_node_tests
from tests.e2e.server import ServerProcess

pytestmark = pytest.mark.js


@pytest.mark.parametrize("major", [3, 4])
@pytest.mark.parametrize("suite", ["presence", "on_disconnect"])
def test_the_official_sdk_sees_who_is_there_and_leaves_actions(
    server: ServerProcess, suite: str, major: int
) -> None:
    run_node_tests(
        server,
        f"presence/{suite}.test.mjs",
        environment={"STARLINGS_TEST_MAJOR": str(major)},
    )


@pytest.mark.timeout(RESTARTS_SECONDS + 60)
def test_a_crash_leaves_no_ghosts_to_the_official_sdk(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, control(server) as url:
        run_node_tests(
            server,
            "presence/crash.test.mjs",
            seconds=RESTARTS_SECONDS,
            environment={"STARLINGS_TEST_MAJOR": "4", "STARLINGS_TEST_CONTROL_URL": url},
        )
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()


def test_every_suite_is_run() -> None:
    """A file that nobody runs proves nothing."""
    text = Path(__file__).read_text(encoding="utf-8")
    for file in (JS / "presence").glob("*.test.mjs"):
        name = file.name.removesuffix(".test.mjs")
        assert f'"{name}"' in text or f'"presence/{name}.test.mjs"' in text, file
