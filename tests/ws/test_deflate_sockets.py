"""permessage-deflate over sockets: agreed on, shared by subscribers, refused with a code.

[RFC 7692]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from starlings.ws.connection import PROTOCOL_ERROR
from starlings.ws.deflate import inflate
from starlings.ws.options import WebSocketOptions
from starlings.ws.outbox import ws_frame
from tests.ws.deflating import ANSWER, TEXT, deflate
from tests.ws.serving import (
    UPGRADE,
    Recorder,
    Site,
    client_frame,
    echo,
    no_proxy,
    read_frame,
    serving,
)

COMPRESSING = WebSocketOptions(compress_from_bytes=256, max_message_bytes=10_000)
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


async def upgrade(
    site: Site, offer: bytes = OFFER
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter, Recorder]:
    """The head of the answer, and the connection."""
    reader, writer = await site.connect()
    writer.write(UPGRADE[:-2] + offer + b"\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    return head, reader, writer, await site.listeners.get()


async def test_the_answer_names_what_was_agreed_on() -> None:
    async with serving(ws=COMPRESSING) as site:
        head, *_ = await upgrade(site)
        assert f"\r\nSec-WebSocket-Extensions: {ANSWER}\r\n".encode() in head
        for offer in (b"", b"Sec-WebSocket-Extensions: permessage-deflate; new\r\n"):
            head, *_ = await upgrade(site, offer)
            assert b"extensions" not in head.lower()


async def test_offers_in_several_headers_are_all_looked_at() -> None:
    async with serving(ws=COMPRESSING) as site:
        head, *_ = await upgrade(site, b"sec-websocket-extensions: x-new\r\n" + OFFER)
        assert ANSWER.encode() in head


async def test_nothing_is_agreed_on_unless_it_is_switched_on() -> None:
    async with serving(echo) as site:
        head, reader, writer, listener = await upgrade(site)
        assert b"extensions" not in head.lower()
        writer.write(client_frame(TEXT))
        assert await read_frame(reader) == (0x82, TEXT)
        listener.connection.send_framed(ws_frame(TEXT))
        assert await read_frame(reader) == (0x82, TEXT)
        writer.write(client_frame(deflate(TEXT), 0xC2))
        assert (await read_frame(reader))[1][:2] == b"\x03\xea"
        assert await listener.closed == (1002, PROTOCOL_ERROR)


@pytest.mark.parametrize("bits", [None, 9, 12, 15])
async def test_an_independent_client_understands_and_is_understood(bits: int | None) -> None:
    factory = ClientPerMessageDeflateFactory(
        server_max_window_bits=bits,
        client_max_window_bits=bits or True,
        compress_settings={"memLevel": 4},
    )
    async with (
        serving(ws=COMPRESSING) as site,
        no_proxy(site.url(), compression=None, extensions=[factory]) as client,
    ):
        assert [extension.name for extension in client.protocol.extensions] == [
            "permessage-deflate"
        ]
        listener = await site.listeners.get()
        for payload in (TEXT, b"", b"small", TEXT[:300], bytes(range(256)) * 30):
            await client.send(payload)
            assert await listener.messages.get() == payload
            listener.connection.send_framed(ws_frame(payload))
            assert await client.recv() == payload
            listener.connection.send(payload)
            assert await client.recv() == payload
        await client.send([TEXT[:100], TEXT[100:200], TEXT[200:]])
        assert await listener.messages.get() == TEXT
        await client.send("text, which is dropped" * 100)
        await listener.texts.get()
        await client.ping()


async def test_subscribers_with_and_without_get_the_same_and_it_is_compressed_once() -> None:
    async with (
        serving(ws=COMPRESSING) as site,
        no_proxy(site.url()) as first,
        no_proxy(site.url()) as second,
        no_proxy(site.url(), compression=None) as plain,
    ):
        listeners = [await site.listeners.get() for _ in range(3)]
        frame = ws_frame(TEXT)
        sent_before = site.ws.flusher.statistics().bytes
        for listener in listeners:
            listener.connection.send_framed(frame)
        for client in (first, second, plain):
            assert await client.recv() == TEXT
        assert site.ws.deflate is not None
        counted = site.ws.deflate.statistics()
        assert (counted.connections, counted.compressed) == (2, 1)
        assert counted.bytes_before == len(frame)
        sent = site.ws.flusher.statistics().bytes - sent_before
        assert sent == 2 * counted.bytes_after + len(frame)
        sinks = [listener.connection.sink for listener in listeners]
        assert sorted(sink is None for sink in sinks) == [False, True, True]


async def test_what_goes_to_one_client_only_is_not_compressed() -> None:
    async with serving(ws=COMPRESSING) as site:
        _, reader, _, listener = await upgrade(site)
        listener.connection.send(TEXT)
        listener.connection.send_framed(ws_frame(TEXT))
        assert await read_frame(reader) == (0x82, TEXT)
        first, payload = await read_frame(reader)
        assert first == 0xC2
        assert inflate(payload, len(TEXT)) == TEXT


async def test_compressed_messages_come_whole_or_in_fragments_and_plain_ones_in_between() -> None:
    async with serving(ws=COMPRESSING) as site:
        _, reader, writer, listener = await upgrade(site)
        deflated = deflate(TEXT)
        writer.write(
            client_frame(deflated, 0xC2)
            + client_frame(b"plain")
            + client_frame(deflated[:9], 0x42)
            + client_frame(b"ping", 0x89)
            + client_frame(b"", 0x00)
            + client_frame(deflated[9:], 0x80)
            + client_frame(b"pl", 0x02)
            + client_frame(b"ain", 0x80)
            + client_frame(b"\x00", 0xC2)
        )
        assert await read_frame(reader) == (0x8A, b"ping")
        for message in (TEXT, b"plain", TEXT, b"plain", b""):
            assert await listener.messages.get() == message
        assert listener.connection.statistics().messages_received == 5


async def test_compressed_text_is_dropped_without_being_inflated() -> None:
    async with serving(ws=COMPRESSING) as site:
        _, _, writer, listener = await upgrade(site)
        writer.write(client_frame(b"\xff\xff no deflate", 0xC1) + client_frame(deflate(b"b"), 0xC2))
        await listener.texts.get()
        assert await listener.messages.get() == b"b"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(client_frame(deflate(bytes(10_001)), 0xC2), 1009, id="too-big-by-one"),
        pytest.param(client_frame(deflate(bytes(9_000_000)), 0xC2), 1009, id="bomb"),
        pytest.param(
            client_frame(deflate(bytes(90_000))[:5], 0x42)
            + client_frame(deflate(bytes(90_000))[5:], 0x80),
            1009,
            id="bomb-in-fragments",
        ),
        pytest.param(client_frame(bytes(10_001), 0xC2), 1009, id="too-big-as-it-came"),
        pytest.param(client_frame(b"\xff\xff\xff", 0xC2), 1007, id="corrupt"),
        pytest.param(client_frame(deflate(TEXT)[:-3], 0xC2), 1007, id="cut-short"),
        pytest.param(client_frame(b"", 0xC9), 1002, id="ping"),
        pytest.param(client_frame(b"", 0xCA), 1002, id="pong"),
        pytest.param(client_frame(b"\x03\xe8", 0xC8), 1002, id="close"),
        pytest.param(client_frame(b"", 0xC0), 1002, id="continuation-of-nothing"),
        pytest.param(
            client_frame(b"a", 0x02) + client_frame(b"b", 0xC0), 1002, id="continuation-of-plain"
        ),
        pytest.param(
            client_frame(deflate(TEXT)[:5], 0x42) + client_frame(deflate(TEXT)[5:], 0xC0),
            1002,
            id="continuation-of-compressed",
        ),
        pytest.param(
            client_frame(b"a", 0x42) + client_frame(b"b", 0xC2), 1002, id="message-within-a-message"
        ),
        pytest.param(client_frame(deflate(TEXT), 0xE2), 1002, id="second-reserved-bit-too"),
        pytest.param(client_frame(deflate(TEXT), 0xD2), 1002, id="third-reserved-bit-too"),
        pytest.param(client_frame(TEXT, 0xA2), 1002, id="second-reserved-bit"),
    ],
)
async def test_a_message_that_cannot_be_taken_closes_with_its_code(
    sent: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(ws=COMPRESSING) as site:
        _, reader, writer, listener = await upgrade(site)
        writer.write(sent + client_frame(b"after"))
        first, payload = await read_frame(reader)
        assert (first, int.from_bytes(payload[:2], "big")) == (0x88, code)
        assert await reader.read() == b""
        writer.close()
        assert await listener.closed == (code, PROTOCOL_ERROR)
        assert listener.messages.empty()
    assert [record.message for record in caplog.records if "starlings" in record.name] == []


async def test_a_client_that_offered_nothing_may_not_compress() -> None:
    async with serving(ws=COMPRESSING) as site:
        _, reader, writer, listener = await upgrade(site, b"")
        writer.write(client_frame(deflate(TEXT), 0xC2))
        assert (await read_frame(reader))[1][:2] == b"\x03\xea"
        writer.close()
        assert await listener.closed == (1002, PROTOCOL_ERROR)


async def test_nothing_of_zlib_is_held_for_a_connection() -> None:
    async with serving(ws=COMPRESSING) as site:
        connections = [await upgrade(site) for _ in range(10)]
        tracemalloc.start()
        try:
            for _, reader, writer, listener in connections:
                writer.write(client_frame(deflate(TEXT), 0xC2))
                await listener.messages.get()
                listener.connection.send_framed(ws_frame(TEXT))
                await read_frame(reader)
            gc.collect()
            held, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # A window and its tables take 40 KiB to inflate and 260 KiB to deflate.
        assert most > 40 * 1024
        assert held < 10 * 8 * 1024
