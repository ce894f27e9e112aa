"""What the tests of a store stand on: a service with short words for its objects."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from starlings.core.objects import Kind, Service, SyncObject
from tests.contracts.desk import Desk

__all__ = ["COLLECTIONS", "DIRECTIONS", "KINDS", "Setting", "key_of"]

KINDS = pytest.mark.parametrize("kind", list(Kind))
COLLECTIONS = pytest.mark.parametrize("kind", [Kind.LIST, Kind.MAP])
DIRECTIONS = pytest.mark.parametrize("is_descending", [False, True])


class Setting(NamedTuple):
    """A service, and objects of each kind that a test may want."""

    desk: Desk
    service: Service

    async def map(self, name: str | None = None) -> SyncObject:
        return await self.desk.create(self.service, Kind.MAP, name)

    async def list(self, name: str | None = None) -> SyncObject:
        return await self.desk.create(self.service, Kind.LIST, name)

    async def document(self, data: bytes | None = None) -> SyncObject:
        return await self.desk.create(self.service, Kind.DOCUMENT, data=data)


def key_of(kind: Kind, key: str) -> str | None:
    """The key that an addition asks for: none in lists."""
    return key if kind is Kind.MAP else None
