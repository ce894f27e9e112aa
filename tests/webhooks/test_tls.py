"""Deliveries over TLS: the connection goes to the checked address, the name stays in charge."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from starlings.webhooks import addresses
from starlings.webhooks.delivery import Deliverer

NAME = "hook.test"
_NOW = datetime.now(UTC)


def make_certificate(directory: Path) -> Path:
    """A certificate for ``NAME`` that is its own authority, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_NOW - timedelta(days=1))
        .not_valid_after(_NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "both.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


@asynccontextmanager
async def receiving(file: Path) -> AsyncIterator[tuple[int, list[str | None], list[str]]]:
    """A TLS server; its port, the names asked for in handshakes, and the heads of requests."""
    names: list[str | None] = []
    heads: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.sni_callback = lambda _, name, __: names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], names, heads


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name is this machine."""

    def look_up(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(addresses, "_look_up", look_up)


@pytest.mark.usefixtures("resolving")
async def test_the_name_is_kept_for_handshake_certificate_and_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    deliverer = Deliverer(may_be_private=True, connections=2)
    parameters: dict[str, Any] = {"EventType": "map_created"}
    async with receiving(file) as (port, names, heads):
        url = f"https://{NAME}:{port}/x"
        assert await deliverer.deliver(url, parameters, "token", "id") == (True, "status 200")
        assert names == [NAME]
        assert f"\r\nHost: {NAME}:{port}\r\n" in heads[0]
        # The same address under a name that the certificate isn't for.
        other = await deliverer.deliver(f"https://other.test:{port}/x", parameters, "token", "id")
        assert not other.is_delivered
        assert "CERTIFICATE_VERIFY_FAILED" in other.detail
        assert len(heads) == 1
    await deliverer.close()


@pytest.mark.usefixtures("resolving")
async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    deliverer = Deliverer(may_be_private=True, connections=2)
    async with receiving(make_certificate(tmp_path)) as (port, _, heads):
        outcome = await deliverer.deliver(f"https://{NAME}:{port}/x", {}, "token", "id")
    assert not outcome.is_delivered
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.detail
    assert heads == []
    await deliverer.close()
