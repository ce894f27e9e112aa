"""Where this server is reached, for the URLs in answers, and the address that a request came from.

Helper libraries request the URLs of an answer verbatim, so these must lead back here from where the
caller stands. [rest-api 4] The operator's setting wins; without one the Host header tells. What
proxies add is believed only if the peer is a trusted one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from starlette.types import Scope

from starlings.auth.addresses import find_caller_address

__all__ = ["Origin", "quote_segment"]

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SCHEMES = {b"http": "http", b"https": "https"}
_MOST_REMEMBERED = 64

Headers = Mapping[bytes, bytes]


class Origin:
    """Finds both for a request.

    Args:
        public_url: Scheme, host and perhaps port and path, as callers see them; None to take them
            from each request.
        is_trusted_proxy: True for the address of a proxy whose ``X-Forwarded-`` headers are to be
            believed.
    """

    def __init__(self, public_url: str | None, is_trusted_proxy: Callable[[str], bool]) -> None:
        self._public_url = None if public_url is None else public_url.rstrip("/")
        self._is_trusted_proxy = is_trusted_proxy
        self._bases: dict[tuple[str, bytes], str] = {}

    def find_base_url(self, scope: Scope, headers: Headers) -> str:
        """``http://host:port`` without a trailing slash."""
        if self._public_url is not None:
            return self._public_url
        scheme = "https" if scope["scheme"] == "https" else "http"
        host = headers.get(b"host", b"")
        if (
            b"x-forwarded-host" in headers or b"x-forwarded-proto" in headers
        ) and self._is_from_proxy(scope):
            host = _last(headers, b"x-forwarded-host") or host
            scheme = _SCHEMES.get(_last(headers, b"x-forwarded-proto").lower(), scheme)
        base = self._bases.get((scheme, host))
        if base is None:
            base = self._make_base(scope, scheme, host)
        return base

    def find_address(self, scope: Scope, headers: Headers) -> str:
        """The caller's address: the peer's, or what trusted proxies say of it; empty if unknown."""
        client = scope.get("client")
        peer: str = client[0] if client else ""
        return find_caller_address(peer, headers.get(b"x-forwarded-for"), self._is_trusted_proxy)

    def _is_from_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        return client is not None and self._is_trusted_proxy(client[0])

    def _make_base(self, scope: Scope, scheme: str, host: bytes) -> str:
        if _HOST.fullmatch(host) is None:
            name, port = scope.get("server") or ("localhost", None)
            name = f"[{name}]" if ":" in name else name
            return f"{scheme}://{name}" if port is None else f"{scheme}://{name}:{port}"
        if len(self._bases) >= _MOST_REMEMBERED:
            self._bases.clear()
        base = self._bases[(scheme, host)] = f"{scheme}://{host.decode()}"
        return base


def quote_segment(text: str) -> str:
    """A name, key or identity as one path segment."""
    return quote(text, safe="")


def _last(headers: Headers, name: bytes) -> bytes:
    """The last of a header's values: the one that the nearest proxy added."""
    return headers.get(name, b"").rpartition(b",")[2].strip()
