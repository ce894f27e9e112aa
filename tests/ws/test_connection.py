"""What the owner of one WebSocket can rely on: order, bounds, and how it hears of the end."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from typing import cast

import pytest
from websockets.exceptions import ConnectionClosed

from starlings.ws.connection import ABORTED, CONNECTION_LOST, PEER_CLOSED, Connection
from starlings.ws.frame_reader import FrameReader
from starlings.ws.options import WebSocketOptions
from starlings.ws.outbox import SLOW_READER, Outbox, OutboxLimits, ws_frame
from starlings.ws.stand_ins import OutboxTransport
from starlings.ws.transport import ServerProtocol
from tests.ws.objects import list_objects
from tests.ws.serving import (
    EVERY_KIND,
    client_frame,
    echo,
    go_on_reading,
    no_proxy,
    read_frame,
    serving,
    stop_reading,
)

# Sending.


async def test_send_and_send_framed_keep_their_order_over_turns_and_within() -> None:
    async with serving() as site, no_proxy(site.url(), compression=None) as client:
        connection = (await site.listeners.get()).connection
        for number in range(200):
            payload = str(number).encode() * (1 + 500 * (number % 7))
            if number % 3:
                connection.send(payload)
            else:
                connection.send_framed(ws_frame(payload))
            if number % 10 == 0:
                await asyncio.sleep(0)
        for number in range(200):
            assert await client.recv() == str(number).encode() * (1 + 500 * (number % 7))


async def test_pings_are_answered_in_order_with_messages() -> None:
    async with serving(echo) as site:
        reader, writer, _ = await site.upgrade()
        writer.write(client_frame(b"1") + client_frame(b"p", 0x89) + client_frame(b"2"))
        frames = [await read_frame(reader) for _ in range(3)]
        assert frames == [(0x82, b"1"), (0x8A, b"p"), (0x82, b"2")]
        writer.write(client_frame(b"unasked", 0x8A) + client_frame(b"3"))
        assert await read_frame(reader) == (0x82, b"3")
        writer.close()


async def test_large_data_flow_through_a_full_kernel_buffer_and_on_drained_is_heard() -> None:
    async with serving() as site:
        reader, writer, listener = await site.upgrade()
        stop_reading(writer)
        frame = ws_frame(EVERY_KIND * 256)
        count = 0
        while not listener.connection.queued_bytes and count < 500:
            listener.connection.send_framed(frame)
            count += 1
            await asyncio.sleep(0)
        assert listener.connection.queued_bytes
        assert not listener.drained.is_set()
        go_on_reading(writer)
        for _ in range(count):
            assert await read_frame(reader) == (0x82, EVERY_KIND * 256)
        await listener.drained.wait()
        assert listener.connection.queued_bytes == 0
        writer.close()


@pytest.mark.parametrize("bound", ["bytes", "age"])
async def test_a_reader_that_stops_is_cut_within_bounds_and_others_get_everything(
    bound: str,
) -> None:
    limits = OutboxLimits(queued_bytes=500_000)
    if bound == "age":
        limits = OutboxLimits(queued_bytes=1_000_000_000, age_seconds=0.2)
    options = WebSocketOptions(outbox=limits, send_buffer_bytes=64 * 1024)
    async with serving(ws=options) as site:
        _, slow_writer, slow = await site.upgrade()
        stop_reading(slow_writer)
        fast_reader, fast_writer, fast = await site.upgrade()
        frame = ws_frame(EVERY_KIND * 40)
        sent = 0
        while not slow.closed.done():
            assert sent < 5000
            slow.connection.send_framed(frame)
            fast.connection.send_framed(frame)
            assert await read_frame(fast_reader) == (0x82, EVERY_KIND * 40)
            assert slow.connection.queued_bytes <= limits.queued_bytes
            sent += 1
        assert slow.closed.result() == (None, SLOW_READER)
        statistics = site.ws.flusher.statistics()
        assert (statistics.cut_for_bytes, statistics.cut_for_age) in ((1, 0), (0, 1))
        assert fast.connection.statistics().queued_bytes == 0
        slow_writer.close()
        fast_writer.close()


async def test_a_peer_that_pings_and_never_reads_is_cut() -> None:
    options = WebSocketOptions(outbox=OutboxLimits(queued_bytes=20_000), send_buffer_bytes=4096)
    async with serving(ws=options) as site:
        _, writer, listener = await site.upgrade()
        stop_reading(writer)
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )
        pings = client_frame(b"p" * 125, 0x89) * 100
        while not listener.closed.done():
            writer.write(pings)
            await asyncio.wait({listener.closed}, timeout=0.001)
        assert listener.closed.result() == (None, SLOW_READER)
        writer.transport.abort()


# Closing.


@pytest.mark.parametrize(
    ("sent", "answer", "code"),
    [
        (b"\x03\xe8bye", b"\x03\xe8", 1000),
        (b"\x03\xe9", b"\x03\xe9", 1001),
        (b"\x0b\xb8", b"\x0b\xb8", 3000),
        (b"\x0f\xa0mine", b"\x0f\xa0", 4000),
        (b"", b"", 1005),
    ],
)
async def test_a_close_of_the_peer_is_answered_and_heard(
    sent: bytes, answer: bytes, code: int
) -> None:
    async with serving() as site:
        reader, writer, listener = await site.upgrade()
        writer.write(client_frame(sent, 0x88))
        assert await read_frame(reader) == (0x88, answer)
        assert await reader.read() == b""
        writer.close()
        assert await listener.closed == (code, PEER_CLOSED)
        assert not site.ws.open_connections


async def test_close_sends_what_is_queued_first_and_gives_code_and_reason() -> None:
    async with serving() as site, no_proxy(site.url()) as client:
        listener = await site.listeners.get()
        listener.connection.send(b"last")
        listener.connection.close(4001, "token expired")
        listener.connection.send(b"too late")
        listener.connection.close(4002)
        assert await client.recv() == b"last"
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "token expired")
        assert await listener.closed == (4001, "token expired")


async def test_a_peer_that_never_answers_our_close_is_dropped_in_time() -> None:
    async with serving(ws=WebSocketOptions(close_timeout_seconds=0.05)) as site:
        reader, writer, listener = await site.upgrade()
        listener.connection.close(1000, "done")
        assert await read_frame(reader) == (0x88, b"\x03\xe8done")
        assert await listener.closed == (1000, "done")
        writer.close()


async def test_abort_resets_the_connection_at_once() -> None:
    async with serving() as site:
        reader, writer, listener = await site.upgrade()
        listener.connection.send(b"dropped")
        listener.connection.abort()
        listener.connection.abort("again")
        assert await listener.closed == (None, ABORTED)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        listener.connection.send(b"nobody hears")
        listener.connection.close()


async def test_a_socket_that_takes_no_options_is_aborted_all_the_same() -> None:
    class Gone:
        """As of a system that knows no options of a socket whose peer is gone."""

        family = socket.AF_INET

        def __init__(self, transport: asyncio.Transport) -> None:
            self.abort = transport.abort

        def get_extra_info(self, name: str) -> Gone:
            return self

        def setsockopt(self, *_: object) -> None:
            raise OSError(errno.EINVAL, "invalid argument")

    async with serving() as site:
        _, writer, listener = await site.upgrade()
        (protocol,) = site.ws.open_connections
        protocol._loop_transport = cast(asyncio.Transport, Gone(protocol._loop_transport))
        listener.connection.abort()
        assert await listener.closed == (None, ABORTED)
        writer.close()


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_a_lost_connection_is_heard_without_a_code(how: str) -> None:
    async with serving() as site:
        _, writer, listener = await site.upgrade()
        if how == "eof":
            writer.write_eof()  # half open: the peer could still read
        else:
            writer.transport.abort()
        assert await listener.closed == (None, CONNECTION_LOST)
        writer.close()


@pytest.mark.parametrize("how", ["by the peer", "by us", "unanswered", "aborted", "lost"])
async def test_a_connection_that_has_ended_is_freed_at_once(how: str) -> None:
    """However long it lasted: the server looks for cycles of old objects very seldom."""
    parts = (ServerProtocol, FrameReader, Connection, Outbox, OutboxTransport)
    others = list_objects(*parts)
    async with serving(ws=WebSocketOptions(close_timeout_seconds=0.05)) as site:
        reader, writer, listener = await site.upgrade()
        assert len(list_objects(*parts)) == len(others) + len(parts)
        gc.disable()
        try:
            match how:
                case "by the peer":
                    writer.write(client_frame(b"\x03\xe8", 0x88))
                case "by us":
                    listener.connection.close()
                    await read_frame(reader)
                    writer.write(client_frame(b"\x03\xe8", 0x88))
                case "unanswered":
                    listener.connection.close()
                case "aborted":
                    listener.connection.abort()
                case _:
                    writer.transport.abort()
            await listener.closed
            del listener
            for _ in range(10):  # the loop's own references go in its next turns
                await asyncio.sleep(0)
            assert list_objects(*parts) == others
        finally:
            gc.enable()
        writer.close()
