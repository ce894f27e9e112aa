"""Typed parameters of a form: flags, numbers, times to live, texts, data. None: not given."""

from __future__ import annotations

import re

from starlings.core.errors import Reason, Refusal
from starlings.core.limits import Limits
from starlings.core.rules import check_name, check_ttl
from starlings.node.data import normalise_data
from starlings.rest.forms import Form

__all__ = [
    "get_data",
    "get_flag",
    "get_name",
    "get_text",
    "get_ttl",
    "get_whole_number",
    "parse_whole_number",
]

_WHOLE_NUMBER = re.compile(r"[0-9]+")
_MOST_DIGITS = 18
"""More than any bound has; a longer number is only known to be large."""


def parse_whole_number(text: str) -> int | None:
    """A non-negative decimal number; None if the text is none. 10**18 and more count as 10**18."""
    if not _WHOLE_NUMBER.fullmatch(text):
        return None
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def get_flag(form: Form, field: str) -> bool | None:
    """``true`` or ``false``, in any case. Raises Refusal BAD_PARAMETER. [rest-api 1]"""
    text = form.get(field)
    if text is None:
        return None
    word = text.lower()
    if word == "true":
        return True
    if word == "false":
        return False
    raise Refusal(Reason.BAD_PARAMETER, f"Invalid {field}: expected true or false")


def get_whole_number(form: Form, field: str) -> int | None:
    """Raises Refusal BAD_PARAMETER."""
    text = form.get(field)
    if text is None:
        return None
    number = parse_whole_number(text)
    if number is None:
        raise Refusal(Reason.BAD_PARAMETER, f"Invalid {field}: expected a whole number")
    return number


def get_ttl(form: Form, limits: Limits, *fields: str) -> int | None:
    """Seconds out of the first of ``fields`` that is not empty; others are ignored. [rest-api 5]

    Raises:
        Refusal: BAD_TTL.
    """
    for field in fields:
        text = form.get(field)
        if text:
            ttl = parse_whole_number(text)
            if ttl is None:
                raise Refusal(
                    Reason.BAD_TTL,
                    f"Invalid {field}: expected 0-{limits.ttl_seconds} seconds",
                )
            check_ttl(ttl, limits, field)
            return ttl
    return None


def get_text(form: Form, field: str, reason: Reason) -> str | None:
    """Raises Refusal ``reason`` for NUL, which not every store can keep in a text."""
    text = form.get(field)
    if text is not None and "\0" in text:
        raise Refusal(reason, f"Invalid {field}: NUL characters are not allowed")
    return text


def get_name(form: Form, limits: Limits) -> str | None:
    """The UniqueName. Raises Refusal BAD_NAME. [rest-api 1.6]"""
    name = get_text(form, "UniqueName", Reason.BAD_NAME)
    if name is not None:
        check_name(name, limits)
    return name


def get_data(form: Form, limits: Limits, limit: int, missing: Reason) -> bytes | None:
    """The Data, checked and compact; an empty field counts as one that holds ``null``.

    Args:
        limit: Most bytes.
        missing: Why ``null`` is refused.

    Raises:
        Refusal: ``missing``, DATA_TOO_LARGE, BAD_DATA. [rest-api 12.2]
    """
    text = form.get("Data")
    if text is None:
        return None
    if not text:
        raise Refusal(missing)
    return normalise_data(text, limit, limits.data_depth, missing=missing)
