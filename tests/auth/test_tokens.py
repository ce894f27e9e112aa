"""Access tokens: every check of rest-api section 7, by code."""

import base64
import json
import warnings
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.jwt.access_token import AccessToken as OfficialToken  # type: ignore[import-untyped]
from twilio.jwt.access_token.grants import SyncGrant  # type: ignore[import-untyped]

from starlings.auth.keyring import LiveKey
from starlings.auth.tokens import (
    TOKEN_BYTES,
    AccessToken,
    Claimed,
    mint_token,
    read_claimed,
    verify_token,
)
from starlings.core.errors import Refusal
from starlings.core.limits import DOCUMENTED
from tests.auth.sources import ACCOUNT, KEY, KEY_SECRET, ListedCredentials, a_keyring

NOW = 1_800_000_000_000
SECONDS = NOW // 1000
SERVICE = "IS" + "5" * 32
KEYRING = a_keyring()


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, with some changed; None leaves one out."""
    good = {
        "jti": f"{KEY}-{SECONDS}",
        "iss": KEY,
        "sub": ACCOUNT,
        "exp": SECONDS + 3600,
        "grants": {"identity": "zoe", "data_sync": {"service_sid": SERVICE}},
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(
    payload: dict[str, Any] | None = None,
    *,
    secret: str = KEY_SECRET,
    algorithm: str = "HS256",
    **header: Any,
) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        return jwt.PyJWS().encode(
            json.dumps(claims() if payload is None else payload).encode(),
            secret,
            algorithm,
            {"cty": "twilio-fpa;v=1"} | header,
        )


def raw_token(header: object, payload: bytes) -> str:
    parts = (json.dumps(header).encode(), payload, b"signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def verify(token: str) -> AccessToken:
    return verify_token(token, KEYRING, DOCUMENTED, NOW)


def code_of(token: str) -> int:
    with pytest.raises(Refusal) as caught:
        verify(token)
    assert caught.value.status == 401 or caught.value.code == 54050
    return caught.value.code


def test_a_good_token_says_who_may_use_what_until_when() -> None:
    expected = AccessToken("zoe", ACCOUNT, KEY, SERVICE, NOW + 3_600_000)
    assert verify(signed()) == expected


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_all_three_algorithms_are_accepted(algorithm: str) -> None:
    assert verify(signed(algorithm=algorithm)).identity == "zoe"


def test_a_token_of_the_official_helper_library_is_accepted() -> None:
    token = OfficialToken(
        ACCOUNT,
        KEY,
        KEY_SECRET,
        grants=[SyncGrant(service_sid=SERVICE)],
        identity="zoé",
        valid_until=SECONDS + 60,
        nbf=SECONDS,
    )
    assert verify(token.to_jwt()) == AccessToken("zoé", ACCOUNT, KEY, SERVICE, NOW + 60_000)


def test_a_minted_token_is_what_the_official_helper_library_makes() -> None:
    minted = mint_token(LiveKey(KEY, ACCOUNT, KEY_SECRET), "zoe", SERVICE, 3600, NOW)
    official = OfficialToken(
        ACCOUNT,
        KEY,
        KEY_SECRET,
        grants=[SyncGrant(service_sid=SERVICE)],
        identity="zoe",
        valid_until=SECONDS + 3600,
        nbf=SECONDS,
    ).to_jwt()
    assert jwt.get_unverified_header(minted) == jwt.get_unverified_header(official)
    options: Any = {"verify_exp": False, "verify_nbf": False}
    decoded = jwt.decode(minted, KEY_SECRET, ["HS256"], options=options)
    expected = jwt.decode(official, KEY_SECRET, ["HS256"], options=options)
    assert decoded.pop("jti") == f"{KEY}-{SECONDS}"
    expected.pop("jti")
    assert decoded == expected
    assert verify(minted).expires_at == NOW + 3_600_000


@pytest.mark.parametrize("grant", [{}, {"service_sid": ""}, {"service_sid": None}])
def test_no_service_in_the_grant_means_the_default_one(grant: dict[str, Any]) -> None:
    token = signed(claims(grants={"identity": "zoe", "data_sync": grant}))
    assert verify(token).service == "default"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        signed()[:-1] + "!",
        signed().rsplit(".", 1)[0],
        signed() + "A" * TOKEN_BYTES,
        raw_token([], b"{}"),
        raw_token({"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1"}, b"[]"),
        raw_token({"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1"}, b"{"),
        raw_token({"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1"}, b"\xff"),
        raw_token({"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1"}, b"[" * 5000),
        raw_token({"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1"}, b"9" * 5000),
    ],
)
def test_a_malformed_token_is_20101(token: str) -> None:
    assert code_of(token) == 20101


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT", "alg": "none", "cty": "twilio-fpa;v=1"},
        {"typ": "JWT", "alg": "RS256", "cty": "twilio-fpa;v=1"},
        {"typ": "JWT", "alg": ["HS256"], "cty": "twilio-fpa;v=1"},
        {"typ": "JWT", "cty": "twilio-fpa;v=1"},
        {"alg": "HS256", "cty": "twilio-fpa;v=1"},
        {"typ": "JWS", "alg": "HS256", "cty": "twilio-fpa;v=1"},
        {"typ": "JWT", "alg": "HS256"},
        {"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=2"},
        {"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1", "crit": ["x"], "x": 1},
        {"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1", "crit": ["b64"], "b64": True},
        {"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1", "kid": 7},
    ],
)
def test_a_wrong_header_is_20102(header: dict[str, Any]) -> None:
    assert code_of(raw_token(header, json.dumps(claims()).encode())) == 20102


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": None},
        {"iss": 7},
        {"iss": [KEY]},
        {"iss": "SK" + "f" * 32},
        {"iss": ACCOUNT},
        {"sub": None},
        {"sub": "AC" + "f" * 32},
        {"sub": {}},
    ],
)
def test_an_unknown_key_or_another_account_is_20103(changes: dict[str, Any]) -> None:
    assert code_of(signed(claims(**changes))) == 20103


async def test_a_token_dies_with_its_key() -> None:
    source = ListedCredentials()
    keyring = a_keyring(source)
    token = signed()
    assert verify_token(token, keyring, DOCUMENTED, NOW).key_sid == KEY
    source.revoke(KEY)
    await keyring.refresh()
    with pytest.raises(Refusal) as caught:
        verify_token(token, keyring, DOCUMENTED, NOW)
    assert caught.value.code == 20103


@pytest.mark.parametrize(
    "exp",
    [SECONDS, SECONDS - 1, 0, -1, "soon", str(SECONDS + 60), True, [], float("-inf"), 10**400],
)
def test_an_expiry_that_is_past_or_no_number_is_20104(exp: object) -> None:
    assert code_of(signed(claims(exp=exp))) == 20104


def test_a_missing_expiry_is_20104() -> None:
    assert code_of(signed(claims(exp=None))) == 20104


def test_an_expiry_with_a_fraction_counts_to_the_millisecond() -> None:
    assert verify(signed(claims(exp=SECONDS + 1.5))).expires_at == NOW + 1500


@pytest.mark.parametrize("nbf", [SECONDS + 61, "now", True, {}])
def test_a_start_in_the_future_is_20105(nbf: object) -> None:
    assert code_of(signed(claims(nbf=nbf))) == 20105


@pytest.mark.parametrize("nbf", [SECONDS - 5, SECONDS, SECONDS + 60])
def test_a_start_within_the_tolerance_for_clocks_is_accepted(nbf: int) -> None:
    assert verify(signed(claims(nbf=nbf))).identity == "zoe"


@pytest.mark.parametrize(
    "grants",
    [
        None,
        [],
        "all",
        {},
        {"identity": "zoe"},
        {"identity": "zoe", "chat": {}},
        {"identity": "zoe", "data_sync": None},
        {"identity": "zoe", "data_sync": [SERVICE]},
        {"identity": "zoe", "data_sync": {"service_sid": 7}},
        {"data_sync": {}},
        {"identity": "", "data_sync": {}},
        {"identity": 7, "data_sync": {}},
        {"identity": "x" * 257, "data_sync": {}},
        {"identity": "a\nb", "data_sync": {}},
        {"identity": "a\x7fb", "data_sync": {}},
        {"identity": "\ud800", "data_sync": {}},
    ],
)
def test_missing_or_odd_grants_are_20106(grants: object) -> None:
    assert code_of(signed(claims(grants=grants))) == 20106


def test_the_servers_own_identity_is_20106_and_says_so() -> None:
    """Its mark in ``created_by``, in the history and in webhooks must mean the server."""
    text = signed(claims(grants={"identity": "system", "data_sync": {}}))
    with pytest.raises(Refusal, match="the server's own") as refused:
        verify(text)
    assert refused.value.code == 20106
    assert verify(signed(claims(grants={"identity": "System", "data_sync": {}}))).identity


@pytest.mark.parametrize("service", ["none", "IS", "ET" + "5" * 32, "Default"])
def test_a_grant_for_what_cannot_be_a_service_is_54050(service: str) -> None:
    grants = {"identity": "zoe", "data_sync": {"service_sid": service}}
    assert code_of(signed(claims(grants=grants))) == 54050


def test_another_secret_is_20107() -> None:
    assert code_of(signed(secret="x" * 32)) == 20107


def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = signed().split(".")
    other = signed(claims(sub=ACCOUNT, grants={"identity": "eve", "data_sync": {}})).split(".")[1]
    assert code_of(f"{header}.{other}.{signature}") == 20107


def test_an_expired_token_with_a_wrong_signature_says_nothing_of_its_expiry() -> None:
    assert code_of(signed(claims(exp=1), secret="x" * 32)) == 20107


def test_a_life_of_a_day_is_accepted_and_a_longer_one_is_20157() -> None:
    day = DOCUMENTED.token_seconds
    assert verify(signed(claims(exp=SECONDS + day))).expires_at == NOW + day * 1000
    assert code_of(signed(claims(exp=SECONDS + day + 61))) == 20157
    assert code_of(signed(claims(exp=1e300))) == 20157


@given(st.text(max_size=300))
def test_any_text_is_refused_and_nothing_else(text: str) -> None:
    assert 20101 <= code_of(text) <= 20107


@given(
    st.dictionaries(
        st.sampled_from(["typ", "alg", "cty", "crit", "kid", "b64"]), st.text() | st.none()
    ),
    st.binary(max_size=100),
)
def test_any_header_and_any_payload_are_refused(header: dict[str, Any], payload: bytes) -> None:
    assert 20101 <= code_of(raw_token(header, payload)) <= 20107


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "exp", "nbf", "grants", "jti", "iat"]), ANY_JSON, min_size=1
    )
)
def test_any_signed_claims_are_understood_or_refused(changes: dict[str, Any]) -> None:
    try:
        token = verify(signed(claims() | changes))
    except Refusal as refusal:
        code = refusal.code
    else:
        assert token.account_sid == ACCOUNT
        return
    assert code in {20103, 20104, 20105, 20106, 20157, 54050}


def test_whose_a_refused_token_is_can_be_read_without_believing_it() -> None:
    assert read_claimed(signed(secret="wrong")) == Claimed(KEY, "zoe")
    assert read_claimed(signed({"iss": "me", "grants": {"identity": 5}})) == Claimed(None, None)
    assert read_claimed(signed({"iss": KEY, "grants": []})) == Claimed(KEY, None)


@given(st.text() | st.binary().map(lambda data: raw_token({"alg": "HS256"}, data)))
def test_reading_whose_it_is_never_fails(text: str) -> None:
    assert isinstance(read_claimed(text), Claimed)
