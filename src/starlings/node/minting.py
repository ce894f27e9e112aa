"""Creating services and objects: their ids are minted here, from the clock and from chance.

The bits of chance in an id are few, so it may be taken: then the store says so, and another one is
minted. [core.sids]
"""

from __future__ import annotations

from collections.abc import Callable

from starlings.core import commands as c
from starlings.core import sids
from starlings.core.errors import Fault, IdTaken, Reason
from starlings.core.objects import Actor, Kind, Service
from starlings.core.state import ObjectOutcome, Outcome, ServiceOutcome
from starlings.node.clock import Sources
from starlings.storage.store import Store

__all__ = ["Minter"]

_ATTEMPTS = 8


class Minter:
    """Creates what needs an id. One per node.

    Each method raises Fault UNAVAILABLE also when no id is found that is free.
    """

    def __init__(self, store: Store, sources: Sources) -> None:
        self._store = store
        self._sources = sources

    async def create_service(
        self,
        account_sid: str,
        settings: c.ServiceSettings,
        actor: Actor,
        request_id: str | None,
        unique_name: str | None,
    ) -> Service:
        """Raises Refusal as ``core.services.create_service`` says."""

        def command() -> c.CreateService:
            oid, sid = self._mint(sids.SERVICE, self._sources.random_bits(12))
            return c.CreateService(oid, sid, account_sid, unique_name, settings, actor, request_id)

        outcome = await self._execute(command)
        assert isinstance(outcome, ServiceOutcome)
        return outcome.service

    async def create_object(
        self,
        service: Service,
        kind: Kind,
        unique_name: str | None,
        data: bytes | None,
        ttl: int | None,
        actor: Actor,
        request_id: str | None,
    ) -> ObjectOutcome:
        """Raises Refusal as ``core.creation.create_object`` says."""

        def command() -> c.CreateObject:
            if unique_name is None:
                bucket = self._sources.random_bits(12)
            else:
                bucket = sids.bucket_of_name(service.oid, kind, unique_name)
            oid, sid = self._mint(kind.sid_prefix, bucket)
            return c.CreateObject(
                service.oid, kind, oid, sid, unique_name, data, ttl, actor, request_id
            )

        outcome = await self._execute(command)
        assert isinstance(outcome, ObjectOutcome)
        return outcome

    def _mint(self, prefix: str, bucket: int) -> tuple[int, str]:
        bits = self._sources.random_bits(74)
        oid = sids.mint_oid(bucket, self._sources.now(), bits >> 64)
        return oid, sids.format_sid(prefix, oid, bits)

    async def _execute(
        self, make_command: Callable[[], c.CreateObject | c.CreateService]
    ) -> Outcome:
        for _ in range(_ATTEMPTS):
            try:
                return await self._store.execute(make_command())
            except IdTaken:
                continue
        raise Fault(Reason.UNAVAILABLE, "No free object id was found; try again")
