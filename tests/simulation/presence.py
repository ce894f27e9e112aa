"""Presence in a world: guests come and go, publish, and leave actions behind."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any

from starlings.core.objects import SYSTEM, Actor, Kind, Match, ObjectRef
from starlings.core.sids import oid_of
from starlings.node.node import Node
from tests.simulation.attendance import ACTIONS, DONE, PRESENCE, Attendance, WatchedKeeper
from tests.simulation.client import Client
from tests.simulation.part import Step
from tests.simulation.rights import MANAGE, READ, WRITE, Grant

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Presence"]

_ADMIN = Actor(SYSTEM)
_SETTINGS = "starlings.presence"
_GUESTS = ["dora", "dora", "erik", "frida"]
_IDENTITIES = ["alice", "bob", "alina", "zoe", *_GUESTS]


class Presence:
    """Implements ``part.Part``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self.attendance = Attendance(world.history, world.start_ms, world.chance.counts)
        self._guests: list[Client] = []
        self._count = 0
        world.history.listen(self.attendance.hear)
        world.make_keeper = self._make_keeper
        world.kept_names |= {PRESENCE, ACTIONS, DONE, _SETTINGS}

    def _make_keeper(self, node: Node) -> WatchedKeeper:
        return WatchedKeeper(node, self.attendance)

    def make_data(self) -> dict[str, Any]:
        return {}

    async def begin(self) -> None:
        world = self._world
        keeper = world.server.keeper
        assert keeper is not None
        if world.window_ms is None:
            await world.debounce()
        if world.window_ms is not None:
            self.attendance.window_seconds = world.window_ms / 1000
        await keeper.configure(world.service, PRESENCE, ACTIONS)
        await world.server.node.create_object(
            world.service, Kind.MAP, DONE, None, None, _ADMIN, None
        )
        if world.has_acl:
            for name in (PRESENCE, ACTIONS, DONE):
                for identity in dict.fromkeys(_IDENTITIES):
                    ref = ObjectRef(world.service.oid, Kind.MAP, name)
                    everything = frozenset({READ, WRITE, MANAGE})
                    await world.grants.set(ref, Grant(identity, Match.EXACT, everything, None))
        for number, identity in enumerate(_GUESTS):
            self._guests.append(world.add_client(f"g{number}", identity))

    def steps(self) -> list[Step]:
        return [
            (16, self._come_or_go),
            (5, self._publish),
            (8, self._register),
            (2, self._unregister),
            (3, self._open),
        ]

    def mend(self) -> None:
        """Some stay for good, some are gone for good."""
        for guest in self._guests:
            guest.session.away_until = 0.0
            if self._chance.is_so(0.5):
                self._leave(guest, math.inf)

    def is_settled(self) -> bool:
        return all(guest.is_ready or guest.session.away_until == math.inf for guest in self._guests)

    async def finish(self) -> None:
        """One change more, so that whoever missed the last one notices it."""
        self._guests.append(self._world.add_client("last", "zoe"))

    async def compare(self) -> list[str]:
        """Who is in the Map must be who is connected, in the eyes of the clients."""
        world = self._world
        connected: dict[str, int] = {}
        for client in world.everybody:
            if client.is_ready:
                connected[client.identity] = connected.get(client.identity, 0) + 1
        rows = await self._read(PRESENCE)
        present = {key: data["endpoints"] for key, data in rows.items()}
        sentences = []
        if self.attendance.identities() != connected:
            sentences.append(f"connected are {connected}: {self.attendance.identities()} was told")
        if present != connected:
            sentences.append(f"present are {present}, connected {connected}")
        register = {key: data["key"] for key, data in (await self._read(ACTIONS)).items()}
        if register != {key: token for key, (token, _) in self.attendance.registered.items()}:
            sentences.append(f"the register is {register}: {self.attendance.registered}")
        for token, endpoint in self.attendance.registered.values():
            if not self.attendance.is_there(endpoint):
                sentences.append(f"the action {token} of {endpoint} waits for ever")
        return [f"presence: {sentence}" for sentence in sentences]

    # Steps

    def _come_or_go(self, client: Client) -> None:
        del client
        guest = self._chance.choice(self._guests)
        now = asyncio.get_running_loop().time()
        if guest.session.away_until > now and self._chance.is_so(0.7):
            guest.session.away_until = 0.0
        else:
            self._leave(guest, now + self._chance.choice([0.0, 0.5, 1.5, 3.0, 12.0]))

    def _leave(self, guest: Client, until: float) -> None:
        guest.session.away_until = until
        if guest.session.link is not None and self._chance.is_so(0.5):
            guest.session.link.cut()
        else:
            guest.session.hang_up()
        if self._chance.is_so(0.3):
            guest.session.load_anew()

    async def _publish(self, client: Client) -> None:
        client = self._anybody(client)
        if not client.is_ready:
            return
        self._count += 1
        mood = self._count
        self.attendance.asked_moods.add((client.identity, mood))
        data = {"mood": mood}
        response, _ = await client.request(
            "PUT", f"/v3/Maps/{PRESENCE}/Items/{client.identity}", {"data": data}
        )
        if response.is_success:
            if mood not in self.attendance.moods:
                self._accuse(client, f"an acknowledged publication is missing: {mood}")
            copy = client.copies.get(PRESENCE)
            if copy is not None:
                body = response.body
                copy.store(client.identity, data, body["last_event_id"], body["revision"])
        elif not self._world.has_acl:
            self._accuse(client, f"could not publish: {response}")

    async def _register(self, client: Client) -> None:
        client = self._anybody(client)
        if not client.is_ready:
            return
        self._count += 1
        token = f"{client.name}/{self._count}"
        action = {"action": "set_item", "map": DONE, "key": token, "data": {"by": client.name}}
        response, _ = await client.request("PUT", self._choose_path(client), {"data": action})
        if response.is_success and token not in self.attendance.tokens:
            self._accuse(client, f"an acknowledged action is missing: {token}")
        if not response.is_success and not self._world.has_acl:
            self._accuse(client, f"could not register: {response}")

    async def _unregister(self, client: Client) -> None:
        client = self._anybody(client)
        if client.is_ready:
            await client.request("DELETE", self._choose_path(client))

    async def _open(self, client: Client) -> None:
        """The Map is one like others."""
        if client.is_ready:
            copy = await client.open("map", PRESENCE, from_start=self._chance.is_so(0.5))
            if copy is not None and not copy.has_items:
                await client.read_all_items(copy)

    # Within

    def _anybody(self, client: Client) -> Client:
        return self._chance.choice([client, *self._guests])

    def _choose_path(self, client: Client) -> str:
        return f"/v3/Maps/{ACTIONS}/Items/{client.name}-{self._chance.randint(0, 2)}"

    async def _read(self, name: str) -> dict[str, Any]:
        sid = self._world.history.sids_of_name(name)[-1]
        rows = await self._world.server.store.list_items(
            oid_of(sid), None, True, False, 10_000, self._world.now()
        )
        return {str(row.key): json.loads(row.data) for row in rows}

    def _accuse(self, client: Client, sentence: str) -> None:
        self._world.history.accuse(f"presence: {client.name}: {sentence}")
