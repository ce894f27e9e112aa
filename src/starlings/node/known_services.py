"""Services as callers name them, and as they are now.

Every request needs its service, so those that were asked for are remembered, up to a bound, until
one changes. What changed while it was read must not be remembered as it was: access control hangs
on it.
"""

from __future__ import annotations

from starlings.core import commands as c
from starlings.core import sids
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import SYSTEM, Actor, Service
from starlings.core.services import DEFAULT_NAME
from starlings.node.minting import Minter
from starlings.storage.store import Batch, Store

__all__ = ["KnownServices"]

_MOST_REMEMBERED = 10_000


class KnownServices:
    """Finds services. One per node; belongs to its event loop.

    Args:
        minter: Makes an account's default service when it is first asked for.
    """

    def __init__(self, store: Store, minter: Minter) -> None:
        self._store = store
        self._minter = minter
        self._services: dict[int, Service] = {}
        self._defaults: dict[str, Service] = {}
        """By account."""
        self._changes = 0
        store.listen(self._forget_changed)

    async def get(self, account_sid: str, name: str) -> Service:
        """The service of a SID or of the alias ``default``, which creates it when it isn't there.
        [rest-api 12.14]

        Raises:
            Refusal: SERVICE_NOT_FOUND, FOREIGN_SERVICE.
        """
        if name == DEFAULT_NAME:
            return await self._get_default(account_sid)
        if not sids.is_sid(name) or not name.startswith(sids.SERVICE):
            raise Refusal(Reason.SERVICE_NOT_FOUND)
        service = await self.find(sids.oid_of(name))
        if service is None or service.sid != name:
            raise Refusal(Reason.SERVICE_NOT_FOUND)
        if service.account_sid != account_sid:
            raise Refusal(Reason.FOREIGN_SERVICE)
        return service

    async def find(self, oid: int) -> Service | None:
        """None: there is none, or it was removed."""
        service = self._services.get(oid)
        if service is None:
            changes = self._changes
            service = await self._store.find_service(oid)
            if service is not None and changes == self._changes:
                self._remember(service)
        return service

    async def _get_default(self, account_sid: str) -> Service:
        service = self._defaults.get(account_sid)
        changes = self._changes
        if service is None:
            service = await self._store.find_default_service(account_sid)
        if service is None:
            try:
                service = await self._minter.create_service(
                    account_sid,
                    c.ServiceSettings(friendly_name="Default Service"),
                    Actor(SYSTEM),
                    None,
                    DEFAULT_NAME,
                )
            except Refusal:  # somebody else was first
                service = await self._store.find_default_service(account_sid)
                if service is None:
                    raise
        if changes == self._changes:
            self._remember(service)
        return service

    def _remember(self, service: Service) -> None:
        if len(self._services) >= _MOST_REMEMBERED:
            self._services.clear()
            self._defaults.clear()  # which of them was removed is told by its oid alone
        self._services[service.oid] = service
        if service.unique_name == DEFAULT_NAME:
            self._defaults[service.account_sid] = service

    def _forget_changed(self, batch: Batch) -> None:
        self._changes += len(batch.services)
        for oid, service in batch.services:
            known = self._services.pop(oid, None) or service
            if known is not None and known.unique_name == DEFAULT_NAME:
                self._defaults.pop(known.account_sid, None)
