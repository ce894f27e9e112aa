"""A whole simulated world: one server after the other on one disk, clients, and what goes wrong.

``World.run`` lives through so many random steps, then mends everything, writes once more to each
object, and compares. Every world has objects and copies of them (``copies.py``, ``writes.py``),
troubles (``troubles.py``) and grants (``grants.py``); what else lives in it comes in parts, each
with steps and checks of its own: ``part.py``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from starlings.core import commands as c
from starlings.core.errors import Fault, StarlingsError
from starlings.core.limits import OFF
from starlings.core.objects import Service, SyncObject
from starlings.core.sids import oid_of
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.node.presence_keeper import PresenceKeeper
from starlings.node.reachability import Reachability
from tests.simulation.chance import Chance
from tests.simulation.client import Client
from tests.simulation.client_session import ClientSession, Lost
from tests.simulation.copies import Copies
from tests.simulation.grants import Grants
from tests.simulation.history import History
from tests.simulation.network import Link, Witness
from tests.simulation.part import Part, Step
from tests.simulation.rights import Rights
from tests.simulation.server import ACCOUNT_SID, Credentials, Equipment, PlainCredentials, Server
from tests.simulation.stores import Disk, MemoryDisk, SqliteDisk
from tests.simulation.troubles import Troubles
from tests.simulation.witness import RightsWitness
from tests.simulation.writes import ADMIN, Writes

__all__ = ["IDENTITIES", "PartMaker", "Violation", "World"]

START_MS = 1_800_000_000_000
IDENTITIES = ["alice", "bob", "alina"]
PartMaker = Callable[["World"], Part]


class Violation(AssertionError):
    """The server broke a promise."""


class _Complaints(logging.Handler):
    """What the server logs as an error is a violation."""

    def __init__(self, history: History) -> None:
        super().__init__(logging.ERROR)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += f": {record.exc_info[1]!r}"
        self._history.accuse(f"logged: {text}")


class World:
    """One seed's world.

    Args:
        directory: None: the memory store.
        parts: What lives in it beside objects and their copies. They begin in this order.
    """

    def __init__(
        self, seed: int, directory: Path | None = None, parts: Iterable[PartMaker] = ()
    ) -> None:
        self.start_ms = START_MS
        self.clock_error_ms = 0
        """How far the clock is ahead; negative if it is behind."""
        self.history = History()
        self.chance = chance = Chance(seed)
        self.outbox_bytes = chance.choice([8, 32, 256]) * 1024
        self.log_seconds = chance.choice([1.0, 5.0, 1e9])
        self.has_acl = chance.is_so(0.3)
        self.fault_share = chance.choice([0.0, 0.0, 0.03])
        self.lost_share = chance.choice([0.0, 0.0, 0.05])
        self.sources = Sources(self.now, _loop_time, chance.getrandbits)
        self.credentials: Credentials = PlainCredentials(self.now)
        self.make_keeper: Callable[[Node], PresenceKeeper] | None = None
        self.make_reachability: Callable[[Node], Reachability] | None = None
        """As in ``Equipment``; this and the ones before are for parts to set."""
        self.window_ms: int | None = None
        """Of debouncing; None: there is none."""
        self.kept_names: set[str] = set()
        """Of objects that the server keeps: nobody else writes them."""
        self.maps_of_queries: dict[str, str] = {}
        """The SID of the Map by the id of a live query."""
        self.identities = IDENTITIES
        self.clients: list[Client] = []
        """Who does the steps."""
        self.everybody: list[Client] = []
        self.is_up = self.is_mended = False
        self.started_at = 0
        """When the present server came up."""
        self._directory = directory
        self._background: set[asyncio.Task[None]] = set()
        self.rights = Rights(self)
        self.witnesses: list[Witness] = [RightsWitness(self)]
        self.writes = Writes(self)
        self.copies = Copies(self)
        self.grants = Grants(self)
        self.troubles = Troubles(self)
        self.parts: list[Part] = [make_part(self) for make_part in parts]

    def now(self) -> int:
        return START_MS + int(_loop_time() * 1000) + self.clock_error_ms

    def make_token(self, identity: str) -> str:
        lives_seconds = 3600 if self.is_mended else self.chance.choice([2, 20, 3600, 3600])
        return self.credentials.make_token(identity, lives_seconds)

    async def find(self, sid: str) -> SyncObject | None:
        """An object as it is stored."""
        return await self.server.store.find_object(oid_of(sid))

    # A run

    async def run(self, steps: int = 200) -> Counter[str]:
        """How often this and that has happened. Raises Violation."""
        complaints = _Complaints(self.history)
        logger = logging.getLogger("starlings")
        logger.addHandler(complaints)
        level_before = logger.level
        logger.setLevel(logging.ERROR)  # simulated faults are warned of, many times
        asyncio.get_running_loop().set_exception_handler(self._on_exception)
        try:
            await self._start()
            self._steps = self._list_steps()
            for _ in range(steps):
                await self._step()
                self._raise_violations()
            self._mend()
            await self._settle()
            await self._compare()
            self._raise_violations()
            return self._count()
        finally:
            logger.removeHandler(complaints)
            logger.setLevel(level_before)
            if self.is_up:
                self.server.die()
                await self.disk.kill()

    def _count(self) -> Counter[str]:
        counts = self.chance.counts
        counts["events"] = self.history.event_count
        counts["sessions"] += self.server.face.statistics().opened
        counts["copies"] = sum(len(client.copies) for client in self.clients)
        return counts

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.history.accuse(f"unhandled: {context['message']}: {context.get('exception')!r}")

    def _raise_violations(self) -> None:
        if self.is_up:
            self.history.violations += self.server.find_leaks()
        if self.history.violations:
            raise Violation("\n".join(self.history.violations[:5]))

    async def _start(self) -> None:
        now, chance, history = self.now, self.chance, self.history
        self.disk: Disk
        if self._directory is None:
            self.disk = MemoryDisk(OFF, now, chance, history)
        else:
            self.disk = SqliteDisk(self._directory, OFF, now, chance, history)
        await self._start_server()
        service = await self.server.node.get_service(ACCOUNT_SID, "default")
        self.service: Service = service
        if self.has_acl:
            await self.server.node.execute(
                c.UpdateService(service.oid, c.ServiceSettings(has_acl=True), ADMIN)
            )
        for part in self.parts:
            await part.begin()
        chance.fault_share = self.fault_share
        chance.lost_share = self.lost_share
        for number in range(chance.randint(3, 7)):
            self.clients.append(self.add_client(f"c{number}", chance.choice(IDENTITIES)))

    async def debounce(self) -> None:
        """Let the seed say how long somebody may be away unnoticed."""
        self.window_ms = self.chance.choice([None, 1_000, 5_000, 9_000])
        if self.window_ms is not None:
            settings = c.ServiceSettings(has_debouncing=True, debouncing_window_ms=self.window_ms)
            await self.server.node.execute(c.UpdateService(self.service.oid, settings, ADMIN))

    # Who lives in it

    def add_client(self, name: str, identity: str) -> Client:
        """Somebody more, who connects at once."""
        client = Client(name, identity, self.chance, self.history, self._connect, self.make_token)
        self.everybody.append(client)
        self.spawn(client.run())
        return client

    def _connect(self, session: ClientSession) -> Link | None:
        return self.server.connect(session) if self.is_up else None

    async def restart_server(self) -> None:
        """Kill the server; another one comes up a while later."""
        self.is_up = False
        self.chance.counts["sessions"] += self.server.face.statistics().opened
        self.server.die()
        await self.disk.kill()
        await asyncio.sleep(self.chance.uniform(0, 1))
        await self._start_server()

    async def _start_server(self) -> None:
        while True:
            self.chance.counts["servers"] += 1
            equipment = Equipment(
                self.chance,
                self.sources,
                self.outbox_bytes,
                self.log_seconds,
                self.credentials,
                self.witnesses,
                self.make_keeper,
                self.make_reachability,
            )
            server = Server(await self.disk.open(), equipment)
            try:
                await server.start()
            except Fault:  # it can't read what it must know: another one tries
                server.die()
                await self.disk.kill()
            else:
                break
        self.server = server
        self.started_at = self.now()
        self.is_up = True

    def spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run())
        self._background.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None and not isinstance(error, Lost | StarlingsError):
                self.history.accuse(f"in the test itself: {error!r}")

    # Steps

    async def _step(self) -> None:
        client = self.chance.choice(self.clients)
        weights = [weight for weight, _ in self._steps]
        (_, step) = self.chance.choices(self._steps, weights)[0]
        work = step(client)
        if work is not None:
            self.spawn(work)
        await asyncio.sleep(self.chance.choice([0.0, 0.0, 0.02, 0.1, 1.0]))

    def _list_steps(self) -> list[Step]:
        steps: list[Step] = [
            (20, self.copies.open),
            (60, self.writes.write),
            (40, self.writes.write_by_rest),
            (4, self.troubles.cut),
            (3, self.troubles.hang_up),
            (4, self.troubles.stall),
            (3, self.copies.resubscribe),
            (2, self.copies.close),
            (2, lambda client: client.session.update_token()),
            (5, self.writes.burst),
            (2, self.grants.change_own),
            (1, self.troubles.drain),
            (1, self.troubles.kill),
        ]
        return steps + [step for part in self.parts for step in part.steps()]

    # The end

    def _mend(self) -> None:
        """From now on nothing goes wrong any more."""
        self.is_mended = True
        self.chance.fault_share = self.chance.lost_share = 0.0
        self.chance.longest_delay = 0.001
        for link in self.server.links:
            link.resume()
        for part in self.parts:
            part.mend()

    async def _settle(self) -> None:
        """Wait until everybody is connected and subscribed, what expires is gone, and one more
        change of each object was told."""
        await asyncio.sleep(25.0)  # longer than times to live and short-lived tokens
        for link in self.server.links:
            link.resume()
        if not await self._wait_until_settled():
            return
        if self.has_acl:
            await self.grants.take_one()
        for part in self.parts:
            await part.finish()
        if self.parts:
            await asyncio.sleep(5.0)
        if self.has_acl:
            await self.grants.open_what_may_be_read()
        if not await self._wait_until_settled():
            return
        await self.copies.write_last()
        await asyncio.sleep(10.0)

    async def _wait_until_settled(self) -> bool:
        gives_up_at = _loop_time() + 300.0
        while not self._is_settled() and _loop_time() < gives_up_at:
            await self.copies.read_what_is_missing()
            await asyncio.sleep(1.0)
            self._raise_violations()
        if not self._is_settled():
            self.history.accuse("some subscriptions are never confirmed")
        return self._is_settled()

    def _is_settled(self) -> bool:
        return (
            self.is_up
            and all(client.is_ready for client in self.clients)
            and self.copies.is_settled()
            and all(part.is_settled() for part in self.parts)
        )

    async def _compare(self) -> None:
        for request_id in self.history.repeated_request_ids():
            self.history.accuse(f"request {request_id} was carried out twice")
        sentences = await self.copies.compare() + self.rights.compare()
        for part in self.parts:
            sentences += await part.compare()
        for sentence in sentences:
            self.history.accuse(f"at the end {sentence}")


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
