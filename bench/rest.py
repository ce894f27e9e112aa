"""REST creates and fetches per second through the real server, beside a bare program.

``python bench/rest.py`` starts ``starlings serve --limits off`` and, beside it, the same uvicorn
(the same HTTP class, the same loop, the same settings) with an ASGI application that only reads the
body, parses the form and the JSON in it with the same functions, and answers a body of the same
length. A third process asks over 64 connections, one request at a time on each. Rounds of both
alternate; medians are shown. A create waits for the disk, as always; the bare program stores
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import uvicorn
import uvloop

from starlings.app.listening import (
    ListeningServer,
    find_address,
    make_config,
    open_listener,
    print_address,
)
from starlings.core.errors import Reason
from starlings.node.data import normalise_data
from starlings.rest.forms import parse_form
from starlings.settings import Settings
from starlings.ws.http import BoundedHttpServer

BAR = 0.7
"""For creates: the least share of the bare program."""

_CONNECTIONS = 64
_ACCOUNT, _TOKEN = "AC" + "ab" * 16, "bench-" + "0" * 26
_DATA = {"x": 12, "y": 7, "name": "alice", "color": "#aabbcc", "hp": 100, "tags": ["a", "b"]}
_FORM = urlencode({"Data": json.dumps(_DATA)}).encode()
_PATH = "/v1/Services/default/Documents"


def make_request(method: str, path: str, body: bytes = b"") -> bytes:
    credentials = b64encode(f"{_ACCOUNT}:{_TOKEN}".encode()).decode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n"
        "User-Agent: bench\r\nAccept: application/json\r\n"
    )
    if body:
        head += "Content-Type: application/x-www-form-urlencoded\r\n"
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


# The load: a process of its own


class Asker(asyncio.Protocol):
    """One connection: asks again as soon as it is answered."""

    answered = 0
    failed: bytes | None = None

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        if head[9:11] != b"20":
            Asker.failed = self._received
        self._received = b""
        Asker.answered += 1
        assert self._transport is not None
        self._transport.write(self._request)


async def ask(host: str, port: int, request: bytes, seconds: float) -> float:
    """Answers per second, after a fifth of the time to warm up."""
    loop = asyncio.get_running_loop()
    pairs = await asyncio.gather(
        *(loop.create_connection(lambda: Asker(request), host, port) for _ in range(_CONNECTIONS))
    )
    await asyncio.sleep(seconds / 5)
    started, before = time.perf_counter(), Asker.answered
    await asyncio.sleep(seconds)
    rate = (Asker.answered - before) / (time.perf_counter() - started)
    for transport, _ in pairs:
        transport.abort()
    if Asker.failed:
        raise SystemExit(f"Refused: {Asker.failed[:500]!r}")
    return rate


# The bare program


def serve_bare(post_bytes: int, get_bytes: int) -> None:
    """The same uvicorn, answering bodies of so many bytes; prints its address as ours does."""
    created, fetched = b"x" * post_bytes, b"x" * get_bytes

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        answer, status = fetched, 200
        if scope["method"] == "POST":
            message = await receive()
            body = message["body"]
            while message["more_body"]:
                message = await receive()
                body += message["body"]
            data = parse_form(body)["Data"]
            normalise_data(data, 16_384, 64, missing=Reason.DOCUMENT_DATA_MISSING)
            answer, status = created, 201
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def serve() -> None:
        config = make_config(app, BoundedHttpServer(), _no_sockets, Settings())  # type: ignore[arg-type]
        with contextlib.closing(open_listener("127.0.0.1", 0)) as listener:
            server: uvicorn.Server = ListeningServer(
                config, lambda: print_address(find_address(listener, is_secure=False))
            )
            await server.serve([listener])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _no_sockets(*_: object) -> None:
    raise NotImplementedError


# The comparison


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[str]:
    """A server's address; it is stopped at the end."""
    environment = os.environ | {"STARLINGS_ACCOUNT_SID": _ACCOUNT, "STARLINGS_AUTH_TOKEN": _TOKEN}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http" not in line:
                raise SystemExit(f"{command} did not start")
            yield line[line.index("http") :].strip()
        finally:
            process.terminate()


def measure(url: str, method: str, path: str, seconds: float) -> float:
    arguments = [url, method, path, str(seconds)]
    ended = subprocess.run(
        [sys.executable, __file__, "--load", *arguments], stdout=subprocess.PIPE, check=True
    )
    return float(ended.stdout)


async def fetch(url: str, request: bytes) -> bytes:
    """The body of one answer."""
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    return body


def compare(rounds: int, seconds: float) -> float:
    """Print the table; the ratio of creates."""
    program = Path(sys.executable).with_name("starlings")
    with tempfile.TemporaryDirectory(prefix="starlings-bench-") as name:
        folder = Path(name)
        ours_command = [str(program), "serve", "--port", "0", "--limits", "off"]
        ours_command += ["--data", name, "--log-level", "warning"]
        with running(ours_command, folder) as ours:
            created = asyncio.run(fetch(ours, make_request("POST", _PATH, _FORM)))
            path = f"{_PATH}/{json.loads(created)['sid']}"
            fetched = asyncio.run(fetch(ours, make_request("GET", path)))
            sizes = [str(len(created)), str(len(fetched))]
            with running([sys.executable, __file__, "--bare", *sizes], folder) as bare:
                print(f"{_CONNECTIONS} connections   starlings/s   bare/s   ratio")
                ratios: dict[str, float] = {}
                for method, where in (("POST", _PATH), ("GET", path)):
                    pairs = [
                        (
                            measure(bare, method, where, seconds),
                            measure(ours, method, where, seconds),
                        )
                        for _ in range(rounds)
                    ]
                    limit, reached = (statistics.median(side) for side in zip(*pairs, strict=True))
                    ratios[method] = reached / limit
                    print(
                        f"{method:14}   {reached:11,.0f}   {limit:6,.0f}   {reached / limit:5.2f}"
                    )
    return ratios["POST"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--bare", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        serve_bare(*options.bare)
        return 0
    if options.load:
        url, method, path, seconds = options.load
        request = make_request(method, path, _FORM if method == "POST" else b"")
        target = urlsplit(url)
        assert target.hostname is not None
        assert target.port is not None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(runner.run(ask(target.hostname, target.port, request, float(seconds))))
        return 0
    ratio = compare(options.rounds, options.seconds)
    print(f"A create reaches {ratio:.2f} of the bare program; the bar is {BAR}.")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
