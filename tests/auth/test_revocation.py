"""Tokens of an identity that was revoked. [docs/reference/access.md]"""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from twilio.jwt.access_token import AccessToken as OfficialToken  # type: ignore[import-untyped]
from twilio.jwt.access_token.grants import SyncGrant  # type: ignore[import-untyped]

from starlings.auth.tokens import verify_token
from starlings.core.credentials import RevokedIdentity
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import DOCUMENTED, OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.storage.sqlite.credentials import CredentialStore
from starlings.storage.sqlite.store import SqliteStore
from tests.auth.sources import ACCOUNT, KEY, KEY_SECRET, ListedCredentials, a_keyring
from tests.ops.stores import DATABASE

NOW = 1_800_000_000_500
SECOND = NOW // 1000


def a_token(**issued: object) -> str:
    """A good token, issued as told by ``jti`` and ``iat``."""
    claims = {
        "iss": KEY,
        "sub": ACCOUNT,
        "exp": SECOND + 3600,
        "grants": {"identity": "zoe", "data_sync": {}},
        **issued,
    }
    return jwt.PyJWS().encode(json.dumps(claims).encode(), KEY_SECRET, "HS256", _HEADER)


_HEADER = {"cty": "twilio-fpa;v=1"}


async def is_good(token: str, *, revoked_at: int | None, identity: str = "zoe") -> bool:
    source = ListedCredentials()
    keyring = a_keyring(source)
    if revoked_at is not None:
        source.revoke_identity(identity, revoked_at)
    await keyring.refresh()
    try:
        verify_token(token, keyring, DOCUMENTED, NOW)
    except Refusal as refusal:
        assert refusal.reason is Reason.TOKEN_EXPIRED, refusal  # noqa: PT017
        return False
    return True


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    ("issued", "is_newer"),
    [
        ({"jti": f"{KEY}-{SECOND + 1}"}, True),
        ({"jti": f"{KEY}-{SECOND}"}, False),
        ({"jti": f"{KEY}-{SECOND - 1}"}, False),
        ({"iat": SECOND + 1}, True),
        ({"iat": SECOND + 0.9}, False),
        ({"iat": SECOND}, False),
        ({"jti": f"{KEY}-{SECOND + 1}", "iat": SECOND}, False),
        ({"jti": f"{KEY}-{SECOND}", "iat": SECOND + 1}, False),
        ({"jti": f"{KEY}-{SECOND + 1}", "iat": SECOND + 1}, True),
        ({"jti": f"{KEY}-{SECOND + 1}", "iat": "soon"}, True),
        ({}, False),
        ({"jti": "made by hand"}, False),
        ({"jti": 7}, False),
        ({"jti": f"{KEY}-{SECOND + 1}\n"}, False),
        ({"jti": f"{KEY}-{'9' * 13}"}, False),
    ],
)
async def test_only_what_was_surely_issued_later_is_good(
    issued: dict[str, object], is_newer: bool
) -> None:
    token = a_token(**issued)
    assert await is_good(token, revoked_at=None)
    assert await is_good(token, revoked_at=NOW) is is_newer


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
async def test_others_are_not_concerned() -> None:
    token = a_token(jti=f"{KEY}-{SECOND - 1}")
    assert await is_good(token, revoked_at=NOW, identity="Zoe")
    assert await is_good(token, revoked_at=NOW, identity="zo")


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
async def test_a_token_of_the_official_helper_tells_when_it_was_issued() -> None:
    official = OfficialToken(ACCOUNT, KEY, KEY_SECRET, identity="zoe", ttl=60)
    official.add_grant(SyncGrant())
    source = ListedCredentials()
    keyring = a_keyring(source)
    now = SYSTEM_SOURCES.now()
    source.revoke_identity("zoe", now - 2_000)
    await keyring.refresh()
    assert verify_token(official.to_jwt(), keyring, DOCUMENTED, now).identity == "zoe"
    source.revoke_identity("zoe", now + 2_000)
    await keyring.refresh()
    with pytest.raises(Refusal, match="revoked"):
        verify_token(official.to_jwt(), keyring, DOCUMENTED, now)


async def test_each_revocation_is_told_once() -> None:
    source = ListedCredentials()
    source.revoke_identity("before", 1)
    keyring = a_keyring(source)
    heard: list[tuple[str, str]] = []
    keyring.on_identity_revoked(lambda *revoked: heard.append(revoked))
    source.revoke_identity("zoe", 5)
    await keyring.refresh()
    await keyring.refresh()
    source.version += 1
    await keyring.refresh()
    assert heard == [(ACCOUNT, "zoe")]
    source.revoke_identity("zoe", 6)
    await keyring.refresh()
    assert heard == [(ACCOUNT, "zoe")] * 2
    assert keyring.find_revocation(ACCOUNT, "zoe") == 6
    assert keyring.find_revocation("AC" + "f" * 32, "zoe") is None


async def test_the_latest_revocation_stays_on_record(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)).close()
    database = tmp_path / DATABASE
    store = CredentialStore.open(database)
    version = store.read_version()
    for at in (5, 9, 7):
        store.revoke_identity(RevokedIdentity(ACCOUNT, "zoe", at))
    store.revoke_identity(RevokedIdentity(ACCOUNT, "é\n", 8))
    assert store.read_version() == version + 4
    store.close()
    again = CredentialStore.open(database, is_read_only=True)
    assert again.list_revoked_identities() == [
        RevokedIdentity(ACCOUNT, "é\n", 8),
        RevokedIdentity(ACCOUNT, "zoe", 9),
    ]
    again.close()
