"""What goes wrong with clients, connections and servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.client import Client

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Troubles"]


class Troubles:
    """Steps of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance

    def cut(self, client: Client) -> None:
        """The connection breaks, and each end hears of it at a time of its own."""
        if client.session.link is not None:
            client.session.link.cut()

    def hang_up(self, client: Client) -> None:
        client.session.hang_up()

    def stall(self, client: Client) -> None:
        """The client reads nothing for a while."""
        link = client.session.link
        if link is not None:
            link.stall()
            asyncio.get_running_loop().call_later(self._chance.uniform(0, 10), link.resume)

    async def drain(self, client: Client) -> None:
        """An orderly restart: sessions are sent away, then the server ends."""
        del client
        world = self._world
        if not world.is_up:
            return
        server = world.server
        if server.keeper is not None:
            server.keeper.freeze()
        await server.face.drain(1.0)
        if world.is_up and world.server is server:
            await server.stop()
        if world.is_up and world.server is server:
            await world.restart_server()

    async def kill(self, client: Client) -> None:
        """The process ends at once, and another one starts."""
        del client
        if self._world.is_up:
            await self._world.restart_server()
