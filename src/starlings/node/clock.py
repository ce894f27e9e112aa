"""Where the node gets time and chance from, so that a test can hold both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["SYSTEM_SOURCES", "Sources"]


class Sources(NamedTuple):
    """Time and chance."""

    now: Callable[[], int]
    """Milliseconds since 1970, UTC."""
    monotonic: Callable[[], float]
    """Seconds of a clock that never goes back."""
    random_bits: Callable[[int], int]
    """So many random bits, unpredictable."""


class _PooledBits:
    """Random bits of the operating system, asked for by the page: each call of it costs some
    microseconds, and every id wants bits. For one thread."""

    _PAGE_BYTES = 4096

    def __init__(self) -> None:
        self._page = b""
        self._used = 0

    def __call__(self, count: int) -> int:
        size = (count + 7) // 8
        if self._used + size > len(self._page):
            self._page = os.urandom(max(self._PAGE_BYTES, size))
            self._used = 0
        start, self._used = self._used, self._used + size
        return int.from_bytes(self._page[start : self._used], "big") >> (8 * size - count)


SYSTEM_SOURCES = Sources(lambda: time.time_ns() // 1_000_000, time.monotonic, _PooledBits())
