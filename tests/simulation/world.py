"""A whole simulated world: one server after the other on one disk, clients, and what goes wrong.

``World.run`` lives through so many random steps, then mends everything, writes once more to each
object, and compares: at the end every copy must equal the store. What else lives in a world comes
in parts, each with steps and checks of its own: ``live_queries.py``, ``presence.py``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch
from urllib.parse import quote

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal, StarlingsError
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service, SyncObject
from starlings.core.sids import oid_of
from starlings.node.clock import Sources
from starlings.node.node import Node
from starlings.node.presence_keeper import PresenceKeeper
from starlings.node.subscription import Subscription
from starlings.node.upkeep import Retention, Upkeep
from starlings.storage.store import Store
from starlings.ws.catchup import CatchUp
from starlings.ws.face import SyncFace
from starlings.ws.outbox import Flusher, Outbox, OutboxLimits
from starlings.ws.session import SyncSession
from tests.simulation.chance import Chance
from tests.simulation.client import Client, Copy, Lost, Response
from tests.simulation.history import History
from tests.simulation.network import Descriptors, Link
from tests.simulation.part import Part, Step
from tests.simulation.stores import Disk, MemoryDisk, SqliteDisk

__all__ = ["Figures", "PartMaker", "Violation", "World", "small_bounds"]

START_MS = 1_800_000_000_000
ACCOUNT_SID = "AC" + "0" * 32
ADMIN = Actor(SYSTEM)
NAMES = {
    "document": ["doc a", "doc/b"],
    "list": ["list a"],
    "map": ["map a", "map%2Fb"],
    "stream": ["stream"],
}
KEYS = ["a", "b/c", "100%", "..", "a+b", "a%2Fb", "ü", "\U0001f426"]
KINDS = {kind.word: kind for kind in Kind}
PartMaker = Callable[["World"], Part]


class Violation(AssertionError):
    """The server broke a promise."""


@dataclass(frozen=True)
class Figures:
    """What happened in a run."""

    events: int
    sessions: int
    servers: int
    copies: int
    snapshots: int
    """Replays for which the log no longer reached back."""
    gaps: int
    """Live subscriptions that had to catch up once more."""
    direct_writes: int
    """Broadcasts past an outbox."""
    queries: int
    """Live ones that were begun."""
    query_events: int
    query_results: int
    """Whole ones after the first."""
    revoked_queries: int
    presence_events: int
    """Somebody came, changed or left."""
    performed: int
    """On-disconnect actions."""


@dataclass(frozen=True)
class Token:
    identity: str
    expires_at: int
    account_sid: str = ACCOUNT_SID
    key_sid: str = "SK" + "0" * 32
    service: str = "default"


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


class _InOrder(dict[Any, None]):
    """A set whose order doesn't depend on addresses, or a seed would not be the same twice."""

    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


class _Server:
    """One process's life."""

    def __init__(self, store: Store, world: World) -> None:
        loop = asyncio.get_running_loop()
        limits = OutboxLimits(
            queued_bytes=world.outbox_bytes, age_seconds=5.0, turn_bytes=world.outbox_bytes // 4
        )
        self.store = store
        self.descriptors = Descriptors(world.chance)
        self.flusher = Flusher(loop, limits, self.descriptors.write)
        self.node = Node(store, replace(OFF, page_max=6, page_default=3), world.sources)
        self.keeper = None if world.make_keeper is None else world.make_keeper(self.node)
        self.face = SyncFace(self.node, world.verify, b"secret", presence=self.keeper)
        self.face._sessions = cast(set[SyncSession], _InOrder())
        self.face._tasks = cast("set[asyncio.Task[None]]", _InOrder())
        self.flusher._backlogged = cast(set[Outbox], _InOrder())
        self.face.server._flusher = self.flusher
        self.upkeep = loop.create_task(
            Upkeep(store, world.sources, Retention(world.log_seconds, 1e9)).run()
        )
        self._keeping: asyncio.Task[None] | None = None
        self.links: list[Link] = []

    async def start(self) -> None:
        """Take up what the former server left."""
        if self.keeper is not None:
            await self.keeper.restore()
            self._keeping = asyncio.get_running_loop().create_task(self.keeper.run())

    def connect(self, client: Client, chance: Chance) -> Link:
        window_bytes = chance.choice([512, 4096, 65536])
        link = Link(
            chance,
            self.flusher,
            self.descriptors,
            lambda: SyncSession(self.face),
            client,
            window_bytes,
        )
        self.links.append(link)
        return link

    def die(self) -> None:
        self.upkeep.cancel()
        if self._keeping is not None:
            self._keeping.cancel()
        for link in self.links:
            link.die()
        for task in list(self.face._tasks):
            task.cancel()
        for session in list(self.face._sessions):
            if session._timer is not None:
                session._timer.cancel()


