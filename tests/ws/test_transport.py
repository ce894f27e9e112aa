"""The contract of picows inside uvicorn: run this before another picows or uvicorn is allowed."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import operator
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import ConnectionClosed, InvalidStatus

from starlings.ws.connection import PROTOCOL_ERROR, Connection
from starlings.ws.http import BoundedHttpServer
from starlings.ws.options import WebSocketOptions
from starlings.ws.outbox import SLOW_READER, OutboxLimits, ws_frame
from starlings.ws.transport import WebSocketServer
from tests.ws.serving import (
    EVERY_KIND,
    UPGRADE,
    Recorder,
    client_frame,
    echo,
    no_proxy,
    read_frame,
    serving,
    stop_reading,
    trusting,
)

# Handshake.


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70_000, 128 * 1024])
async def test_a_message_of_any_allowed_size_is_echoed(size: int) -> None:
    message = (EVERY_KIND * (size // 256 + 1))[:size]
    async with serving(echo) as site, no_proxy(site.url(), compression=None) as client:
        await client.send(message)
        assert await client.recv() == message


async def test_a_client_that_offers_compression_is_served_without() -> None:
    async with serving(echo) as site, no_proxy(site.url("/v3/wsconnect?token=x")) as client:
        await client.send(b"x")
        assert await client.recv() == b"x"
        assert client.protocol.extensions == []


async def test_another_path_is_refused_with_404() -> None:
    async with serving() as site:
        with pytest.raises(InvalidStatus) as refusal:
            await no_proxy(site.url("/v3/wsconnect/more"))
        assert refusal.value.response.status_code == 404


@pytest.mark.parametrize("version", [b"8", b"12", b"14"])
async def test_another_version_is_refused_with_426_and_told_ours(version: bytes) -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(UPGRADE.replace(b"Version: 13", b"Version: " + version))
        answer = await reader.readuntil(b"\r\n\r\n")
    status, _, headers = answer.partition(b"\r\n")
    assert status.startswith(b"HTTP/1.1 426 ")
    assert b"sec-websocket-version: 13\r\n" in headers.lower()


async def test_an_origin_that_is_not_listed_is_refused_with_403() -> None:
    options = WebSocketOptions(allowed_origins=frozenset({"https://good.example"}))
    async with serving(ws=options) as site:
        with pytest.raises(InvalidStatus) as refusal:
            await no_proxy(site.url(), origin="https://evil.example")
        assert refusal.value.response.status_code == 403
        async with no_proxy(site.url(), origin="https://good.example"), no_proxy(site.url()):
            assert site.listeners.qsize() == 2


async def test_a_refused_origin_is_told_with_the_callers_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "starlings.ws")
    forwarded = {"X-Forwarded-For": "6.6.6.6, 198.51.100.1"}
    for proxy, address in (("127.0.0.1", "198.51.100.1"), ("10.0.0.1", "127.0.0.1")):
        options = WebSocketOptions(
            allowed_origins=frozenset(), is_trusted_proxy=partial(operator.eq, proxy)
        )
        caplog.clear()
        async with serving(ws=options) as site:
            with pytest.raises(InvalidStatus):
                await no_proxy(site.url(), origin='https://a"b', additional_headers=forwarded)
        told = [one.getMessage() for one in caplog.records if one.name == "starlings.ws"]
        assert told == [f"An origin was refused address={address} origin='https://a\"b'"]


async def test_connections_beyond_the_bound_are_refused_with_503_until_one_ends() -> None:
    async with serving(ws=WebSocketOptions(max_connections=1)) as site:
        async with no_proxy(site.url()):
            listener = await site.listeners.get()
            with pytest.raises(InvalidStatus) as refusal:
                await no_proxy(site.url())
            assert refusal.value.response.status_code == 503
        await listener.closed
        async with no_proxy(site.url()):
            assert site.listeners.qsize() == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Key: short"),
        (b"Host: h", b"Host: h\r\nContent-Length: 5"),
    ],
)
async def test_a_malformed_upgrade_is_refused_with_400(old: bytes, new: bytes) -> None:
    async with serving() as site:
        reader, writer = await site.connect()
        writer.write(UPGRADE.replace(old, new) + b"hello")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        await reader.read()
        writer.close()
        assert not site.ws.open_connections


async def test_http_and_upgrade_share_a_kept_alive_connection() -> None:
    async with serving(echo) as site:
        reader, writer = await site.connect()
        for path in (b"/a", b"/b"):
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(8) == b"GET " + path + b" 0\x00"[:2]
        writer.write(UPGRADE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(client_frame(b"hi"))
        assert await read_frame(reader) == (0x82, b"hi")
        writer.close()


async def test_frames_sent_right_behind_the_head_are_not_lost() -> None:
    async with serving(echo) as site:
        reader, writer = await site.connect()
        large = EVERY_KIND * 200
        writer.write(UPGRADE + client_frame(b"early") + client_frame(large))
        await reader.readuntil(b"\r\n\r\n")
        assert await read_frame(reader) == (0x82, b"early")
        assert await read_frame(reader) == (0x82, large)
        writer.close()


async def test_a_head_in_many_segments_is_put_together() -> None:
    async with serving(echo) as site:
        reader, writer = await site.connect()
        writer.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        for byte in UPGRADE + client_frame(b"hi"):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        await reader.readuntil(b"\r\n\r\n")
        assert await read_frame(reader) == (0x82, b"hi")
        writer.close()


async def test_a_head_full_of_cookies_is_accepted_and_not_kept() -> None:
    async with serving(echo) as site:
        cookies = b"".join(b"Cookie: c%d=%s\r\n" % (i, b"x" * 120) for i in range(150))
        reader, writer = await site.connect()
        writer.write(UPGRADE[:-2] + cookies + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.close()


# Messages.


async def test_fragments_become_one_message_with_control_frames_in_between() -> None:
    async with serving() as site:
        reader, writer, listener = await site.upgrade()
        writer.write(
            client_frame(b"ab", 0x02)
            + client_frame(b"ping", 0x89)
            + client_frame(b"", 0x00)
            + client_frame(b"cd", 0x80)
            + client_frame(b"whole")
        )
        assert await read_frame(reader) == (0x8A, b"ping")
        assert await listener.messages.get() == b"abcd"
        assert await listener.messages.get() == b"whole"
        assert listener.connection.statistics().messages_received == 2
        writer.close()


async def test_empty_fragments_take_no_memory() -> None:
    async with serving(echo) as site:
        reader, writer, listener = await site.upgrade()
        writer.write(client_frame(b"a", 0x02))
        writer.write(client_frame(b"", 0x00) * 1000)
        writer.write(client_frame(b"p", 0x89))
        assert await read_frame(reader) == (0x8A, b"p")
        (protocol,) = site.ws.open_connections
        assert protocol.listener._fragments == [b"a"]
        writer.write(client_frame(b"", 0x00) + client_frame(b"b", 0x80))
        assert await read_frame(reader) == (0x82, b"ab")
        writer.write(client_frame(b"", 0x02) + client_frame(b"", 0x80))
        assert await read_frame(reader) == (0x82, b"")
        assert [await listener.messages.get() for _ in range(2)] == [b"ab", b""]
        writer.close()


async def test_text_messages_are_told_apart_whole_or_in_fragments() -> None:
    async with serving() as site:
        _, writer, listener = await site.upgrade()
        writer.write(client_frame(b"text", 0x81))
        await listener.texts.get()
        writer.write(client_frame(b"te", 0x01) + client_frame(b"xt", 0x80) + client_frame(b"b"))
        await listener.texts.get()
        assert await listener.messages.get() == b"b"
        assert listener.texts.empty()
        assert listener.messages.empty()
        writer.close()


LIMIT = WebSocketOptions(max_message_bytes=1000)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(client_frame(b"x" * 1001), 1009, id="one-frame"),
        pytest.param(client_frame(b"x" * 1001, 0x81), 1009, id="text"),
        pytest.param(
            client_frame(b"x" * 600, 0x02) + client_frame(b"x" * 401, 0x80), 1009, id="fragments"
        ),
        pytest.param(
            client_frame(b"x" * 600, 0x01) + client_frame(b"x" * 401, 0x80),
            1009,
            id="text-fragments",
        ),
        pytest.param(client_frame(b"x" * 900_000), 1009, id="far-too-large"),
        pytest.param(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd", 1009, id="announced"),
        pytest.param(b"\x82\x02ab", 1002, id="unmasked"),
        pytest.param(client_frame(b"x", 0xC2), 1002, id="reserved-bit"),
        pytest.param(client_frame(b"x", 0x83), 1002, id="unknown-opcode"),
        pytest.param(client_frame(b"x", 0x80), 1002, id="continuation-of-nothing"),
        pytest.param(
            client_frame(b"x", 0x02) + client_frame(b"y"), 1002, id="message-within-a-message"
        ),
        pytest.param(client_frame(b"x" * 126, 0x89), 1002, id="long-ping"),
        pytest.param(client_frame(b"x", 0x09), 1002, id="fragmented-ping"),
        *(
            pytest.param(client_frame(code.to_bytes(2, "big"), 0x88), 1002, id=f"close-{code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
        ),
    ],
)
async def test_a_breach_of_protocol_is_answered_with_its_close_code(
    sent: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(ws=LIMIT) as site:
        reader, writer, listener = await site.upgrade()
        writer.write(sent + client_frame(b"after"))
        first, payload = await read_frame(reader)
        assert (first, int.from_bytes(payload[:2], "big")) == (0x88, code)
        assert await reader.read() == b""
        writer.close()
        assert await listener.closed == (code, PROTOCOL_ERROR)
        assert listener.messages.empty()
        assert not site.state.connections
    assert [record.message for record in caplog.records if "starlings" in record.name] == []


async def test_messages_before_a_breach_of_protocol_arrive() -> None:
    async with serving(echo, ws=LIMIT) as site:
        reader, writer, listener = await site.upgrade()
        writer.write(client_frame(b"fine"))
        assert await read_frame(reader) == (0x82, b"fine")
        writer.write(client_frame(b"x" * 1001))
        assert (await read_frame(reader))[0] == 0x88
        writer.close()
        assert (await listener.closed)[0] == 1009


async def test_an_error_in_the_listener_closes_with_1011_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(connection: Connection, data: bytes) -> None:
        raise LookupError("our fault")

    async with serving(fail) as site:
        reader, writer, listener = await site.upgrade()
        writer.write(client_frame(b"x"))
        assert await read_frame(reader) == (0x88, b"\x03\xf3")
        writer.close()
        assert (await listener.closed)[0] == 1011
    assert "our fault" in caplog.text


# The socket.


async def test_kernel_buffer_and_give_up_time_are_bounded_per_connection() -> None:
    options = WebSocketOptions(send_buffer_bytes=50_000, outbox=OutboxLimits(age_seconds=7))
    async with serving(ws=options) as site:
        _, writer, _ = await site.upgrade()
        (protocol,) = site.ws.open_connections
        sock = protocol.transport.underlying_transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 100_000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
        writer.close()


# The whole of uvicorn.


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key files for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "cert.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


async def test_tls_carries_http_messages_order_and_breaches(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = trusting(certificate.read_bytes())
    options: dict[str, Any] = {"ssl_certfile": certificate, "ssl_keyfile": key}
    async with serving(echo, **options) as site:
        reader, writer = await site.connect(ssl=context)
        writer.write(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(8) == b"GET /a 0"
        writer.write(UPGRADE + client_frame(b"early"))
        await reader.readuntil(b"\r\n\r\n")
        assert await read_frame(reader) == (0x82, b"early")
        listener = await site.listeners.get()
        large = EVERY_KIND * 500
        for _ in range(7):
            listener.connection.send(large)
            listener.connection.send_framed(ws_frame(b"small"))
        for _ in range(7):
            assert await read_frame(reader) == (0x82, large)
            assert await read_frame(reader) == (0x82, b"small")
        writer.write(client_frame(b"x" * (WebSocketOptions().max_message_bytes + 1)))
        assert (await read_frame(reader))[1][:2] == b"\x03\xf1"
        writer.close()
        assert await listener.closed == (1009, PROTOCOL_ERROR)


async def test_a_broadcast_reaches_all_in_order_whatever_their_transport(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = trusting(certificate.read_bytes())
    options: dict[str, Any] = {"ssl_certfile": certificate, "ssl_keyfile": key}
    async with serving() as plain, serving(**options) as secure:
        plain_reader, plain_writer, first = await plain.upgrade()
        secure_reader, secure_writer = await secure.connect(ssl=context)
        secure_writer.write(UPGRADE)
        await secure_reader.readuntil(b"\r\n\r\n")
        second = await secure.listeners.get()
        sinks = [first.connection.sink, second.connection.sink]
        assert [sink.direct_fd >= 0 for sink in sinks if sink] == [True, False]
        frames = [ws_frame(b"%d" % number * 3000) for number in range(9)]
        for number in range(9):
            for site, sink in ((plain, sinks[0]), (secure, sinks[1])):
                assert sink is not None
                if number % 3 == 1:
                    sink.append(frames[number])
                else:
                    site.ws.flusher.broadcast([sink], [frames[number]])
            if number % 2:
                await asyncio.sleep(0)
        for reader in (plain_reader, secure_reader):
            for number in range(9):
                assert await read_frame(reader) == (0x82, b"%d" % number * 3000)
        plain_writer.close()
        secure_writer.close()


async def test_a_broadcast_to_a_reader_that_stops_cuts_it_and_no_other() -> None:
    limits = OutboxLimits(queued_bytes=64 * 1024)
    options = WebSocketOptions(outbox=limits, send_buffer_bytes=64 * 1024)
    async with serving(ws=options) as site:
        _, slow_writer, slow = await site.upgrade()
        stop_reading(slow_writer)
        fast_reader, fast_writer, fast = await site.upgrade()
        sinks = [one.connection.sink for one in (slow, fast) if one.connection.sink is not None]
        for _ in range(5000):
            if slow.closed.done():
                break
            site.ws.flusher.broadcast(sinks, [ws_frame(EVERY_KIND * 40)])
            assert await read_frame(fast_reader) == (0x82, EVERY_KIND * 40)
        assert slow.closed.result() == (None, SLOW_READER)
        assert not fast.closed.done()
        slow_writer.close()
        fast_writer.close()


async def test_a_broadcast_never_reaches_the_next_owner_of_a_descriptor() -> None:
    async with serving() as site:
        _, old_writer, old = await site.upgrade()
        sink = old.connection.sink
        assert sink is not None
        fd = sink.direct_fd
        old_writer.transport.abort()
        await old.closed
        for _ in range(20):
            new_reader, new_writer, new = await site.upgrade()
            if new.connection.sink is not None and new.connection.sink.direct_fd == fd:
                break
        else:
            pytest.fail("the descriptor was not used again")
        site.ws.flusher.broadcast([sink], [ws_frame(b"secret")])
        new.connection.send(b"yours")
        assert await read_frame(new_reader) == (0x82, b"yours")
        new_writer.close()


async def test_tls_reader_that_stops_is_cut(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    options: dict[str, Any] = {"ssl_certfile": certificate, "ssl_keyfile": key}
    async with serving(
        ws=WebSocketOptions(outbox=OutboxLimits(queued_bytes=300_000)), **options
    ) as site:
        reader, writer = await site.connect(ssl=trusting(certificate.read_bytes()))
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        stop_reading(writer)
        listener = await site.listeners.get()
        frame = ws_frame(EVERY_KIND * 256)
        sent = 0
        while not listener.closed.done():
            assert sent < 1000
            listener.connection.send_framed(frame)
            await asyncio.sleep(0)
            sent += 1
        assert listener.closed.result() == (None, SLOW_READER)
        writer.transport.abort()


async def test_uvicorn_serves_both_and_its_shutdown_closes_with_1001() -> None:
    listeners: list[Recorder] = []

    def make_listener() -> Recorder:
        listeners.append(Recorder(echo))
        return listeners[-1]

    faces: dict[str, Any] = {"http": BoundedHttpServer(), "ws": WebSocketServer(make_listener)}
    config = uvicorn.Config(None, port=0, log_config=None, lifespan="off", **faces)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.001)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with no_proxy(f"ws://127.0.0.1:{port}/v3/wsconnect") as client:
        await client.send(b"x")
        assert await client.recv() == b"x"
        server.should_exit = True
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    await serve
    assert await listeners[0].closed == (1001, "server is shutting down")
