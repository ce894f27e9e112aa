"""Short words for the tests of the query language."""

import pytest

from starlings.core.query import Comparison, Operator, Path, QueryError, Root, parse_query

__all__ = ["comparison", "matches", "refusal"]


def matches(text: str, data: object, key: str = "alice") -> bool:
    return parse_query(text).matches(key, data)


def refusal(text: str) -> QueryError:
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    return caught.value


def comparison(name: str, value: int) -> Comparison:
    return Comparison(Path(Root.DATA, (name,)), Operator.EQ, value)
