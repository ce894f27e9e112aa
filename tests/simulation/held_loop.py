"""An event loop whose time passes only when nothing is left to do at the present moment.

So a run takes no longer than its work, whatever it waits for, and is the same every time: what
happens first depends on the seed alone. Threads and sockets have no place in it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["HeldLoop", "Stuck", "run_held"]

_T = TypeVar("_T")


_MOST_TURNS = 50_000
"""Of the loop at one moment: whoever still has work then makes it for ever."""


class Stuck(AssertionError):
    """The run is not over, and never will be: nobody moves any more, or time doesn't."""


class _HeldSelector(selectors.SelectSelector):
    """Instead of sleeping it moves the time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("everybody waits for somebody else")
        self.turns = 0 if timeout > 0 else self.turns + 1
        if self.turns > _MOST_TURNS:
            raise Stuck("somebody goes round in circles without waiting for anything")
        self.now += max(0.0, timeout)
        return []


class HeldLoop(asyncio.SelectorEventLoop):
    """``time`` starts at 0 and jumps from one timer to the next."""

    def __init__(self) -> None:
        self._held = _HeldSelector()
        super().__init__(self._held)

    def time(self) -> float:
        return self._held.now

    def start_counting(self) -> None:
        """Forget how often it has turned at this moment."""
        self._held.turns = 0


def run_held(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` to its end in a new loop, then cancel what it left."""
    loop = HeldLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        _cancel_all(loop)
        loop.close()


def _cancel_all(loop: HeldLoop) -> None:
    """More than once: ``wait_for`` forgets a cancellation that comes together with its result."""
    loop.start_counting()
    while left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=1.0))
