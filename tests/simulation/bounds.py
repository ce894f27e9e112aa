"""Bounds made small, so that short runs page, overflow and wait as often as long ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from starlings.node.subscription import Subscription
from starlings.ws.catchup import CatchUp

__all__ = ["small_bounds"]


class _CountedCatchUp(CatchUp):
    """Counts what seldom happens."""

    async def _send_snapshot(self, *arguments: Any) -> Any:
        self._count("snapshots")
        return await super()._send_snapshot(*arguments)

    async def _repair(self, subscription: Subscription) -> None:
        self._count("repairs")
        await super()._repair(subscription)

    def _count(self, name: str) -> None:
        chance = self._node.store.chance  # type: ignore[attr-defined]  # a store of this simulation
        chance.counts[name] += 1


async def _run_at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """Stands in for ``asyncio.to_thread``: threads have no place in a held loop."""
    return function(*arguments)


@contextmanager
def small_bounds() -> Iterator[None]:
    with (
        patch("asyncio.to_thread", _run_at_once),
        patch("starlings.ws.session.CatchUp", _CountedCatchUp),
        patch("starlings.ws.catchup.PAGE_EVENTS", 5),
        patch("starlings.ws.catchup.PAGE_BYTES", 2000),
        patch("starlings.ws.catchup.CONFIRM_ENTRIES", 2),
        patch("starlings.node.subscription.MOST_HELD", 2),
        patch("starlings.node.hub.FEW_LISTENERS", 2),
        patch("starlings.node.hub.MANY_LISTENERS", 1),
        patch("starlings.ws.outbox._PIECE_BYTES", 400),
        patch("starlings.ws.session._ROOM_BYTES", 1500),
        patch("starlings.node.queries._PAGE_ITEMS", 3),
        patch("starlings.node.live_query.MOST_HELD_KEYS", 3),
        patch("starlings.ws.queries.ABANDONED_SECONDS", 3.0),
    ):
        yield
