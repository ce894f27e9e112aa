"""Requests that come again: a client that repeats one by itself gives it the same id, and must not
have it carried out twice.

Only what succeeded is remembered: a refusal or a fault changed nothing, so a repetition may be
carried out. Remembered in memory, for a while: the client repeats within a minute and a half.
[wire-protocol 6.1, 9]
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple

__all__ = ["MOST_ANSWERS", "MOST_BYTES", "Answer", "Repeats"]

KEPT_SECONDS = 120.0
MOST_ANSWERS = 50_000
"""Of all clients, two minutes' worth at 400 changes a second."""
MOST_BYTES = 128 * 1024 * 1024
"""Of all remembered bodies. Most are small; those of large items would come to a gigabyte."""


class Answer(NamedTuple):
    """What a request was answered: the HTTP status and the JSON body."""

    status: int
    body: bytes


class _Known(NamedTuple):
    future: asyncio.Future[Answer]
    since: float


class Repeats:
    """Answers of the recent requests, by caller and request id."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()
        self._size_bytes = 0

    async def answer(self, key: Hashable, carry_out: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to a request that is carried out now, or that was, or that is under way."""
        while True:
            known = self._known.get(key)
            now = self._monotonic()
            if known is None or now - known.since >= KEPT_SECONDS:
                break
            answer = await asyncio.shield(known.future)
            if answer.status < 300:
                return answer
            # It failed, and was forgotten: of several that waited for it, one goes on.
        self._forget_old(now)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        ours = self._known[key] = _Known(future, now)
        try:
            answer = await carry_out()
        except BaseException:
            self._known.pop(key, None)
            if not future.done():
                future.set_result(Answer(500, b""))
            raise
        future.set_result(answer)
        if answer.status >= 300:
            self._known.pop(key, None)
        elif self._known.get(key) is ours:
            self._size_bytes += len(answer.body)
            while self._size_bytes > MOST_BYTES:
                self._forget_oldest()
        return answer

    def _forget_old(self, now: float) -> None:
        while self._known:
            oldest = next(iter(self._known.values()))
            if len(self._known) < MOST_ANSWERS and now - oldest.since < KEPT_SECONDS:
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, known = self._known.popitem(last=False)
        if known.future.done():  # one under way counts when its answer is there
            self._size_bytes -= len(known.future.result().body)
