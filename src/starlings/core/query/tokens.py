"""Cuts the text of a query into tokens.

One regular expression finds the next token. Its alternatives exclude each other by their first
characters and repeat without giving back (``*+``), so the time is linear in the length of the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from starlings.core.query.errors import QuerySyntaxError

__all__ = ["MAX_NUMBER_CHARACTERS", "MAX_TEXT_CHARACTERS", "Token", "TokenKind", "tokenize"]

MAX_TEXT_CHARACTERS: Final = 16_384
"""Longest query text. Ours: no limit is published; room for 14 arrays of 29 SIDs each."""

MAX_NUMBER_CHARACTERS: Final = 64
"""Longest number. Ours: Python takes quadratic time for long ones, and refuses past 4300 digits."""


class TokenKind(Enum):
    """What a token is; the value is how error messages call it."""

    WORD = "a name"
    SYMBOL = "a symbol"
    STRING = "a string"
    NUMBER = "a number"
    END = "the end of the query"


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a query, and where it begins.

    ``value`` is the decoded string of a STRING, the number of a NUMBER, else the text as written.
    ``segments`` are the dotted parts of a WORD, decoded, so ``data."a.b"`` has two; else empty.
    """

    kind: TokenKind
    position: int
    value: str | int | float
    segments: tuple[str, ...] = ()


_STRING: Final = r""" "(?:[^"\\]|\\.)*+" | '(?:[^'\\]|\\.)*+' """
_TOKEN: Final = re.compile(
    rf"""
      (?P<space>  \s++ )
    | (?P<word>   [^\W\d][\w$-]*+ (?: \. (?: [\w$-]++ | {_STRING} ) )*+ )
    | (?P<number> -?[0-9][\w.+-]*+ )
    | (?P<string> {_STRING} )
    | (?P<symbol> == | != | <= | >= | < | > | && | \|\| | [()\[\],] )
    """,
    re.VERBOSE | re.DOTALL,
)
_SEGMENT: Final = re.compile(rf"[\w$-]++ | {_STRING}", re.VERBOSE | re.DOTALL)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPE: Final = re.compile(
    r"""\\(?: u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
           |  u(?P<unit>[0-9a-fA-F]{4})
           |  (?P<other>.) )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = {
    '"': '"',
    "'": "'",
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}


def tokenize(text: str) -> Iterator[Token]:
    """Yield the tokens of ``text``, the last one of kind END.

    Raises:
        QuerySyntaxError: The text is longer than ``MAX_TEXT_CHARACTERS``, or some part of it is no
            token; raised when that part is reached.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise QuerySyntaxError(
            MAX_TEXT_CHARACTERS, f"the query is longer than {MAX_TEXT_CHARACTERS} characters"
        )
    # Half a character could never be sent back in an error or a log line.
    if surrogate := _SURROGATE.search(text):
        raise QuerySyntaxError(surrogate.start(), "the query holds half a character")
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise QuerySyntaxError(position, _why_no_token(text[position]))
        if match.lastgroup != "space":
            yield _read(match)
        position = match.end()
    yield Token(TokenKind.END, len(text), "")


def _read(match: re.Match[str]) -> Token:
    written, start = match.group(), match.start()
    match match.lastgroup:
        case "word":
            segments = tuple(
                _decode_string(part.group(), start + part.start())
                if part.group()[0] in "\"'"
                else part.group()
                for part in _SEGMENT.finditer(written)
            )
            return Token(TokenKind.WORD, start, written, segments)
        case "number":
            return Token(TokenKind.NUMBER, start, _decode_number(written, start))
        case "string":
            return Token(TokenKind.STRING, start, _decode_string(written, start))
        case _:
            return Token(TokenKind.SYMBOL, start, written)


def _decode_number(written: str, start: int) -> int | float:
    """Read a number as JSON writes it."""
    if len(written) > MAX_NUMBER_CHARACTERS:
        raise QuerySyntaxError(start, f"a number has more than {MAX_NUMBER_CHARACTERS} characters")
    match = _NUMBER.fullmatch(written)
    if match is None:
        raise QuerySyntaxError(start, "this is not a number as JSON writes it")
    if not match["fraction"]:
        return int(written)
    number = float(written)
    if number in (float("inf"), float("-inf")):
        raise QuerySyntaxError(start, "the number is too large")
    return number


def _decode_string(quoted: str, start: int) -> str:
    """Drop the quotes and undo the escapes, which are JSON's and ``\\'``."""

    def decode(escape: re.Match[str]) -> str:
        position = start + 1 + escape.start()
        if escape["high"]:
            high, low = int(escape["high"], 16), int(escape["low"], 16)
            return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
        if escape["unit"]:
            unit = chr(int(escape["unit"], 16))
            if _SURROGATE.match(unit):
                raise QuerySyntaxError(position, "the escape stands for half a character")
            return unit
        if escape["other"] not in _ESCAPED:
            raise QuerySyntaxError(position, "there is no such escape")
        return _ESCAPED[escape["other"]]

    return _ESCAPE.sub(decode, quoted[1:-1])


def _why_no_token(character: str) -> str:
    match character:
        case '"' | "'":
            return "the string has no closing quote"
        case "=":
            return "equality is written =="
        case _:
            return "this character has no meaning here"
