"""Data as callers send them: checked, compact, otherwise as they are.

The stored bytes are the caller's JSON without white space and with needless ``\\u`` escapes written
as UTF-8; the text of numbers, the order and the repetition of keys stay. So the size that is
limited is the size that is kept. [rest-api 12.2, 12.3]
"""

from __future__ import annotations

import json
import math
import re

import msgspec

from starlings.core.errors import Reason, Refusal

__all__ = ["normalise_data", "refuse_malformed"]

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL
)
# A string without its end counts to the end of the text: so each byte is looked at once.
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
# Of 64-bit floats the largest has 309 digits. The same digits may stand in a string.
_PERHAPS_OUT_OF_RANGE = re.compile(rb"[0-9]{309}")
_OUT_OF_RANGE = "a number is beyond the range of 64-bit floats"
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_all = msgspec.json.Decoder(dict[str, object]).decode
_format = msgspec.json.format


def normalise_data(
    text: bytes | str, limit: int, depth: int, *, missing: Reason, field: str = "Data"
) -> bytes:
    """Check JSON data and make them compact.

    Args:
        text: A JSON text as sent.
        limit: Most bytes after normalising.
        depth: Most nested arrays and objects.
        missing: The reason that refuses ``null``.
        field: The name for the sentence of a refusal.

    Raises:
        Refusal: ``missing`` for null, DATA_TOO_LARGE, BAD_DATA for everything else that is not a
            JSON object. [54008]
    """
    try:
        raw = text.encode() if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError as error:
        raise _bad(field, "not valid UTF-8") from error
    if raw.strip() == b"null":
        raise Refusal(missing)
    if len(raw) > 8 * limit:
        raise _too_large(field, len(raw), limit)
    if _is_too_deep(raw, depth):
        raise _bad(field, f"nested deeper than {depth} levels")
    try:
        _decode_all(raw)
        data = _format(raw, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise refuse_malformed(raw, error, field) from error
    if b"\\u" in data:
        data = _ESCAPE.sub(_unescape, data)
    if len(data) > limit:
        raise _too_large(field, len(data), limit)
    if _PERHAPS_OUT_OF_RANGE.search(data) and _has_infinity(data):
        raise _bad(field, _OUT_OF_RANGE)
    return data


def refuse_malformed(raw: bytes, error: Exception, field: str) -> Refusal:
    """The refusal of what msgspec could not decode as an object: BAD_DATA, with the reason."""
    detail = str(error).splitlines()[0][:120] or "malformed"
    if "out of range" in detail:
        detail = _OUT_OF_RANGE
    elif _is_json_object(raw):
        # msgspec calls it truncated, or names no reason that a caller understands.
        detail = "a \\u escape is half of a pair, as of an emoji that was cut in two"
    return _bad(field, detail)


def _has_infinity(data: bytes) -> bool:
    """Whether a whole number in good JSON is too large for a float, which no decoder here minds."""
    numbers: list[float] = []
    json.loads(data, parse_int=lambda digits: numbers.append(float(digits)))
    return any(map(math.isinf, numbers))


def _is_json_object(raw: bytes) -> bool:
    """Whether JSON's grammar allows it, which allows half a character. [RFC 8259 section 8.2]"""
    try:
        return isinstance(json.loads(raw.decode(), parse_int=len, parse_constant=int), dict)
    except (ValueError, RecursionError):
        return False


def _is_too_deep(raw: bytes, depth: int) -> bool:
    """True if brackets nest deeper than ``depth``; brackets inside strings are left out of the
    count.
    """
    if raw.count(b"{") + raw.count(b"[") <= depth:
        return False
    level = 0
    for bracket in _STRING_OR_BRACKET.finditer(raw):
        first = bracket.group()[0]
        if first in b"[{":
            level += 1
            if level > depth:
                return True
        elif first in b"]}":
            level -= 1
    return False


def _unescape(match: re.Match[bytes]) -> bytes:
    """An escape as UTF-8 if it is a ``\\u`` escape of anything but a control character, quote or
    backslash.
    """
    escape = match.group()
    if escape[1:2] != b"u":
        return escape
    character: str = json.loads(b'"' + escape + b'"')
    if ord(character) < 0x20 or character in '"\\' or 0xD800 <= ord(character) < 0xE000:
        return escape
    return character.encode()


def _bad(field: str, detail: str) -> Refusal:
    return Refusal(Reason.BAD_DATA, f"Invalid {field}: expected a JSON object ({detail})")


def _too_large(field: str, size: int, limit: int) -> Refusal:
    return Refusal(
        Reason.DATA_TOO_LARGE, f"{field} too large: {size} bytes, at most {limit} are allowed"
    )
