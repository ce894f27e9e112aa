"""Presence and on-disconnect actions with the official JavaScript SDK, unmodified, both majors."""

from __future__ import annotations

import pytest

from tests.e2e.node_tests import run_node_tests
from tests.e2e.server import ServerProcess

pytestmark = [pytest.mark.js, pytest.mark.parametrize("major", [3, 4])]


def test_the_official_sdk_sees_who_is_there(server: ServerProcess, major: int) -> None:
    run_node_tests(
        server,
        "presence/presence.test.mjs",
        environment={"STARLINGS_TEST_MAJOR": str(major)},
    )
