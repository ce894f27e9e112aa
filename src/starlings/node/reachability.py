"""Whether an endpoint came or went, as webhooks are told. [rest-api 8.2]

``ReachabilityState`` is the rules, without clock and without I/O: connections come and go, time
passes, and out come the changes to tell. ``Reachability`` gives it connections and time, and puts
what comes out into the outbox.

Rules:

1. An endpoint comes with its first connection and goes with its last.
2. Its coming is told once, and its going once after that, in turns for ever.
3. Under debouncing, the going of an identity's *last* endpoint is held back for the window. If any
   endpoint of the identity comes meanwhile, neither its coming nor the held-back going is told. The
   newcomer *stands in* for the one that went: its own going is told under that one's id, so that
   rule 2 holds for whoever counts endpoints.
4. What a service doesn't want at the moment of the change isn't told, and is not made up for later.

After a restart, endpoints whose coming was told before count as gone at that moment. Those that
come back within a window's time (without debouncing: ``RETURN_SECONDS``) are not told again; of
the others the going is told. So neither a crash nor an upgrade leaves a ghost behind.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from starlings.core.errors import Fault
from starlings.core.objects import Service
from starlings.core.webhook_rules import (
    ENDPOINT_CONNECTED,
    ENDPOINT_DISCONNECTED,
    Webhook,
    webhook_of_endpoint,
)
from starlings.node.clock import Sources
from starlings.storage.outbox import Outbox, Reached

__all__ = ["RETURN_SECONDS", "Change", "Reachability", "ReachabilityState"]

logger = logging.getLogger("starlings.node")

RETURN_SECONDS = 10.0
"""How long clients may take to come back after a restart, where there is no longer window."""
_RETRY_SECONDS = 1.0
_BATCH = 500
MOST_UNTOLD = 100_000
"""Changes that wait for a store that can't write; more are lost, and counted."""


class Change(NamedTuple):
    """An endpoint came or went."""

    service_oid: int
    identity: str
    endpoint: str
    is_connected: bool


class _Presence:
    """One identity of one service."""

    __slots__ = ("connections", "held_back", "holders", "told_as")

    def __init__(self) -> None:
        self.connections: dict[str, int] = {}
        """Open ones of each endpoint."""
        self.told_as: dict[str, str] = {}
        """Under which id each present endpoint was told of."""
        self.holders: dict[str, str] = {}
        """The same, by that id."""
        self.held_back: dict[str, float] = {}
        """Endpoints whose going is not told yet, and when it will be."""


_Key = tuple[int, str]


