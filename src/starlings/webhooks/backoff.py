"""How long to wait after a failure."""

from __future__ import annotations

__all__ = ["BASE_SECONDS", "LONGEST_SECONDS", "backoff_seconds"]

BASE_SECONDS = 1.0
LONGEST_SECONDS = 600.0


def backoff_seconds(failures: int, chance: float) -> float:
    """The wait after so many failures in a row: doubled with each, up to a bound, and spread.

    Args:
        failures: 1 or more.
        chance: From 0 to 1: where between half of the wait and the whole of it, so that what
            failed together is not tried again together.
    """
    whole = min(LONGEST_SECONDS, BASE_SECONDS * 2.0 ** min(failures - 1, 60))
    return whole * (0.5 + chance / 2)
