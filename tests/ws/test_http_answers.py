"""Callers who ask for more before they are answered, or do not take their answers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from starlings.ws.http import HttpOptions
from tests.ws.http_peer import GET, read_response
from tests.ws.serving import (
    go_on_reading,
    hello,
    serving,
    stop_reading,
)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(http=HttpOptions(head_bytes=100)) as site:
        reader, writer = await site.connect()
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i for i in range(20)))
        for i in range(20):
            assert (await read_response(reader))[2] == b"GET /%d 0" % i


async def test_every_pipelined_request_hears_that_the_peer_is_gone() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/a":
            await hello(scope, receive, send)
            return
        heard.put_nowait((await receive())["type"])
        heard.put_nowait((await receive())["type"])
        await hello(scope, receive, send)

    async with serving(app=app) as site:
        reader, writer = await site.connect()
        writer.write(GET.replace(b"/a", b"/0") * 2 + GET * 3)
        for _ in range(2):
            assert (await read_response(reader))[2] == b"GET /0 0"
        assert await asyncio.wait_for(heard.get(), 5) == "http.request"
        writer.transport.abort()
        assert await asyncio.wait_for(heard.get(), 5) == "http.disconnect"
        assert heard.empty()


async def test_requests_that_do_not_wait_are_kept_within_a_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By any number of them, in whatever segments, a stranger could fill the memory."""
    go_on = asyncio.Event()
    asked = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += 1
        await go_on.wait()
        await hello(scope, receive, send)

    async with serving(app=app, http=HttpOptions(pipelined_requests=5)) as site:
        reader, writer = await site.connect()
        writer.write(GET * 1_000)
        while not site.http.refused:  # noqa: ASYNC110  # a turn or two
            await asyncio.sleep(0)
        (protocol,) = site.state.connections
        assert len(protocol.pipeline) == 5  # type: ignore[union-attr]
        writer.write(GET * 1_000)
        go_on.set()
        heads = []
        for _ in range(6):
            status, head, body = await read_response(reader)
            assert (status, body) == (200, b"GET /a 0")
            heads.append(head)
        assert [b"connection: close" in head for head in heads] == [False] * 5 + [True]
        assert await reader.read() == b""
        assert asked == 6
    assert site.http.statistics().refused == {503: 1}
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_who_does_not_take_an_answer_is_cut_off() -> None:
    """Else its memory and its place are taken for as long as the peer likes."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size = 64 << 20
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(size >> 20):
            body = {"type": "http.response.body", "body": b"x" * (1 << 20), "more_body": True}
            await send(body)
        ended.set()

    async with serving(app=app, http=HttpOptions(answer_seconds=0.1)) as site:
        _, writer = await site.connect()
        stop_reading(writer)
        writer.write(GET)
        async with asyncio.timeout(10):
            while not site.state.connections:  # noqa: ASYNC110  # a turn or two
                await asyncio.sleep(0)
            (protocol,) = site.state.connections
            sock = protocol.transport.get_extra_info("socket")
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 100
            while site.http.statistics().open_connections:  # noqa: ASYNC110  # no event tells it
                await asyncio.sleep(0.01)
            # What is sent to nobody costs nothing, and the application comes to its end.
            await ended.wait()


async def test_who_takes_an_answer_slowly_but_in_time_gets_all_of_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % (8 << 20))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * (8 << 20)})

    async with serving(app=app, http=HttpOptions(answer_seconds=30.0)) as site:
        reader, writer = await site.connect()
        stop_reading(writer)
        writer.write(GET)
        while not any(one.flow.write_paused for one in site.state.connections):  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0)
        go_on_reading(writer)
        assert len((await read_response(reader))[2]) == 8 << 20
        (protocol,) = site.state.connections
        assert protocol._writing_deadline is None  # type: ignore[union-attr]
