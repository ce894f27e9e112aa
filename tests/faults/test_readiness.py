"""A balancer that asks /readyz must hear of a disk that takes no more, and of its recovery."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import httpx

from tests.e2e.raw import raw_client
from tests.e2e.server import ServerProcess

PAYLOAD = '{"t":"' + "x" * 16000 + '"}'
MOST_BYTES = 20_000
"""Of a file. The log alone takes a document and its event, and so twice the payload."""
SECONDS = 10.0


def test_readiness_follows_the_writes_of_callers(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, raw_client(server) as raw:
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        # Small files can still be written, but no document of this size. (At the edge of a larger
        # limit some documents fit and some don't: each needs as many pages as its SID has it.)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (MOST_BYTES, before[1]))
        assert raw.post("/Documents", data={"Data": PAYLOAD}).status_code == 503
        for _ in range(10):
            assert _readiness(server) == (503, "not_writable\n")
            assert raw.post("/Documents", data={"Data": PAYLOAD}).status_code == 503
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
        deadline = time.monotonic() + SECONDS
        while _readiness(server) != (200, "ready\n"):  # without anybody writing
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert raw.post("/Documents", data={"Data": PAYLOAD}).status_code == 201
        told = [json.loads(line)["message"] for line in server.stderr.splitlines()]
        assert any(line.startswith("The store can't write error=") for line in told)
        assert any(line.startswith("The store writes again seconds=") for line in told)


def _readiness(server: ServerProcess) -> tuple[int, str]:
    answer = httpx.get(f"{server.base_url}/readyz", trust_env=False)
    return answer.status_code, answer.text