class ReachabilityState:
    """The rules. Times are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._presences: dict[_Key, _Presence] = {}
        self._deadlines: list[tuple[float, _Key, str]] = []

    @property
    def next_deadline(self) -> float | None:
        """When ``tick`` may have something to tell."""
        return self._deadlines[0][0] if self._deadlines else None

    def restore(self, service_oid: int, identity: str, endpoint: str, deadline: float) -> None:
        """An endpoint told of before the restart: gone unless its identity is back in time."""
        key = (service_oid, identity)
        self._hold_back(key, self._presences.setdefault(key, _Presence()), endpoint, deadline)

    def connect(self, service_oid: int, identity: str, endpoint: str) -> list[Change]:
        """A connection was opened."""
        key = (service_oid, identity)
        presence = self._presences.setdefault(key, _Presence())
        count = presence.connections.get(endpoint, 0)
        presence.connections[endpoint] = count + 1
        if count:
            return []
        if presence.held_back:
            # Its own former self is the best to stand in for.
            former = endpoint if endpoint in presence.held_back else next(iter(presence.held_back))
            del presence.held_back[former]
            presence.told_as[endpoint] = former
            presence.holders[former] = endpoint
            return []
        # Whoever stands in under this id gives it back and takes its own, and so on: the last id
        # of that chain is the one that nobody was told of yet.
        newcomer = endpoint
        while True:
            displaced = presence.holders.get(newcomer)
            presence.told_as[newcomer] = presence.holders[newcomer] = newcomer
            if displaced is None:
                return [Change(*key, newcomer, is_connected=True)]
            newcomer = displaced

    def disconnect(
        self, service_oid: int, identity: str, endpoint: str, deadline: float | None
    ) -> list[Change]:
        """A connection that was opened is closed.

        Args:
            deadline: When its going is told if it was the last; None for at once.
        """
        key = (service_oid, identity)
        presence = self._presences[key]
        presence.connections[endpoint] -= 1
        if presence.connections[endpoint]:
            return []
        del presence.connections[endpoint]
        told = presence.told_as.pop(endpoint)
        del presence.holders[told]
        if deadline is not None and not presence.connections:
            self._hold_back(key, presence, told, deadline)
            return []
        self._forget_if_empty(key, presence)
        return [Change(*key, told, is_connected=False)]

    def tick(self, now: float) -> list[Change]:
        """What is told because its time has come, in the order of the times."""
        changes = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, key, endpoint = heapq.heappop(self._deadlines)
            presence = self._presences.get(key)
            if presence is None or presence.held_back.get(endpoint) != deadline:
                continue  # came back meanwhile
            del presence.held_back[endpoint]
            self._forget_if_empty(key, presence)
            changes.append(Change(*key, endpoint, is_connected=False))
        return changes

    def _hold_back(self, key: _Key, presence: _Presence, endpoint: str, deadline: float) -> None:
        presence.held_back[endpoint] = deadline
        heapq.heappush(self._deadlines, (deadline, key, endpoint))

    def _forget_if_empty(self, key: _Key, presence: _Presence) -> None:
        if not presence.connections and not presence.held_back:
            del self._presences[key]


class _Untold(NamedTuple):
    """``webhook`` is None if the service wants none, but an earlier coming was told."""

    webhook: Webhook | None
    change: Change


class Reachability:
    """Tells the outbox who came and who went. One per node; belongs to its event loop.

    Args:
        find_service: The service as it is now; None once it was removed.
    """

    def __init__(
        self,
        outbox: Outbox,
        find_service: Callable[[int], Awaitable[Service | None]],
        sources: Sources,
    ) -> None:
        self._outbox = outbox
        self._find_service = find_service
        self._sources = sources
        self._state = ReachabilityState()
        self._connections: dict[object, tuple[int, str, str]] = {}
        self._untold: list[_Untold] = []
        self._reached: set[Reached] = set()
        """What the outbox has noted, or will have once all is told."""
        self._adding: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self.lost = 0
        """Changes that could not be told, since the start."""

    def connected(self, connection: object, service: Service, identity: str, endpoint: str) -> None:
        """A session began. ``connection`` stands for it until ``disconnected``."""
        self._connections[connection] = (service.oid, identity, endpoint)
        self._tell(self._state.connect(service.oid, identity, endpoint), service)

    def disconnected(self, connection: object, service: Service | None) -> None:
        """A session ended; nothing happens if it had not begun.

        Args:
            service: As it is now; None if it was removed: then nobody is told.
        """
        entry = self._connections.pop(connection, None)
        if entry is None:
            return
        deadline = None
        if service is not None and service.has_debouncing:
            deadline = self._sources.monotonic() + service.debouncing_window_ms / 1000
        self._tell(self._state.disconnect(*entry, deadline), service)
        self._wake.set()

    async def restore(self) -> None:
        """Take up what was told before the restart. Before the first connection."""
        now = self._sources.monotonic()
        for one in await self._outbox.list_reached():
            service = await self._find_service(one.service_oid)
            seconds = RETURN_SECONDS
            if service is not None and service.has_debouncing:
                seconds = max(seconds, service.debouncing_window_ms / 1000)
            self._reached.add(one)
            self._state.restore(*one, now + seconds)

    async def run(self) -> None:
        """Tell until cancelled; what is known by then is told before this ends."""
        try:
            while True:
                await self._wait()
                await self._tell_due()
                await self._write()
        finally:
            with suppress(Fault):
                while self._untold or self._adding is not None:
                    await self._write_batch()

    async def _wait(self) -> None:
        deadline = self._state.next_deadline
        seconds = None
        if deadline is not None:
            seconds = max(0.0, deadline - self._sources.monotonic())
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _tell_due(self) -> None:
        for change in self._state.tick(self._sources.monotonic()):
            self._tell([change], await self._find_service(change.service_oid))

    def _tell(self, changes: Iterable[Change], service: Service | None) -> None:
        at = self._sources.now()
        for change in changes:
            name = ENDPOINT_CONNECTED if change.is_connected else ENDPOINT_DISCONNECTED
            webhook = None
            if service is not None:
                webhook = webhook_of_endpoint(service, name, change.identity, change.endpoint, at)
            reached = _reached(change)
            if webhook is None and (change.is_connected or reached not in self._reached):
                continue
            if len(self._untold) >= MOST_UNTOLD:
                self.lost += 1
                continue
            if change.is_connected:
                self._reached.add(reached)
            else:
                self._reached.discard(reached)
            self._untold.append(_Untold(webhook, change))
            self._wake.set()

    async def _write(self) -> None:
        """Put what is untold into the outbox; wait as long as the store can't write."""
        while self._untold:
            try:
                await self._write_batch()
            except Fault as error:
                logger.warning("Reachability waits for the store error=%s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _write_batch(self) -> None:
        """Write the first of what is untold. Who is cancelled meanwhile may call again: the same
        batch is not written twice.
        """
        if self._adding is None:
            self._adding = asyncio.get_running_loop().create_task(self._add_batch())
        adding = self._adding
        try:
            await asyncio.shield(adding)
        finally:
            if adding.done():
                self._adding = None

    async def _add_batch(self) -> None:
        batch = self._untold[:_BATCH]
        webhooks = [one.webhook for one in batch if one.webhook is not None]
        is_there = {_reached(one.change): one.change.is_connected for one in batch}
        came = [reached for reached, is_connected in is_there.items() if is_connected]
        went = [reached for reached, is_connected in is_there.items() if not is_connected]
        await self._outbox.add(webhooks, came, went)
        del self._untold[: len(batch)]


def _reached(change: Change) -> Reached:
    return Reached(change.service_oid, change.identity, change.endpoint)
