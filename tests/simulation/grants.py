"""Grants for single identities, in every world with access control."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlings.core import commands as c
from starlings.core.errors import Fault, Refusal
from starlings.core.objects import Match, ObjectRef
from starlings.core.sids import oid_of
from tests.simulation.client import Client
from tests.simulation.client_session import Lost
from tests.simulation.object_copy import Copy
from tests.simulation.rights import MANAGE, READ, WRITE, Grant
from tests.simulation.writes import ADMIN

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Grants"]


class Grants:
    """Steps of a world, and the only ones who change grants."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance

    async def set(self, ref: ObjectRef, grant: Grant) -> None:
        """Raises Refusal and Fault."""
        command = c.SetPermission(
            ref,
            grant.identity,
            READ in grant.rights,
            WRITE in grant.rights,
            MANAGE in grant.rights,
            ADMIN,
            self._world.rights.announce(grant),
            grant.match,
            grant.ttl,
        )
        await self._world.server.node.execute(command)

    async def give(self, sid: str, identity: str, *, may_read: bool) -> None:
        """Everything, or everything but reading; or nothing at all if that fails."""
        rights = {WRITE, MANAGE, READ} if may_read else {WRITE, MANAGE}
        await self.try_to_set(sid, Grant(identity, Match.EXACT, frozenset(rights), None))

    async def try_to_set(self, sid: str, grant: Grant) -> None:
        target = await self._world.server.store.find_object(oid_of(sid))
        if target is not None:
            with suppress(Refusal, Fault):
                await self.set(ObjectRef(self._world.service.oid, target.kind, sid), grant)

    async def give_all(self, sid: str, share: float) -> None:
        """To most of the identities that have no grant of their own, as an application might."""
        if not self._world.has_acl:
            return
        for identity in self._world.identities:
            grants = await self._world.server.store.list_grants(oid_of(sid), identity)
            has_own = any(one.match is Match.EXACT for one in grants)
            if not has_own and self._chance.is_so(share):
                await self.give(sid, identity, may_read=True)

    # Steps

    async def change_own(self, client: Client) -> None:
        """Give or take a grant of somebody who has the object open."""
        if self._world.has_acl and client.copies:
            copy = client.copies[self._chance.choice(list(client.copies))]
            await self.give(copy.sid, client.identity, may_read=self._chance.is_so(0.5))

    async def open_again(self, client: Client) -> None:
        """An application tries once more what it was refused."""
        failed = [copy for copy in client.copies.values() if copy.is_failed]
        rights = self._world.rights
        hopeful = [copy for copy in failed if rights.may_read_now(copy.sid, client.identity)]
        if hopeful and self._chance.is_so(0.8):
            failed = hopeful
        if failed and client.is_ready:
            await self._open_anew(client, self._chance.choice(failed))

    async def _open_anew(self, client: Client, known: Copy) -> bool:
        """False if that was refused. Raises Lost."""
        await client.close_copy(known)
        copy = await client.open(known.kind, known.name, from_start=self._chance.is_so(0.5))
        if copy is None:
            return False
        self._chance.counts["regained"] += 1
        if not copy.has_items:
            await client.read_all_items(copy)
        return True

    # The end

    async def take_one(self) -> None:
        """From somebody who is subscribed."""
        holders = [
            (copy.sid, client.identity)
            for client in self._world.clients
            for copy in client.copies.values()
            if copy.is_wanted
        ]
        if holders:
            sid, identity = self._chance.choice(holders)
            await self.give(sid, identity, may_read=False)
            await asyncio.sleep(5.0)

    async def open_what_may_be_read(self) -> None:
        """Whoever lost an object and may read it now opens it; all others are refused."""
        world = self._world
        for client in world.clients:
            for copy in [copy for copy in client.copies.values() if copy.is_failed]:
                sid = world.history.sids_of_name(copy.name)[-1]
                if world.history.is_removed(sid):
                    continue
                may_read = world.rights.may_read_now(sid, client.identity)
                with suppress(Lost):
                    if await self._open_anew(client, copy) is not may_read:
                        world.history.accuse(
                            f"{client.name}: {copy.name}: may be read is {may_read} at the end,"
                            " and trying told otherwise"
                        )
