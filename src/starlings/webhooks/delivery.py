"""One attempt to deliver one webhook: a POST, and what became of it.

Whatever the target does (hang, answer garbage, redirect, stream without end), an attempt ends
within its time and has read a bounded number of bytes. Only the status counts: with a 2xx the
webhook is delivered, however its body goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import NamedTuple

import httpcore
import httpx

from starlings import __version__
from starlings.webhooks.addresses import AddressRefused, GuardedBackend
from starlings.webhooks.signature import SIGNATURE_HEADER, sign

__all__ = ["IDEMPOTENCY_HEADER", "Deliverer", "Outcome"]

IDEMPOTENCY_HEADER = "I-Twilio-Idempotency-Token"
"""Names a delivery; the same at each of its attempts."""

TIMEOUT_SECONDS = 15.0
"""For an attempt as a whole. [rest-api 8.2]"""
_BODY_BYTES = 64 * 1024
"""Read of an answer, so that its connection can be used again; a longer one is cut off."""
_IDLE_SECONDS = 5.0
_IDLE_CONNECTIONS = 64


class Outcome(NamedTuple):
    """What became of an attempt."""

    is_delivered: bool
    detail: str
    """One line for the operator."""


class Deliverer:
    """Makes attempts. Belongs to one event loop; close it when done.

    Args:
        may_be_private: Connect to addresses of private networks too.
        connections: At once, over all targets.
    """

    def __init__(
        self, *, may_be_private: bool, connections: int, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._backend = GuardedBackend(may_be_private=may_be_private)
        self._client = httpx.AsyncClient(
            transport=_Transport(self._backend, connections),
            timeout=timeout_seconds,
            follow_redirects=False,
            trust_env=False,  # a proxy or a .netrc of the server is nobody's business
            headers={"User-Agent": f"starlings/{__version__}", "Accept": "*/*"},
        )

    async def deliver(
        self, url: str, parameters: Mapping[str, str], auth_token: str, idempotency_token: str
    ) -> Outcome:
        """Send one request. Never raises for anything that the target does."""
        try:
            request = self._client.build_request(
                "POST",
                url,
                data=parameters,
                headers={
                    SIGNATURE_HEADER: sign(url, parameters, auth_token),
                    IDEMPOTENCY_HEADER: idempotency_token,
                },
            )
        except (httpx.InvalidURL, UnicodeError, ValueError, TypeError) as error:
            return Outcome(False, f"the URL can't be used: {error}")
        status: int | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.send(request, stream=True)
                status = response.status_code
                async with aclosing(response):
                    await _read_some(response)
        except TimeoutError:
            if status is None:
                return Outcome(False, f"no answer within {self._timeout_seconds:g} s")
        except AddressRefused as error:
            return Outcome(False, str(error))
        except (httpx.HTTPError, httpx.InvalidURL, *_TROUBLES) as error:
            if status is None:
                return Outcome(False, _describe(error))
        assert status is not None
        if 200 <= status < 300:
            return Outcome(True, f"status {status}")
        if 300 <= status < 400:
            return Outcome(False, f"status {status}: redirects are not followed")
        return Outcome(False, f"status {status}")

    async def close(self) -> None:
        await self._client.aclose()
        self._backend.close()


_TROUBLES = (
    httpcore.ProtocolError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200].rstrip(": ")


async def _read_some(response: httpx.Response) -> None:
    """Read the body as it comes, never unpacked, up to the bound."""
    size_bytes = 0
    async for chunk in response.aiter_raw():
        size_bytes += len(chunk)
        if size_bytes > _BODY_BYTES:
            return


class _Transport(httpx.AsyncBaseTransport):
    """The client's transport over our backend.

    Connections are kept by scheme, name and port, never by address: one that was opened, and whose
    certificate was checked, for one name is not used for another.
    """

    def __init__(self, backend: GuardedBackend, connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()
