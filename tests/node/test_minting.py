"""Minting ids, over the store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.objects import Kind, Service
from starlings.core.sids import BUCKETS, bucket_of_name, oid_of
from starlings.node.clock import Sources
from starlings.node.minting import Minter
from starlings.storage.memory import MemoryStore
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock
from tests.contracts.store_contract import LIMITS


def a_minter(bits: Iterator[int]) -> Minter:
    """One whose chance comes from ``bits``."""
    clock = Clock()
    return Minter(MemoryStore(LIMITS, clock), Sources(clock, lambda: 0.0, lambda _: next(bits)))


async def a_service(minter: Minter) -> Service:
    return await minter.create_service(ACCOUNT_SID, c.ServiceSettings(), ADMIN, None, None)


async def test_a_clash_of_ids_is_mended_by_minting_again() -> None:
    minter = a_minter(number << 64 for number in [1, 1, 1, 1, 1, 2])
    first, second = await a_service(minter), await a_service(minter)
    assert first.oid != second.oid


async def test_minting_gives_up_at_last() -> None:
    minter = a_minter(repeat(7 << 64))
    await a_service(minter)
    with pytest.raises(Fault) as fault:
        await a_service(minter)
    assert fault.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("kind", Kind)
async def test_an_object_has_its_id_in_its_sid_and_its_bucket_from_its_name(kind: Kind) -> None:
    minter = a_minter(iter(range(5, 99)))
    service = await a_service(minter)
    made = await minter.create_object(service, kind, "room", None, None, ADMIN, None)
    assert oid_of(made.object.sid) == made.object.oid
    assert made.object.sid.startswith(kind.sid_prefix)
    assert made.object.oid >> 51 == bucket_of_name(service.oid, kind, "room")
    unnamed = await minter.create_object(service, kind, None, None, None, ADMIN, None)
    assert unnamed.object.oid >> 51 < BUCKETS


async def test_a_refusal_is_not_tried_again() -> None:
    minter = a_minter(iter(range(5, 10)))
    service = await a_service(minter)
    await minter.create_object(service, Kind.MAP, "m", None, None, ADMIN, None)
    with pytest.raises(Refusal):
        await minter.create_object(service, Kind.MAP, "m", None, None, ADMIN, None)
