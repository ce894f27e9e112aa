"""What a seed decides: how long things take and what goes wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from starlings.core.errors import Fault, Reason

__all__ = ["Chance"]


class Chance(Random):
    """A seeded source of everything that is not certain."""

    fault_share = 0.0
    """How many of the store's answers are faults."""
    lost_share = 0.0
    """How many events nobody is told of: the log has them, so the next one shows the gap."""
    longest_delay = 0.03
    """Seconds that a step inside the server takes at most."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.counts: Counter[str] = Counter()
        """How often this and that happened, for the figures of a run."""

    def delay(self) -> float:
        """How long a step takes: often nothing, sometimes long."""
        kind = self.random()
        if kind < 0.5:
            return 0.0
        return self.uniform(0.0, self.longest_delay if kind < 0.95 else 10 * self.longest_delay)

    def is_so(self, share: float) -> bool:
        return self.random() < share

    async def pause(self) -> None:
        """Let others go on for a while."""
        delay = self.delay()
        if delay or self.is_so(0.5):
            await asyncio.sleep(delay)

    def raise_fault(self) -> None:
        """Fail now and then. Raises Fault UNAVAILABLE."""
        if self.fault_share and self.is_so(self.fault_share):
            raise Fault(Reason.UNAVAILABLE, "Simulated: try again")
