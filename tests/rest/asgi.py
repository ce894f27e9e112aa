"""The REST face in this process: requests as ASGI scopes, answers checked for their shape.

Paths go out exactly as a test writes them: a client library would encode or normalise them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlencode

from starlette.types import Message, Receive, Scope

from starlings.core.errors import MORE_INFO_URL, Reason, Refusal
from starlings.core.limits import OFF, Limits
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.rest.app import RestApp
from starlings.rest.requests import DEFAULT_BOUNDS, BodyBounds
from starlings.storage.memory import MemoryStore
from tests.rest.shapes import assert_shape

__all__ = ["ACCOUNT_SID", "BASE", "NO_SUCH", "Answer", "Api", "Clock", "Gate", "NoAnswer"]

ACCOUNT_SID = "AC" + "0a" * 16
BASE = "http://sync.test:8000"
NO_SUCH = "0123456789abcdef" * 2
"""The digits of a SID that is never minted."""


class Clock:
    """Time and chance that a test holds."""

    def __init__(self) -> None:
        self.now = 1_780_000_000_000
        self.monotonic = 100.0
        self._random = Random(7)

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        self.monotonic += seconds

    @property
    def sources(self) -> Sources:
        return Sources(lambda: self.now, lambda: self.monotonic, self._random.getrandbits)


class NoAnswer(Exception):
    """The app ended without a word."""


@dataclass
class Gate:
    """Lets everybody in as the one account, or nobody."""

    refusal: Refusal | None = None
    asked: list[tuple[bytes | None, str]] = field(default_factory=list)
    account_sid: str = ACCOUNT_SID

    def authenticate(self, authorization: bytes | None, address: str) -> str:
        self.asked.append((authorization, address))
        if self.refusal is not None:
            raise self.refusal
        return self.account_sid


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> int:
        """The error code; fails if the answer is no error."""
        assert self.status >= 400, self.body
        code: int = self.json["code"]
        return code


class Api:
    """A caller of an app with an empty store; paths without ``/v1`` go to the default service.

    ``headers`` is a mapping of texts; its type is open as forms are passed as keywords beside it.
    """

    def __init__(
        self,
        limits: Limits = OFF,
        *,
        public_url: str | None = None,
        trusted: Iterable[str] = (),
        bounds: BodyBounds = DEFAULT_BOUNDS,
    ) -> None:
        self.clock = Clock()
        self.gate = Gate()
        self.store = MemoryStore(limits, lambda: self.clock.now)
        self.node = Node(self.store, limits, self.clock.sources)
        self.app = RestApp(
            self.node,
            self.gate,
            public_url,
            frozenset(trusted).__contains__,
            bounds,
        )

    async def get(self, path: str, /, *, headers: Any = None, **query: object) -> Answer:
        if query:
            path += ("&" if "?" in path else "?") + urlencode(query)
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, /, *, headers: Any = None, **form: object) -> Answer:
        return await self.ask("POST", path, urlencode(form).encode(), headers=headers)

    async def delete(self, path: str, /, *, headers: Any = None) -> Answer:
        return await self.ask("DELETE", path, headers=headers)

    async def make(self, path: str, /, **form: object) -> Any:
        """The JSON of something created."""
        answer = await self.post(path, **form)
        assert answer.status == 201, answer.body
        return answer.json

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        headers_as_sent: Sequence[tuple[bytes, bytes]] = (),
        receive: Receive | None = None,
        **scope: object,
    ) -> Answer:
        """One request.

        Args:
            body: Whole, with its length told beforehand, or in parts, without.
            headers_as_sent: Besides ``headers``; these may repeat each other.
        """
        path = path.removeprefix(BASE)
        if not path.startswith("/v1") and path.startswith("/") and "raw" not in scope:
            path = f"/v1/Services/default{path}"
        scope.pop("raw", None)
        raw_path, _, query = path.partition("?")
        sent = {"host": "sync.test:8000"}
        if isinstance(body, bytes):
            sent["content-length"] = str(len(body))
            if body:
                sent["content-type"] = "application/x-www-form-urlencoded"
        sent |= headers or {}
        request: Scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "raw_path": raw_path.encode("utf-8", "surrogateescape"),
            "query_string": query.encode("utf-8", "surrogateescape"),
            "headers": [
                *((name.encode(), value.encode("latin-1")) for name, value in sent.items()),
                *headers_as_sent,
            ],
            "client": ("192.0.2.1", 40000),
            "server": ("127.0.0.1", 8000),
            **scope,
        }
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        await self.app(request, receive or _receive_parts(body), send)
        # A network lies between two requests: what the store does after a commit is done by then.
        await asyncio.sleep(0)
        return _check(method, request["raw_path"], _collect(messages))


def _receive_parts(body: bytes | Iterable[bytes]) -> Receive:
    parts = [body] if isinstance(body, bytes) else list(body)

    async def receive() -> Message:
        if not parts:
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    return receive


def _collect(messages: list[Message]) -> Answer:
    if not messages:
        raise NoAnswer
    assert [message["type"] for message in messages] == [
        "http.response.start",
        "http.response.body",
    ]
    pairs = [(name.decode(), value.decode("latin-1")) for name, value in messages[0]["headers"]]
    assert len(dict(pairs)) == len(pairs), "a header was sent twice"
    assert all(name == name.lower() for name, _ in pairs)
    return Answer(messages[0]["status"], dict(pairs), messages[1]["body"])


def _check(method: str, raw_path: bytes, answer: Answer) -> Answer:
    """Whatever holds for every answer. [rest-api 1]"""
    headers = answer.headers
    if answer.status == 204:
        assert answer.body == b""
        assert "content-length" not in headers
        return answer
    if method != "HEAD":
        assert int(headers["content-length"]) == len(answer.body)
    assert headers["content-type"] == "application/json"
    if method == "HEAD":
        assert answer.body == b""
    elif answer.status >= 400:
        assert list(answer.json) == ["code", "message", "more_info", "status"]
        assert answer.json["status"] == answer.status
        assert answer.json["more_info"] == MORE_INFO_URL.format(code=answer.code)
        assert any(
            (reason.code, reason.status) == (answer.code, answer.status) for reason in Reason
        )
        assert answer.json["message"]
    else:
        assert_shape(method, raw_path.decode(), answer.json)
        if ("revision" in answer.json and "links" not in answer.json) or "data" in answer.json:
            has_tag = "revision" in answer.json
            assert headers.get("etag") == (f'"{answer.json["revision"]}"' if has_tag else None)
        else:
            assert "etag" not in headers
    return answer
