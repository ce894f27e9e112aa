"""Who is let in: from a good token to a caller, and what the client is told. [wire-protocol 4]

Tokens are checked by ``auth.tokens``, and the session waits for that. Here is what follows from it,
without waiting for anything: of which client and connection its changes are said to be, what it is
told of its last connection, whether a new token may replace the old one, how a refusal is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from starlings.core.errors import Reason, Refusal, StarlingsError
from starlings.core.objects import Actor, Service
from starlings.wire import close_codes
from starlings.wire.messages import (
    AccountDescriptor,
    ContinuationTokenStatus,
    Init,
    InitRegistration,
    Status,
)
from starlings.wire.session_events import InitAccepted
from starlings.ws.endpoints import Endpoints, Owner
from starlings.ws.requests import Caller

__all__ = ["Admission", "Token", "admit", "check_renewal", "refusal_of"]

_MOST_REGISTRATIONS = 16
"""Answered of one ``init``; the SDKs send one."""


class Token(Protocol):
    """What a good access token says; ``auth.tokens.AccessToken`` is one."""

    @property
    def identity(self) -> str: ...

    @property
    def account_sid(self) -> str: ...

    @property
    def key_sid(self) -> str: ...

    @property
    def service(self) -> str: ...

    @property
    def expires_at(self) -> int: ...


class Admission(NamedTuple):
    """What came of an ``init``."""

    caller: Caller
    endpoint: str
    """Of this connection, not of the client: what an earlier one began may be committed only now,
    and its reply will never come. Here it must be told like anybody's. [8.4]"""
    client_endpoint: str
    """Of the client: the same when it comes back by another connection."""
    accepted: InitAccepted


def admit(
    token: Token,
    expires_at_ms: int,
    service: Service,
    init: Init,
    endpoints: Endpoints,
    next_id: Callable[[], str],
) -> Admission:
    """Let a client in.

    Args:
        expires_at_ms: When the token does, by the clock of the session.
        service: The token's.
        next_id: Makes ids of messages, ``TM…``.
    """
    owner = Owner(token.account_sid, service.sid, token.identity)
    continuation = endpoints.continue_or_start(owner, init.continuation_token)
    endpoint = _mint_endpoint(next_id)
    registrations = tuple(
        InitRegistration(
            notification_ctx_id=_mint_endpoint(next_id),
            type=registration.type,
            product=registration.product,
            message_types=registration.message_types,
        )
        for registration in (init.registrations or [])[:_MOST_REGISTRATIONS]
    )
    is_reissued = continuation.is_reissued
    accepted = InitAccepted(
        expires_at_ms=expires_at_ms,
        continuation_token=continuation.token,
        continuation_token_status=ContinuationTokenStatus(
            reissued=is_reissued,
            reissue_reason="NOT_USABLE" if is_reissued else None,
            reissue_message=("The token is of another client or history" if is_reissued else None),
        ),
        registrations=registrations,
        account=AccountDescriptor(token.account_sid, {"data_sync": service.sid}, token.identity),
        storage_id=endpoints.storage_id(owner),
    )
    return Admission(
        Caller(service, Actor(token.identity, endpoint, is_unrestricted=False)),
        endpoint,
        continuation.token.partition(".")[0],
        accepted,
    )


def check_renewal(before: Token, had: Service, token: Token, service: Service) -> None:
    """Whether a new token goes on where the session's does. [4.4]

    Raises:
        Refusal: TOKEN_FOR_ANOTHER: somebody else or another service.
    """
    known = (before.account_sid, had.oid, before.identity)
    if (token.account_sid, service.oid, token.identity) != known:
        raise Refusal(Reason.TOKEN_FOR_ANOTHER)


def refusal_of(error: StarlingsError) -> close_codes.Refusal:
    """How a token's refusal is told: clients look at 401, 403, 429 and at code 20104. [4.2]"""
    match error.status:
        case 429:
            return close_codes.THROTTLED
        case 401 | 403 | 404:
            status = 403 if error.status != 401 else 401
            word = "UNAUTHORIZED" if status == 401 else "FORBIDDEN"
            return close_codes.Refusal(
                Status(status, word, error.code, description=error.message),
                close_codes.ComesBack.WITH_NEW_TOKEN,
            )
        case _:
            return close_codes.FAULT


def _mint_endpoint(next_id: Callable[[], str]) -> str:
    return next_id().replace("TM", "EP", 1)
