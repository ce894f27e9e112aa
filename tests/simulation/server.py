"""One server process: it takes up what the former one left, and ends suddenly or in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from starlings.core.errors import Reason, Refusal
from starlings.core.limits import OFF
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.node.presence_keeper import PresenceKeeper
from starlings.node.reachability import Reachability
from starlings.node.upkeep import Retention, Upkeep
from starlings.storage.store import Store
from starlings.ws.admission import Token
from starlings.ws.face import SyncFace
from starlings.ws.outbox import Outbox, OutboxLimits
from starlings.ws.session import SyncSession
from tests.simulation.chance import Chance
from tests.simulation.client_session import ClientSession
from tests.simulation.network import Descriptors, Link, Witness, WitnessedFlusher

__all__ = ["ACCOUNT_SID", "Credentials", "Equipment", "PlainCredentials", "Server", "Verify"]

ACCOUNT_SID = "AC" + "0" * 32
Verify = Callable[[str], Token]


@dataclass(frozen=True)
class _PlainToken:
    identity: str
    expires_at: int
    account_sid: str = ACCOUNT_SID
    key_sid: str = "SK" + "0" * 32
    service: str = "default"


class Credentials:
    """Who issues tokens, and who checks them; outlives the servers."""

    def make_token(self, identity: str, lives_seconds: int) -> str:
        raise NotImplementedError

    def open(self, server: Server) -> Verify:
        """A server has started: what it checks tokens with."""
        raise NotImplementedError


class PlainCredentials(Credentials):
    """Tokens that are good until they expire."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now

    def make_token(self, identity: str, lives_seconds: int) -> str:
        return f"{identity}|{self._now() + lives_seconds * 1000}"

    def open(self, server: Server) -> Verify:
        del server
        return self._verify

    def _verify(self, text: str) -> Token:
        identity, _, expires_at = text.partition("|")
        if int(expires_at) <= self._now():
            raise Refusal(Reason.TOKEN_EXPIRED)
        return _PlainToken(identity, int(expires_at))


class Equipment(NamedTuple):
    """What each server of a world is made with."""

    chance: Chance
    sources: Sources
    outbox_bytes: int
    log_seconds: float
    credentials: Credentials
    witnesses: Sequence[Witness]
    make_keeper: Callable[[Node], PresenceKeeper] | None
    """None: the servers have no presence."""
    make_reachability: Callable[[Node], Reachability] | None
    """None: nobody is told who comes and goes."""


class _InOrder(dict[Any, None]):
    """A set whose order doesn't depend on addresses, or a seed would not be the same twice."""

    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


class Server:
    def __init__(self, store: Store, equipment: Equipment) -> None:
        loop = asyncio.get_running_loop()
        chance, outbox_bytes = equipment.chance, equipment.outbox_bytes
        limits = OutboxLimits(
            queued_bytes=outbox_bytes, age_seconds=5.0, turn_bytes=outbox_bytes // 4
        )
        self.store = store
        self._equipment = equipment
        self._descriptors = Descriptors(chance)
        self._flusher = WitnessedFlusher(loop, limits, self._descriptors.write)
        self.node = Node(store, replace(OFF, page_max=6, page_default=3), equipment.sources)
        make_keeper, make_reachability = equipment.make_keeper, equipment.make_reachability
        self.keeper = None if make_keeper is None else make_keeper(self.node)
        self.reachability = None if make_reachability is None else make_reachability(self.node)
        self.face = SyncFace(
            self.node,
            lambda text: self._verify(text),
            b"secret",
            reachability=self.reachability,
            presence=self.keeper,
        )
        self.face._sessions = cast(set[SyncSession], _InOrder())
        self.face._tasks = cast("set[asyncio.Task[None]]", _InOrder())
        self._flusher._backlogged = cast(set[Outbox], _InOrder())
        self.face.server._flusher = self._flusher
        retention = Retention(equipment.log_seconds, 1e9)
        upkeep = Upkeep(store, equipment.sources, retention)
        self._background = [loop.create_task(upkeep.run())]
        self._verify = equipment.credentials.open(self)
        self._telling: asyncio.Task[None] | None = None
        self.links: list[Link] = []

    async def start(self) -> None:
        """Take up what the former server left. Raises Fault: it can't read what it must know."""
        if self.keeper is not None:
            await self.keeper.restore()
            self.run(self.keeper.run())
        if self.reachability is not None:
            await self.reachability.restore()
            self._telling = asyncio.get_running_loop().create_task(self.reachability.run())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in the background until the server dies."""
        self._background.append(asyncio.get_running_loop().create_task(work))

    def connect(self, session: ClientSession) -> Link:
        chance = self._equipment.chance
        link = Link(
            chance,
            self._flusher,
            self._descriptors,
            lambda: SyncSession(self.face),
            session,
            chance.choice([512, 4096, 65536]),
            self._equipment.witnesses,
        )
        link.identity = session.identity
        self.links.append(link)
        return link

    async def stop(self) -> None:
        """The end of an orderly shutdown, once all sessions are gone."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    def find_leaks(self) -> list[str]:
        """What is kept for sessions that are gone."""
        known = self.face.queries.statistics().indexes
        known += sum(len(session.subscriptions()) for session in self.face._sessions)
        there = self.face.hub.statistics().listeners
        return [f"the hub has {there} listeners, not {known}"] if there != known else []

    def die(self) -> None:
        for task in self._background:
            task.cancel()
        if self._telling is not None:
            self._telling.cancel()
        for link in self.links:
            link.die()
        for task in list(self.face._tasks):
            task.cancel()
        for session in list(self.face._sessions):
            if session._timer is not None:
                session._timer.cancel()
