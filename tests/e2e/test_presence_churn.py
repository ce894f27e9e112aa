"""Presence under a storm: 10,000 endpoints a minute come and go, the server is killed in the
middle, and afterwards the Map tells who is there. Writers elsewhere don't notice.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from starlings.auth.keyring import LiveKey
from starlings.auth.tokens import mint_token
from tests.e2e.server import ServerProcess

WINDOW_SECONDS = 1.0
RETURN_SECONDS = 10.0
"""How long the entries of a killed server wait for their identities."""
COMINGS_PER_SECOND = 170
"""10,200 a minute; as many go."""
CROWD = 400
"""Endpoints that are there at a time."""
IDENTITIES = 300


class Endpoint:
    """A raw client: it signs in, listens, and goes without a word."""

    def __init__(self, identity: str, token: str) -> None:
        self.identity = identity
        self._token = token
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None

    async def come(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(
            b"GET /v3/wsconnect HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await self._reader.readuntil(b"\r\n\r\n")
        self._writer.write(_frame({"method": "init", "id": "TM0", "token": self._token}))
        answer = await self._reader.readuntil(b"payload_size")
        assert b'"code":200' in answer, answer

    def go(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


def _frame(header: dict[str, Any]) -> bytes:
    """A masked WebSocket message of the client protocol, without payload."""
    text = json.dumps({**header, "payload_size": 0}, separators=(",", ":")).encode()
    body = b"TWILSOCK V3.0 %d\r\n%b\r\n" % (len(text), text)
    size = len(body)
    head = bytes((0x82, 0x80 | size)) if size < 126 else b"\x82\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + body


class Storm:
    """Endpoints that come and go at random, from a seed."""

    def __init__(self, server: ServerProcess, service_sid: str, seed: int) -> None:
        self._server = server
        self._chance = random.Random(seed)
        credentials = server.credentials
        key = LiveKey(
            credentials.api_key_sid,
            credentials.account_sid,
            credentials.api_key_secret,
        )
        now = time.time_ns() // 1_000_000
        self._tokens = {
            identity: mint_token(key, identity, service_sid, 3600, now)
            for identity in (f"id-{number}" for number in range(IDENTITIES))
        }
        self.there: list[Endpoint] = []
        self.came = self.went = self.failed = 0

    @property
    def identities(self) -> Counter[str]:
        return Counter(endpoint.identity for endpoint in self.there)

    async def blow(self, seconds: float) -> None:
        """Come and go at the same rate, on the clock, however long one takes."""
        began = time.monotonic()
        for number in range(int(seconds * COMINGS_PER_SECOND)):
            await asyncio.sleep(max(0.0, began + number / COMINGS_PER_SECOND - time.monotonic()))
            if len(self.there) >= CROWD:
                self.there.pop(self._chance.randrange(len(self.there))).go()
                self.went += 1
            await self.bring(self._chance.choice(list(self._tokens)))

    async def bring(self, identity: str) -> None:
        endpoint = Endpoint(identity, self._tokens[identity])
        try:
            await endpoint.come(self._server.port)
        except (OSError, asyncio.IncompleteReadError):
            self.failed += 1
            endpoint.go()
        else:
            self.there.append(endpoint)
            self.came += 1

    def lose_all(self) -> list[str]:
        """The server is gone; whose endpoints were there."""
        lost = [endpoint.identity for endpoint in self.there]
        for endpoint in self.there:
            endpoint.go()
        self.there.clear()
        return lost


async def _read_presence(client: httpx.AsyncClient, base: str) -> dict[str, int]:
    """Who is there, and with how many endpoints, as REST lists it."""
    found: dict[str, int] = {}
    url: str | None = f"{base}/Maps/presence/Items?PageSize=100"
    while url is not None:
        page = (await client.get(url)).raise_for_status().json()
        found |= {item["key"]: item["data"]["endpoints"] for item in page["items"]}
        url = page["meta"]["next_page_url"]
    return found


async def _seconds_until_true(
    client: httpx.AsyncClient, base: str, storm: Storm, patience_seconds: float
) -> float:
    """How long the Map takes to tell exactly who is there."""
    began = time.monotonic()
    expected = dict(storm.identities)
    while True:
        seen = await _read_presence(client, base)
        took = time.monotonic() - began
        if seen == expected:
            return took
        assert took < patience_seconds, (
            f"ghosts {sorted(seen.keys() - expected.keys())},"
            f" lost {sorted(expected.keys() - seen.keys())},"
            f" miscounted {[name for name in seen if seen[name] != expected.get(name, seen[name])]}"
        )
        await asyncio.sleep(0.02)


async def _write_elsewhere(client: httpx.AsyncClient, url: str, seconds: float) -> list[float]:
    """How many milliseconds each of a lone writer's updates takes."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        (await client.post(url, data={"Data": "{}"})).raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    return took


