"""How many failed log-ins one address may have: more are refused with 429. [ours]

A token bucket for each address; IPv6 addresses count by their /64, which is what one subscriber
gets. Memory is bounded: of too many addresses those that failed least recently are forgotten.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["BURST", "REFILL_SECONDS", "FailureLimiter"]

BURST: Final = 10
"""Failures in a row that one address may have."""
REFILL_SECONDS: Final = 6.0
"""After so long one more failure is allowed."""

_MOST_ADDRESSES: Final = 10_000


class FailureLimiter:
    """Counts failures by address."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        burst: int = BURST,
        refill_seconds: float = REFILL_SECONDS,
        most_addresses: int = _MOST_ADDRESSES,
    ) -> None:
        self._monotonic = monotonic
        self._burst = float(burst)
        self._refill_seconds = refill_seconds
        self._most = most_addresses
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By address, least recent failure first: when it last failed, the tokens left then."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str) -> int | None:
        """Count one failure of an address.

        Returns:
            None if it is within bounds, else in how many whole seconds the next one will be.
        """
        now = self._monotonic()
        key = _subscriber_of(address)
        failed_at, tokens = self._buckets.get(key, (now, self._burst))
        tokens = min(self._burst, tokens + (now - failed_at) / self._refill_seconds)
        if tokens < 1.0:
            return max(1, int((1.0 - tokens) * self._refill_seconds + 0.999))
        self._buckets[key] = (now, tokens - 1.0)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return None


def _subscriber_of(address: str) -> str:
    """The address, or the /64 of an IPv6 one; what is no address at all counts as written."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{int(parsed) >> 64:x}"
