"""Fixtures of the tests of presence on a store."""

from __future__ import annotations

import pytest

from starlings.core.objects import Service
from tests.node.presence_server import Server


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def service(server: Server) -> Service:
    service = await server.create_service()
    await server.keeper.configure(service, "presence", "on-disconnect")
    return service
