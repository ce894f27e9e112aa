"""Pages of listings: cut from a store that reads rows after a place, in either direction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlings.storage.store import GrantPlace, Place

__all__ = ["Page", "cut_page"]

_T = TypeVar("_T")
_P = TypeVar("_P", Place, GrantPlace, int)


class Page(list[_T]):
    """One page of a listing, in the order asked for, and whether there is more on either side."""

    def __init__(self, entries: list[_T], has_previous: bool, has_next: bool) -> None:
        super().__init__(entries)
        self.has_previous = has_previous
        self.has_next = has_next


async def cut_page(
    read: Callable[[_P | None, bool, int], Awaitable[list[_T]]],
    start: _P | None,
    is_descending: bool,
    limit: int,
    place_of: Callable[[_T], _P],
) -> Page[_T]:
    """A page after ``start``, in the order of ``read``. One row more than asked for tells whether
    there is a next page, one row back a previous one.
    """
    rows = await read(start, is_descending, limit + 1)
    entries = rows[:limit]
    if start is None:
        has_previous = False
    elif entries:
        has_previous = bool(await read(place_of(entries[0]), not is_descending, 1))
    else:
        has_previous = True
    return Page(entries, has_previous, len(rows) > limit)
