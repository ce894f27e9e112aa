"""A webhook receiver: a process that notes every request and behaves as its path says.

``python -m tests.webhooks.receiver LOG`` prints its port and appends a JSON line to LOG for each
request, before it answers. What the first part of the path makes it do:

- ``ok``: answer 200.
- ``flaky``: answer 500 at the first sight of a delivery, 200 afterwards.
- ``slow``: answer 200 after a tenth of a second.
- ``500``, ``404``: answer so.
- ``hang``: answer nothing.
- ``garbage``: answer what is not HTTP.
- ``redirect``: answer 307 to the address in the query.
- ``endless``: answer 200 with a body that never ends.
- ``endless-head``: answer with a head that never ends.
- ``cut``: close without an answer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, unquote, urlsplit

ROOT = Path(__file__).parents[2]


@dataclass
class Received:
    """One request as the receiver saw it."""

    path: str
    headers: dict[str, str]
    body: str
    parameters: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = dict(parse_qsl(self.body, keep_blank_values=True, strict_parsing=True))

    @property
    def token(self) -> str:
        return self.headers["i-twilio-idempotency-token"]

    @property
    def signature(self) -> str:
        return self.headers["x-twilio-signature"]


@dataclass
class Receiver:
    """A running receiver."""

    port: int
    log: Path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def received(self, path: str | None = None) -> list[Received]:
        """Every request so far, in order of arrival; those below ``path`` if it is given."""
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                one = Received(**json.loads(line))
                if path is None or urlsplit(one.path).path.startswith(f"/{path}"):
                    found.append(one)
        return found


@contextmanager
def run_receiver(directory: Path) -> Iterator[Receiver]:
    """A receiver in a process of its own."""
    log = directory / "received.jsonl"
    log.touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.webhooks.receiver", str(log)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Receiver(int(process.stdout.readline()), log)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class _Server:
    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._seen: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = first.split(" ")[1]
        shown: dict[str, Any] = {"path": path, "headers": headers, "body": body.decode()}
        self._log.write(json.dumps(shown) + "\n")
        self._log.flush()
        parts = urlsplit(path)
        return await self._behave(parts.path.split("/")[1], parts.query, headers, reader, writer)

    async def _behave(
        self,
        word: str,
        query: str,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """False: close the connection."""
        token = headers.get("i-twilio-idempotency-token", "")
        is_new = token not in self._seen
        self._seen.add(token)
        match word:
            case "ok":
                status = "200 OK"
            case "flaky":
                status = "500 Oops" if is_new else "200 OK"
            case "slow":
                await asyncio.sleep(0.1)
                status = "200 OK"
            case "500" | "404":
                status = f"{word} No"
            case "redirect":
                status = f"307 There\r\nLocation: {unquote(query)}"
            case "hang":
                await reader.read()
                return False
            case "garbage":
                writer.write(b"\0\xff what \r\n is \r\n\r\n this?\r\n" * 10)
                await writer.drain()
                return False
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    writer.write(b"more" * 1000)
                    await writer.drain()
            case "endless-head":
                writer.write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    writer.write(b"X-More: more\r\n" * 100)
                    await writer.drain()
            case "cut":
                return False
            case _:
                status = "404 Not Found"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())
        await writer.drain()
        return True


async def _main(log: IO[str]) -> None:
    server = await asyncio.start_server(_Server(log).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with open(sys.argv[1], "a", encoding="utf-8") as stream:
        asyncio.run(_main(stream))
