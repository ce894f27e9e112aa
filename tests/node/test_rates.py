"""The rates that callers are held to, without a node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest

from starlings.core import commands as c
from starlings.core.access import Right
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import DOCUMENTED, OFF, Rates
from starlings.core.objects import Actor, Kind, Match, ObjectRef, Service, SyncObject
from starlings.core.sids import format_sid
from starlings.node.rates import CallerRates, Charge, charge_of

BOB = Actor("bob", "EP1", is_unrestricted=False)
REF = ObjectRef(7, Kind.MAP, "m")
SERVICE = Service(7, format_sid("IS", 7, 1), "AC" + "0" * 32, None, None, 0, 0)
ONE_EACH = replace(
    DOCUMENTED.rates,
    writes=1.0,
    large_writes=0.5,
    reads=1.0,
    creations=1.0,
    messages=1.0,
    permissions=1.0,
    burst_seconds=1.0,
)


class Ticks:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def an_object(kind: Kind, oid: int = 9) -> SyncObject:
    sid = format_sid(kind.sid_prefix, oid, 2)
    return SyncObject(oid, sid, 7, kind, "a", None, 1, -1, 0, 0, 0, 0, None, "bob")


def a_write(payload_bytes: int | None = 0) -> Charge:
    return Charge(REF, BOB, Right.WRITE, payload_bytes)


Take = Callable[[CallerRates, SyncObject], None]
TAKES: dict[str, Take] = {
    "read": lambda rates, target: rates.take_read(target),
    "permission": lambda rates, target: rates.take_permission(target),
    "publish": lambda rates, target: rates.take_message(target),
    "write": lambda rates, target: rates.take_command(a_write(), target),
    "create": lambda rates, target: rates.take_creation(SERVICE, target.kind),
}


@pytest.mark.parametrize("verb", TAKES)
@pytest.mark.parametrize("kind", Kind)
def test_a_refusal_names_what_was_done_too_often(verb: str, kind: Kind, ticks: Ticks) -> None:
    rates, target = CallerRates(ONE_EACH, ticks), an_object(kind)
    TAKES[verb](rates, target)
    with pytest.raises(Refusal) as refusal:
        TAKES[verb](rates, target)
    assert refusal.value.reason is Reason.RATE_LIMITED
    sid = SERVICE.sid if verb == "create" else target.sid
    assert refusal.value.message == f"Rate limit exceeded for {verb}-{kind.word}-{sid}"
    ticks.at += 1.0
    TAKES[verb](rates, target)


def test_each_rate_is_taken_from_alone(ticks: Ticks) -> None:
    rates = CallerRates(ONE_EACH, ticks)
    for take in TAKES.values():
        take(rates, an_object(Kind.MAP))
    for verb, take in TAKES.items():
        if verb != "create":
            take(rates, an_object(Kind.MAP, oid=10))


def test_creations_of_all_kinds_share_the_rate_of_their_service(ticks: Ticks) -> None:
    rates = CallerRates(ONE_EACH, ticks)
    rates.take_creation(SERVICE, Kind.MAP)
    with pytest.raises(Refusal):
        rates.take_creation(SERVICE, Kind.LIST)
    rates.take_creation(SERVICE._replace(oid=8), Kind.LIST)


def test_a_bucket_holds_the_seconds_of_a_burst(ticks: Ticks) -> None:
    rates = CallerRates(replace(ONE_EACH, burst_seconds=10.0), ticks)
    for _ in range(10):
        rates.take_read(an_object(Kind.MAP))
    with pytest.raises(Refusal):
        rates.take_read(an_object(Kind.MAP))


def test_a_large_write_takes_more(ticks: Ticks) -> None:
    rates = CallerRates(replace(ONE_EACH, burst_seconds=4.0), ticks)
    for _ in range(2):
        rates.take_command(a_write(10 * 1024), an_object(Kind.MAP))
    with pytest.raises(Refusal):
        rates.take_command(a_write(), an_object(Kind.MAP))


def test_a_change_of_permissions_takes_from_their_rate_and_not_from_writes(ticks: Ticks) -> None:
    rates, target = CallerRates(ONE_EACH, ticks), an_object(Kind.MAP)
    rates.take_command(a_write(None), target)
    rates.take_command(a_write(), target)
    with pytest.raises(Refusal, match="permission-map"):
        rates.take_permission(target)


def test_what_is_switched_off_never_refuses(ticks: Ticks) -> None:
    rates = CallerRates(OFF.rates, ticks)
    for _ in range(1000):
        for take in TAKES.values():
            take(rates, an_object(Kind.MAP))


@pytest.mark.parametrize(
    ("writes", "permissions", "are_held"),
    [(None, None, False), (1.0, None, True), (None, 1.0, True)],
)
def test_commands_are_held_if_either_of_their_rates_is_on(
    writes: float | None, permissions: float | None, are_held: bool, ticks: Ticks
) -> None:
    rates = CallerRates(Rates(writes=writes, permissions=permissions), ticks)
    assert rates.are_commands_held == are_held


DATA = b"12345"
CHARGES: list[tuple[c.Command, Right, int | None]] = [
    (c.UpdateDocument(REF, DATA, None, None, BOB), Right.WRITE, 5),
    (c.AddListItem(REF, DATA, None, None, BOB), Right.WRITE, 5),
    (c.AddMapItem(REF, "k", DATA, None, None, BOB), Right.WRITE, 5),
    (c.PutMapItem(REF, "k", DATA, None, None, BOB), Right.WRITE, 5),
    (c.UpdateItem(REF, "k", DATA, None, None, None, BOB), Right.WRITE, 5),
    (c.UpdateItem(REF, "k", None, 9, None, None, BOB), Right.WRITE, 0),
    (c.RemoveItem(REF, "k", None, BOB), Right.WRITE, 0),
    (c.SetObjectTtl(REF, 9, BOB), Right.MANAGE, 0),
    (c.RemoveObject(REF, None, BOB), Right.MANAGE, 0),
    (c.SetPermission(REF, "zoe", True, True, True, BOB), Right.MANAGE, None),
    (c.RemovePermission(REF, "zoe", BOB), Right.MANAGE, None),
]
FREE: list[c.Command] = [
    c.CreateService(7, SERVICE.sid, SERVICE.account_sid, None, c.ServiceSettings(), BOB, None),
    c.UpdateService(7, c.ServiceSettings(), BOB),
    c.RemoveService(7, BOB),
    c.CreateObject(7, Kind.MAP, 9, "MP", None, None, None, BOB),
    c.ExpireObject(9),
    c.ExpireItem(9, "k"),
    c.ExpirePermission(9, "zoe", Match.EXACT),
]


@pytest.mark.parametrize(("command", "right", "payload_bytes"), CHARGES)
def test_a_command_on_an_object_is_charged_to_it(
    command: c.Command, right: Right, payload_bytes: int | None
) -> None:
    assert charge_of(command) == Charge(REF, BOB, right, payload_bytes)


@pytest.mark.parametrize("command", FREE)
def test_commands_of_the_server_and_of_services_are_free(command: c.Command) -> None:
    assert charge_of(command) is None


def test_no_command_was_forgotten() -> None:
    known = {type(one) for one, _, _ in CHARGES} | {type(one) for one in FREE}
    assert known == set(get_args(c.Command))
