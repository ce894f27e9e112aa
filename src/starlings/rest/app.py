"""The HTTP face as one ASGI callable: authenticate, find the handler, answer.

Order of checks [rest-api 11]: credentials, path and method, service, object, syntax, rate, and then
what the rules check. A handler parses before it asks the node for anything but the service; if it
refuses what was sent while the object in the path is missing, the missing object is reported
instead. Only a failing request pays for that look.

Nothing leaks: what nobody foresaw is answered without detail and logged with its traceback under
the request's id.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope, Send

from starlings.core.errors import Reason, Refusal, StarlingsError
from starlings.node.node import Node
from starlings.rest.deadlines import Deadline
from starlings.rest.dots import refuse_shortened
from starlings.rest.errors import INTERNAL_FAULT, render_error
from starlings.rest.identities import Revoker
from starlings.rest.requests import DEFAULT_BOUNDS, REST_ACTOR, BodyBounds, ClientGone, Request
from starlings.rest.responses import NO_CONTENT, Header, Response, encode_headers
from starlings.rest.routes import make_router
from starlings.rest.urls import Origin

__all__ = ["Authenticator", "RestApp", "RestStatistics"]

logger = logging.getLogger("starlings.rest")

_SYNTAX_STATUSES = (400, 413)
_UNHEARD = {
    reason.status: reason
    for reason in (
        Reason.BAD_PARAMETER,
        Reason.REQUEST_TIMEOUT,
        Reason.DATA_TOO_LARGE,
        Reason.HEAD_TOO_LARGE,
        Reason.UNAVAILABLE,
    )
}
"""Why the server refuses a request by itself."""


class Authenticator(Protocol):
    """Who calls?"""

    def authenticate(self, authorization: bytes | None, address: str) -> str:
        """The account that credentials belong to.

        Args:
            authorization: The Authorization header as sent; None without one.
            address: The caller's, to slow down guessing; empty if unknown.

        Raises:
            Refusal: UNAUTHENTICATED; TOO_MANY_REQUESTS after too many failures.
        """
        ...


class RestStatistics(NamedTuple):
    """Counts since the start, and requests in progress now."""

    concurrent: int
    answers: dict[int, int]
    """By status."""
    seconds: float
    """Sum over all answered requests."""


class RestApp:
    """Answers HTTP requests; for scopes of type ``http`` only.

    Args:
        public_url: The base of all URLs in answers; None to take it from each request.
        is_trusted_proxy: True for the address of a proxy whose ``X-Forwarded-`` headers are to be
            believed.
    """

    def __init__(
        self,
        node: Node,
        authenticator: Authenticator,
        public_url: str | None = None,
        is_trusted_proxy: Callable[[str], bool] = lambda address: False,
        body_bounds: BodyBounds = DEFAULT_BOUNDS,
        revoker: Revoker | None = None,
    ) -> None:
        self._node = node
        self._authenticate = authenticator.authenticate
        self._origin = Origin(public_url, is_trusted_proxy)
        self._most_bytes = body_bounds.most_bytes
        self._body_deadline = Deadline(body_bounds.seconds)
        self._router = make_router(revoker)
        self._monotonic = node.sources.monotonic
        # Ids for logs, no secrets: a seeded generator costs a tenth of the system's.
        self._request_bits = Random(node.sources.random_bits(128)).getrandbits  # noqa: S311
        self._concurrent = 0
        self._answers: Counter[int] = Counter()
        self._seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        started = self._monotonic()
        request_id = self._next_id()
        self._concurrent += 1
        try:
            response = await self._answer(scope, receive, request_id)
            seconds = self._monotonic() - started
            self._answers[response.status] += 1
            self._seconds += seconds
            headers = encode_headers(response, request_id, seconds, self._concurrent)
            await send(
                {"type": "http.response.start", "status": response.status, "headers": headers}
            )
            body = b"" if scope["method"] == "HEAD" else response.body
            await send({"type": "http.response.body", "body": body})
        except ClientGone:
            pass
        finally:
            self._concurrent -= 1

    def authenticate(self, scope: Scope) -> str:
        """The account that a request comes from, for what else answers on this port.

        Raises:
            Refusal: As for every request.
        """
        headers = _read_headers(scope["headers"])
        address = self._origin.find_address(scope, headers)
        return self._authenticate(headers.get(b"authorization"), address)

    def refuse(self, status: int, message: str) -> tuple[list[Header], bytes]:
        """Headers but for type and length, and body, of the answer to a request that the server
        refuses before this application hears of it.
        """
        if status == Reason.DATA_TOO_LARGE.status:
            message = f"Request body too large: at most {self._most_bytes} bytes are allowed"
        response = render_error(StarlingsError(_UNHEARD[status], message))
        headers = encode_headers(response._replace(body=b"", headers=()), self._next_id(), 0.0, 0)
        return [header for header in headers if header[0] != b"content-length"], response.body

    def _next_id(self) -> str:
        return f"RQ{self._request_bits(128):032x}"

    def statistics(self) -> RestStatistics:
        return RestStatistics(self._concurrent, dict(self._answers), self._seconds)

    async def _answer(self, scope: Scope, receive: Receive, request_id: str) -> Response:
        """Raises ClientGone."""
        request: Request | None = None
        try:
            method: str = scope["method"]
            raw_path: bytes = scope["raw_path"]
            if method == "OPTIONS":
                return self._preflight(raw_path)
            headers = _read_headers(scope["headers"])
            origin = self._origin
            account_sid = self._authenticate(
                headers.get(b"authorization"), origin.find_address(scope, headers)
            )
            stop, captured = self._router.find(raw_path)
            handler = stop.handlers.get("GET" if method == "HEAD" else method)
            if handler is None:
                allowed = ", ".join(stop.methods).encode()
                return render_error(Refusal(Reason.METHOD_NOT_ALLOWED), (b"allow", allowed))
            if method not in ("GET", "HEAD") and raw_path.endswith(b"/"):
                await refuse_shortened(self._node, account_sid, raw_path)
            request = Request(
                self._node,
                receive,
                headers,
                raw_path,
                scope["query_string"],
                origin.find_base_url(scope, headers),
                account_sid,
                request_id,
                self._most_bytes,
                self._body_deadline,
            )
            return await handler(request, *captured)
        except StarlingsError as error:
            if request is not None and error.status in _SYNTAX_STATUSES:
                return await self._refuse_syntax(request, error)
            return render_error(error)
        except ClientGone:
            raise
        except Exception:
            return _fail(request_id)

    async def _refuse_syntax(self, request: Request, error: StarlingsError) -> Response:
        """The refusal of what was sent, unless the object that it was sent to is missing."""
        if request.target is not None:
            try:
                await self._node.get_object(request.target, REST_ACTOR)
            except StarlingsError as missing:
                error = missing
            except Exception:
                return _fail(request.request_id)
        return render_error(error)

    def _preflight(self, raw_path: bytes) -> Response:
        """What a browser asks before a request from another origin; it sends no credentials yet."""
        try:
            stop, _ = self._router.find(raw_path)
        except Refusal as refusal:
            return render_error(refusal)
        return NO_CONTENT._replace(headers=((b"allow", ", ".join(stop.methods).encode()),))


def _read_headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; of several lines with a name, their values joined. [RFC 9110 section 5.3]

    Raises:
        Refusal: BAD_PARAMETER: more than one Host. [RFC 9112 section 3.2]
    """
    headers = dict(pairs)
    if len(headers) < len(pairs):
        headers = {}
        for name, value in pairs:
            if name == b"host" and name in headers:
                raise Refusal(Reason.BAD_PARAMETER, "Invalid request: more than one Host header")
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _fail(request_id: str) -> Response:
    """Log the exception being handled, and answer without detail."""
    logger.exception("A request failed request_id=%s", request_id)  # noqa: LOG004  # called within except
    return INTERNAL_FAULT
