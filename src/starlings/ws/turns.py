"""So much work in one turn of the event loop, and no more.

Many clients that come back together ask for all their subscriptions at once. Each look at an object
takes some microseconds, and nobody waits for anything: without this the loop would be at it for as
long as there are such clients, and answer nobody else meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["MOST_STEPS", "Turns"]

MOST_STEPS = 64
"""In one turn of the loop: some 3 ms."""


class Turns:
    """Lets steps of work into the turns of a loop, in the order in which they ask."""

    def __init__(self) -> None:
        self._left = MOST_STEPS
        self._is_counting = False
        """Whether ``_begin`` is to be called in the next turn."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """Those that wait."""
        return len(self._waiting)

    async def wait(self) -> None:
        """Return when a step may be taken: at once, or in a later turn."""
        if self._left:
            self._left -= 1
            self._count()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """A new turn."""
        self._is_counting = False
        self._left = MOST_STEPS
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # or its task was cancelled
                turn.set_result(None)
                self._left -= 1
                self._count()
