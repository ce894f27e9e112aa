"""Reachability in a world: what webhooks are told of who comes and goes. [rest-api 8.2]

``Comings`` writes down when identities were connected and when not. Each webhook is judged at the
end, in the order of the outbox, which is durable:

- Of each endpoint the coming is told once, and its going once after that, in turns.
- As many endpoints of an identity are told to be there as are connected at the end: none is lost,
  and none left behind, whatever servers died meanwhile.
- That an identity is gone altogether is told only if it was, for as long as the window.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlings.core import commands as c
from starlings.core.objects import Service
from starlings.core.webhook_rules import ENDPOINT_CONNECTED, ENDPOINT_DISCONNECTED, Webhook
from starlings.node.node import Node
from starlings.node.reachability import RETURN_SECONDS, Reachability
from tests.simulation.part import Step
from tests.simulation.writes import ADMIN

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Endpoints"]

_ROUNDING_MS = 1
_GRACE_MS = 500
"""From the moment at which a window is over to the webhook's time, at most."""


@dataclass
class _Absence:
    """An identity without a connection. Milliseconds since 1970."""

    since: int
    window_ms: int
    until: int | None = None

    def explains(self, at: int) -> bool:
        """True if it may be told at this moment that the identity is gone."""
        is_over = at + _ROUNDING_MS >= self.since + self.window_ms
        return is_over and (self.until is None or at <= self.until + _GRACE_MS)


class Comings:
    """Who was connected when, as the server is told by its sessions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.identities: dict[str, str] = {}
        """Of all endpoints that ever came."""
        self.absences: defaultdict[str, list[_Absence]] = defaultdict(list)
        self._connections: dict[object, str] = {}

    def restart(self) -> None:
        """A server has started: whoever was there has time to come back."""
        now = self._world.now()
        window_ms = max(self._window_ms, int(RETURN_SECONDS * 1000))
        self._connections.clear()
        for identity in set(self.identities.values()):
            self._end_absence(identity, now)
            self.absences[identity].append(_Absence(now, window_ms))

    def come(self, connection: object, identity: str, endpoint: str) -> None:
        if identity not in self._connections.values():
            self._end_absence(identity, self._world.now())
        self._connections[connection] = identity
        self.identities[endpoint] = identity

    def go(self, connection: object) -> None:
        identity = self._connections.pop(connection, None)
        if identity is not None and identity not in self._connections.values():
            self.absences[identity].append(_Absence(self._world.now(), self._window_ms))

    @property
    def _window_ms(self) -> int:
        return self._world.window_ms or 0

    def _end_absence(self, identity: str, now: int) -> None:
        absences = self.absences[identity]
        if absences and absences[-1].until is None:
            absences[-1].until = now


class _WatchedReachability(Reachability):
    """Notes what it is told."""

    def __init__(self, world: World, node: Node, comings: Comings) -> None:
        super().__init__(world.disk.outbox, node.store.find_service, world.sources)
        self._comings = comings

    async def restore(self) -> None:
        self._comings.restart()
        await super().restore()

    def connected(self, connection: object, service: Service, identity: str, endpoint: str) -> None:
        self._comings.come(connection, identity, endpoint)
        super().connected(connection, service, identity, endpoint)

    def disconnected(self, connection: object, service: Service | None) -> None:
        self._comings.go(connection)
        super().disconnected(connection, service)


class Endpoints:
    """Implements ``part.Part``. Of whoever is there before it begins no coming is told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._comings = Comings(world)
        world.make_reachability = lambda node: _WatchedReachability(world, node, self._comings)

    def make_data(self) -> dict[str, Any]:
        return {}

    async def begin(self) -> None:
        world = self._world
        settings = c.ServiceSettings(
            webhook_url="https://example.com/hook", has_reachability_webhooks=True
        )
        await world.server.node.execute(c.UpdateService(world.service.oid, settings, ADMIN))
        if world.window_ms is None:
            await world.debounce()

    def steps(self) -> list[Step]:
        """Others see to it that connections break."""
        return []

    def mend(self) -> None:
        """Nothing goes wrong here by itself."""

    def is_settled(self) -> bool:
        return True

    async def finish(self) -> None:
        """What is held back is told while the world waits."""

    async def compare(self) -> list[str]:
        connected = Counter(one.identity for one in self._world.everybody if one.is_ready)
        return [
            f"reachability: {sentence}"
            for sentence in self._judge(await self._world.disk.list_webhooks(), connected)
        ]

    def _judge(self, webhooks: Sequence[Webhook], connected: Counter[str]) -> list[str]:
        sentences = []
        counts = self._world.chance.counts
        there: defaultdict[str, set[str]] = defaultdict(set)
        for webhook in webhooks:
            identity, endpoint = webhook.identity, webhook.endpoint or ""
            told = there[identity]
            if self._comings.identities.get(endpoint) != identity:
                sentences.append(f"{identity} never had an endpoint {endpoint}")
            if webhook.type == ENDPOINT_CONNECTED:
                counts["comings told"] += 1
                if endpoint in told:
                    sentences.append(f"the coming of {endpoint} was told twice")
                told.add(endpoint)
            elif webhook.type == ENDPOINT_DISCONNECTED:
                counts["goings told"] += 1
                if endpoint not in told:
                    sentences.append(f"the going of {endpoint} was told, and its coming not")
                told.discard(endpoint)
                absences = self._comings.absences[identity]
                if not told and not any(one.explains(webhook.at) for one in absences):
                    sentences.append(f"{identity} was told to be gone at {webhook.at}: {absences}")
        for identity in there.keys() | connected.keys():
            if len(there[identity]) != connected[identity]:
                sentences.append(
                    f"of {identity} {connected[identity]} endpoints are connected, and"
                    f" {len(there[identity])} told: {json.dumps(sorted(there[identity]))}"
                )
        self._count_silent_returns()
        return sentences

    def _count_silent_returns(self) -> None:
        for absences in self._comings.absences.values():
            for one in absences:
                is_short = one.until is not None and one.until < one.since + one.window_ms
                self._world.chance.counts["silent returns"] += is_short
