"""Does the clock go back?

Nothing is held up by it: dates and times to live are always those of the clock. But what was
written while it was ahead keeps the dates of then, so an operator wants to know, once.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["TOLERATED_MILLISECONDS", "ClockWatch"]

logger = logging.getLogger("starlings.storage")

TOLERATED_MILLISECONDS: Final = 5_000
"""Corrections of a clock that is kept are smaller."""


class ClockWatch:
    """Compares the clock with the newest date that was written. For one thread, but for
    ``behind_seconds``."""

    def __init__(self) -> None:
        self._newest_at = 0
        self._is_behind = False

    def see(self, now: int, at: int) -> None:
        """Take note of a date that was written, and warn if the clock is behind an earlier one.

        Both are milliseconds since 1970.
        """
        self._newest_at = max(self._newest_at, at)
        behind = self._newest_at - now
        is_behind = behind > TOLERATED_MILLISECONDS
        if is_behind and not self._is_behind:
            logger.warning("The clock is behind the newest event seconds=%d", behind // 1000)
        self._is_behind = is_behind

    def behind_seconds(self, now: int) -> float:
        return max(0, self._newest_at - now) / 1000
