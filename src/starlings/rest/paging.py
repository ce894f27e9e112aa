"""Pages of a listing: what is asked for, the token that leads on, the ``meta`` block. [rest-api 4]

Pages are by key set: a token holds the place of the last entry seen, so entries that come or go
between two pages shift no others. It also holds order, bound and size, so that it alone leads on;
parameters beside it don't change the walk. Going back reads from the first entry seen, in the
opposite direction, and turns the entries round; a walk that started at ``From`` never goes back
behind it.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from starlings.core.errors import Reason, Refusal
from starlings.core.limits import Limits
from starlings.core.objects import ItemKey
from starlings.node.pages import Page
from starlings.rest.forms import Form, parse_form
from starlings.rest.parameters import parse_whole_number
from starlings.rest.render import encode
from starlings.rest.requests import Request
from starlings.rest.responses import Response
from starlings.storage.store import Place

__all__ = [
    "PageRequest",
    "PageToken",
    "Position",
    "decode_page_token",
    "encode_page_token",
    "list_page",
    "parse_from_index",
    "parse_from_key",
    "parse_page_request",
]

_T = TypeVar("_T")

Position = Place | int | str
"""Where an entry stands: creation of services and objects, index, key, or identity."""

_PREFIX = "PT"
_MOST_TOKEN_CHARACTERS = 8192
_HIGHEST = 2**63 - 1
_URL_CHARACTERS = "/%:@!$&'()*+,;=~"


class PageToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that the next page needs, short names because it travels in URLs."""

    listing: str = msgspec.field(name="l")
    """What is listed: a token works only for a listing of its kind."""
    position: Position = msgspec.field(name="p")
    """Of the entry to go on from."""
    page_size: int = msgspec.field(name="s")
    is_descending: bool = msgspec.field(name="d", default=False)
    is_backward: bool = msgspec.field(name="b", default=False)
    is_shown: bool = msgspec.field(name="e", default=False)
    """True if the entry to go on from was not shown yet: it belongs to the page."""
    start: ItemKey | None = msgspec.field(name="f", default=None)
    """The walk's ``From``."""
    is_inclusive: bool = msgspec.field(name="i", default=True)
    """The walk's ``Bounds``."""


class PageRequest(msgspec.Struct, frozen=True):
    """A page as asked for."""

    listing: str
    page_size: int
    number: int
    """``Page``: echoed, otherwise without meaning."""
    is_descending: bool
    start: ItemKey | None
    is_inclusive: bool
    token: PageToken | None
    """None for a first page."""
    token_text: str | None = None


_decode_json = msgspec.json.Decoder(PageToken).decode


def encode_page_token(token: PageToken) -> str:
    return _PREFIX + urlsafe_b64encode(encode(token)).decode().rstrip("=")


def decode_page_token(text: str, listing: str, position_type: type) -> PageToken:
    """Read a token of ours.

    Raises:
        Refusal: BAD_PAGE_TOKEN: it is none, was made for another kind of listing, or holds what no
            walk leads to.
    """
    try:
        if not text.startswith(_PREFIX) or len(text) > _MOST_TOKEN_CHARACTERS:
            raise ValueError(text)
        encoded = text[len(_PREFIX) :].rstrip("=").encode("ascii")
        padded = encoded + b"=" * (-len(encoded) % 4)
        if any(character in b"+/" for character in encoded):
            raise ValueError(text)
        token = _decode_json(urlsafe_b64decode(padded))
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise Refusal(Reason.BAD_PAGE_TOKEN) from error
    numbers = token.position if isinstance(token.position, tuple) else (token.position, token.start)
    if (
        token.listing != listing
        or not isinstance(token.position, position_type)
        or not (token.start is None or isinstance(token.start, position_type))
        or token.page_size < 1
        or any(isinstance(number, int) and not 0 <= number <= _HIGHEST for number in numbers)
    ):
        raise Refusal(Reason.BAD_PAGE_TOKEN)
    return token


def parse_from_index(text: str) -> int:
    """A ``From`` of list items. Raises Refusal BAD_LIST_INDEX."""
    index = parse_whole_number(text)
    if index is None:
        raise Refusal(Reason.BAD_LIST_INDEX, "Invalid From: expected a non-negative integer")
    return index


def parse_from_key(text: str, most_characters: int) -> str:
    """A ``From`` of map items. Raises Refusal BAD_MAP_KEY."""
    if len(text) > most_characters:
        raise Refusal(
            Reason.BAD_MAP_KEY,
            f"Invalid From: expected at most {most_characters} characters, got {len(text)}",
        )
    return text


def parse_page_request(
    query: bytes,
    limits: Limits,
    listing: str,
    position_type: type,
    parse_from: Callable[[str], ItemKey] | None = None,
) -> PageRequest:
    """What a query asks for.

    Args:
        listing: A word for what is listed.
        position_type: Of its positions.
        parse_from: Reads ``From``; None if the listing has neither that nor ``Bounds`` and
            ``Order``.

    Raises:
        Refusal: BAD_PAGE_SIZE, BAD_PAGE_TOKEN, BAD_ORDER, BAD_BOUNDS, BAD_LIST_INDEX, BAD_MAP_KEY,
            BAD_PARAMETER.
    """
    form = parse_form(query)
    size = _parse_page_size(form, limits)
    number = parse_whole_number(form.get("Page", "")) or 0
    is_descending, is_inclusive, start = False, True, None
    if parse_from is not None:
        is_descending = _is_second(form, "Order", ("asc", "desc"), Reason.BAD_ORDER)
        is_inclusive = not _is_second(form, "Bounds", ("inclusive", "exclusive"), Reason.BAD_BOUNDS)
        if form.get("From"):
            start = parse_from(form["From"])
    text = form.get("PageToken")
    if not text:
        return PageRequest(
            listing, size or limits.page_default, number, is_descending, start, is_inclusive, None
        )
    token = decode_page_token(text, listing, position_type)
    return PageRequest(
        listing,
        size or min(token.page_size, limits.page_max),
        number,
        token.is_descending,
        token.start,
        token.is_inclusive,
        token,
        text,
    )


