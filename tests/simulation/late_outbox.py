"""An outbox of webhooks in memory that takes its time, fails, and outlives the servers.

Only what reachability needs of ``storage.outbox``: nothing is delivered from it, so what was added
is all there at the end, in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlings.core.errors import Fault, Reason
from starlings.core.webhook_rules import Webhook
from starlings.storage.outbox import Reached
from tests.simulation.chance import Chance

__all__ = ["LateOutbox", "OutboxRows"]


class OutboxRows:
    """What is durable."""

    def __init__(self) -> None:
        self.webhooks: list[Webhook] = []
        self.reached: dict[Reached, None] = {}


class LateOutbox:
    """One server's."""

    def __init__(self, rows: OutboxRows, chance: Chance) -> None:
        self._rows = rows
        self._chance = chance
        self._is_dead = False

    def kill(self) -> None:
        self._is_dead = True

    async def add(
        self,
        webhooks: Sequence[Webhook],
        came: Sequence[Reached] = (),
        went: Sequence[Reached] = (),
    ) -> None:
        self._chance.raise_fault()
        await self._chance.pause()
        if self._is_dead:
            raise Fault(Reason.UNAVAILABLE, "The server is dead")
        self._rows.webhooks += webhooks
        self._rows.reached |= dict.fromkeys(came)
        for one in went:
            self._rows.reached.pop(one, None)
        await self._chance.pause()

    async def list_reached(self) -> list[Reached]:
        self._chance.raise_fault()
        return list(self._rows.reached)
