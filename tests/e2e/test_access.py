"""Access control as two official SDK clients see it. [docs/reference/access.md]"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.node_tests import JS, run_node_tests
from tests.e2e.server import ServerProcess

MAJORS = (3, 4)


@pytest.mark.js
@pytest.mark.parametrize("major", MAJORS)
def test_two_identities_have_just_the_rights_they_were_given(
    server: ServerProcess, major: int
) -> None:
    _run(server, "permissions", major)


@pytest.mark.js
def test_no_event_comes_a_second_after_access_was_taken(server: ServerProcess) -> None:
    printed = _run(server, "revocation", 4)
    figures = re.findall(r"FIGURES (.*)", printed)
    print("\n".join(figures))
    assert len(figures) == 4
    assert all(line.count("late") == line.count(" 0 late") > 0 for line in figures)


def test_every_suite_is_run() -> None:
    """A file that nobody runs proves nothing."""
    text = Path(__file__).read_text(encoding="utf-8")
    for file in (JS / "access").glob("*.test.mjs"):
        assert f'"{file.name.removesuffix(".test.mjs")}"' in text, file


def _run(server: ServerProcess, suite: str, major: int) -> str:
    return run_node_tests(
        server,
        f"access/{suite}.test.mjs",
        environment={"STARLINGS_TEST_MAJOR": str(major)},
    )
