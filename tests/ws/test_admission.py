"""What follows from a token; what comes of it on a connection is in test_session.py."""

from __future__ import annotations

from itertools import count

import pytest

from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.objects import Service
from starlings.wire.close_codes import FAULT, THROTTLED, ComesBack
from starlings.wire.messages import Init, Registration
from starlings.ws.admission import Admission, admit, check_renewal, refusal_of
from starlings.ws.endpoints import Endpoints
from tests.ws.sessions import Token, a_world


async def a_service() -> Service:
    async with a_world() as world:
        return world.service


def some_endpoints() -> Endpoints:
    numbers = count()
    return Endpoints(b"secret", "epoch", lambda bits: next(numbers))


async def let_in(init: Init, endpoints: Endpoints | None = None) -> Admission:
    numbers = count()
    return admit(
        Token("alice"),
        10_000,
        await a_service(),
        init,
        endpoints or some_endpoints(),
        lambda: f"TM{next(numbers)}",
    )


async def test_changes_are_said_to_be_of_this_connection() -> None:
    admission = await let_in(Init("1", "alice"))
    assert admission.endpoint == "EP0"
    assert admission.caller.actor.identity == "alice"
    assert admission.caller.actor.endpoint == "EP0"
    assert not admission.caller.actor.is_unrestricted


async def test_a_client_that_comes_back_keeps_its_own_endpoint() -> None:
    endpoints = some_endpoints()
    first = await let_in(Init("1", "alice"), endpoints)
    shown = Init("2", "alice", continuation_token=first.accepted.continuation_token)
    again = await let_in(shown, endpoints)
    other = await let_in(Init("3", "alice"), endpoints)
    assert again.client_endpoint == first.client_endpoint
    assert again.accepted.storage_id == first.accepted.storage_id
    assert other.client_endpoint != first.client_endpoint


async def test_a_token_that_is_of_no_use_is_said_to_be_reissued() -> None:
    fresh = (await let_in(Init("1", "alice"))).accepted.continuation_token_status
    foreign = await let_in(Init("1", "alice", continuation_token="made.up.one"))
    assert fresh is not None
    assert (fresh.reissued, fresh.reissue_reason, fresh.reissue_message) == (False, None, None)
    told = foreign.accepted.continuation_token_status
    assert told is not None
    assert told.reissued
    assert told.reissue_reason == "NOT_USABLE"


async def test_registrations_are_answered_in_order_and_in_bounds() -> None:
    asked = [Registration("data_sync", f"type{n}") for n in range(20)]
    registered = (await let_in(Init("1", "alice", registrations=asked))).accepted.registrations
    assert [one.type for one in registered] == [f"type{n}" for n in range(16)]
    assert len({one.notification_ctx_id for one in registered}) == 16
    assert all(str(one.notification_ctx_id).startswith("EP") for one in registered)


async def test_a_token_for_the_same_client_may_replace_the_old_one() -> None:
    service = await a_service()
    check_renewal(Token("alice"), service, Token("alice", key_sid="SK2", service="x"), service)


@pytest.mark.parametrize("token", [Token("bob"), Token("alice", account_sid="AC" + "2" * 32)])
async def test_a_token_for_somebody_else_may_not(token: Token) -> None:
    service = await a_service()
    with pytest.raises(Refusal) as refused:
        check_renewal(Token("alice"), service, token, service)
    assert refused.value.reason is Reason.TOKEN_FOR_ANOTHER


async def test_a_token_for_another_service_may_not() -> None:
    service = await a_service()
    with pytest.raises(Refusal) as refused:
        check_renewal(
            Token("alice"), service, Token("alice"), service._replace(oid=service.oid + 1)
        )
    assert refused.value.reason is Reason.TOKEN_FOR_ANOTHER


def test_clients_are_told_what_makes_them_fetch_a_new_token() -> None:
    expired = refusal_of(Refusal(Reason.TOKEN_EXPIRED))
    assert (expired.status.code, expired.status.status) == (401, "UNAUTHORIZED")
    assert expired.status.error_code == 20104
    assert expired.comes_back is ComesBack.WITH_NEW_TOKEN
    for reason in (Reason.ACCESS_DENIED, Reason.SERVICE_NOT_FOUND):
        denied = refusal_of(Refusal(reason))
        assert (denied.status.code, denied.status.status) == (403, "FORBIDDEN")


def test_what_is_not_the_tokens_fault_is_told_otherwise() -> None:
    assert refusal_of(Refusal(Reason.TOO_MANY_REQUESTS)) is THROTTLED
    assert refusal_of(Fault(Reason.UNAVAILABLE)) is FAULT
