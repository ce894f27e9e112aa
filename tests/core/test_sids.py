"""Object ids and SIDs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core import sids

_NOWS = st.integers(sids.EPOCH_MS, sids.EPOCH_MS + 2**41 - 1)
_BUCKETS = st.integers(0, sids.BUCKETS - 1)
_BITS = st.integers(0, 2**128)
_PREFIXES = st.sampled_from([sids.DOCUMENT, sids.LIST, sids.MAP, sids.STREAM, sids.SERVICE])


@given(_PREFIXES, _BUCKETS, _NOWS, _BITS)
def test_the_id_comes_back_out_of_the_sid(prefix: str, bucket: int, now: int, bits: int) -> None:
    oid = sids.mint_oid(bucket, now, bits)
    sid = sids.format_sid(prefix, oid, bits)
    assert re.fullmatch(r"[A-Z]{2}[0-9a-f]{32}", sid)
    assert sids.is_sid(sid)
    assert sids.oid_of(sid) == sids.find_oid(sid) == oid


@given(_BUCKETS, _NOWS, _BITS)
def test_an_id_is_63_bits_of_bucket_time_and_chance(bucket: int, now: int, bits: int) -> None:
    oid = sids.mint_oid(bucket, now, bits)
    assert 0 <= oid < 2**63
    assert oid >> 51 == bucket
    assert (oid >> 10) % 2**41 == now - sids.EPOCH_MS
    assert oid % 2**10 == bits % 2**10


@given(_BUCKETS, _NOWS, _NOWS, _BITS)
def test_within_a_bucket_later_ids_are_higher(bucket: int, one: int, two: int, bits: int) -> None:
    if one < two:
        assert sids.mint_oid(bucket, one, bits) < sids.mint_oid(bucket, two, 0) + 1024


@given(st.integers(0, 2**63 - 1), st.integers(1, 4), st.text(max_size=20))
def test_the_bucket_of_a_name_is_one_of_them(service: int, kind: int, name: str) -> None:
    assert 0 <= sids.bucket_of_name(service, kind, name) < sids.BUCKETS


@pytest.mark.parametrize(
    ("name", "bucket"), [("room", 1710), ("", 2412), ("é", 1069), ("a/b", 587)]
)
def test_the_bucket_of_a_name_is_the_same_for_ever(name: str, bucket: int) -> None:
    """Objects are found by these numbers once there are shards: no release may change them."""
    assert sids.bucket_of_name(1, 3, name) == bucket


def test_names_spread_over_the_buckets() -> None:
    used = {sids.bucket_of_name(1, 3, f"room-{number}") for number in range(20_000)}
    assert len(used) > 0.98 * sids.BUCKETS


@pytest.mark.parametrize(
    "text",
    [
        "", "room", "MP", "MP" + "0" * 31, "MP" + "0" * 33, "mp" + "0" * 32, "MP" + "G" * 32,
        "MP" + "A" * 32, "M1" + "0" * 32, "MP" + "0" * 31 + "\n", "MP" + "\u0660" * 32,
        "ÉÉ" + "0" * 32,
    ],
)  # fmt: skip
def test_what_is_no_sid(text: str) -> None:
    assert not sids.is_sid(text)
    assert sids.find_oid(text) is None


@given(st.text(max_size=40))
def test_any_text_is_a_sid_or_not(text: str) -> None:
    assert sids.is_sid(text) == (re.fullmatch(r"[A-Z]{2}[a-f0-9]{32}", text) is not None)


def test_names_are_not_kept_however_many_are_looked_for() -> None:
    """What callers make up may be long; only answers about texts of a SID's length are kept."""
    before = sids._find_oid.cache_info().currsize
    for length in (1, 33, 35, 30_000):
        assert sids.find_oid("x" * length) is None
    assert sids._find_oid.cache_info().currsize == before
