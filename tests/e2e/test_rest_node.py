"""The Node helper library's suite, run as a program of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.server import ServerProcess

JS = Path(__file__).parent.parent / "js"

pytestmark = pytest.mark.js


def test_the_node_helper_library_works_unmodified(server: ServerProcess) -> None:
    node = shutil.which("node")
    assert node is not None, "Node is needed; see `make setup`"
    assert (JS / "node_modules" / "twilio").is_dir(), "run `make setup` first"
    credentials = server.credentials

    run = subprocess.run(
        [node, "--test", "--test-reporter=spec", "rest/rest.test.mjs"],
        cwd=JS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=90,
        check=False,
        env={
            "PATH": os.environ.get("PATH", ""),
            "NO_PROXY": "127.0.0.1",
            "STARLINGS_TEST_URL": server.base_url,
            "STARLINGS_TEST_ACCOUNT_SID": credentials.account_sid,
            "STARLINGS_TEST_AUTH_TOKEN": credentials.auth_token,
            "STARLINGS_TEST_API_KEY_SID": credentials.api_key_sid,
            "STARLINGS_TEST_API_KEY_SECRET": credentials.api_key_secret,
        },
    )

    assert run.returncode == 0, run.stdout
    passed = re.search(r"\bpass (\d+)$", run.stdout, re.MULTILINE)
    assert passed is not None, run.stdout
    assert int(passed[1]) > 0, run.stdout
