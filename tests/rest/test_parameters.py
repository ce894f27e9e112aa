"""Typed parameters of a form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.errors import Reason, Refusal
from starlings.core.limits import DOCUMENTED
from starlings.rest.parameters import (
    get_data,
    get_flag,
    get_name,
    get_text,
    get_ttl,
    get_whole_number,
    parse_whole_number,
)


@given(st.integers(min_value=0, max_value=10**17))
def test_a_number_comes_back_with_any_number_of_leading_zeros(number: int) -> None:
    assert parse_whole_number(f"{number}") == number
    assert parse_whole_number(f"000{number}") == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.0", "1e3", " 1", "1 ", "1_0", "٣", "²", "x", "0x1"]
)
def test_what_is_no_plain_number_is_none(text: str) -> None:
    assert parse_whole_number(text) is None


def test_a_number_of_any_length_is_read_as_a_large_one() -> None:
    assert parse_whole_number("9" * 100_000) == 10**18


@pytest.mark.parametrize(
    ("text", "flag"), [("true", True), ("TRUE", True), ("False", False), ("false", False)]
)
def test_flags_are_read_in_any_case(text: str, flag: bool) -> None:
    assert get_flag({"Read": text}, "Read") is flag


@pytest.mark.parametrize("text", ["", "1", "yes", "None", "true "])
def test_other_flags_are_refused_by_name(text: str) -> None:
    with pytest.raises(Refusal, match="Invalid Read") as caught:
        get_flag({"Read": text}, "Read")
    assert caught.value.reason is Reason.BAD_PARAMETER


def test_what_is_not_given_is_none() -> None:
    assert get_flag({}, "Read") is None
    assert get_whole_number({}, "Window") is None
    assert get_ttl({}, DOCUMENTED, "Ttl") is None
    assert get_name({}, DOCUMENTED) is None
    assert get_text({}, "FriendlyName", Reason.BAD_FRIENDLY_NAME) is None
    assert get_data({}, DOCUMENTED, 100, Reason.DOCUMENT_DATA_MISSING) is None


@pytest.mark.parametrize("text", ["0", "1", "31536000", "0060"])
def test_a_ttl_within_a_year_is_taken(text: str) -> None:
    assert get_ttl({"Ttl": text}, DOCUMENTED, "Ttl") == int(text)


@pytest.mark.parametrize("text", ["-1", "31536001", "1.5", "soon", "9" * 5000])
def test_other_ttls_are_refused_by_name(text: str) -> None:
    with pytest.raises(Refusal, match="ItemTtl") as caught:
        get_ttl({"ItemTtl": text}, DOCUMENTED, "ItemTtl", "Ttl")
    assert caught.value.reason is Reason.BAD_TTL


def test_the_first_ttl_that_is_not_empty_wins_and_the_others_are_ignored() -> None:
    assert get_ttl({"ItemTtl": "5", "Ttl": "nonsense"}, DOCUMENTED, "ItemTtl", "Ttl") == 5
    assert get_ttl({"ItemTtl": "", "Ttl": "7"}, DOCUMENTED, "ItemTtl", "Ttl") == 7
    assert get_ttl({"Ttl": ""}, DOCUMENTED, "Ttl") is None


@pytest.mark.parametrize("name", ["", "x" * 321, "ET" + "a" * 32, "a\0b"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        get_name({"UniqueName": name}, DOCUMENTED)
    assert caught.value.reason is Reason.BAD_NAME


@pytest.mark.parametrize("text", ["", "null", " null "])
def test_empty_and_null_data_are_missing(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        get_data({"Data": text}, DOCUMENTED, 100, Reason.MESSAGE_DATA_MISSING)
    assert caught.value.reason is Reason.MESSAGE_DATA_MISSING


def test_data_are_made_compact_before_they_are_measured() -> None:
    form = {"Data": '{ "a" : 1.0 }' + " " * 20}
    assert get_data(form, DOCUMENTED, 9, Reason.DOCUMENT_DATA_MISSING) == b'{"a":1.0}'
    with pytest.raises(Refusal) as caught:
        get_data(form, DOCUMENTED, 8, Reason.DOCUMENT_DATA_MISSING)
    assert caught.value.reason is Reason.DATA_TOO_LARGE
