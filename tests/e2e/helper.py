"""Small words for tests that use the official Python helper library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from twilio.base.exceptions import (  # type: ignore[import-untyped]
    TwilioException,
    TwilioRestException,
)

__all__ = ["assert_about", "is_sid", "page_refusal", "refusal"]


@contextmanager
def refusal(status: int, code: int) -> Iterator[None]:
    """The block must end in the helper library's own exception with this status and code."""
    with pytest.raises(TwilioRestException) as caught:
        yield
    # The library puts the status in place of a code it cannot read.
    assert (caught.value.status, caught.value.code) == (status, code), caught.value
    assert caught.value.msg


@contextmanager
def page_refusal(status: int, code: int) -> Iterator[None]:
    """As `refusal`, for lists: there the library wraps the response instead of reading it."""
    with pytest.raises(TwilioException, match="Unable to fetch page") as caught:
        yield
    response = caught.value.args[1]
    assert (response.status_code, json.loads(response.text)["code"]) == (status, code)


def is_sid(text: str, prefix: str) -> bool:
    """Whether the text is a minted SID: the prefix and 32 lower-case hexadecimal digits."""
    digits = text.removeprefix(prefix)
    return len(text) == 34 and len(digits) == 32 and set(digits) <= set("0123456789abcdef")


def assert_about(moment: datetime, expected: datetime, *, seconds: float = 2) -> None:
    """Two moments agree up to truncation to seconds and the time a request takes."""
    assert abs(moment - expected) <= timedelta(seconds=seconds), (moment, expected)
