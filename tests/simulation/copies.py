"""Open objects in a world: clients open and close them, and at the end each equals the store."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlings.core import commands as c
from starlings.core.objects import Kind, ObjectRef, SyncObject
from tests.simulation.client import Client
from tests.simulation.client_session import Lost
from tests.simulation.object_copy import Copy
from tests.simulation.writes import ADMIN, NAMES

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Copies"]


class Copies:
    """Steps and checks of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self._published: set[str] = set()
        """SIDs of the last messages."""

    # Steps

    async def open(self, client: Client) -> None:
        kind = self._chance.choice(list(NAMES))
        name = self._chance.choice(NAMES[kind])
        if not client.is_ready:
            return
        known = client.copies.get(name)
        if known is not None and not known.is_wanted:
            if not known.is_failed:
                await client.close_copy(known)
            return
        copy = await client.open(kind, name, from_start=self._chance.is_so(0.5))
        if copy is None:
            return
        await self._world.grants.give_all(copy.sid, 0.8)
        if not copy.has_items:
            await client.read_all_items(copy)

    def resubscribe(self, client: Client) -> None:
        for copy in client.copies.values():
            client.subscribe_anew(copy)

    async def close(self, client: Client) -> None:
        names = list(client.copies)
        if names and client.is_ready:
            await client.close_copy(client.copies[self._chance.choice(names)])

    # The end

    def is_settled(self) -> bool:
        return all(
            copy.is_established and copy.has_items
            for client in self._world.clients
            for copy in client.copies.values()
            if copy.is_wanted
        )

    async def read_what_is_missing(self) -> None:
        """The items of which a reading was broken off."""
        for client in self._world.clients:
            for copy in list(client.copies.values()):
                if not copy.has_items and client.is_ready:
                    with suppress(Lost):
                        await client.read_all_items(copy)

    async def write_last(self) -> None:
        """Change each object once more: whoever missed something notices it."""
        for target in await self._list_objects():
            if target.unique_name not in self._world.kept_names:
                await self._write_last(target)

    async def _write_last(self, target: SyncObject) -> None:
        ref = ObjectRef(self._world.service.oid, target.kind, target.sid)
        node = self._world.server.node
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

    async def compare(self) -> list[str]:
        """Every copy must be what the store has, and open exactly if it may be read."""
        present = {target.sid: target for target in await self._list_objects()}
        return [
            f"{client.name}: {copy.name}: {sentence}"
            for client in self._world.clients
            for copy in client.copies.values()
            for sentence in await self._differences(client, copy, present.get(copy.sid))
        ]

    async def _list_objects(self) -> list[SyncObject]:
        world, found = self._world, []
        for kind in Kind:
            found += await world.server.store.list_objects(
                world.service.oid, kind, None, False, 100, world.now()
            )
        return found

    async def _differences(
        self, client: Client, copy: Copy, target: SyncObject | None
    ) -> list[str]:
        if copy.is_failed:
            return []  # whether rightly so was judged when it was told
        if target is None or copy.is_removed:
            if (target is None) == copy.is_removed:
                return []
            return [f"removed is {copy.is_removed}, in the store {target is None}"]
        if not self._world.rights.may_read_now(copy.sid, client.identity):
            return ["may not be read any more, and is still subscribed to"]
        if target.kind is Kind.DOCUMENT:
            there: Any = json.loads(target.data or b"null")
            here: Any = copy.data
        elif target.kind is Kind.STREAM:
            here = bool(self._published & set(copy.messages))
            there = True
        else:
            rows = await self._world.server.store.list_items(
                target.oid, None, True, False, 10_000, self._world.now()
            )
            there = {row.key: json.loads(row.data) for row in rows}
            here = copy.live_items()
        sentences = []
        if here != there:
            sentences.append(f"has {here}, the store {there}")
        if target.kind is not Kind.STREAM and copy.last_id != target.event_id:
            sentences.append(f"is at event {copy.last_id}, the store at {target.event_id}")
        return sentences
