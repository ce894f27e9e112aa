"""Where the node gets time and chance from, so that a test can hold both."""

from __future__ import annotations

import secrets
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


SYSTEM_SOURCES = Sources(lambda: time.time_ns() // 1_000_000, time.monotonic, secrets.randbits)