async def list_page(
    request: Request,
    asked: PageRequest,
    read: Callable[[Position | None, bool, bool, int], Awaitable[Page[_T]]],
    position_of: Callable[[_T], Position],
    key: str,
    render: Callable[[_T], object],
) -> Response:
    """Answer a listing.

    Args:
        read: Gives the entries from a position on: position, is_inclusive, is_descending, limit.
        key: The name of the array in the answer.
    """
    token = asked.token
    size = asked.page_size
    if token is None:
        page = await read(asked.start, asked.is_inclusive, asked.is_descending, size)
        entries: Sequence[_T] = page
        has_previous, has_next = False, page.has_next
    elif not token.is_backward:
        page = await read(token.position, token.is_shown, token.is_descending, size)
        entries, has_previous, has_next = page, page.has_previous, page.has_next
    else:
        # One more than shown: what tells of a previous page must not lie behind the walk's start.
        page = await read(token.position, token.is_shown, not token.is_descending, size + 1)
        within = [entry for entry in page if _is_within(asked, position_of(entry))]
        entries = within[:size][::-1]
        has_previous, has_next = len(within) > size, page.has_previous
    links = _Links(request, asked)
    previous_url, next_url = None, None
    if has_previous:
        if entries:
            previous_url = links.to(position_of(entries[0]), is_backward=True)
        elif token is not None:
            previous_url = links.to(token.position, is_backward=True, is_shown=True)
    if has_next:
        # An empty page that has a next one lies before the first entry of the walk.
        next_url = (
            links.to(position_of(entries[-1]), is_backward=False) if entries else links.first()
        )
    meta = {
        "key": key,
        "page": asked.number,
        "page_size": size,
        "first_page_url": links.first(),
        "previous_page_url": previous_url,
        "url": links.this(),
        "next_page_url": next_url,
    }
    return Response(200, encode({key: [render(entry) for entry in entries], "meta": meta}))


def _is_within(asked: PageRequest, position: Position) -> bool:
    """False for an entry that lies before the start of the walk."""
    start = asked.start
    if start is None:
        return True
    if position == start:
        return asked.is_inclusive
    # Indexes compare as numbers; keys by code points, which is the order of their UTF-8 bytes too.
    is_after: bool = position > start  # type: ignore[operator]
    return is_after != asked.is_descending


class _Links:
    """The URLs of a page's neighbours, below the path as the caller wrote it."""

    def __init__(self, request: Request, asked: PageRequest) -> None:
        self._path = request.base_url + quote(request.raw_path, safe=_URL_CHARACTERS)
        self._asked = asked

    def first(self) -> str:
        return self._url(self._walk(), 0)

    def this(self) -> str:
        asked = self._asked
        if asked.token_text is None:
            return self._url(self._walk(), asked.number)
        return self._url([], asked.number, asked.token_text)

    def to(self, position: Position, *, is_backward: bool, is_shown: bool = False) -> str:
        """The page beyond an entry, or with it if ``is_shown``."""
        asked = self._asked
        token = PageToken(
            asked.listing,
            position,
            asked.page_size,
            asked.is_descending,
            is_backward,
            is_shown,
            asked.start,
            asked.is_inclusive,
        )
        number = max(0, asked.number - 1) if is_backward else asked.number + 1
        return self._url([], number, encode_page_token(token))

    def _walk(self) -> list[tuple[str, str]]:
        """The parameters that describe the walk from its start."""
        asked = self._asked
        parameters = []
        if asked.start is not None:
            parameters += [
                ("From", str(asked.start)),
                ("Bounds", "inclusive" if asked.is_inclusive else "exclusive"),
            ]
        if asked.is_descending or asked.start is not None:
            parameters.append(("Order", "desc" if asked.is_descending else "asc"))
        return parameters

    def _url(self, parameters: list[tuple[str, str]], number: int, token: str | None = None) -> str:
        parameters = [
            *parameters,
            ("PageSize", str(self._asked.page_size)),
            ("Page", str(number)),
        ]
        if token is not None:
            parameters.append(("PageToken", token))
        return f"{self._path}?{urlencode(parameters)}"


def _parse_page_size(form: Form, limits: Limits) -> int | None:
    """PageSize, at most the page limit; None if it is not given."""
    text = form.get("PageSize")
    if text is None:
        return None
    size = parse_whole_number(text)
    if not size:
        raise Refusal(Reason.BAD_PAGE_SIZE)
    return min(size, limits.page_max)


def _is_second(form: Form, field: str, words: tuple[str, str], reason: Reason) -> bool:
    """Which of two words a parameter is; False for the first, which is also the default."""
    word = form.get(field, words[0])
    if word not in words:
        raise Refusal(reason)
    return word == words[1]
