"""Data as callers send them: any bytes in, compact JSON or a refusal out."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.errors import Reason, Refusal
from starlings.node.data import normalise_data

_LIMIT = 16 * 1024
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(st.text(max_size=6), _JSON, max_size=5)


def normalise(text: bytes | str, limit: int = _LIMIT, depth: int = 64) -> bytes:
    return normalise_data(text, limit, depth, missing=Reason.DOCUMENT_DATA_MISSING)


def attempt(text: bytes) -> bytes | Reason:
    """The data, or why they are refused; anything else that is raised fails the test."""
    try:
        return normalise(text)
    except Refusal as refusal:
        return refusal.reason


def refused(text: bytes | str, limit: int = _LIMIT, depth: int = 64) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        normalise(text, limit, depth)
    return refusal.value


@pytest.mark.parametrize("escape", [rb"\ud83c", rb"x\udf89", rb"\ud83c\ud83c\udf89"])
def test_half_a_character_is_refused_by_its_name(escape: bytes) -> None:
    refusal = refused(b'{"text":"' + escape + b'"}')
    assert refusal.reason is Reason.BAD_DATA
    assert "half of a pair" in refusal.message
    # Not where something else is wrong with it.
    assert "half of a pair" not in refused(b'{"text":"' + escape).message
    assert "half of a pair" not in refused(b'["' + escape + b'"]').message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", b"{}"),
        (b' { "b" : 1 ,\n "a" : [ 1 , 2 ] } ', b'{"b":1,"a":[1,2]}'),
        (b'{"n":1.0,"m":1e3,"o":-0,"p":0.10}', b'{"n":1.0,"m":1e3,"o":-0,"p":0.10}'),
        (b'{"a":1,"a":2}', b'{"a":1,"a":2}'),
        (b'{"a":" spaces  stay "}', b'{"a":" spaces  stay "}'),
        ('{"a":"é"}', '{"a":"é"}'.encode()),
        (rb'{"a":"\u00e9\u0041"}', '{"a":"éA"}'.encode()),
        (rb'{"a":"\ud83d\ude00"}', '{"a":"😀"}'.encode()),
        (rb'{"a":"\u0041\ud83d\ude00\u0042"}', '{"a":"A😀B"}'.encode()),
        (rb'{"a":"\u0022\u005c\u000a\n\/"}', rb'{"a":"\u0022\u005c\u000a\n\/"}'),
        (rb'{"a":"\\u0041"}', rb'{"a":"\\u0041"}'),
        (rb'{"a":"\\\u0041"}', rb'{"a":"\\A"}'),
    ],
)
def test_white_space_and_needless_escapes_go_all_else_stays(
    text: bytes | str, expected: bytes
) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize("text", [b"null", b" null\n"])
def test_null_is_missing_data(text: bytes) -> None:
    assert refused(text).reason is Reason.DOCUMENT_DATA_MISSING


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"scalar", b"1", b'"x"', b"[]", b"[{}]", b"true", b"nul", b"{", b"{}}", b'{"a"}',
        b"{a:1}", b"{'a':1}", b'{"a":1,}', b'{"a":01}', b'{"a":+1}', b'{"a":NaN}',
        b'{"a":Infinity}', b'{"a":"\n"}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\\x"}', b'{"a":"\\u12"}', b"{}\x00", b"\x00", "{\"a\":\"\ud800\"}",
        rb'{"a":"\ud800"}', b'{"a":1} {"b":2}', b"{}//",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(text: bytes | str) -> None:
    refusal = refused(text)
    assert refusal.reason is Reason.BAD_DATA
    assert refusal.message.startswith("Invalid Data: expected a JSON object (")


def test_the_field_is_named() -> None:
    with pytest.raises(Refusal) as refusal:
        normalise_data(b"1", 9, 9, missing=Reason.MESSAGE_DATA_MISSING, field="Message")
    assert refusal.value.message.startswith("Invalid Message")


def test_the_size_that_counts_is_that_after_normalising() -> None:
    exact = b'{"a":"%s"}' % (b"x" * 92)
    assert len(exact) == 100
    assert normalise(exact, limit=100) == exact
    assert normalise(b"  " + exact.replace(b":", b" : "), limit=100) == exact
    refusal = refused(exact.replace(b"x", b"xx", 1), limit=100)
    assert refusal.reason is Reason.DATA_TOO_LARGE
    assert "101 bytes, at most 100" in refusal.message


def test_a_text_far_over_the_limit_is_not_even_parsed() -> None:
    assert refused(b"{" + b" " * 1_000, limit=100).reason is Reason.DATA_TOO_LARGE


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_the_depth_is_bounded() -> None:
    assert normalise(nested(64)) == nested(64)
    assert "deeper than 64" in refused(nested(65)).message
    assert normalise(b'{"a":"' + b"[{" * 200 + b'"}')  # brackets in strings don't count
    assert normalise(b'{"a":[' + b"[]," * 200 + b"[]]}")  # nor do those side by side
    assert refused(b"[" * 100_000).reason is Reason.BAD_DATA


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 65 + b'"' + b'\\"' * 60_000,
        b"[" * 65 + b'"' + b"\\" * 120_001,
        b"[" * 65 + b'"' * 120_001,
        b'{"a":"' + b"\\u0041" * 20_000,
        b"[]" * 60_000,
        b'{"a":' * 20_000,
    ],
)
def test_no_text_takes_long(text: bytes) -> None:
    """Each byte is looked at once: these took seconds when a search began anew at each quote."""
    started = time.process_time()
    with pytest.raises(Refusal):
        normalise(text)
    assert time.process_time() - started < 0.5


def test_huge_numbers_are_refused_or_kept_as_they_are() -> None:
    for number in (b"9" * 30, b"1e999", b"-1e999", b"0." + b"1" * 400, b"9" * 5_000):
        text = b'{"n":%s}' % number
        assert attempt(text) in (text, Reason.BAD_DATA)


def test_a_number_out_of_range_is_called_so() -> None:
    for number in (b"-1e999", b"1" + b"0" * 309, b"-" + b"9" * 400, b"9" * 5_000):
        text = b'{"a":{"b":[1,%s]}}' % number
        assert refused(text).message == (
            "Invalid Data: expected a JSON object (a number is beyond the range of 64-bit floats)"
        )
    for kept in (b'{"a":%s}' % (b"9" * 308), b'{"a":"%s"}' % (b"9" * 5_000)):
        assert normalise(kept) == kept


@given(_OBJECTS, st.booleans(), st.sampled_from([None, 0, 3]))
def test_the_value_is_kept_and_the_size_never_grows(
    value: dict[str, object], is_ascii: bool, indent: int | None
) -> None:
    try:
        text = json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()
    except UnicodeEncodeError:
        return
    try:
        data = normalise(text)
    except Refusal:
        assert "\\ud" in json.dumps(value).lower()  # half a surrogate pair
        return
    assert json.loads(data) == value
    assert len(data) <= len(text)
    assert normalise(data) == data


@given(_OBJECTS)
def test_number_text_and_key_order_are_kept(value: dict[str, object]) -> None:
    text = json.dumps(value, indent=1)
    try:
        data = normalise(text)
    except Refusal:
        return
    numbers: list[list[str]] = [[], []]
    for found, source in zip(numbers, (text, data.decode()), strict=True):
        json.loads(source, parse_float=found.append, parse_int=found.append)
    assert numbers[0] == numbers[1]
    assert list(json.loads(data)) == list(value)


_FRAGMENTS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0041", b"\\ud83d", b"\\ude00", b":", b",", b"a",
     b"null", b"1", b"-", b".", b"e9", b" ", b"\n", b"\xc3\xa9", b"\xff", b"\x00", b'{"a":"']
)  # fmt: skip


@given(st.binary(max_size=60) | st.lists(_FRAGMENTS, max_size=25).map(b"".join))
def test_any_bytes_give_json_or_a_refusal(text: bytes) -> None:
    data = attempt(text)
    if isinstance(data, Reason):
        assert data in (Reason.BAD_DATA, Reason.DOCUMENT_DATA_MISSING)
        return
    parsed = json.loads(data)
    assert isinstance(parsed, dict)
    assert parsed == json.loads(text)
    assert len(data) <= len(text)
    assert normalise(data) == data
