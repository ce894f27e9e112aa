"""Token buckets: how often something may be done. [rest-api 10]

A bucket holds up to its capacity and is refilled at its rate; what costs more than is there is
refused. Buckets live in memory only, and there are at most ``_MOST``: beyond that the one that was
not used for longest is forgotten, which means that it is full when it is met again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from starlings.core.errors import Reason, Refusal

__all__ = ["Throttle", "cost_of_write"]

_MOST = 100_000


class Throttle:
    """Token buckets by key, all of one clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """By key: when it was last used, the tokens left then. The last used one is last."""

    def take(
        self,
        key: Hashable,
        rate: float,
        capacity: float,
        message: Callable[[], str],
        *,
        cost: float = 1.0,
        reason: Reason = Reason.RATE_LIMITED,
    ) -> None:
        """Take ``cost`` tokens from a bucket, or all of a full one that could never hold so many.

        Args:
            rate: Tokens per second.
            capacity: What a full bucket holds.
            message: Makes the sentence of the refusal.

        Raises:
            Refusal: Too few tokens; nothing was taken.
        """
        now = self._monotonic()
        used_at, tokens = self._buckets.get(key, (now, capacity))
        tokens = min(capacity, tokens + (now - used_at) * rate)
        cost = min(cost, capacity)
        if tokens < cost:
            wait_seconds = (cost - tokens) / rate
            raise Refusal(reason, message(), retry_after_seconds=max(1, int(wait_seconds + 0.999)))
        self._buckets[key] = (now, tokens - cost)
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)


def cost_of_write(payload_bytes: int, rate: float, large_rate: float) -> float:
    """Tokens that a write takes: 1 up to 1 KiB, ``rate / large_rate`` from 10 KiB on, between so
    that the rate falls linearly.

    [rest-api 12.17]
    """
    if payload_bytes <= 1024:
        return 1.0
    share = min(1.0, (payload_bytes - 1024) / (9 * 1024))
    return rate / (rate - (rate - large_rate) * share)
