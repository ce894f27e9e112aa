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
SECONDS = 10.0


def test_readiness_follows_the_writes_of_callers(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, raw_client(server) as raw:
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        # Small files can still be written: it is the database that can't grow.
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        for _ in range(1_000):
            if raw.post("/Documents", data={"Data": PAYLOAD}).status_code == 503:
                break
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
