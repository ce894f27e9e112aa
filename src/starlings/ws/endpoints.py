"""Endpoints: what stays of a client across its connections.

A client shows the continuation token of its last connection with the next ``init``. The token names
an *endpoint* and is signed together with account, service and identity, so nothing about it has to
be kept: whoever shows it is the same endpoint, and a token of somebody else is answered with a new
one. [wire-protocol 4.3]
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Endpoints", "Owner"]

_ENDPOINT_BITS = 128


class Owner(NamedTuple):
    """Whose connections they are."""

    account_sid: str
    service_sid: str
    identity: str


class Endpoints:
    """Makes and checks continuation tokens.

    Args:
        secret: Of this installation; the same on all its nodes.
        epoch: Of the store: changes the storage ids when history was cut. [wire-protocol 4.3]
    """

    def __init__(self, secret: bytes, epoch: str, random_bits: Callable[[int], int]) -> None:
        self._secret = secret
        self._epoch = epoch
        self._random_bits = random_bits

    def continue_or_start(self, owner: Owner, shown: str | None) -> tuple[str, str, bool]:
        """The endpoint and its token, and whether the token that was shown had to be replaced."""
        if shown:
            endpoint, _, mark = shown.partition(".")
            if hmac.compare_digest(mark.encode(), self._sign(owner, endpoint).encode()):
                return endpoint, shown, False
        endpoint = f"EP{self._random_bits(_ENDPOINT_BITS):032x}"
        return endpoint, f"{endpoint}.{self._sign(owner, endpoint)}", bool(shown)

    def storage_id(self, owner: Owner) -> str:
        """Under what a browser caches: different for every owner and every history."""
        text = "\0".join((self._epoch, *owner)).encode()
        return hmac.new(self._secret, b"storage\0" + text, hashlib.sha256).hexdigest()[:32]

    def _sign(self, owner: Owner, endpoint: str) -> str:
        text = "\0".join((endpoint, *owner)).encode()
        return hmac.new(self._secret, b"endpoint\0" + text, hashlib.sha256).hexdigest()[:32]
