"""Grants for a prefix of identities, for everybody and for a time, in a world with access control.

``rights.py`` knows who may do what by them, ``witness.py`` judges what is sent.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlings.core import commands as c
from starlings.core.errors import Fault, Refusal
from starlings.core.objects import Match, ObjectRef
from starlings.core.sids import oid_of
from tests.simulation.client import Client
from tests.simulation.part import Step
from tests.simulation.rights import MANAGE, READ, WRITE, Grant
from tests.simulation.writes import ADMIN, NAMES

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["WideGrants"]

_PREFIXES = ["a", "al", "ali", "alice", "b", "bob", "z"]
_SECONDS = [None, None, 1, 2, 3, 5]


class WideGrants:
    """Implements ``part.Part``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        world.has_acl = True

    def make_data(self) -> dict[str, Any]:
        return {}

    async def begin(self) -> None:
        """Nobody has anything yet."""

    def steps(self) -> list[Step]:
        return [
            (14, self._grant),
            (5, self._lend),
            (3, self._nest),
            (6, self._remove),
            (20, self._world.grants.open_again),
            (2, self._take_from_everybody),
        ]

    def mend(self) -> None:
        """Nothing goes wrong here by itself."""

    def is_settled(self) -> bool:
        return True

    async def finish(self) -> None:
        """Shut some out: for good, and for two seconds from what everybody may read."""
        world = self._world
        holders = [
            (copy.sid, client.identity)
            for client in world.clients
            for copy in client.copies.values()
            if copy.is_wanted
        ]
        await self._take_from_everybody_for_good([sid for sid, _ in holders])
        for sid, identity in self._chance.sample(holders, min(3, len(holders))):
            for_all = Grant("*", Match.EVERYBODY, frozenset({READ, WRITE}), None)
            await world.grants.try_to_set(sid, for_all)
            await world.grants.try_to_set(sid, Grant(identity, Match.EXACT, frozenset(), 2))
        await asyncio.sleep(5.0)

    async def compare(self) -> list[str]:
        """The world compares what is open with the rights."""
        return []

    async def _take_from_everybody_for_good(self, sids: list[str]) -> None:
        """Let one object be read by the grant for everybody alone, and take that away."""
        sids += [
            query.result.map_sid
            for client in self._world.clients
            for query in client.queries.values()
            if query.is_wanted
        ]
        if not sids:
            return
        sid = self._chance.choice(sids)
        for_all = Grant("*", Match.EVERYBODY, frozenset({READ, WRITE}), None)
        await self._world.grants.try_to_set(sid, for_all)
        for grant in self._world.rights.list_grants(sid):
            if grant.match is not Match.EVERYBODY:
                await self._remove_grant(sid, grant)
        await asyncio.sleep(1.0)
        await self._world.grants.try_to_set(sid, for_all._replace(rights=frozenset({WRITE})))

    # Steps

    async def _grant(self, client: Client) -> None:
        sid = self._choose_object(client)
        if sid is None:
            return
        chance = self._chance
        shares = [(READ, 0.6), (WRITE, 0.7), (MANAGE, 0.8)]
        rights = frozenset(right for right, share in shares if chance.is_so(share))
        match = chance.choice(list(Match))
        identity = {
            Match.EXACT: client.identity,
            Match.PREFIX: chance.choice(_PREFIXES),
            Match.EVERYBODY: "*",
        }[match]
        ttl = chance.choice(_SECONDS)
        await self._world.grants.try_to_set(sid, Grant(identity, match, rights, ttl))

    async def _lend(self, client: Client) -> None:
        """Let a client keep for some seconds only what it has open."""
        open_copies = [copy for copy in client.copies.values() if copy.is_established]
        if open_copies:
            rights = frozenset({READ, WRITE, MANAGE})
            grant = Grant(client.identity, Match.EXACT, rights, self._chance.randint(1, 3))
            await self._world.grants.try_to_set(self._chance.choice(open_copies).sid, grant)

    async def _nest(self, client: Client) -> None:
        """Have two prefixes of a client's identity say the opposite: the longer one decides."""
        sid = self._choose_object(client)
        if sid is None:
            return
        for grant in self._world.rights.list_grants(sid):
            if grant.match is Match.EXACT and grant.identity == client.identity:
                await self._remove_grant(sid, grant)
        everything, nothing = frozenset({READ, WRITE, MANAGE}), frozenset[str]()
        rights = [everything, nothing]
        if self._chance.is_so(0.5):
            rights.reverse()
        for length, given in zip((1, 2), rights, strict=True):
            prefix = client.identity[:length]
            await self._world.grants.try_to_set(sid, Grant(prefix, Match.PREFIX, given, None))

    async def _remove(self, client: Client) -> None:
        sid = self._choose_object(client)
        if sid is None:
            return
        known = self._world.rights.list_grants(sid)
        if known:
            await self._remove_grant(sid, self._chance.choice(known))

    async def _remove_grant(self, sid: str, grant: Grant) -> None:
        target = await self._world.server.store.find_object(oid_of(sid))
        if target is None:
            return
        command = c.RemovePermission(
            ObjectRef(self._world.service.oid, target.kind, sid),
            grant.identity,
            ADMIN,
            self._world.rights.announce_removal(),
            grant.match,
        )
        with suppress(Refusal, Fault):  # it is over, or was removed meanwhile
            await self._world.server.node.execute(command)

    async def _take_from_everybody(self, client: Client) -> None:
        """Just before many changes: none of them is for those who lose their right by it."""
        del client
        kind, ref = self._world.writes.any_object()
        sids = self._world.history.sids_of_name(ref.name)
        if not sids:
            return
        for identity in self._world.identities:
            grant = Grant(identity, Match.EXACT, frozenset({WRITE, MANAGE}), 3)
            self._world.spawn(self._world.grants.try_to_set(sids[-1], grant))
        await self._world.writes.change_often(kind, ref)

    def _choose_object(self, client: Client) -> str | None:
        """One that the client has open, if there is one; None: there is none at all."""
        copies = list(client.copies.values())
        if copies and self._chance.is_so(0.7):
            return self._chance.choice(copies).sid
        name = self._chance.choice([name for names in NAMES.values() for name in names])
        sids = self._world.history.sids_of_name(name)
        return sids[-1] if sids else None
