"""Changes of objects in a world: by clients, who check what they are answered, and over REST."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from starlings.core import commands as c
from starlings.core.errors import StarlingsError
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef
from tests.simulation.client import Client
from tests.simulation.client_session import Response
from tests.simulation.object_copy import Copy

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["ADMIN", "NAMES", "Writes"]

ADMIN = Actor(SYSTEM)
NAMES = {
    "document": ["doc a", "doc/b"],
    "list": ["list a"],
    "map": ["map a", "map%2Fb"],
    "stream": ["stream"],
}
KEYS = ["a", "b/c", "100%", "..", "a+b", "a%2Fb", "ü", "\U0001f426"]
KINDS = {kind.word: kind for kind in Kind}


class _ItemWrite(NamedTuple):
    """How an item is written; ``place`` None: the answer tells."""

    place: int | str | None
    method: str
    path: str
    if_match: str | None = None


class Writes:
    """Steps of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self._history = world.history
        self._count = 0

    def make_data(self) -> dict[str, Any]:
        self._count += 1
        data = {"n": self._count, "pad": "x" * self._chance.choice([0, 10, 10, 500])}
        for part in self._world.parts:
            data |= part.make_data()
        return data

    def any_object(self) -> tuple[str, ObjectRef]:
        """One with events."""
        kind = self._chance.choice(["document", "list", "map", "map"])
        name = self._chance.choice(NAMES[kind])
        return kind, ObjectRef(self._world.service.oid, KINDS[kind], name)

    # By clients

    async def write(self, client: Client) -> None:
        """Change one of the client's objects."""
        wanted = [
            copy
            for copy in client.copies.values()
            if copy.is_wanted and copy.name not in self._world.kept_names
        ]
        if not wanted or not client.is_ready:
            return
        copy = self._chance.choice(wanted)
        match copy.kind:
            case "document":
                await self._write_document(client, copy)
            case "stream":
                await self._publish(client, copy)
            case _:
                await self._write_item(client, copy)

    async def _write_document(self, client: Client, copy: Copy) -> None:
        if self._chance.is_so(0.05):
            await self._remove(client, copy)
            return
        data = self.make_data()
        if_match = copy.revision if self._chance.is_so(0.5) else None
        body = {"data": data, **({"ttl": 0} if self._chance.is_so(0.9) else {"ttl": 5})}
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

    async def _remove(self, client: Client, copy: Copy) -> None:
        response, _ = await client.request("DELETE", copy.path)
        if response.is_success:
            copy.is_removed = True
            if not self._history.is_removed(copy.sid):
                self._history.accuse(f"{copy.name}: an acknowledged removal did not happen")

    async def _write_item(self, client: Client, copy: Copy) -> None:
        kind = self._chance.random()
        if kind < 0.03:
            await self._remove(client, copy)
            return
        if kind < 0.06:
            await client.request("POST", copy.path, {"ttl": self._chance.choice([0, 0, 3])})
            return
        known = list(copy.live_items())
        if kind < 0.25 and known:
            await self._remove_item(client, copy, self._chance.choice(known))
            return
        data = self.make_data()
        body = {"data": data, **self._make_ttl()}
        write = self._choose_write(copy, known)
        response, request_id = await client.request(
            write.method, write.path, body, if_match=write.if_match
        )
        if response.is_success:
            self._check_acknowledged(copy, response, request_id, data)
            place = response.body["index"] if write.place is None else write.place
            copy.store(place, data, response.body["last_event_id"], response.body["revision"])

    def _choose_write(self, copy: Copy, known: list[int | str]) -> _ItemWrite:
        if copy.kind == "map":
            key = self._chance.choice(KEYS)
            entry = copy.items.get(key)
            choice = self._chance.random()
            if_match = None
            if choice < 0.2:
                if_match = "-1"
            elif choice < 0.5 and entry is not None and entry.data is not None:
                if_match = entry.revision
            return _ItemWrite(key, "PUT", _item_path(copy, key), if_match)
        if known and self._chance.is_so(0.4):
            index = self._chance.choice(known)
            return _ItemWrite(index, "POST", _item_path(copy, index))
        return _ItemWrite(None, "POST", f"{copy.path}/Items")

    async def _remove_item(self, client: Client, copy: Copy, key: int | str) -> None:
        response, request_id = await client.request("DELETE", _item_path(copy, key))
        if response.is_success:
            self._check_acknowledged(copy, response, request_id, None)
            copy.store(key, None, response.body["last_event_id"], "")

    def _check_acknowledged(
        self, copy: Copy, response: Response, request_id: str, data: dict[str, Any] | None
    ) -> None:
        event = self._history.find(copy.sid, response.body["last_event_id"])
        if event is None or event.request_id != request_id:
            self._history.accuse(f"{copy.name}: an acknowledged write is missing: {response}")
        elif data is not None and json.loads(event.data or b"null") != data:
            self._history.accuse(f"{copy.name}: other data were stored: {event}, not {data}")

    # Over REST

    async def write_by_rest(self, client: Client) -> None:
        del client
        await self._change_by_rest(*self.any_object())

    async def change_map(self, name: str) -> None:
        await self._change_by_rest("map", ObjectRef(self._world.service.oid, Kind.MAP, name))

    async def burst(self, client: Client) -> None:
        """Many changes of one object while somebody subscribes to it: more than is held."""
        for copy in client.copies.values():
            client.subscribe_anew(copy)
        await self.change_often(*self.any_object())

    async def change_often(self, kind: str, ref: ObjectRef) -> None:
        for _ in range(self._chance.randint(10, 60)):
            self._world.spawn(self._change_by_rest(kind, ref))
            await asyncio.sleep(self._chance.uniform(0, 0.01))

    async def _change_by_rest(self, kind: str, ref: ObjectRef) -> None:
        with suppress(StarlingsError):
            await self._world.server.node.execute(self._make_command(kind, ref))

    def _make_command(self, kind: str, ref: ObjectRef) -> c.Command:
        chance = self._chance
        data = json.dumps(self.make_data(), separators=(",", ":")).encode()
        ttl = self._make_ttl().get("ttl")
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

    def _make_ttl(self) -> dict[str, int]:
        return {"ttl": self._chance.randint(1, 4)} if self._chance.is_so(0.15) else {}


def _item_path(copy: Copy, key: int | str) -> str:
    return f"{copy.path}/Items/{quote(str(key), safe='')}"
