"""Builds the tree of a query by recursive descent.

    query      = [ any ] end
    any        = all { ( "OR" | "||" ) all }
    all        = term { ( "AND" | "&&" ) term }
    term       = "(" any ")" | comparison
    comparison = path compare literal | path ( "CONTAINS" | "NOT_CONTAINS" ) string
               | path ( "IN" | "NOT_IN" ) array
    compare    = "==" | "EQ" | "!=" | "NOT_EQ" | "<" | "<=" | ">" | ">="
    array      = "[" [ literal { "," literal } ] "]"
    literal    = string | number | "true" | "false" | "null"

Keywords count in any case, and ``NOT`` may stand apart from ``IN`` and ``CONTAINS``. Only
parentheses recurse, and ``MAX_DEPTH`` bounds them, so that no text overflows the stack, here or in
evaluation.
"""

from collections.abc import Callable, Iterator
from typing import Final

from starlings.core.query.errors import ArrayTooLong, QuerySyntaxError, TooManyOperators
from starlings.core.query.expressions import (
    And,
    Comparison,
    Expression,
    Literal,
    Operator,
    Or,
    Path,
    Query,
    Root,
)
from starlings.core.query.tokens import Token, TokenKind, tokenize

__all__ = ["MAX_ARRAY_ITEMS", "MAX_DEPTH", "MAX_OPERATORS", "parse_query"]

MAX_OPERATORS: Final = 29
"""Comparisons and connectives in one query: "less than 30", published with error 54509."""

MAX_ARRAY_ITEMS: Final = 29
"""Items in one array: "less than 30", published with error 54510."""

MAX_DEPTH: Final = 32
"""Parentheses open at once. Ours: 29 operators never need more than 14 pairs."""

_AND: Final = frozenset({"and", "&&"})
_OR: Final = frozenset({"or", "||"})
_OPERATORS: Final = {
    "==": Operator.EQ,
    "eq": Operator.EQ,
    "!=": Operator.NOT_EQ,
    "not_eq": Operator.NOT_EQ,
    "<": Operator.LESS,
    "<=": Operator.LESS_EQ,
    ">": Operator.GREATER,
    ">=": Operator.GREATER_EQ,
    "in": Operator.IN,
    "not_in": Operator.NOT_IN,
    "contains": Operator.CONTAINS,
    "not_contains": Operator.NOT_CONTAINS,
}
_AFTER_NOT: Final = {"in": Operator.NOT_IN, "contains": Operator.NOT_CONTAINS}
_CONSTANTS: Final[dict[str, Literal]] = {"true": True, "false": False, "null": None}
_RESERVED: Final = frozenset({"not", *_AND, *_OR, *_OPERATORS, *_CONSTANTS})


def parse_query(text: str) -> Query:
    """Parse the text of an instant or live query.

    Args:
        text: At most ``MAX_TEXT_CHARACTERS``. Empty or blank text is the query every item matches.

    Raises:
        QuerySyntaxError: The text is not a query, is too long, or has more than ``MAX_DEPTH``
            parentheses open at once.
        TooManyOperators: More than ``MAX_OPERATORS`` comparisons and connectives.
        ArrayTooLong: An array of more than ``MAX_ARRAY_ITEMS`` items.

    The first offence from the left decides which one.
    """
    return _Parser(tokenize(text)).read_query()


