"""Secrets at rest: sealed with AES-GCM under a key that is kept outside the database.

A sealed secret is one version byte, a random nonce of 12 bytes, and the ciphertext with its tag.
The owner's SID is bound in as associated data, so a sealed secret can't be moved to another account
or key. What this protects, and what it doesn't, is told in docs/decisions/0006-secrets-at-rest.md.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["KEY_BYTES", "Sealer", "SealingError"]

KEY_BYTES: Final = 32

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12


class SealingError(Exception):
    """The secret key is missing, malformed, or not the one that sealed. The sentence is for the
    operator.
    """


class Sealer:
    """Seals and opens secrets with one key."""

    def __init__(self, key: bytes) -> None:
        """Raises SealingError unless ``key`` has ``KEY_BYTES`` bytes."""
        if len(key) != KEY_BYTES:
            raise SealingError(f"The secret key has {len(key)} bytes; {KEY_BYTES} are needed")
        self._cipher = AESGCM(key)
        self._key = key

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The sealer of a key written as base64, with either alphabet.

        Raises:
            SealingError: Not base64, or not ``KEY_BYTES`` bytes.
        """
        try:
            key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise SealingError("The secret key is not base64") from error
        return cls(key)

    @staticmethod
    def make_key_text() -> str:
        """A new random key, as ``from_text`` takes it."""
        return base64.b64encode(os.urandom(KEY_BYTES)).decode()

    def derive(self, purpose: str) -> bytes:
        """A secret of this installation for one purpose, that tells nothing about the key."""
        return hmac.digest(self._key, b"derive\0" + purpose.encode(), "sha256")

    def seal(self, secret: str, owner_sid: str) -> bytes:
        """Encrypt a secret for its owner; different bytes every time."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, secret.encode(), owner_sid.encode())

    def open(self, sealed: bytes, owner_sid: str) -> str:
        """The secret that was sealed for this owner.

        Raises:
            SealingError: Another key or owner, or damaged bytes.
        """
        if sealed[:1] != _VERSION:
            raise SealingError(f"The secret of {owner_sid} is sealed in an unknown way")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, owner_sid.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SealingError(f"The secret key does not open the secret of {owner_sid}") from error
