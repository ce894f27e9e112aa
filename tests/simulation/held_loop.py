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


class Stuck(AssertionError):
    """Nothing is left to do, and nothing is waited for, yet the run is not over."""


class _HeldSelector(selectors.SelectSelector):
    """Instead of sleeping it moves the time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("everybody waits for somebody else")
        self.now += max(0.0, timeout)
        return []


class HeldLoop(asyncio.SelectorEventLoop):
    """``time`` starts at 0 and jumps from one timer to the next."""

    def __init__(self) -> None:
        self._held = _HeldSelector()
        super().__init__(self._held)

    def time(self) -> float:
        return self._held.now


def run_held(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` to its end in a new loop, then cancel what it left."""
    loop = HeldLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
