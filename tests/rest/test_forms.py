"""Form decoding, compared with the standard library's."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.errors import Reason, Refusal
from starlings.rest.forms import MOST_FIELDS, parse_form

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
TRICKY = st.text(st.sampled_from('%=+&aF0 \r\n/_"{}é'), max_size=60)


@given(st.dictionaries(TEXT | TRICKY, TEXT | TRICKY, max_size=8))
def test_an_encoded_form_comes_back(form: dict[str, str]) -> None:
    assert parse_form(urlencode(form).encode()) == form


@given(TRICKY.map(str.encode))
def test_any_text_is_read_as_the_standard_library_reads_it(encoded: bytes) -> None:
    try:
        expected = parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        with pytest.raises(Refusal):
            parse_form(encoded)
    else:
        assert parse_form(encoded) == dict(expected)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(junk: bytes) -> None:
    try:
        form = parse_form(junk)
    except Refusal:
        with pytest.raises(UnicodeDecodeError):
            parse_qsl(junk, errors="strict")
    else:
        assert all(isinstance(name + value, str) for name, value in form.items())
        assert len(form) <= junk.count(b"&") + 1


@pytest.mark.parametrize(
    ("encoded", "form"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"A", {"A": ""}),
        (b"A=", {"A": ""}),
        (b"=x", {"": "x"}),
        (b"A=1=2", {"A": "1=2"}),
        (b"A=%3D&B=%26", {"A": "=", "B": "&"}),
        (b"A=a+b%2Bc", {"A": "a b+c"}),
        (b"A=100%", {"A": "100%"}),
        (b"A=%zz%41", {"A": "%zzA"}),
        (b"A=%%41", {"A": "%A"}),
        (b"A=%\r\nx%zz", {"A": "%\r\nx%zz"}),
        (b"A=%\rx\n%zz", {"A": "%\rx\n%zz"}),
        (b"A=%0A%0D", {"A": "\n\r"}),
        (b"A=%c3%A9\xc3\xa9", {"A": "éé"}),
        (b"A=first&A=last", {"A": "last"}),
        (b"%44ata=x", {"Data": "x"}),
    ],
)
def test_single_cases(encoded: bytes, form: dict[str, str]) -> None:
    assert parse_form(encoded) == form


@pytest.mark.parametrize("value", [b"%FF", b"\xff", b"%ED%A0%80", b"%C3", b"%F8%88%80%80%80"])
def test_what_is_not_utf_8_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(Refusal, match="Invalid Data: not valid UTF-8") as caught:
        parse_form(b"Ttl=1&Data=" + value)
    assert caught.value.reason is Reason.BAD_PARAMETER


def test_the_number_of_fields_is_bounded() -> None:
    assert len(parse_form(b"&".join(b"f%d=" % n for n in range(MOST_FIELDS)))) == MOST_FIELDS
    with pytest.raises(Refusal) as caught:
        parse_form(b"&".join(b"f%d=" % n for n in range(MOST_FIELDS + 1)))
    assert caught.value.reason is Reason.BAD_PARAMETER
    with pytest.raises(Refusal):
        parse_form(b"&" * 100_000)
