"""A deadline for many waits, with one timer for all of them.

``asyncio.timeout`` makes and cancels a timer for every wait; for bodies that arrived with their
head, nearly all, that was 3 of the 40 µs of a write. As all waits here may take equally long,
the oldest is due first: one timer for that one is enough, and a wait that ends in time costs an
insertion and a removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["Deadline"]

_T = TypeVar("_T")


class Deadline:
    """Ends waits longer than ``seconds``. Belongs to one event loop; one wait per task."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}
        """When each waiting task's time is up, oldest first; the clock is the loop's."""
        self._overdue: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, awaitable: Awaitable[_T]) -> _T:
        """Raises TimeoutError: it was not there in time and has been cancelled."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        at = self._due[task] = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(at, self._end_overdue, loop)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if task in self._overdue and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            del self._due[task]
            self._overdue.discard(task)

    def _end_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        for task, at in self._due.items():
            if at > now:
                self._timer = loop.call_at(at, self._end_overdue, loop)
                break
            if task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
