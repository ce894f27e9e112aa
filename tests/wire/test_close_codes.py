from __future__ import annotations

import pytest

from starlings.wire.close_codes import (
    CLOSE_CODES,
    EXPIRED_TOKEN,
    INVALID_TOKEN,
    OTHER_IDENTITY,
    REFUSALS,
    CloseCode,
    ComesBack,
    Refusal,
)

# What the JavaScript client was seen to do with each number. [wire-protocol 4.2, 4.4, 4.6]
AFTER_CLOSE = {
    308: ComesBack.BY_ITSELF,
    401: ComesBack.WITH_NEW_TOKEN,
    406: ComesBack.NEVER,
    410: ComesBack.WITH_NEW_TOKEN,
    417: ComesBack.NEVER,
}
AFTER_REFUSAL = {401: ComesBack.WITH_NEW_TOKEN, 403: ComesBack.WITH_NEW_TOKEN}


@pytest.mark.parametrize("close_code", CLOSE_CODES)
def test_a_close_code_says_what_the_javascript_client_does(close_code: CloseCode) -> None:
    assert close_code.comes_back is AFTER_CLOSE.get(close_code.code, ComesBack.BY_ITSELF)


@pytest.mark.parametrize("close_code", CLOSE_CODES)
def test_a_close_code_says_what_kotlin_clients_do(close_code: CloseCode) -> None:
    is_fatal = close_code.code in (401, 406, 410, 417) or close_code.status.error_code == 51232
    assert (close_code.kotlin is ComesBack.NEVER) is is_fatal


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_says_what_the_client_does(refusal: Refusal) -> None:
    assert refusal.comes_back is AFTER_REFUSAL.get(refusal.code, ComesBack.BY_ITSELF)


@pytest.mark.parametrize("either", [*CLOSE_CODES, *REFUSALS])
def test_every_status_has_a_name_because_kotlin_needs_one(either: CloseCode | Refusal) -> None:
    assert either.status.status
    assert not either.status.is_success


def test_only_an_expired_token_has_the_number_that_clients_report_as_expired() -> None:
    assert [one for one in REFUSALS if one.status.error_code == 20104] == [EXPIRED_TOKEN]


@pytest.mark.parametrize("refusal", [EXPIRED_TOKEN, INVALID_TOKEN, OTHER_IDENTITY])
def test_a_refused_token_is_called_exactly_unauthorized(refusal: Refusal) -> None:
    # Only then does the client report a refused update as error 51130. [4.4]
    assert (refusal.code, refusal.status.status) == (401, "UNAUTHORIZED")
