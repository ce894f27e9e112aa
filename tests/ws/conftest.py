"""Which event loops the tests of this folder run on, and what several of its files start from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from starlings.core.objects import Kind
from tests.ws.closed_map import Closed
from tests.ws.sessions import a_world

# These talk to real transports, and each loop has its own.
ON_BOTH_LOOPS = {
    "test_deflate_sockets.py",
    "test_http.py",
    "test_http_answers.py",
    "test_transport.py",
}
# Elsewhere nothing is gathered.
ON_UVLOOP = {"test_gatherer.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in ON_BOTH_LOOPS:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    if item.path.name in ON_UVLOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def closed() -> AsyncIterator[Closed]:
    async with a_world() as world:
        sid, ref = await world.create(Kind.MAP, "room")
        target = Closed(world, sid, ref)
        await target.switch(True)
        await target.grant(True)
        for number in range(5):
            await world.put(ref, f"k{number}")
        yield target
