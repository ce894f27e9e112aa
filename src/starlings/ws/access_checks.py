"""Looks whether what is subscribed to may still be read: not all at once, and none twice in a row.

A grant that changes, or access control that is switched on, may concern all subscriptions of an
object or of a service. Each takes a read of the store. So they wait for their turn here, each once:
a look that has not begun will see what has changed until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeAlias

__all__ = ["MOST_CHECKS", "AccessChecks", "Check"]

logger = logging.getLogger("starlings.ws")

MOST_CHECKS = 32
"""Under way at once."""

Check: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class AccessChecks:
    """Those of all sessions.

    Args:
        spawn: Runs work in a task of its owner.
    """

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._spawn = spawn
        self._waiting: OrderedDict[Hashable, Check] = OrderedDict()
        self._working = 0

    def __len__(self) -> int:
        """Those that wait."""
        return len(self._waiting)

    def add(self, key: Hashable, check: Check) -> bool:
        """Check when it is its turn, in a later step.

        Returns: False if one of this ``key`` waits already; ``check`` is dropped then.
        """
        if key in self._waiting:
            return False
        self._waiting[key] = check
        if self._working < MOST_CHECKS:
            self._working += 1
            self._spawn(self._work())
        return True

    async def _work(self) -> None:
        try:
            while self._waiting:
                _, check = self._waiting.popitem(last=False)
                try:
                    await check()
                except Exception:
                    logger.exception("A check of access failed")
                await asyncio.sleep(0)  # many end without waiting for anything
        finally:
            self._working -= 1
