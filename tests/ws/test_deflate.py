"""permessage-deflate by itself, then over sockets: agreement, compression once, inflation bounded.

[RFC 7692]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from starlings.ws.connection import PROTOCOL_ERROR
from starlings.ws.deflate import (
    MOST_BYTES,
    RSV1,
    Agreement,
    DeflateStatistics,
    InflateError,
    SharedDeflate,
    inflate,
    negotiate,
)
from starlings.ws.options import WebSocketOptions
from starlings.ws.outbox import BINARY, CLOSE, PONG, ws_frame
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

ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
ANY_LENGTH = Agreement(ANSWER, None)
TEXT = b"what repeats itself gets smaller, " * 20


def deflate(message: bytes, flush: int = zlib.Z_SYNC_FLUSH, level: int = 6) -> bytes:
    """A compressed message as any client may make it; `Z_FINISH` marks its last block as the last,
    and an empty one begins behind it. (section 7.2.3.4)"""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    deflated = deflater.compress(message) + deflater.flush(flush)
    return deflated + b"\x00" if flush == zlib.Z_FINISH else deflated[:-4]


def payload_of(frame: bytes) -> bytes:
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


# Agreement.


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        ("permessage-deflate", ANSWER),
        ("permessage-deflate; client_max_window_bits", ANSWER),  # browsers, ws, websockets
        ("permessage-deflate;client_max_window_bits=8", ANSWER),
        ('permessage-deflate ; client_max_window_bits = "15"', ANSWER),
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", ANSWER),
        ("permessage-deflate; server_max_window_bits=15", f"{ANSWER}; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=8", f"{ANSWER}; server_max_window_bits=8"),
        ("x-webkit-deflate-frame, permessage-deflate", ANSWER),
        (", permessage-bzip2; level=9,, permessage-deflate,", ANSWER),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", ANSWER),
    ],
)
def test_the_first_offer_that_can_be_accepted_is_answered(header: str, answer: str) -> None:
    agreement = negotiate(header)
    assert agreement is not None
    assert agreement.answer == answer


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "permessage-bzip2",
        "x-permessage-deflate",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=\u0669",
        "permessage-deflate; client_max_window_bits=99999999999999999999",
        "permessage-deflate; client_max_window_bits=",
        'permessage-deflate; client_max_window_bits=""',
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate;",
        "permessage-deflate; =9",
        "permessage deflate",
    ],
)
def test_an_offer_that_is_unknown_repeated_or_malformed_is_declined(offer: str) -> None:
    assert negotiate(offer) is None


def test_nothing_is_taken_out_of_a_header_that_is_no_list_of_extensions() -> None:
    assert negotiate('x; y="a, permessage-deflate, b"') is None


@given(st.text())
def test_any_header_is_accepted_or_declined(header: str) -> None:
    agreement = negotiate(header)
    assert agreement is None or "permessage-deflate" in header


@given(
    st.lists(
        st.sampled_from(
            ["server_no_context_takeover", "client_no_context_takeover", "unknown"]
            + [
                f"{side}_max_window_bits{value}"
                for side in ("server", "client")
                for value in ("", "=", "=7", "=8", "=9", '="12"', "=15", "=16", "=x")
            ]
        )
    )
)
def test_an_answer_never_promises_more_than_was_asked(parameters: list[str]) -> None:
    agreement = negotiate("; ".join(["permessage-deflate", *parameters]))
    keys = [parameter.partition("=")[0] for parameter in parameters]
    if agreement is None:
        assert parameters  # the plain offer is always good
        return
    assert len(set(keys)) == len(keys)
    asked = [p.replace('"', "") for p in parameters if p.startswith("server_max_window_bits")]
    assert agreement.answer == "; ".join([ANSWER, *asked])
    bits = int(asked[0].partition("=")[2]) if asked else 15
    assert agreement.most_bytes == (None if bits == 15 else 2**bits)


# Inflation.


@given(st.binary(max_size=5000), st.integers(0, 9), st.sampled_from([2, 3, 4]))
def test_what_was_deflated_is_inflated_to_the_same(message: bytes, level: int, flush: int) -> None:
    assert inflate(deflate(message, flush, level), len(message)) == message


@pytest.mark.parametrize(
    "payload",
    [
        "f2 48 cd c9 c9 07 00",  # 7.2.3.1
        "00 05 00 fa ff 48 65 6c 6c 6f 00",  # 7.2.3.3
        "f3 48 cd c9 c9 07 00 00",  # 7.2.3.4
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",  # 7.2.3.5
    ],
)
def test_the_examples_of_the_standard_are_inflated(payload: str) -> None:
    assert inflate(bytes.fromhex(payload), 5) == b"Hello"


@given(st.binary(max_size=300))
def test_any_bytes_are_inflated_within_bounds_or_refused(payload: bytes) -> None:
    with suppress(InflateError):  # anything else would be a defect
        assert len(inflate(payload, 1000)) <= 1000


@pytest.mark.parametrize("size", [1, 1000, 16 * 1024, 128 * 1024])
def test_a_message_of_the_greatest_size_is_inflated_and_one_byte_more_is_too_big(size: int) -> None:
    deflated = deflate(b"x" * size)
    assert len(inflate(deflated, size)) == size
    with pytest.raises(InflateError) as refusal:
        inflate(deflated, size - 1)
    assert refusal.value.close_code == 1009


def test_no_more_than_the_bound_is_made_of_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, bits: int) -> None:
            self.inflater = real(bits)

        def decompress(self, data: bytes, most_bytes: int) -> bytes:
            asked.append(most_bytes)
            return self.inflater.decompress(data, most_bytes)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    bomb = deflate(bytes(100_000_000), level=9)
    assert len(bomb) < 100_000
    with pytest.raises(InflateError) as refusal:
        inflate(bomb, 128 * 1024)
    assert refusal.value.close_code == 1009
    assert asked == [128 * 1024 + 1]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff\xff\xff", id="no-deflate"),
        pytest.param(b"TWILSOCK V3.0 2", id="plain"),
        pytest.param(deflate(TEXT)[:-3], id="cut-short"),
        pytest.param(b"\x00\xff\x00\x00\xffabc", id="block-that-wants-more"),
        pytest.param(deflate(TEXT, zlib.Z_FINISH)[:-1], id="nothing-behind-the-last-block"),
        pytest.param(deflate(TEXT, zlib.Z_FINISH) + b"more", id="more-behind-the-last-block"),
        pytest.param(zlib.compress(TEXT), id="with-the-head-of-zlib"),
    ],
)
def test_what_is_not_a_deflated_message_is_refused_with_1007(payload: bytes) -> None:
    with pytest.raises(InflateError) as refusal:
        inflate(payload, 10_000)
    assert refusal.value.close_code == 1007


# Compression, shared.


@given(st.binary(max_size=3000).map(lambda data: data * 3))
def test_a_shrunk_frame_is_the_same_message_in_fewer_bytes(payload: bytes) -> None:
    frame = ws_frame(payload)
    shrunk = SharedDeflate(1).shrink(frame)
    if shrunk is frame:
        assert len(deflate(payload, level=1)) + 10 >= len(payload)
    else:
        assert shrunk[0] == BINARY | RSV1
        assert len(shrunk) < len(frame)
        assert inflate(payload_of(shrunk), len(payload)) == payload


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(ws_frame(b"x" * 255), id="small"),
        pytest.param(ws_frame(bytes(range(256))), id="incompressible"),
        pytest.param(ws_frame(b"x" * (MOST_BYTES + 1)), id="long"),
        pytest.param(ws_frame(b"\x03\xe8" + b"x" * 123, CLOSE), id="close"),
        pytest.param(ws_frame(b"x" * 125, PONG), id="pong"),
    ],
)
def test_frames_that_gain_nothing_or_must_not_be_compressed_stay_as_they_are(frame: bytes) -> None:
    shared = SharedDeflate(2 if len(frame) < 200 else 256)
    assert shared.shrink(frame) is frame
    assert shared.statistics() == DeflateStatistics(0, 0, 0, 0)


def test_frames_of_the_least_and_the_greatest_size_are_compressed() -> None:
    shared = SharedDeflate(256)
    for size in (256, MOST_BYTES):
        shrunk = shared.shrink(ws_frame(b"x" * size))
        assert inflate(payload_of(shrunk), size) == b"x" * size


def test_one_frame_is_compressed_once_for_all_and_counted_once() -> None:
    shared = SharedDeflate(256)
    frame = ws_frame(TEXT)
    sent: list[bytes] = []
    senders = [shared.make_sender(sent.append, ANY_LENGTH) for _ in range(100)]
    for send in senders:
        send(frame)
    assert len(sent) == 100
    assert all(one is sent[0] for one in sent)
    assert shared.statistics() == DeflateStatistics(100, 1, len(frame), len(sent[0]))


def test_frames_that_come_in_between_do_not_make_it_compressed_again() -> None:
    shared = SharedDeflate(256)
    event, *others = [ws_frame(TEXT + bytes([number])) for number in range(8)]
    shrunk = shared.shrink(event)
    for other in others:
        assert shared.shrink(other) is not shrunk
        assert shared.shrink(event) is shrunk
    assert shared.statistics().compressed == 8


def test_a_frame_at_the_address_of_a_former_one_is_not_taken_for_it() -> None:
    shared = SharedDeflate(256)
    for number in range(1000):
        payload = b"%04d" % number * 100
        assert inflate(payload_of(shared.shrink(ws_frame(payload))), 400) == payload


def test_no_more_than_the_last_frames_are_held() -> None:
    shared = SharedDeflate(256)
    for number in range(100):
        shared.shrink(ws_frame(b"%04d" % number * 5000))
    gc.collect()
    assert sum(len(plain) for plain, _ in shared._recent.values()) < 9 * 20_000


@pytest.mark.parametrize("bits", range(8, 15))
def test_messages_longer_than_a_clients_window_go_to_it_as_they_are(bits: int) -> None:
    agreement = negotiate(f"permessage-deflate; server_max_window_bits={bits}")
    assert agreement is not None
    shared = SharedDeflate(1)
    sent: list[bytes] = []
    send = shared.make_sender(sent.append, agreement)
    everybody = shared.make_sender(sent.append, ANY_LENGTH)
    # A repetition from the very beginning to the very end: the farthest that a match can reach.
    fitting, longer = (
        b"the same" + bytes(size - 16) + b"the same" for size in (2**bits - 4, 2**bits)
    )
    for payload in (fitting, longer):
        everybody(ws_frame(payload))
        send(ws_frame(payload))
    assert [frame[0] for frame in sent] == [0xC2, 0xC2, 0xC2, 0x82]
    inflater = zlib.decompressobj(-bits)
    assert inflater.decompress(payload_of(sent[1]) + b"\x00\x00\xff\xff") == fitting


# Over sockets.

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
