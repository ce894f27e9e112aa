"""The tree of a query, and what it means for one item.

Every comparison first looks its path up. Nothing there: the comparison is false, negated or not. An
array there: the comparison holds when it holds for one of the items. Values of different types are
unequal and have no order. A negated operator is true for exactly those present values for which its
positive form is false.
"""

import json
import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, TypeAlias

from starlings.core.query.arrays import Array

__all__ = [
    "And",
    "Comparison",
    "Expression",
    "Literal",
    "Operator",
    "Or",
    "Path",
    "Query",
    "Root",
    "format_query",
]

Literal: TypeAlias = str | int | float | bool | None


class Root(StrEnum):
    """Where a path begins: the item's key or its data."""

    KEY = "key"
    DATA = "data"


class Operator(StrEnum):
    """How a comparison compares; the value is its normal spelling."""

    EQ = "=="
    NOT_EQ = "!="
    LESS = "<"
    LESS_EQ = "<="
    GREATER = ">"
    GREATER_EQ = ">="
    IN = "IN"
    NOT_IN = "NOT_IN"
    CONTAINS = "CONTAINS"
    NOT_CONTAINS = "NOT_CONTAINS"


@dataclass(frozen=True, slots=True)
class Path:
    """Names to follow from a root through nested objects."""

    root: Root
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of one field. ``operand`` is a tuple for IN and NOT_IN, else a single literal."""

    path: Path
    operator: Operator
    operand: Literal | tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class And:
    """True when all of two or more parts are."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when any of two or more parts is."""

    parts: tuple["Expression", ...]


Expression: TypeAlias = Comparison | And | Or


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query; ``expression`` is None for the empty one, which every item matches."""

    expression: Expression | None

    @property
    def comparisons(self) -> int:
        """How many comparisons it takes at most to say whether an item matches."""
        return 0 if self.expression is None else _count(self.expression)

    def matches(self, key: str, data: object) -> bool:
        """Say whether an item belongs to the result.

        Args:
            key: The item's key.
            data: The item's data as decoded from JSON: dict, list, str, int, float, bool or None;
                of several queries ``sort_arrays`` of them.
        """
        return self.expression is None or _is_true(self.expression, key, data)


def format_query(query: Query) -> str:
    """Write a query in its normal form, which parses to an equal query.

    Two texts of one normal form match the same items, so live queries may share their work by it.
    The normal form of a text close to ``MAX_TEXT_CHARACTERS`` may itself be longer than that.
    """
    return "" if query.expression is None else _format(query.expression)


# --- Meaning ---


class _Missing(Enum):
    MISSING = 0


_NEGATED: Final = {
    Operator.NOT_EQ: Operator.EQ,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_CONTAINS: Operator.CONTAINS,
}


def _is_true(expression: Expression, key: str, data: object) -> bool:
    # Recursion is as deep as the parentheses, which the parser bounds.
    match expression:
        case And(parts):
            return all(_is_true(part, key, data) for part in parts)
        case Or(parts):
            return any(_is_true(part, key, data) for part in parts)
        case Comparison(path, operator, operand):
            value = _look_up(path, key, data)
            if value is _Missing.MISSING:
                return False
            if operator in _NEGATED:
                return not _holds(_NEGATED[operator], value, operand)
            return _holds(operator, value, operand)


def _count(expression: Expression) -> int:
    if isinstance(expression, Comparison):
        return 1
    return sum(_count(part) for part in expression.parts)


def _look_up(path: Path, key: str, data: object) -> object:
    value: object = key if path.root is Root.KEY else data
    for name in path.names:
        if not isinstance(value, dict) or name not in value:
            return _Missing.MISSING
        value = value[name]
    return value


def _holds(operator: Operator, value: object, operand: Literal | tuple[Literal, ...]) -> bool:
    if isinstance(value, list):
        value = Array(value)
    if isinstance(value, Array):
        return _holds_in(operator, value, operand)
    return _compare(operator, value, operand)


def _holds_in(operator: Operator, array: Array, operand: Literal | tuple[Literal, ...]) -> bool:
    """Whether a comparison holds for an item of an array."""
    if isinstance(operand, tuple):
        return array.has_any(operand)
    if operator is Operator.EQ:
        return array.has(operand)
    if operator is Operator.CONTAINS:
        return isinstance(operand, str) and array.has_text(operand)
    extremes = array.extremes_like(operand)
    if extremes is None:
        return False
    is_upward = operator in (Operator.GREATER, Operator.GREATER_EQ)
    return _compare(operator, extremes[is_upward], operand)


def _compare(operator: Operator, value: object, operand: Literal | tuple[Literal, ...]) -> bool:
    if isinstance(operand, tuple):
        # The first look is quick, and finds more: True for 1.
        return value in operand and any(_is_equal(value, literal) for literal in operand)
    if operator is Operator.EQ:
        return _is_equal(value, operand)
    if operator is Operator.CONTAINS:
        return isinstance(value, str) and isinstance(operand, str) and operand in value
    if isinstance(value, str) and isinstance(operand, str):
        return _is_in_order(operator, value < operand, value == operand)
    if _is_number(value) and _is_number(operand):
        # Python compares int with float exactly, so nothing is lost beyond 2**53.
        return _is_in_order(operator, value < operand, value == operand)  # type: ignore[operator]
    return False


def _is_in_order(operator: Operator, is_less: bool, is_equal: bool) -> bool:
    match operator:
        case Operator.LESS:
            return is_less
        case Operator.LESS_EQ:
            return is_less or is_equal
        case Operator.GREATER:
            return not is_less and not is_equal
        case _:
            return not is_less


def _is_equal(value: object, literal: Literal) -> bool:
    # In Python True == 1; in JSON they are values of different types.
    return isinstance(value, bool) is isinstance(literal, bool) and value == literal


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- Text ---

_BARE_NAME: Final = re.compile(r"[\w$-]+")


def _format(expression: Expression) -> str:
    match expression:
        case And(parts):
            return " AND ".join(
                _format(part) if isinstance(part, Comparison) else f"({_format(part)})"
                for part in parts
            )
        case Or(parts):
            return " OR ".join(
                f"({_format(part)})" if isinstance(part, Or) else _format(part) for part in parts
            )
        case Comparison(path, operator, operand):
            return f"{_format_path(path)} {operator} {_format_operand(operand)}"


def _format_path(path: Path) -> str:
    names = (name if _BARE_NAME.fullmatch(name) else _format_operand(name) for name in path.names)
    return ".".join((path.root.value, *names))


def _format_operand(operand: Literal | tuple[Literal, ...]) -> str:
    # Numbers, strings and constants are JSON's; the array too, because it holds nothing else.
    return json.dumps(operand, ensure_ascii=False)
