"""The official browser bundle in a real browser, both majors; see tests/js/browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.node_tests import run_node_tests
from tests.e2e.server import ServerProcess

pytestmark = [pytest.mark.js, pytest.mark.browser]

_PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("major", [3, 4])
def test_the_browser_bundle_works_unmodified(
    server: ServerProcess, tmp_path: Path, major: int
) -> None:
    chromium = shutil.which("chromium")
    assert chromium is not None, "a browser is needed; see `make chromium`"

    run_node_tests(
        server,
        "browser/browser.test.mjs",
        environment={
            "STARLINGS_TEST_MAJOR": str(major),
            "STARLINGS_TEST_CHROMIUM": chromium,
            "STARLINGS_TEST_SCRATCH": str(tmp_path),
            "HOME": str(tmp_path),
        },
    )

    screenshot = (tmp_path / f"two-tabs-{major}.png").read_bytes()
    assert screenshot.startswith(_PNG)
    assert len(screenshot) > 5_000, "an empty page"
