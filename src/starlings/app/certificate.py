"""What can be wrong with a certificate and its key, said before OpenSSL says it in its words."""

from __future__ import annotations

import ssl
from pathlib import Path

from starlings.app.errors import OperatorError

__all__ = ["check_certificate"]


class _NeedsPassPhrase(Exception):
    """The private key is encrypted: there is nobody who could be asked."""


def check_certificate(certificate: Path, key: Path | None) -> None:
    """See that a certificate and its private key can be used.

    Args:
        certificate: The chain in PEM.
        key: The private key in PEM; None if it is in the certificate's file.

    Raises:
        OperatorError: They can't.
    """
    texts = {path: _read(path) for path in (certificate, key or certificate)}
    where = key or certificate
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=_refuse_pass_phrase)
    except _NeedsPassPhrase as error:
        raise OperatorError(
            f"The private key in {where} is encrypted: give one without a pass phrase"
        ) from error
    except ssl.SSLError as error:
        if b"-----BEGIN CERTIFICATE-----" not in texts[certificate]:
            raise OperatorError(f"There is no certificate (PEM) in {certificate}") from error
        if b"PRIVATE KEY-----" not in texts[where]:
            hint = ": name its file with --ssl-keyfile" if key is None else ""
            raise OperatorError(f"There is no private key (PEM) in {where}{hint}") from error
        if error.reason == "KEY_VALUES_MISMATCH":
            raise OperatorError(
                f"The private key in {where} is not that of the certificate {certificate}"
            ) from error
        reason = error.reason or "it is damaged"
        raise OperatorError(
            f"The certificate {certificate} or its key can't be used: {reason}"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(
            f"The certificate file {path} can't be read: {error.strerror}"
        ) from error


def _refuse_pass_phrase() -> str:
    raise _NeedsPassPhrase
