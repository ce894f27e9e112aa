"""The query language of instant and live queries: which items of an index a client wants.

``parse_query`` turns text into a ``Query``; ``Query.matches`` asks one item at a time. Pure
functions: whoever calls knows the index, the items and the rate limits. The language is told in
full in ``docs/reference/queries.md``, the reasons in ``docs/decisions/0010-query-language.md``.

``tokens.py`` cuts the text into words, ``parser.py`` builds the tree, ``expressions.py`` is the
tree and what it means.
"""

from starlings.core.query.arrays import sort_arrays
from starlings.core.query.errors import (
    ArrayTooLong,
    QueryError,
    QuerySyntaxError,
    TooManyOperators,
)
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
    format_query,
)
from starlings.core.query.parser import MAX_ARRAY_ITEMS, MAX_DEPTH, MAX_OPERATORS, parse_query
from starlings.core.query.tokens import MAX_NUMBER_CHARACTERS, MAX_TEXT_CHARACTERS

__all__ = [
    "MAX_ARRAY_ITEMS",
    "MAX_DEPTH",
    "MAX_NUMBER_CHARACTERS",
    "MAX_OPERATORS",
    "MAX_TEXT_CHARACTERS",
    "And",
    "ArrayTooLong",
    "Comparison",
    "Expression",
    "Literal",
    "Operator",
    "Or",
    "Path",
    "Query",
    "QueryError",
    "QuerySyntaxError",
    "Root",
    "TooManyOperators",
    "format_query",
    "parse_query",
    "sort_arrays",
]
