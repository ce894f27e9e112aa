"""Identities are revoked in a world whose tokens are signed and checked as in earnest.

Accounts, keys and the record of revoked identities are in memory and outlive the servers; each
server has its own ``auth.keyring`` over them. An identity is revoked over REST, which is in force
when it is answered, or beside the server, which is in force within a second. From then on nothing
goes to a session that has shown no younger token, and who shows one is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from starlings.app.credentials import IdentityRevoker
from starlings.auth.keyring import Keyring, LiveKey
from starlings.auth.sealing import KEY_BYTES, Sealer
from starlings.auth.tokens import mint_token, verify_token
from starlings.core.credentials import Account, ApiKey, RevokedIdentity
from starlings.core.limits import OFF
from starlings.storage.sqlite.credentials import CredentialStore
from starlings.wire.codec import decode_downstream, decode_upstream
from starlings.wire.messages import Init, Notification, Reply, Update
from tests.simulation.client import Client
from tests.simulation.network import Link
from tests.simulation.part import Step
from tests.simulation.server import ACCOUNT_SID, Credentials, Server, Verify

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Revocations"]

_KEY = LiveKey("SK" + "0" * 32, ACCOUNT_SID, "a secret of 32 characters or more")
_IN_FORCE_MS = 1_000
"""After a revocation beside the server."""


class _Record:
    """Implements ``auth.keyring.CredentialSource``."""

    def __init__(self) -> None:
        self.sealer = Sealer(bytes(KEY_BYTES))
        self._revoked: dict[tuple[str, str], RevokedIdentity] = {}
        self._version = 0

    def read_version(self) -> int:
        return self._version

    def list_accounts(self) -> Sequence[Account]:
        return [Account(ACCOUNT_SID, self.sealer.seal("token", ACCOUNT_SID), 0)]

    def list_keys(self) -> Sequence[ApiKey]:
        sealed = self.sealer.seal(_KEY.secret, _KEY.sid)
        return [ApiKey(_KEY.sid, ACCOUNT_SID, None, sealed, 0)]

    def list_revoked_identities(self) -> Sequence[RevokedIdentity]:
        return list(self._revoked.values())

    def revoke_identity(self, revoked: RevokedIdentity) -> None:
        self._revoked[revoked.account_sid, revoked.identity] = revoked
        self._version += 1


class _Issued(NamedTuple):
    """A token, and what is written in it; times in milliseconds since 1970."""

    text: str
    identity: str
    issued_at: int
    expires_at: int


class _Issuer(Credentials):
    """The application, which hands out some tokens twice, and the servers' keyrings."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.record = _Record()
        self.issued: dict[str, _Issued] = {}
        """By text."""
        self._newest: dict[str, _Issued] = {}
        """By identity."""

    def make_token(self, identity: str, lives_seconds: int) -> str:
        known = self._newest.get(identity)
        if known is not None and not self._world.is_mended and self._world.chance.is_so(0.2):
            return known.text
        second = self._world.now() // 1000
        text = mint_token(_KEY, identity, "default", lives_seconds, self._world.now())
        token = _Issued(text, identity, second * 1000, (second + lives_seconds) * 1000)
        self.issued[text] = self._newest[identity] = token
        return text

    def open(self, server: Server) -> Verify:
        keyring = Keyring(self.record, self.record.sealer)
        keyring.on_identity_revoked(server.face.revoke_identity)
        server.run(keyring.watch())
        self.revoker = IdentityRevoker(cast(CredentialStore, self.record), keyring, self._world.now)
        return lambda text: verify_token(text, keyring, OFF, self._world.now())


class _Revoked(NamedTuple):
    """Tokens issued up to ``at`` are good no longer; everybody knows from ``in_force_at`` on."""

    at: int
    in_force_at: int


class Revocations:
    """Implements ``part.Part`` and ``network.Witness``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self._issuer = world.credentials = _Issuer(world)
        self._revoked: dict[str, list[_Revoked]] = {}
        """By identity."""
        self._shown: dict[Link, list[_Issued]] = {}
        world.witnesses.append(self)

    def make_data(self) -> dict[str, Any]:
        return {}

    async def begin(self) -> None:
        """Everybody is good."""

    def steps(self) -> list[Step]:
        return [(2, self._revoke), (2, self._revoke_beside)]

    def mend(self) -> None:
        """Nothing goes wrong here by itself."""

    def is_settled(self) -> bool:
        return True

    async def finish(self) -> None:
        """Once more, with nothing that could hide it."""
        await self._revoke_beside(self._world.clients[0])
        await asyncio.sleep(3.0)

    async def compare(self) -> list[str]:
        """The world waits until all are back; what they were sent is judged as it goes out."""
        return []

    # Steps

    async def _revoke(self, client: Client) -> None:
        """Over REST."""
        if not self._world.is_up:
            return
        self._count_sessions(client.identity)
        at = await self._issuer.revoker.revoke_identity(ACCOUNT_SID, client.identity)
        self._note(client.identity, at, self._world.now())

    async def _revoke_beside(self, client: Client) -> None:
        """By ``starlings identities revoke``, also while no server is up."""
        self._count_sessions(client.identity)
        at = self._world.now()
        self._issuer.record.revoke_identity(RevokedIdentity(ACCOUNT_SID, client.identity, at))
        self._note(client.identity, at, at + _IN_FORCE_MS)

    def _note(self, identity: str, at: int, in_force_at: int) -> None:
        self._revoked.setdefault(identity, []).append(_Revoked(at, in_force_at))

    def _count_sessions(self, identity: str) -> None:
        counts = self._chance.counts
        counts["revocations"] += 1
        counts["revoked sessions"] += sum(
            client.identity == identity and client.is_ready for client in self._world.clients
        )

    # From the links

    def on_taken(self, link: Link, frame: bytes) -> None:
        if b'"method":"init"' in frame or b'"method":"update"' in frame:
            message = decode_upstream(frame)
            if isinstance(message, Init | Update):
                self._shown.setdefault(link, []).append(self._issuer.issued[message.token])

    def on_sent(self, link: Link, frame: bytes) -> None:
        shown = self._shown.get(link)
        if not shown:
            return
        message = decode_downstream(frame)
        now = self._world.now()
        if isinstance(message, Reply) and message.http_status is None:
            if message.status.is_success:
                self._check_taken(link, shown, now)
            elif message.status.code == 401:
                self._check_refused(link, shown, now)
        elif isinstance(message, Notification | Reply):
            self._check_taken(link, shown, now)

    def _check_taken(self, link: Link, shown: list[_Issued], now: int) -> None:
        """Something goes to a session, or it begins."""
        if all(self._is_revoked(token, now, is_in_force=True) for token in shown):
            self._accuse(f"{link.identity} goes on at {now} with {shown[-1][1:]}")

    def _check_refused(self, link: Link, shown: list[_Issued], now: int) -> None:
        self._chance.counts["refused tokens"] += 1
        token = shown[-1]
        is_over = now >= token.expires_at
        if not is_over and not self._is_revoked(token, now, is_in_force=False):
            self._accuse(f"{link.identity} is refused at {now} with {token[1:]}")

    def _is_revoked(self, token: _Issued, now: int, *, is_in_force: bool) -> bool:
        return any(
            token.issued_at <= revoked.at and (now > revoked.in_force_at or not is_in_force)
            for revoked in self._revoked.get(token.identity, [])
        )

    def _accuse(self, sentence: str) -> None:
        self._world.history.accuse(f"revocation: {sentence}")
