"""Node's test runner over the suites in tests/js, with a server's address in the environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.server import ServerProcess

__all__ = ["JS", "RESTARTS_SECONDS", "control", "run_node_tests"]

JS = Path(__file__).parent.parent / "js"

RESTARTS_SECONDS = 300.0
"""For files that restart the server: 15 s on an idle machine, but each restart loads the program
anew, which took 10 s and more on one that had five times as much to do as it could."""


def run_node_tests(
    server: ServerProcess,
    file: str,
    *,
    seconds: float = 100.0,
    environment: dict[str, str] | None = None,
) -> str:
    """Run one file of tests/js and return what it printed.

    Args:
        server: Running; its address and credentials are handed over as ``STARLINGS_TEST_…``.
        file: Path below tests/js.
        seconds: After that the run is ended and counts as failed.
        environment: More variables.

    Raises:
        AssertionError: A test failed, none ran, or time ran out; with all output.
    """
    node = shutil.which("node")
    assert node is not None, "Node is needed; see `make setup`"
    assert (JS / "node_modules" / "twilio-sync").is_dir(), "run `make setup` first"
    credentials = server.credentials
    try:
        run = subprocess.run(
            # The SDK leaves timers of half a minute behind after `shutdown`: don't wait for them.
            [node, "--test", "--test-force-exit", "--test-reporter=spec", file],
            cwd=JS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
            env={
                "PATH": os.environ.get("PATH", ""),
                "NO_PROXY": "127.0.0.1",
                "STARLINGS_TEST_URL": server.base_url,
                "STARLINGS_TEST_WS_URL": server.ws_url,
                "STARLINGS_TEST_ACCOUNT_SID": credentials.account_sid,
                "STARLINGS_TEST_AUTH_TOKEN": credentials.auth_token,
                "STARLINGS_TEST_API_KEY_SID": credentials.api_key_sid,
                "STARLINGS_TEST_API_KEY_SECRET": credentials.api_key_secret,
            }
            | (environment or {}),
        )
    except subprocess.TimeoutExpired as late:
        printed = late.stdout.decode(errors="replace") if late.stdout else ""
        raise AssertionError(f"{file} did not end in {seconds} s:\n{printed}") from None
    assert run.returncode == 0, f"{run.stdout}\nThe server's log:\n{server.stderr[-4000:]}"
    passed = re.search(r"\bpass (\d+)$", run.stdout, re.MULTILINE)
    assert passed is not None, run.stdout
    assert int(passed[1]) > 0, run.stdout
    return run.stdout


@contextmanager
def control(server: ServerProcess) -> Iterator[str]:
    """The URL at which the node tests may order the server about, see lib/control.mjs."""
    backup = server.data.parent / f"{server.data.name}.backup"
    orders: dict[str, Callable[[], None]] = {
        "/kill": server.kill,
        "/restart": lambda: server.restart(keep_port=True),
        "/backup": lambda: server.back_up(backup),
        "/restore": lambda: server.put_back(backup),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                orders[self.path]()
            except Exception as error:  # whatever it is, the test that gave the order must know
                self._answer(500, repr(error))
            else:
                self._answer(200, "done")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing: the tests report."""

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}"
        finally:
            listener.shutdown()
            thread.join()