def _figures(took: list[float]) -> str:
    ordered = sorted(took)
    p99 = ordered[int(len(ordered) * 0.99)]
    return (
        f"n={len(took)} p50={statistics.median(took):.1f}ms p99={p99:.1f}ms max={max(took):.1f}ms"
    )


@pytest.mark.timeout(90)
async def test_after_a_storm_and_a_crash_the_map_tells_who_is_there(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        credentials = server.credentials
        login = httpx.BasicAuth(credentials.account_sid, credentials.auth_token)
        async with httpx.AsyncClient(auth=login, trust_env=False, timeout=10) as client:
            services = f"{server.base_url}/v1/Services"
            window = {
                "ReachabilityDebouncingEnabled": "true",
                "ReachabilityDebouncingWindow": str(int(WINDOW_SECONDS * 1000)),
            }
            service = (await client.post(services, data=window)).raise_for_status().json()["sid"]
            base = f"{services}/{service}"
            document = (await client.post(f"{base}/Documents")).raise_for_status().json()["url"]
            storm = Storm(server, service, seed=7)

            calm = await _write_elsewhere(client, document, 1.0)
            without, _ = await asyncio.gather(
                _write_elsewhere(client, document, 4.0), storm.blow(4.0)
            )
            # In the middle of it all: who is there already must be in the Map, too.
            switched = await client.post(f"{base}/Presence", data={"Enabled": "true"})
            switched.raise_for_status()
            stormy, _ = await asyncio.gather(
                _write_elsewhere(client, document, 4.0), storm.blow(4.0)
            )
            first = await _seconds_until_true(client, base, storm, WINDOW_SECONDS + 3)

            blowing = asyncio.create_task(storm.blow(2.0))
            await asyncio.sleep(1.0)
            await asyncio.to_thread(server.kill)
            await blowing
            lost = storm.lose_all()
            await asyncio.to_thread(lambda: server.restart(keep_port=True))
            up = time.monotonic()
            came_back = lost[::2]
            for identity in came_back:
                await storm.bring(identity)
            await storm.blow(2.0)
            left = RETURN_SECONDS - (time.monotonic() - up)
            second = await _seconds_until_true(client, base, storm, left + WINDOW_SECONDS + 3)

            storm.lose_all()
            third = await _seconds_until_true(client, base, storm, WINDOW_SECONDS + 3)
        print(
            f"\ncame={storm.came} went={storm.went} failed={storm.failed}"
            f" lost={len(lost)} back={len(came_back)}"
            f"\nthe Map was true after storm={first:.2f}s crash={second:.2f}s all-gone={third:.2f}s"
            f" (window {WINDOW_SECONDS:g}s, after a crash {RETURN_SECONDS:g}s)"
            f"\nwrites elsewhere: calm {_figures(calm)}"
            f"\n  in a storm without presence {_figures(without)}"
            f"\n  in a storm with presence {_figures(stormy)}"
        )
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()
    # Generous, because the load and whatever else the machine does share its cores.
    assert statistics.median(stormy) < 3 * statistics.median(without) + 20