class _Parser:
    """Reads one query; ``_token`` is the next token not yet used."""

    def __init__(self, tokens: Iterator[Token]) -> None:
        self._tokens = tokens
        self._token = next(tokens)
        self._operators = 0
        self._depth = 0

    def read_query(self) -> Query:
        if self._is_end():
            return Query(None)
        expression = self._read_any()
        if not self._is_end():
            raise self._expected("AND, OR or the end of the query")
        return Query(expression)

    def _read_any(self) -> Expression:
        parts = self._read_parts(self._read_all, _OR)
        return parts[0] if len(parts) == 1 else Or(parts)

    def _read_all(self) -> Expression:
        parts = self._read_parts(self._read_term, _AND)
        return parts[0] if len(parts) == 1 else And(parts)

    def _read_parts(
        self, read_part: Callable[[], Expression], connective: frozenset[str]
    ) -> tuple[Expression, ...]:
        parts = [read_part()]
        while self._keyword() in connective:
            self._count_operator()
            self._advance()
            parts.append(read_part())
        return tuple(parts)

    def _read_term(self) -> Expression:
        if not self._is_symbol("("):
            return self._read_comparison()
        if self._depth == MAX_DEPTH:
            raise QuerySyntaxError(
                self._token.position, f"more than {MAX_DEPTH} parentheses are open"
            )
        self._depth += 1
        self._advance()
        expression = self._read_any()
        self._skip_symbol(")", "AND, OR or )")
        self._depth -= 1
        return expression

    def _read_comparison(self) -> Comparison:
        path = self._read_path()
        operator = self._read_operator()
        operand: Literal | tuple[Literal, ...]
        if operator in (Operator.IN, Operator.NOT_IN):
            operand = self._read_array()
        elif operator in (Operator.CONTAINS, Operator.NOT_CONTAINS):
            if self._token.kind is not TokenKind.STRING:
                raise self._expected("a string")
            operand = self._read_literal()
        else:
            operand = self._read_literal()
        return Comparison(path, operator, operand)

    def _read_path(self) -> Path:
        if self._token.kind is not TokenKind.WORD or self._keyword() in _RESERVED:
            raise self._expected("a field")
        first, *names = self._token.segments
        self._advance()
        if first in (Root.KEY, Root.DATA):
            return Path(Root(first), tuple(names))
        # The published examples write a field without its root.
        return Path(Root.DATA, (first, *names))

    def _read_operator(self) -> Operator:
        keyword = self._keyword()
        operator = _OPERATORS.get(keyword)
        if operator is None and keyword != "not":
            raise self._expected("an operator")
        self._count_operator()
        self._advance()
        if operator is not None:
            return operator
        operator = _AFTER_NOT.get(self._keyword())
        if operator is None:
            raise self._expected("IN or CONTAINS")
        self._advance()
        return operator

    def _read_array(self) -> tuple[Literal, ...]:
        self._skip_symbol("[", "an array")
        items: list[Literal] = []
        if not self._is_symbol("]"):
            items.append(self._read_literal())
            while self._is_symbol(","):
                self._advance()
                if len(items) == MAX_ARRAY_ITEMS:
                    raise ArrayTooLong(
                        self._token.position, f"an array has more than {MAX_ARRAY_ITEMS} items"
                    )
                items.append(self._read_literal())
        self._skip_symbol("]", ", or ]")
        return tuple(items)

    def _read_literal(self) -> Literal:
        token = self._token
        if token.kind in (TokenKind.STRING, TokenKind.NUMBER):
            self._advance()
            return token.value
        keyword = self._keyword()
        if keyword not in _CONSTANTS:
            raise self._expected("a value")
        self._advance()
        return _CONSTANTS[keyword]

    def _advance(self) -> None:
        self._token = next(self._tokens)

    def _keyword(self) -> str:
        """Return the next token in lower case, as the tables spell it; "" if it is a literal."""
        if self._token.kind in (TokenKind.WORD, TokenKind.SYMBOL):
            # Not upper(): that would make dotless i and long s pass for i and s.
            return str(self._token.value).lower()
        return ""

    def _is_end(self) -> bool:
        return self._token.kind is TokenKind.END

    def _is_symbol(self, symbol: str) -> bool:
        return self._token.kind is TokenKind.SYMBOL and self._token.value == symbol

    def _skip_symbol(self, symbol: str, expected: str) -> None:
        if not self._is_symbol(symbol):
            raise self._expected(expected)
        self._advance()

    def _count_operator(self) -> None:
        self._operators += 1
        if self._operators > MAX_OPERATORS:
            raise TooManyOperators(
                self._token.position, f"the query has more than {MAX_OPERATORS} operators"
            )

    def _expected(self, what: str) -> QuerySyntaxError:
        return QuerySyntaxError(
            self._token.position, f"expected {what}, found {self._token.kind.value}"
        )
