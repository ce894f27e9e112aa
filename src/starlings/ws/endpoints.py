"""Continuation tokens: what stays of a client across its connections.

A client shows the token of its last connection with the next ``init``, and is known by it as the
same one. The token is signed together with account, service, identity and the store's epoch, so
nothing about it has to be kept. One of somebody else, or from before a restore, is answered with a
new one; what the client has of a history that was cut is seen by the event ids that it states
(``storage.cuts``), whichever token it shows. [wire-protocol 4.3]
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Continuation", "Endpoints", "Owner"]

_ENDPOINT_BITS = 128


class Owner(NamedTuple):
    """Whose connections they are."""

    account_sid: str
    service_sid: str
    identity: str


class Continuation(NamedTuple):
    """What became of the token that a client showed."""

    token: str
    """To be shown the next time."""
    is_reissued: bool
    """The shown one was not usable."""


class Endpoints:
    """Makes and checks continuation tokens.

    Args:
        secret: Of this installation; the same on all its nodes.
        epoch: Of the store: another one means that history was cut.
    """

    def __init__(self, secret: bytes, epoch: str, random_bits: Callable[[int], int]) -> None:
        self._secret = secret
        self._epoch = epoch
        self._random_bits = random_bits

    def continue_or_start(self, owner: Owner, shown: str | None) -> Continuation:
        """Check the token that a client shows, None at its first connection."""
        if shown:
            body, _, mark = shown.rpartition(".")
            is_ours = hmac.compare_digest(mark.encode(), self._sign(owner, body).encode())
            if is_ours and body.partition(".")[2] == self._epoch:
                return Continuation(shown, is_reissued=False)
        body = f"EP{self._random_bits(_ENDPOINT_BITS):032x}.{self._epoch}"
        return Continuation(f"{body}.{self._sign(owner, body)}", is_reissued=bool(shown))

    def storage_id(self, owner: Owner) -> str:
        """Under what a browser caches: different for every owner and every history."""
        text = "\0".join((self._epoch, *owner)).encode()
        return hmac.new(self._secret, b"storage\0" + text, hashlib.sha256).hexdigest()[:32]

    def _sign(self, owner: Owner, body: str) -> str:
        text = "\0".join((body, *owner)).encode()
        return hmac.new(self._secret, b"endpoint\0" + text, hashlib.sha256).hexdigest()[:32]
