"""Cutting pages, without a store."""

from __future__ import annotations

import pytest

from starlings.node.pages import Page, cut_page

ROWS = [10, 20, 30, 40, 50]


async def read(start: int | None, is_descending: bool, limit: int) -> list[int]:
    """As a store does: rows after ``start`` in the given direction."""
    rows = ROWS[::-1] if is_descending else ROWS
    if start is not None:
        rows = [row for row in rows if (row < start if is_descending else row > start)]
    return rows[:limit]


async def page_after(start: int | None, limit: int, is_descending: bool = False) -> Page[int]:
    return await cut_page(read, start, is_descending, limit, lambda row: row)


@pytest.mark.parametrize(
    ("start", "limit", "expected", "has_previous", "has_next"),
    [
        (None, 2, [10, 20], False, True),
        (20, 2, [30, 40], True, True),
        (40, 2, [50], True, False),
        (None, 5, ROWS, False, False),
        (5, 5, ROWS, False, False),
    ],
)
async def test_a_page_knows_its_neighbours(
    start: int | None, limit: int, expected: list[int], has_previous: bool, has_next: bool
) -> None:
    page = await page_after(start, limit)
    assert (list(page), page.has_previous, page.has_next) == (expected, has_previous, has_next)


async def test_a_page_may_go_down() -> None:
    page = await page_after(40, 2, is_descending=True)
    assert (list(page), page.has_previous, page.has_next) == ([30, 20], True, True)


async def test_an_empty_page_after_something_has_a_previous_one() -> None:
    page = await page_after(50, 2)
    assert (list(page), page.has_previous, page.has_next) == ([], True, False)
