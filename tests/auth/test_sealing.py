"""Sealed secrets: they open with their key and for their owner only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.auth.sealing import KEY_BYTES, Sealer, SealingError

A = "AC" + "a" * 32
B = "AC" + "b" * 32


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens_again(secret: str) -> None:
    sealer = Sealer(b"k" * KEY_BYTES)
    assert sealer.open(sealer.seal(secret, A), A) == secret


def test_the_secret_is_not_in_the_sealed_bytes() -> None:
    assert b"hunter2hunter2" not in Sealer(b"k" * KEY_BYTES).seal("hunter2hunter2", A)


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    sealer = Sealer(b"k" * KEY_BYTES)
    assert sealer.seal("secret", A) != sealer.seal("secret", A)


def test_another_key_does_not_open_it() -> None:
    sealed = Sealer(b"k" * KEY_BYTES).seal("secret", A)
    with pytest.raises(SealingError, match=A):
        Sealer(b"l" * KEY_BYTES).open(sealed, A)


def test_it_does_not_open_for_another_owner() -> None:
    sealer = Sealer(b"k" * KEY_BYTES)
    with pytest.raises(SealingError, match=B):
        sealer.open(sealer.seal("secret", A), B)


@given(st.binary(max_size=80))
def test_any_other_bytes_are_refused_as_unsealable(sealed: bytes) -> None:
    with pytest.raises(SealingError):
        Sealer(b"k" * KEY_BYTES).open(sealed, A)


@given(st.integers(0, 60))
def test_one_changed_byte_is_noticed(place: int) -> None:
    sealer = Sealer(b"k" * KEY_BYTES)
    sealed = bytearray(sealer.seal("s" * 32, A))
    sealed[place] ^= 1
    with pytest.raises(SealingError):
        sealer.open(bytes(sealed), A)


def test_a_made_key_is_read_back_with_either_alphabet_and_a_line_end() -> None:
    text = base64.b64encode(b"\xff\xfe" * 16).decode()
    urlsafe = base64.urlsafe_b64encode(b"\xff\xfe" * 16).decode()
    sealed = Sealer.from_text(text + "\n").seal("secret", A)
    assert Sealer.from_text(urlsafe).open(sealed, A) == "secret"
    assert Sealer.make_key_text() != Sealer.make_key_text()
    Sealer.from_text(Sealer.make_key_text())


@pytest.mark.parametrize("text", ["", "short", "é" * 44, base64.b64encode(b"k" * 31).decode()])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(SealingError, match="secret key"):
        Sealer.from_text(text)


def test_derived_secrets_are_stable_and_differ_by_purpose_and_by_key() -> None:
    sealer = Sealer(b"k" * KEY_BYTES)
    derived = sealer.derive("one")
    assert derived == Sealer(b"k" * KEY_BYTES).derive("one")
    assert len({derived, sealer.derive("two"), Sealer(b"l" * KEY_BYTES).derive("one")}) == 3
    assert b"k" * KEY_BYTES not in derived
