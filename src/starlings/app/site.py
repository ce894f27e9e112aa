"""The ASGI application: the operator's three paths, a page at ``/``, and REST for everything else.

``/healthz`` and ``/readyz`` need no credentials and tell nothing else; ``/metrics`` asks for the
same Basic credentials as REST, so there is no second port to guard, and by REST itself, so that
failed log-ins count together, by the caller's address behind a proxy.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from starlings.app import welcome
from starlings.app.health import Health, Readiness
from starlings.app.metrics import CONTENT_TYPE, Metrics, RequestCounter
from starlings.core.errors import Fault, Reason, Refusal
from starlings.rest.app import RestApp
from starlings.rest.errors import render_error

__all__ = ["Site"]

_TEXT = "text/plain; charset=utf-8"
_CLOSE = (b"connection", b"close")
_STOPPING = render_error(
    Fault(Reason.UNAVAILABLE, "The server stops; whether the request took effect is not known")
).body


class Site:
    """Answers every HTTP request of the port."""

    def __init__(
        self,
        rest: RestApp,
        health: Health,
        metrics: Metrics,
        requests: RequestCounter,
    ) -> None:
        self._rest = rest
        self._health = health
        self._metrics = metrics
        self._count = requests.count
        self._own = {
            "/": self._answer_welcome,
            "/healthz": self._answer_health,
            "/readyz": self._answer_readiness,
            "/metrics": self._answer_metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        path: str = scope["path"]
        own = self._own.get(path) if scope["method"] in ("GET", "HEAD") else None
        has_started = False

        async def tell(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                if own is None:
                    self._count(path, scope["method"], message["status"])
                if self._health.is_draining:
                    # Else the caller may ask again just as the connection is closed, and never
                    # learn whether that took effect.
                    message["headers"] = [*message["headers"], _CLOSE]
            await send(message)

        if own is not None:
            await own(scope, tell)
            return
        try:
            await self._rest(scope, receive, tell)
        except asyncio.CancelledError:
            # The time for draining is over. uvicorn would log a traceback and answer 500.
            if not has_started:
                await _answer(scope, tell, 503, _STOPPING, "application/json")

    async def _answer_welcome(self, scope: Scope, send: Send) -> None:
        await _answer(scope, send, 200, welcome.PAGE, welcome.CONTENT_TYPE, welcome.HEADERS)

    async def _answer_health(self, scope: Scope, send: Send) -> None:
        await _answer(scope, send, 200, b"ok\n")

    async def _answer_readiness(self, scope: Scope, send: Send) -> None:
        readiness = await self._health.check()
        status = 200 if readiness is Readiness.READY else 503
        await _answer(scope, send, status, f"{readiness.value}\n".encode())

    async def _answer_metrics(self, scope: Scope, send: Send) -> None:
        try:
            self._rest.authenticate(scope)
        except Refusal as refusal:
            extra = [(b"www-authenticate", b'Basic realm="Starlings"')]
            if refusal.retry_after_seconds is not None:
                extra.append((b"retry-after", b"%d" % refusal.retry_after_seconds))
            message = f"{refusal.message}\n".encode()
            await _answer(scope, send, refusal.status, message, extra=extra)
        else:
            await _answer(scope, send, 200, self._metrics.render(), CONTENT_TYPE)


async def _answer(
    scope: Scope,
    send: Send,
    status: int,
    body: bytes,
    content_type: str = _TEXT,
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *(extra or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
