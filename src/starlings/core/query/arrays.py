"""Arrays as queries look at them: sorted by type once, then each comparison is a look-up.

A client chooses the data, 16 KiB of them, and the query: 15 comparisons, each with 29 literals. One
by one that is millions of steps for a single item, and a live query takes them at every change. So
an array is gone through once for each type that is asked for, however many comparisons there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

__all__ = ["Array", "sort_arrays"]

_SEPARATOR = "\ud800"
"""Half a character, which neither data nor queries hold: so nothing is found across two strings."""


class Array:
    """The items of an array that a literal may equal or be compared with; nested ones may not."""

    def __init__(self, items: Sequence[object]) -> None:
        self._items = items

    def has(self, literal: object) -> bool:
        """Whether an item equals a literal; in JSON ``true`` is no number."""
        if isinstance(literal, str):
            return literal in self._distinct_strings
        if literal is None or isinstance(literal, bool):
            return literal in self._constants
        return literal in self._distinct_numbers

    def has_any(self, literals: Iterable[object]) -> bool:
        return any(self.has(literal) for literal in literals)

    def has_text(self, text: str) -> bool:
        """Whether a string among the items contains ``text``."""
        return text in self._text if text else bool(self._strings)

    def extremes_like(self, literal: object) -> tuple[object, object] | None:
        """The least and the greatest item that have an order with a literal; None: none has."""
        if isinstance(literal, str):
            return self._string_extremes
        if literal is None or isinstance(literal, bool):
            return None
        return self._number_extremes

    @cached_property
    def _strings(self) -> list[str]:
        return [item for item in self._items if isinstance(item, str)]

    @cached_property
    def _numbers(self) -> list[int | float]:
        return [
            item
            for item in self._items
            if isinstance(item, int | float) and not isinstance(item, bool)
        ]

    @cached_property
    def _constants(self) -> list[object]:
        """Those of null, true and false that there are."""
        return [
            constant
            for constant in (None, True, False)
            if any(item is constant for item in self._items)
        ]

    @cached_property
    def _distinct_strings(self) -> frozenset[str]:
        return frozenset(self._strings)

    @cached_property
    def _distinct_numbers(self) -> frozenset[int | float]:
        return frozenset(self._numbers)

    @cached_property
    def _text(self) -> str:
        return _SEPARATOR.join(self._strings)

    @cached_property
    def _string_extremes(self) -> tuple[str, str] | None:
        return (min(self._strings), max(self._strings)) if self._strings else None

    @cached_property
    def _number_extremes(self) -> tuple[int | float, int | float] | None:
        return (min(self._numbers), max(self._numbers)) if self._numbers else None


def sort_arrays(data: object) -> object:
    """Data with every array that a path can lead to in this form, made in place: so queries that
    look at the same item share the work.
    """
    objects = [data] if isinstance(data, dict) else []
    while objects:
        members = objects.pop()
        for name, value in members.items():
            if isinstance(value, list):
                members[name] = Array(value)
            elif isinstance(value, dict):
                objects.append(value)
    return data
