"""Bounds of the HTTP side, on real sockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from starlings.ws.http import HttpOptions
from tests.ws.http_peer import GET, answer_to, post, read_response, refused
from tests.ws.serving import (
    UPGRADE,
    client_frame,
    hello,
    read_frame,
    serving,
)


async def test_requests_are_served_on_a_kept_alive_connection() -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        for size in (0, 1, 100_000):
            writer.write(post(size) + b"x" * size)
            assert await read_response(reader) == (200, *(answer_to(size)))
            writer.write(GET)
            assert (await read_response(reader))[2] == b"GET /a 0"


# The head.


def get_of(head_bytes: int) -> bytes:
    """A request whose head has about this many bytes."""
    return GET[:-2] + b"X: " + b"x" * (head_bytes - len(GET)) + b"\r\n\r\n"


@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_head_below_the_bound_is_served(pieces: int) -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        request = get_of(32_000)
        step = len(request) // pieces
        for start in range(0, len(request), step):
            writer.write(request[start : start + step])
            await asyncio.sleep(0)
        assert (await read_response(reader))[0] == 200


@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_head_above_the_bound_is_refused_with_431(pieces: int) -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        request = get_of(33_500)
        step = len(request) // pieces
        for start in range(0, len(request), step):
            writer.write(request[start : start + step])
            await asyncio.sleep(0)
        assert (await refused(reader))[0] == 431


async def test_a_head_that_never_ends_is_refused_with_431() -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000)
        assert (await refused(reader))[0] == 431
        assert site.http.statistics().refused == {431: 1}


async def test_an_upgrade_with_a_head_above_the_bound_is_refused_with_431() -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(UPGRADE[:-2] + b"Cookie: " + b"x" * 33_000 + b"\r\n\r\n")
        assert (await refused(reader))[0] == 431
        assert site.listeners.empty()


async def test_a_large_body_does_not_count_as_head() -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(post(200_000) + b"x" * 200_000 + GET)
        assert (await read_response(reader))[2] == b"POST /p 200000"
        assert (await read_response(reader))[2] == b"GET /a 0"


# Time.


@pytest.mark.parametrize("sent", [b"", b"G", GET[:-2]])
async def test_a_head_that_does_not_come_in_time_is_refused_with_408(sent: bytes) -> None:
    async with serving(http=HttpOptions(head_seconds=0.05)) as site:
        reader, writer = await site.connect()
        writer.write(sent)
        assert (await refused(reader))[0] == 408


async def test_a_later_head_has_its_own_deadline() -> None:
    async with serving(http=HttpOptions(head_seconds=0.05)) as site:
        reader, writer = await site.connect()
        writer.write(GET)
        assert (await read_response(reader))[0] == 200
        writer.write(GET[:-2])
        assert (await refused(reader))[0] == 408


async def test_a_body_that_does_not_come_in_time_is_refused_with_408() -> None:
    async with serving(http=HttpOptions(body_seconds=0.05)) as site:
        reader, writer = await site.connect()
        writer.write(post(10) + b"half")
        assert (await refused(reader))[0] == 408
        assert not site.state.tasks


async def test_deadlines_do_not_touch_idle_connections_nor_web_sockets() -> None:
    limits = HttpOptions(head_seconds=0.02, body_seconds=0.02)
    async with serving(http=limits) as site:
        idle_reader, idle_writer = await site.connect()
        idle_writer.write(GET)
        await read_response(idle_reader)
        _, ws_writer, listener = await site.upgrade()
        late_reader, _ = await site.connect()
        assert (await refused(late_reader))[0] == 408  # so the time is up for all three
        idle_writer.write(GET)
        assert (await read_response(idle_reader))[0] == 200
        ws_writer.write(client_frame(b"still here"))
        assert await listener.messages.get() == b"still here"


@pytest.mark.parametrize(
    ("asked", "rest"), [(post(2) + b"x", b"x"), (GET, b"\r\n")], ids=["body", "empty line"]
)
async def test_what_comes_behind_an_answer_does_not_keep_the_connection(
    asked: bytes, rest: bytes
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async with serving(app=app, timeout_keep_alive=0.3) as site:
        reader, writer = await site.connect()
        writer.write(asked)
        assert (await read_response(reader))[0] == 200
        writer.write(rest)
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_many_half_open_connections_end_and_leave_nothing() -> None:
    async with serving(http=HttpOptions(head_seconds=0.1)) as site:
        connections = [await site.connect() for _ in range(100)]
        for number, (_, writer) in enumerate(connections):
            writer.write(GET[: number % len(GET)][:20])
        for reader, writer in connections:
            assert (await refused(reader))[0] == 408
            writer.close()
            await writer.wait_closed()
        reader, writer = await site.connect()
        writer.write(GET)
        assert (await read_response(reader))[0] == 200
        assert site.http.statistics().open_connections == 1


# The body.


async def test_a_body_above_the_bound_is_refused_by_its_announced_length() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(scope["path"])
        await hello(scope, receive, send)

    def refuse(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        return [(b"x-request", b"1")], f"{status} {message}".encode()

    options = HttpOptions(body_bytes=1000, refusal=refuse)
    async with serving(app=app, http=options) as site:
        reader, writer = await site.connect()
        writer.write(post(1000) + b"x" * 1000)
        assert (await read_response(reader))[0] == 200
        writer.write(post(1001, b"/large"))
        status, head, body = await read_response(reader)
        assert (status, body) == (413, b"413 Request body too large: at most 1000 bytes")
        assert b"content-type: application/json\r\n" in head
        assert b"x-request: 1\r\n" in head
        assert heard == ["/p"]


async def test_a_refused_client_that_goes_on_sending_still_reads_the_answer() -> None:
    async with serving(http=HttpOptions(body_bytes=1000)) as site:
        reader, writer = await site.connect()
        writer.write(post(3_000_000) + b"x" * 3_000_000)
        status, body = await refused(reader)
        assert status == 413
        assert body == b"{}"


async def test_a_chunked_body_above_the_bound_is_refused_as_it_comes() -> None:
    async with serving(http=HttpOptions(body_bytes=1000)) as site:
        reader, writer = await site.connect()
        head = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"c8\r\n" + b"x" * 200 + b"\r\n"
        writer.write(head + chunk * 5 + b"0\r\n\r\n")
        assert (await read_response(reader))[2] == b"POST /p 1000"
        writer.write(head + chunk * 6)
        assert (await refused(reader))[0] == 413


# Trailers.

CHUNKED = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_trailers_are_no_headers() -> None:
    """Whoever looked at the headers before us, a proxy, did not see them."""
    seen: list[list[bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        seen.append([name for name, _ in scope["headers"]])

    trailers = b"Authorization: Basic eA==\r\nX-Forwarded-For: 1.2.3.4\r\n"
    request = CHUNKED + b"2\r\nab\r\n0\r\n" + trailers + b"\r\n"
    async with serving(app=app) as site:
        reader, writer = await site.connect()
        writer.write(request)  # in one segment, before the application has looked
        assert (await read_response(reader))[2] == b"POST /p 2"
        for start in range(len(request)):
            writer.write(request[start : start + 1])
            await asyncio.sleep(0)
        assert (await read_response(reader))[2] == b"POST /p 2"
        writer.write(GET)
        assert (await read_response(reader))[0] == 200
    assert seen == [[b"host", b"transfer-encoding"]] * 2 + [[b"host"]]


@pytest.mark.parametrize("line", [b"a:\r\n", b"a: " + b"x" * 20_000])
async def test_trailers_without_end_are_refused(line: bytes) -> None:
    async with serving(http=HttpOptions(head_bytes=1000)) as site:
        reader, writer = await site.connect()
        writer.write(CHUNKED + b"0\r\n")
        for _ in range(400):
            writer.write(line)
            await asyncio.sleep(0)
        assert (await refused(reader))[0] == 431


async def test_small_chunks_are_not_taken_for_trailers() -> None:
    async with serving(http=HttpOptions(head_bytes=1000)) as site:
        reader, writer = await site.connect()
        writer.write(CHUNKED)
        for _ in range(3000):
            for piece in (b"1\r\n", b"x", b"\r\n"):
                writer.write(piece)
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        assert (await read_response(reader))[2] == b"POST /p 3000"


# Bad syntax.


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_refused_with_400_and_logged_nowhere(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(sent)
        assert (await refused(reader))[0] == 400
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_an_earlier_answer_is_finished_before_a_bad_request_ends_the_connection() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await hello(scope, receive, send)

    async with serving(app=app) as site:
        reader, writer = await site.connect()
        writer.write(GET + GET.replace(b"/a", b"/b") + b"nonsense\r\n\r\n")
        while not site.http.refused:  # noqa: ASYNC110  # a turn or two
            await asyncio.sleep(0)
        go_on.set()
        assert (await read_response(reader))[2] == b"GET /a 0"
        status, head, body = await read_response(reader)
        assert (status, body) == (200, b"GET /b 0")
        assert b"connection: close" in head
        assert await reader.read() == b""


async def test_an_upgrade_behind_an_unanswered_request_ends_the_connection() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await hello(scope, receive, send)

    async with serving(app=app) as site:
        reader, writer = await site.connect()
        writer.write(GET + UPGRADE)
        while not site.http.refused:  # noqa: ASYNC110  # a turn or two
            await asyncio.sleep(0)
        go_on.set()
        assert (await read_response(reader))[2] == b"GET /a 0"
        assert await reader.read() == b""
        assert site.listeners.empty()


@pytest.mark.parametrize("header", [b"Transfer-Encoding: chunked", b"Content-Length: 9"])
async def test_an_upgrade_with_a_body_is_refused_with_400(header: bytes) -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(UPGRADE[:-2] + header + b"\r\n\r\nnonsense\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        assert site.listeners.empty()


async def test_an_upgrade_that_we_do_not_offer_is_answered_as_plain_http() -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI *")
        status, _, body = await read_response(reader)
        assert (status, body) == (200, b"GET /a 0")
        assert await reader.read() == b""


# Number of connections.


async def test_connections_beyond_the_bound_are_refused_upgraded_ones_count() -> None:
    async with serving(http=HttpOptions(max_connections=2)) as site:
        _, ws_writer, listener = await site.upgrade()
        reader, writer = await site.connect()
        writer.write(GET)
        assert (await read_response(reader))[0] == 200
        extra_reader, _ = await site.connect()
        assert (await refused(extra_reader))[0] == 503
        ws_writer.transport.abort()
        await listener.closed
        again_reader, again_writer = await site.connect()
        again_writer.write(UPGRADE + client_frame(b"x", 0x89))
        await again_reader.readuntil(b"\r\n\r\n")
        assert await read_frame(again_reader) == (0x8A, b"x")
    assert site.http.statistics().open_connections == 0


async def test_connections_beyond_the_bound_of_their_address_are_refused() -> None:
    async with serving(http=HttpOptions(max_connections_per_address=1)) as site:
        reader, writer = await site.connect()
        writer.write(GET)
        assert (await read_response(reader))[0] == 200
        extra_reader, _ = await site.connect()
        assert (await refused(extra_reader))[0] == 503
        other_reader, other_writer = await site.connect(local_addr=("127.0.0.2", 0))
        other_writer.write(GET)
        assert (await read_response(other_reader))[0] == 200
    assert site.http.statistics().open_connections == 0
