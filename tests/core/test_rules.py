"""Checks and steps that the rules share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from starlings.core import rules
from starlings.core.commands import SetObjectTtl
from starlings.core.errors import Reason, Refusal
from starlings.core.limits import Limits
from starlings.core.maps import check_key
from starlings.core.objects import Kind, ObjectRef
from tests.core.shelf import ADMIN, LIMITS, NOW, Shelf, a_service, an_object

_SID = "MP" + "0" * 32


def refusal_of(check: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        check()
    return refusal.value


@pytest.mark.parametrize("name", ["a", "a" * 320, "é" * 320, "mp" + "0" * 32, " ", "a/b?c#d"])
def test_a_name_has_1_to_320_characters(name: str) -> None:
    rules.check_name(name, LIMITS)


@pytest.mark.parametrize("name", ["", "a" * 321, _SID, "\ud800", "a\udfff", "a\0b"])
def test_a_name_is_neither_empty_nor_long_nor_a_sid_nor_half_a_character(name: str) -> None:
    refusal = refusal_of(lambda: rules.check_name(name, LIMITS))
    assert refusal.reason is Reason.BAD_NAME
    assert "length 1-320 not matching the SID pattern" in refusal.message


def test_the_refusal_of_a_name_tells_the_bound_in_force() -> None:
    limits = dataclasses.replace(LIMITS, name_characters=64)
    refusal = refusal_of(lambda: rules.check_name("a" * 65, limits))
    assert "length 1-64 not matching the SID pattern" in refusal.message


@pytest.mark.parametrize("key", ["a", "a" * 320, _SID, "😀"])
def test_a_key_may_be_any_text_of_1_to_320_characters(key: str) -> None:
    check_key(key, LIMITS)


@pytest.mark.parametrize("key", ["", "a" * 321, "\ud800", "\0"])
def test_a_bad_key_is_refused(key: str) -> None:
    assert refusal_of(lambda: check_key(key, LIMITS)).reason is Reason.BAD_MAP_KEY


@pytest.mark.parametrize("identity", ["a", "é" * 256, "a b/c@d", "\u00a0"])
def test_an_identity_has_1_to_256_characters(identity: str) -> None:
    rules.check_identity(identity, LIMITS)


@pytest.mark.parametrize("identity", ["", "a" * 257, "a\n", "\0", "\x7f", "\x85", "\udc00"])
def test_a_bad_identity_is_refused(identity: str) -> None:
    refusal = refusal_of(lambda: rules.check_identity(identity, LIMITS))
    assert refusal.reason is Reason.BAD_IDENTITY


def test_data_of_exactly_the_limit_are_allowed() -> None:
    rules.check_data(b"x" * 16_384, LIMITS)
    refusal = refusal_of(lambda: rules.check_data(b"x" * 16_385, LIMITS))
    assert (refusal.reason, refusal.status) == (Reason.DATA_TOO_LARGE, 413)
    assert "16385 bytes, at most 16384" in refusal.message


@pytest.mark.parametrize("ttl", [None, 0, 1, 31_536_000])
def test_a_time_to_live_is_at_most_a_year(ttl: int | None) -> None:
    rules.check_ttl(ttl, LIMITS)


@pytest.mark.parametrize("ttl", [-1, 31_536_001])
def test_a_bad_time_to_live_names_its_field(ttl: int) -> None:
    refusal = refusal_of(lambda: rules.check_ttl(ttl, LIMITS, "ItemTtl"))
    assert refusal.reason is Reason.BAD_TTL
    assert refusal.message == f"Invalid ItemTtl: expected 0-31536000 seconds, got {ttl}"


def test_the_limits_in_force_count() -> None:
    small = Limits(data_bytes=2, name_characters=1, key_characters=1, ttl_seconds=5)
    for check in (
        lambda: rules.check_data(b"{ }", small),
        lambda: rules.check_name("ab", small),
        lambda: check_key("ab", small),
        lambda: rules.check_ttl(6, small),
    ):
        refusal_of(check)


@pytest.mark.parametrize(
    ("ttl", "current", "expected"),
    [
        (None, None, None), (None, 5, 5), (0, None, None), (0, 5, None),
        (3, None, NOW + 3_000), (3, 5, NOW + 3_000),
    ],
)  # fmt: skip
def test_expiry(ttl: int | None, current: int | None, expected: int | None) -> None:
    assert rules.expiry_of(ttl, NOW, current) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0"), ("1e", "1e"), ("1E", "1e"), ('"1e"', "1e"), ('W/"1e"', "1e"), (" 1e ", "1e"),
        ("001e", "1e"), ("000", "0"), ("*", "*"), ("f" * 16, "f" * 16),
    ],
)  # fmt: skip
def test_if_match_is_a_revision_in_any_dress(text: str, expected: str) -> None:
    assert rules.parse_if_match(text) == expected


@pytest.mark.parametrize(
    "text", ["", '""', "x", "-1", "1 2", '"1","2"', '"1', "0x1", "f" * 17, "W/*", '"*"', "\u0661"]
)
def test_other_text_in_if_match_is_refused(text: str) -> None:
    assert refusal_of(lambda: rules.parse_if_match(text)).reason is Reason.BAD_IF_MATCH


def test_a_condition_that_fails_tells_both_revisions() -> None:
    rules.check_revision(None, "3", Reason.DOCUMENT_REVISION_MISMATCH)
    rules.check_revision("*", "3", Reason.DOCUMENT_REVISION_MISMATCH)
    rules.check_revision("3", "3", Reason.DOCUMENT_REVISION_MISMATCH)
    refusal = refusal_of(lambda: rules.check_revision("2", "3", Reason.DOCUMENT_REVISION_MISMATCH))
    assert refusal.status == 412
    assert "If-Match is 2, the current revision is 3" in refusal.message


@pytest.mark.parametrize("kind", Kind)
def test_an_object_is_found_by_sid_or_name(kind: Kind) -> None:
    target = an_object(kind)
    shelf = Shelf(a_service(), [target])
    for name in (target.sid, "room"):
        command = _ttl(ObjectRef(1, kind, name))
        if kind is not Kind.DOCUMENT:
            assert shelf.decide(command).outcome is not None


@pytest.mark.parametrize("kind", Kind)
def test_an_unknown_sid_gets_its_kinds_code_and_an_unknown_name_another(kind: Kind) -> None:
    shelf = Shelf(a_service(), [an_object(kind)])
    other_digits = an_object(kind).sid[:-1] + "8"  # the right id, but a guessed rest
    other_kind = next(one for one in Kind if one is not kind)
    for ref, reason in (
        (ObjectRef(1, kind, other_digits), kind.not_found),
        (ObjectRef(1, kind, kind.sid_prefix + "f" * 32), kind.not_found),
        (ObjectRef(1, other_kind, an_object(kind).sid), other_kind.not_found),
        (ObjectRef(1, kind, "hall"), Reason.NAME_NOT_FOUND),
        (ObjectRef(1, other_kind, "room"), Reason.NAME_NOT_FOUND),
        (ObjectRef(2, kind, "room"), Reason.SERVICE_NOT_FOUND),
    ):
        assert refusal_of(lambda ref=ref: shelf.decide(_ttl(ref))).reason is reason  # type: ignore[misc]


@pytest.mark.parametrize("name", ["room", an_object(Kind.MAP).sid])
def test_an_expired_object_is_not_found_from_its_moment_on(name: str) -> None:
    shelf = Shelf(a_service(), [an_object(Kind.MAP, expires_at=NOW)])
    ref = ObjectRef(1, Kind.MAP, name)
    assert refusal_of(lambda: shelf.decide(_ttl(ref))).status == 404
    assert shelf.decide(_ttl(ref), now=NOW - 1).outcome is not None


def _ttl(ref: ObjectRef) -> SetObjectTtl:
    return SetObjectTtl(ref, 5, ADMIN)
