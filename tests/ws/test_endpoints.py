"""Continuation tokens and storage ids. [wire-protocol 4.3]"""

from __future__ import annotations

from itertools import count, product

import pytest

from starlings.ws.endpoints import Endpoints, Owner

ALICE = Owner("AC1", "IS1", "alice")
OTHERS = [
    Owner("AC2", "IS1", "alice"),
    Owner("AC1", "IS2", "alice"),
    Owner("AC1", "IS1", "bob"),
    Owner("", "AC1IS1", "alice"),
]


def make(secret: bytes = b"secret", epoch: str = "e1") -> Endpoints:
    numbers = count(1)
    return Endpoints(secret, epoch, lambda bits: next(numbers))


def test_a_token_is_continued_also_by_another_node_of_the_installation() -> None:
    first = make().continue_or_start(ALICE, None)
    assert not first.is_reissued
    assert make().continue_or_start(ALICE, first.token) == first


@pytest.mark.parametrize("other", OTHERS)
def test_a_token_of_somebody_else_is_replaced(other: Owner) -> None:
    endpoints = make()
    shown = endpoints.continue_or_start(ALICE, None).token
    replaced = endpoints.continue_or_start(other, shown)
    assert replaced.is_reissued
    assert replaced.token != shown


def test_a_token_of_another_installation_is_replaced() -> None:
    shown = make(b"one").continue_or_start(ALICE, None).token
    replaced = make(b"two").continue_or_start(ALICE, shown)
    assert replaced.is_reissued


def test_a_token_of_another_history_is_replaced() -> None:
    shown = make(epoch="before").continue_or_start(ALICE, None).token
    endpoints = make(epoch="after")
    replaced = endpoints.continue_or_start(ALICE, shown)
    assert replaced.is_reissued
    assert endpoints.continue_or_start(ALICE, replaced.token) == (replaced.token, False)


@pytest.mark.parametrize("shown", ["x", ".", "EP1.", ".abc", "EP1.ü", "a.b.c", "x" * 10_000, "\0"])
def test_nonsense_is_replaced(shown: str) -> None:
    replaced = make().continue_or_start(ALICE, shown)
    assert replaced.is_reissued


@pytest.mark.parametrize("shown", [None, ""])
def test_who_shows_nothing_starts_anew(shown: str | None) -> None:
    started = make().continue_or_start(ALICE, shown)
    assert not started.is_reissued
    assert started.token.startswith(f"EP{1:032x}")


def test_storage_ids_differ_between_owners_and_histories_and_are_stable() -> None:
    ids = {make(epoch=epoch).storage_id(owner) for epoch, owner in product("ef", [ALICE, *OTHERS])}
    assert len(ids) == 2 * (1 + len(OTHERS))
    assert make().storage_id(ALICE) == make().storage_id(ALICE)