class World:
    """One seed's world.

    Args:
        directory: None: the memory store.
        parts: What lives in it beside objects and their copies.
    """

    def __init__(
        self,
        seed: int,
        directory: Path | None = None,
        parts: Iterable[PartMaker] = (),
    ) -> None:
        self.start_ms = START_MS
        self.history = History()
        self.chance = chance = Chance(seed)
        self.outbox_bytes = chance.choice([8, 32, 256]) * 1024
        self.log_seconds = chance.choice([1.0, 5.0, 1e9])
        self.has_acl = chance.is_so(0.3)
        self.fault_share = chance.choice([0.0, 0.0, 0.03])
        self.lost_share = chance.choice([0.0, 0.0, 0.05])
        self._directory = directory
        self.clients: list[Client] = []
        self._background: set[asyncio.Task[None]] = set()
        self._count = 0
        self._is_up = self._is_mended = False
        self._servers = self._sessions = 0
        self._published: set[str] = set()
        self.kept_names: set[str] = set()
        """Of objects that the server keeps: nobody else writes them."""
        self.make_keeper: Callable[[Node], PresenceKeeper] | None = None
        """None: the servers have no presence."""
        self._parts = [make_part(self) for make_part in parts]

    # What the server is given

    def now(self) -> int:
        return START_MS + int(asyncio.get_running_loop().time() * 1000)

    @property
    def sources(self) -> Sources:
        return Sources(self.now, lambda: asyncio.get_running_loop().time(), self.chance.getrandbits)

    def verify(self, text: str) -> Token:
        identity, _, expires_at = text.partition("|")
        if int(expires_at) <= self.now():
            raise Refusal(Reason.TOKEN_EXPIRED)
        return Token(identity, int(expires_at))

    def make_token(self, identity: str) -> str:
        lives_seconds = 3600 if self._is_mended else self.chance.choice([2, 20, 3600, 3600])
        return f"{identity}|{self.now() + lives_seconds * 1000}"

    # A run

    async def run(self, steps: int = 200) -> Figures:
        """Raises Violation."""
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
            return Figures(
                self.history.event_count,
                self._sessions + self.server.face.statistics().opened,
                self._servers,
                sum(len(client.copies) for client in self.clients),
                self.chance.counts["snapshots"],
                self.chance.counts["repairs"],
                self.chance.counts["direct writes"],
                self.chance.counts["queries"],
                self.chance.counts["query events"],
                self.chance.counts["query results"],
                self.chance.counts["revoked queries"],
                self.chance.counts["presence events"],
                self.chance.counts["performed"],
            )
        finally:
            logger.removeHandler(complaints)
            logger.setLevel(level_before)
            if self._is_up:
                self.server.die()
                await self._disk.kill()

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.history.accuse(f"unhandled: {context['message']}: {context.get('exception')!r}")

    def _raise_violations(self) -> None:
        if self.history.violations:
            raise Violation("\n".join(self.history.violations[:5]))

    async def _start(self) -> None:
        limits = OFF
        self._disk: Disk
        if self._directory is None:
            self._disk = MemoryDisk(limits, self.now, self.chance, self.history)
        else:
            self._disk = SqliteDisk(self._directory, limits, self.now, self.chance, self.history)
        await self._start_server()
        service = await self.server.node.get_service(ACCOUNT_SID, "default")
        self.service: Service = service
        if self.has_acl:
            await self.server.node.execute(
                c.UpdateService(service.oid, c.ServiceSettings(has_acl=True), ADMIN)
            )
        for part in self._parts:
            await part.begin()
        self.chance.fault_share = self.fault_share
        self.chance.lost_share = self.lost_share
        identities = ["alice", "bob", "carol"]
        for number in range(self.chance.randint(3, 7)):
            self.clients.append(self.add_client(f"c{number}", self.chance.choice(identities)))

    def add_client(self, name: str, identity: str) -> Client:
        """Somebody more, who connects at once."""
        client = Client(name, identity, self.chance, self.history, self._connect, self.make_token)
        self.spawn(client.run())
        return client

    async def _start_server(self) -> None:
        while True:
            self._servers += 1
            server = _Server(await self._disk.open(), self)
            try:
                await server.start()
            except Fault:  # it can't read what it must know: another one tries
                server.die()
                await self._disk.kill()
            else:
                break
        self.server = server
        self._is_up = True

    def _connect(self, client: Client) -> Link | None:
        return self.server.connect(client, self.chance) if self._is_up else None

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
            (20, self._open),
            (60, self._write),
            (40, self._write_by_rest),
            (4, self._cut),
            (3, self._hang_up),
            (4, self._stall),
            (3, self._resubscribe),
            (2, self._close),
            (2, self._update_token),
            (5, self._burst),
            (2, self._change_permission),
            (1, self._drain),
            (1, self._kill_server),
        ]
        return steps + [step for part in self._parts for step in part.steps()]

    async def _open(self, client: Client) -> None:
        kind = self.chance.choice(list(NAMES))
        name = self.chance.choice(NAMES[kind])
        if not client.is_ready:
            return
        known = client.copies.get(name)
        if known is not None and not known.is_wanted:
            if not known.is_failed:
                await client.close_copy(known)
            return
        copy = await client.open(kind, name, from_start=self.chance.is_so(0.5))
        if copy is None:
            return
        if self.has_acl:
            await self._grant_all(copy.sid, 0.8)
        if not copy.has_items:
            await client.read_all_items(copy)

    def _cut(self, client: Client) -> None:
        if client.link is not None:
            client.link.cut()

    def _hang_up(self, client: Client) -> None:
        client.hang_up()

    def _stall(self, client: Client) -> None:
        link = client.link
        if link is not None:
            link.stall()
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 10), link.resume)

    def _resubscribe(self, client: Client) -> None:
        for copy in client.copies.values():
            client.subscribe_anew(copy)

    async def _close(self, client: Client) -> None:
        names = list(client.copies)
        if names and client.is_ready:
            await client.close_copy(client.copies[self.chance.choice(names)])

    async def _update_token(self, client: Client) -> None:
        await client.update_token()

    async def _drain(self, client: Client) -> None:
        """An orderly restart: sessions are sent away, then the server ends."""
        if self._is_up:
            server = self.server
            if server.keeper is not None:
                server.keeper.freeze()
            await server.face.drain(1.0)
            if self._is_up and self.server is server:
                await self._kill_server(client)

    async def _kill_server(self, client: Client) -> None:
        del client
        if not self._is_up:
            return
        self._is_up = False
        self._sessions += self.server.face.statistics().opened
        self.server.die()
        await self._disk.kill()
        await asyncio.sleep(self.chance.uniform(0, 1))
        await self._start_server()

    # Writes by clients

    async def _write(self, client: Client) -> None:
        wanted = [
            copy
            for copy in client.copies.values()
            if copy.is_wanted and copy.name not in self.kept_names
        ]
        if not wanted or not client.is_ready:
            return
        copy = self.chance.choice(wanted)
        match copy.kind:
            case "document":
                await self._write_document(client, copy)
            case "stream":
                await self._publish(client, copy)
            case _:
                await self._write_item(client, copy)

    def make_data(self) -> dict[str, Any]:
        self._count += 1
        data = {"n": self._count, "pad": "x" * self.chance.choice([0, 10, 10, 500])}
        for part in self._parts:
            data |= part.make_data()
        return data

    def _ttl(self) -> dict[str, int]:
        return {"ttl": self.chance.randint(1, 4)} if self.chance.is_so(0.15) else {}

    async def _write_document(self, client: Client, copy: Copy) -> None:
        if self.chance.is_so(0.05):
            response, _ = await client.request("DELETE", copy.path)
            if response.is_success:
                copy.is_removed = True
                self._check_removed(copy)
            return
        data = self.make_data()
        if_match = copy.revision if self.chance.is_so(0.5) else None
        body = {"data": data, **({"ttl": 0} if self.chance.is_so(0.9) else {"ttl": 5})}
        response, request_id = await client.request("POST", copy.path, body, if_match=if_match)
        if response.status == 404:
            copy.is_removed = True
        if response.is_success:
            self._check_acknowledged(copy, response, request_id, data)
            if response.body["last_event_id"] > copy.last_id:
                copy.last_id = response.body["last_event_id"]
                copy.data, copy.revision = data, response.body["revision"]

    async def _publish(self, client: Client, copy: Copy) -> None:
        response, _ = await client.request(
            "POST", f"{copy.path}/Messages", {"data": {"by": client.address}}
        )
        if response.status == 404:
            copy.is_removed = True

    async def _write_item(self, client: Client, copy: Copy) -> None:
        kind = self.chance.random()
        if kind < 0.03:
            response, _ = await client.request("DELETE", copy.path)
            if response.is_success:
                copy.is_removed = True
                self._check_removed(copy)
            return
        if kind < 0.06:
            await client.request("POST", copy.path, {"ttl": self.chance.choice([0, 0, 3])})
            return
        known = list(copy.live_items())
        if kind < 0.25 and known:
            key = self.chance.choice(known)
            response, request_id = await client.request("DELETE", self._item_path(copy, key))
            if response.is_success:
                self._check_acknowledged(copy, response, request_id, None)
                copy.store(key, None, response.body["last_event_id"], "")
            return
        data = self.make_data()
        body = {"data": data, **self._ttl()}
        place: int | str | None
        if copy.kind == "map":
            place = self.chance.choice(KEYS)
            entry = copy.items.get(place)
            choice = self.chance.random()
            if_match = None
            if choice < 0.2:
                if_match = "-1"
            elif choice < 0.5 and entry is not None and entry.data is not None:
                if_match = entry.revision
            method, path = "PUT", self._item_path(copy, place)
        elif known and self.chance.is_so(0.4):
            place, if_match = self.chance.choice(known), None
            method, path = "POST", self._item_path(copy, place)
        else:
            place, if_match, method, path = None, None, "POST", f"{copy.path}/Items"
        response, request_id = await client.request(method, path, body, if_match=if_match)
        if response.is_success:
            self._check_acknowledged(copy, response, request_id, data)
            if place is None:
                place = response.body["index"]
            copy.store(place, data, response.body["last_event_id"], response.body["revision"])

    @staticmethod
    def _item_path(copy: Copy, key: int | str) -> str:
        return f"{copy.path}/Items/{quote(str(key), safe='')}"

    def _check_acknowledged(
        self, copy: Copy, response: Response, request_id: str, data: dict[str, Any] | None
    ) -> None:
        event = self.history.find(copy.sid, response.body["last_event_id"])
        if event is None or event.request_id != request_id:
            self.history.accuse(f"{copy.name}: an acknowledged write is missing: {response}")
        elif data is not None and json.loads(event.data or b"null") != data:
            self.history.accuse(f"{copy.name}: other data were stored: {event}, not {data}")

    def _check_removed(self, copy: Copy) -> None:
        if not self.history.is_removed(copy.sid):
            self.history.accuse(f"{copy.name}: an acknowledged removal did not happen")

    # Writes over REST

    async def _write_by_rest(self, client: Client) -> None:
        del client
        await self._change_by_rest(*self._any_object())

    def _any_object(self) -> tuple[str, ObjectRef]:
        kind = self.chance.choice(["document", "list", "map", "map"])
        name = self.chance.choice(NAMES[kind])
        return kind, ObjectRef(self.service.oid, KINDS[kind], name)

    async def change_map(self, name: str) -> None:
        await self._change_by_rest("map", ObjectRef(self.service.oid, Kind.MAP, name))

    async def _change_by_rest(self, kind: str, ref: ObjectRef) -> None:
        with suppress(StarlingsError):
            await self.server.node.execute(self._command(kind, ref))

    def _command(self, kind: str, ref: ObjectRef) -> c.Command:
        chance = self.chance
        data = json.dumps(self.make_data(), separators=(",", ":")).encode()
        ttl = self._ttl().get("ttl")
        if chance.is_so(0.01):
            return c.RemoveObject(ref, None, ADMIN)
        if kind == "document":
            return c.UpdateDocument(ref, data, None, None, ADMIN)
        if kind == "list":
            index = chance.randint(0, 10)
            commands: list[c.Command] = [
                c.AddListItem(ref, data, ttl, None, ADMIN),
                c.UpdateItem(ref, index, data, ttl, None, None, ADMIN),
                c.RemoveItem(ref, index, None, ADMIN),
            ]
            return chance.choice(commands)
        key = chance.choice(KEYS)
        commands = [
            c.PutMapItem(ref, key, data, ttl, None, ADMIN),
            c.AddMapItem(ref, key, data, ttl, None, ADMIN),
            c.UpdateItem(ref, key, data, ttl, None, None, ADMIN),
            c.RemoveItem(ref, key, None, ADMIN),
        ]
        return chance.choice(commands)

    async def _burst(self, client: Client) -> None:
        """Many changes of one object while somebody subscribes to it: more than is held."""
        for copy in client.copies.values():
            client.subscribe_anew(copy)
        kind, ref = self._any_object()
        for _ in range(self.chance.randint(10, 60)):
            self.spawn(self._change_by_rest(kind, ref))
            await asyncio.sleep(self.chance.uniform(0, 0.01))

    async def _change_permission(self, client: Client) -> None:
        if self.has_acl and client.copies:
            copy = client.copies[self.chance.choice(list(client.copies))]
            await self.grant(copy.sid, client.identity, may_read=self.chance.is_so(0.5))

    async def _grant_all(self, sid: str, share: float) -> None:
        for identity in ("alice", "bob", "carol"):
            permission = await self.server.store.find_permission(oid_of(sid), identity)
            if permission is None and self.chance.is_so(share):
                await self.grant(sid, identity, may_read=True)

    async def grant(self, sid: str, identity: str, *, may_read: bool) -> None:
        target = await self.server.store.find_object(oid_of(sid))
        if target is not None:
            ref = ObjectRef(self.service.oid, target.kind, sid)
            with suppress(Refusal, Fault):
                await self.server.node.execute(
                    c.SetPermission(ref, identity, may_read, True, True, ADMIN)
                )

    # The end

    def _mend(self) -> None:
        """From now on nothing goes wrong any more."""
        self._is_mended = True
        self.chance.fault_share = self.chance.lost_share = 0.0
        self.chance.longest_delay = 0.001
        for link in self.server.links:
            link.resume()
        for part in self._parts:
            part.mend()

    async def _settle(self) -> None:
        """Wait until everybody is connected and subscribed, what expires is gone, and one more
        change of each object was told."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(25.0)  # longer than times to live and short-lived tokens
        for link in self.server.links:
            link.resume()
        gives_up_at = loop.time() + 300.0
        while not self._is_settled() and loop.time() < gives_up_at:
            for client in self.clients:
                for copy in list(client.copies.values()):
                    if not copy.has_items and client.is_ready:
                        with suppress(Lost):
                            await client.read_all_items(copy)
            await asyncio.sleep(1.0)
            self._raise_violations()
        if not self._is_settled():
            self.history.accuse("some subscriptions are never confirmed")
            return
        if self.has_acl:
            await self._take_a_permission()
        for part in self._parts:
            await part.finish()
        if self._parts:
            await asyncio.sleep(5.0)
        for target in await self._objects():
            if target.unique_name not in self.kept_names:
                await self._write_last(target)
        await asyncio.sleep(10.0)

    async def _take_a_permission(self) -> None:
        """From somebody who is subscribed."""
        holders = [
            (copy.sid, client.identity)
            for client in self.clients
            for copy in client.copies.values()
            if copy.is_wanted
        ]
        if holders:
            sid, identity = self.chance.choice(holders)
            await self.grant(sid, identity, may_read=False)
            await asyncio.sleep(5.0)

    def _is_settled(self) -> bool:
        return (
            self._is_up
            and all(
                client.is_ready
                and all(
                    copy.is_established and copy.has_items
                    for copy in client.copies.values()
                    if copy.is_wanted
                )
                for client in self.clients
            )
            and all(part.is_settled() for part in self._parts)
        )

    async def _objects(self) -> list[SyncObject]:
        found = []
        for kind in Kind:
            found += await self.server.store.list_objects(
                self.service.oid, kind, None, False, 100, self.now()
            )
        return found

    async def _write_last(self, target: SyncObject) -> None:
        ref = ObjectRef(self.service.oid, target.kind, target.sid)
        node = self.server.node
        match target.kind:
            case Kind.DOCUMENT:
                await node.execute(c.UpdateDocument(ref, b'{"n":-1}', None, None, ADMIN))
            case Kind.LIST:
                await node.execute(c.AddListItem(ref, b'{"n":-1}', None, None, ADMIN))
            case Kind.MAP:
                await node.execute(c.PutMapItem(ref, "last", b'{"n":-1}', None, None, ADMIN))
            case Kind.STREAM:
                message = await node.publish_message(ref, b'{"by":"rest"}', ADMIN)
                self._published.add(message.sid)

    async def _compare(self) -> None:
        """Every copy must be what the store has."""
        for request_id in self.history.repeated_request_ids():
            self.history.accuse(f"request {request_id} was carried out twice")
        present = {target.sid: target for target in await self._objects()}
        for client in self.clients:
            for copy in client.copies.values():
                if copy.is_failed:
                    continue
                for sentence in await self._differences(client, copy, present.get(copy.sid)):
                    self.history.accuse(f"at the end {client.name}: {copy.name}: {sentence}")
        for part in self._parts:
            for sentence in await part.compare():
                self.history.accuse(f"at the end {sentence}")

    async def find(self, sid: str) -> SyncObject | None:
        """An object as it is stored."""
        return await self.server.store.find_object(oid_of(sid))

    async def may_read(self, target: SyncObject, identity: str) -> bool:
        """As the rows say: the grants of this world are for single identities."""
        if not self.has_acl:
            return True
        permission = await self.server.store.find_permission(target.oid, identity)
        return permission is not None and permission.may_read

    async def _differences(
        self, client: Client, copy: Copy, target: SyncObject | None
    ) -> list[str]:
        if target is None or copy.is_removed:
            if (target is None) == copy.is_removed:
                return []
            return [f"removed is {copy.is_removed}, in the store {target is None}"]
        store = self.server.store
        if not await self.may_read(target, client.identity):
            return ["may not be read any more, and is still subscribed to"]
        if target.kind is Kind.DOCUMENT:
            there: Any = json.loads(target.data or b"null")
            here: Any = copy.data
        elif target.kind is Kind.STREAM:
            here = bool(self._published & set(copy.messages))
            there = True
        else:
            rows = await store.list_items(target.oid, None, True, False, 10_000, self.now())
            there = {row.key: json.loads(row.data) for row in rows}
            here = copy.live_items()
        sentences = []
        if here != there:
            sentences.append(f"has {here}, the store {there}")
        if target.kind is not Kind.STREAM and copy.last_id != target.event_id:
            sentences.append(f"is at event {copy.last_id}, the store at {target.event_id}")
        return sentences


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


@contextmanager
def small_bounds() -> Iterator[None]:
    """So that short runs page, overflow and wait as often as long ones."""
    with (
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
