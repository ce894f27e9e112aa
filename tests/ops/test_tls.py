"""HTTPS with a certificate of the operator's."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from starlings.app import OperatorError
from starlings.app.certificate import check_certificate
from tests.ops.commands import start


def test_a_certificate_makes_the_port_https(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate))
    process = start(
        *("serve", "--port", "0", "--data", tmp_path / "data", "--ssl-certfile", certificate)
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Listening on https://127.0.0.1:")
        url = line.removeprefix("Listening on ").strip()
        answer = httpx.get(f"{url}/healthz", verify=trust, trust_env=False)
        assert (answer.status_code, answer.text) == (200, "ok\n")
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_what_is_wrong_with_a_certificate_is_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    both, other = make_certificate(tmp_path), make_certificate(tmp_path / "other")
    key_text, _, chain_text = both.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    key, chain, encrypted = (tmp_path / f"{name}.pem" for name in ("key", "chain", "encrypted"))
    key.write_bytes(key_text)
    chain.write_bytes(b"-----BEGIN CERTIFICATE-----" + chain_text)
    encrypted.write_bytes(
        serialization.load_pem_private_key(key_text, None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pass phrase"),
        )
    )
    broken = tmp_path / "broken.pem"
    broken.write_bytes(chain.read_bytes()[:200])
    check_certificate(both, None)
    check_certificate(chain, key)
    for arguments, told in [
        ((chain, None), f"no private key (PEM) in {chain}: name its file with --ssl-keyfile"),
        ((chain, chain), f"There is no private key (PEM) in {chain}"),
        ((key, None), f"There is no certificate (PEM) in {key}"),
        ((chain, other), f"The private key in {other} is not that of the certificate {chain}"),
        ((chain, encrypted), f"The private key in {encrypted} is encrypted"),
        ((broken, key), f"The certificate {broken} or its key can't be used: it is damaged"),
        ((chain, tmp_path), f"{tmp_path} can't be read: Is a directory"),
        ((tmp_path / "x", None), f"{tmp_path / 'x'} can't be read: No such file or directory"),
    ]:
        with pytest.raises(OperatorError) as caught:
            check_certificate(*arguments)
        assert told in str(caught.value)


def make_certificate(directory: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
