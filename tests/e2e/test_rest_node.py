"""The Node helper library's suite, run as a program of its own."""

from __future__ import annotations

import pytest

from tests.e2e.node_tests import run_node_tests
from tests.e2e.server import ServerProcess

pytestmark = pytest.mark.js


def test_the_node_helper_library_works_unmodified(server: ServerProcess) -> None:
    run_node_tests(server, "rest/rest.test.mjs")
