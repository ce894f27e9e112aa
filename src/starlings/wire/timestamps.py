"""Instants as the wire writes them: ISO 8601, UTC, three decimals, ``Z``. [wire-protocol 7]

Every pushed event and every reply carries two or three of them, so the part up to the second is
kept: within one second only the milliseconds change.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = ["format_timestamp"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))


def format_timestamp(ms: int) -> str:
    """Format an instant as ``YYYY-MM-DDTHH:MM:SS.mmmZ``.

    Args:
        ms: Milliseconds since 1970-01-01T00:00:00Z; may be negative.

    Raises:
        OverflowError: The instant is not within the years 1 to 9999.
    """
    seconds, milliseconds = divmod(ms, 1000)
    return _format_second(seconds) + _MILLISECONDS[milliseconds]


@lru_cache(maxsize=1024)
def _format_second(seconds: int) -> str:
    # Not strftime: its %Y does not pad years before 1000 on every platform.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
