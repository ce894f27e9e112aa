"""Is the process there, and should it get requests?

``/healthz`` answers 200 as long as the event loop turns. ``/readyz`` answers 503 while the server
drains, and while it can't write. That is the writing thread's to say, so each answer waits for its
turn there: what the last transaction showed, and while that is a failure, what a new one shows. So
a sleeping disk sleeps on, a server that a balancer has taken out is put back when there is room
again, and a writer that hangs is seen. All who ask meanwhile share one turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

from starlings.core.errors import Fault

__all__ = ["ANSWER_SECONDS", "Health", "Readiness"]

ANSWER_SECONDS: Final = 0.8
"""Whoever asks has the answer after so long: within the second that probes commonly wait."""


class Readiness(Enum):
    """The answer to ``/readyz``."""

    READY = "ready"
    DRAINING = "draining"
    NOT_WRITABLE = "not_writable"


class Health:
    """Knows whether requests are welcome.

    Args:
        check_writable: Whether the store writes; may take long, may raise Fault.
        count_commits: Transactions so far, failed ones too. While these go on, a writer that has
            not come to our turn is busy, and doesn't hang.
    """

    def __init__(
        self,
        check_writable: Callable[[], Awaitable[bool]],
        count_commits: Callable[[], int],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._check_writable = check_writable
        self._count_commits = count_commits
        self._answer_seconds = answer_seconds
        self._turn: asyncio.Task[bool] | None = None
        self.is_draining = False

    async def check(self) -> Readiness:
        if self.is_draining:
            return Readiness.DRAINING
        turn = self._turn
        if turn is None or turn.done():
            turn = self._turn = asyncio.create_task(self._take_turn(), name="readiness")
        commits = self._count_commits()
        await asyncio.wait([turn], timeout=self._answer_seconds)
        is_writable = turn.result() if turn.done() else self._count_commits() > commits
        return Readiness.READY if is_writable else Readiness.NOT_WRITABLE

    async def _take_turn(self) -> bool:
        try:
            return await self._check_writable()
        except Fault:
            return False
