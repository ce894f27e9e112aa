"""Live queries of the official JavaScript SDK, unmodified, both majors."""

from __future__ import annotations

import pytest

from tests.e2e.node_tests import run_node_tests
from tests.e2e.server import ServerProcess


@pytest.mark.js
@pytest.mark.parametrize("major", [3, 4])
def test_live_queries_survive_what_happens(server: ServerProcess, major: int) -> None:
    run_node_tests(
        server,
        "queries/live_query.test.mjs",
        environment={"STARLINGS_TEST_MAJOR": str(major)},
    )
