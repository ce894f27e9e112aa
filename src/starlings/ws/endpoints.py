"""Continuation tokens: what stays of a client across its connections.

A client shows the token of its last connection with the next ``init``. It tells of which history
the event ids are that the client has: after a restore from a backup they mean nothing any more. The
token is signed together with account, service and identity, so nothing about it has to be kept, and
one of somebody else is answered with a new one. [wire-protocol 4.3]

One thing is kept, in memory: which clients came back from another history, and what they have read
since. A client takes its new token with the reply to ``init``, before it hears that its objects are
gone. If the connection breaks in between, or before all of them were asked about, the new token
alone would make the old event ids look good.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Continuation", "Endpoints", "Owner"]

_ENDPOINT_BITS = 128
_MOST_RETURNED = 10_000
"""Clients from another history that are kept; the one that was not seen for longest goes first."""


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
    known_sids: set[str] | None
    """If the client comes from a history that was cut since: the objects that it has read anew, to
    be added to. Event ids that it states of others mean nothing. None: all can be trusted."""


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
        self._returned: OrderedDict[str, set[str]] = OrderedDict()
        """``known_sids`` by the new token."""

    def continue_or_start(self, owner: Owner, shown: str | None) -> Continuation:
        """Check the token that a client shows, None at its first connection."""
        known_sids: set[str] | None = None
        if shown:
            body, _, mark = shown.rpartition(".")
            if hmac.compare_digest(mark.encode(), self._sign(owner, body).encode()):
                if body.partition(".")[2] == self._epoch:
                    return Continuation(shown, is_reissued=False, known_sids=self._find(shown))
                known_sids = set()
        body = f"EP{self._random_bits(_ENDPOINT_BITS):032x}.{self._epoch}"
        token = f"{body}.{self._sign(owner, body)}"
        if known_sids is not None:
            self._returned[token] = known_sids
            if len(self._returned) > _MOST_RETURNED:
                self._returned.popitem(last=False)
        return Continuation(token, bool(shown), known_sids)

    def storage_id(self, owner: Owner) -> str:
        """Under what a browser caches: different for every owner and every history."""
        text = "\0".join((self._epoch, *owner)).encode()
        return hmac.new(self._secret, b"storage\0" + text, hashlib.sha256).hexdigest()[:32]

    def _find(self, token: str) -> set[str] | None:
        known_sids = self._returned.get(token)
        if known_sids is not None:
            self._returned.move_to_end(token)
        return known_sids

    def _sign(self, owner: Owner, body: str) -> str:
        text = "\0".join((body, *owner)).encode()
        return hmac.new(self._secret, b"endpoint\0" + text, hashlib.sha256).hexdigest()[:32]
