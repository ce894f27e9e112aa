"""How a connection ends, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc

from starlings.core.objects import Kind
from starlings.wire.messages import ClientClose, Init, Reply, ServerClose
from starlings.ws.catchup import CatchUp
from starlings.ws.inbox import Inbox
from starlings.ws.queries import SessionQueries
from tests.ws.objects import list_objects
from tests.ws.sessions import a_world, settle


async def test_close_is_answered_and_everything_let_go() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.MAP)
        await peer.subscribe((sid, "map", -1))
        assert world.face.hub.statistics().listeners == 1
        peer.send(ClientClose("C1"))
        (reply,) = peer.take()
        assert isinstance(reply, Reply)
        assert peer.is_closed
        assert world.face.hub.statistics().listeners == 0
        peer.lose()
        assert world.face.statistics().sessions == 0


async def test_a_lost_connection_lets_everything_go_once() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.MAP)
        await peer.subscribe((sid, "map", -1))
        peer.lose()
        assert world.face.hub.statistics().listeners == 0
        assert world.face.statistics().ended == {"connection_lost/None": 1}


async def test_what_a_session_had_is_freed_when_it_ends() -> None:
    """At once, and not when cycles are looked for."""
    parts = (CatchUp, Inbox, SessionQueries)
    others = list_objects(*parts)
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.MAP)
        await peer.subscribe((sid, "map", 0))
        assert len(list_objects(*parts)) == len(others) + len(parts)
        gc.disable()
        try:
            peer.lose()
            await settle()
            assert list_objects(*parts) == others
        finally:
            gc.enable()


async def test_a_drained_client_is_let_go_when_it_has_read_the_close() -> None:
    async with a_world() as world:
        peer = await world.ready()
        peer.session.offload(500)
        (close,) = peer.take()
        assert isinstance(close, ServerClose)
        assert (close.status.code, b"reconnect_min_ms" in close.payload) == (308, True)
        assert not peer.is_closed
        peer.acknowledge(close)
        assert peer.is_closed


async def test_a_drained_client_that_does_not_answer_is_let_go_after_a_second() -> None:
    async with a_world() as world:
        peer = await world.ready()
        peer.session.offload(500)
        timer = peer.session._timer
        assert timer is not None
        assert timer.when() - asyncio.get_running_loop().time() <= 1.0
        await world.tick(peer, 1)
        assert peer.is_closed


async def test_who_leaves_during_init_leaves_nothing_behind() -> None:
    async with a_world() as world:
        peer = world.connect()
        peer.send(Init("I1", "alice"))
        peer.lose()
        await settle()
        assert world.face.statistics().sessions == 0
        assert peer.session._timer is None
