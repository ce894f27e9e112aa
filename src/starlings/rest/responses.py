"""Answers, and their way to the server.

Every answer, refusals included, carries the headers of the live service: those for browsers of
other origins, the request's id, its duration and the number of requests in progress. [rest-api 1]
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NO_CONTENT", "Header", "Response", "encode_headers"]

Header = tuple[bytes, bytes]


class Response(NamedTuple):
    """An answer before it has headers."""

    status: int
    body: bytes = b""
    """JSON, or empty."""
    revision: str | None = None
    """Of the document or item in the body: becomes the entity tag."""
    headers: tuple[Header, ...] = ()
    """Further ones."""


NO_CONTENT = Response(204)
"""The answer to a removal. [rest-api 1]"""

_CROSS_ORIGIN: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match,"
        b" If-Unmodified-Since, Idempotency-Key",
    ),
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", b"ETag"),
)
_EMPTY: tuple[Header, ...] = _CROSS_ORIGIN
_JSON: tuple[Header, ...] = ((b"content-type", b"application/json"), *_CROSS_ORIGIN)


def encode_headers(
    response: Response, request_id: str, seconds: float, concurrent: int
) -> list[Header]:
    """All headers of an answer.

    Args:
        request_id: ``RQ`` and 32 hexadecimal digits.
        seconds: Since the request came.
        concurrent: Requests in progress, this one included.
    """
    body = response.body
    headers: list[Header] = [
        *(_JSON if body else _EMPTY),
        (b"twilio-request-id", request_id.encode()),
        (b"twilio-request-duration", b"%.3f" % seconds),
        (b"twilio-concurrent-requests", b"%d" % concurrent),
    ]
    if response.status != 204:
        headers.append((b"content-length", b"%d" % len(body)))
    if response.revision is not None:
        headers.append((b"etag", b'"%b"' % response.revision.encode()))
    if response.headers:
        headers += response.headers
    return headers
