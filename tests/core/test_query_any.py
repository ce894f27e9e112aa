"""Any text is parsed or refused, any query is matched as a second implementation says."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from starlings.core.query import (
    And,
    ArrayTooLong,
    Comparison,
    Operator,
    Or,
    Path,
    Query,
    QueryError,
    QuerySyntaxError,
    Root,
    TooManyOperators,
    format_query,
    parse_query,
)

FRAGMENTS = r"""
    a data.b key == != < <= > >= && || AND or IN not NOT_IN contains not_contains
    ( ) [ ] , 1 -2.5 1e9 true null "x" 'y' " ' \ \u . = -
"""


def texts_of_fragments(joint: str) -> st.SearchStrategy[str]:
    fragment = st.sampled_from([*FRAGMENTS.split(), "\u0663", "\ufb01", "\ud800"])
    return st.lists(fragment).map(joint.join)


@given(st.one_of(st.text(), texts_of_fragments(" "), texts_of_fragments("")))
def test_any_text_is_a_query_or_one_of_three_errors(text: str) -> None:
    # Anything else that parsing raises fails the test.
    try:
        outcome: Query | QueryError = parse_query(text)
    except (QuerySyntaxError, TooManyOperators, ArrayTooLong) as error:
        outcome = error
    if isinstance(outcome, QueryError):
        assert 0 <= outcome.position <= len(text)
        assert str(outcome).isascii()
    else:
        assert outcome.matches("k", {"a": [1, "x"], "b": None}) in (True, False)


NAMES = st.one_of(st.sampled_from(["a", "b", "key", "data", "in"]), st.text(max_size=3))
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False)
)
LITERALS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=4))
PATHS = st.builds(Path, st.sampled_from(Root), st.lists(NAMES, max_size=3).map(tuple))
COMPARISONS = st.one_of(
    st.builds(
        Comparison,
        PATHS,
        st.sampled_from(
            [
                Operator.EQ,
                Operator.NOT_EQ,
                Operator.LESS,
                Operator.LESS_EQ,
                Operator.GREATER,
                Operator.GREATER_EQ,
            ]
        ),
        LITERALS,
    ),
    st.builds(
        Comparison,
        PATHS,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(LITERALS, max_size=4).map(tuple),
    ),
    st.builds(
        Comparison,
        PATHS,
        st.sampled_from([Operator.CONTAINS, Operator.NOT_CONTAINS]),
        st.text(max_size=4),
    ),
)
EXPRESSIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)),
        st.sampled_from([And, Or]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=8,
)


@given(st.builds(Query, st.one_of(st.none(), EXPRESSIONS)))
def test_a_formatted_query_parses_to_itself(query: Query) -> None:
    # By repr, because == takes 1, 1.0 and True for the same.
    assert repr(parse_query(format_query(query))) == repr(query)


# --- The oracle: written from the reference page, sharing nothing with the implementation ---
#
# A query is nested tuples: ("and" | "or", left, right) or (names, operator, literal), where names
# begin with "key" or "data". The renderer writes it in a random spelling.

type_name = {str: "text", int: "number", float: "number", bool: "bool", type(None): "null"}.get


def oracle_atoms(value: object) -> list[tuple[str | None, object]]:
    return [(type_name(type(v)), v) for v in (value if type(value) is list else [value])]


def oracle_test(operator: str, value: object, literal: object) -> bool:
    wanted = literal if type(literal) is tuple else (literal,)
    targets = [(type_name(type(v)), v) for v in wanted]
    atoms = oracle_atoms(value)
    match operator:
        case "!=" | "not_in":
            return len([a for a in atoms if a[0] is not None and a in targets]) == 0
        case "==" | "in":
            return len([a for a in atoms if a[0] is not None and a in targets]) > 0
        case "contains" | "not_contains":
            hits = [a for a in atoms if a[0] == "text" and str(a[1]).find(str(literal)) >= 0]
            return bool(hits) == (operator == "contains")
    [(kind, bound)] = targets
    if kind not in ("text", "number"):
        return False
    comparable = [v for k, v in atoms if k == kind]
    below = any(sorted([v, bound])[0] == v and v != bound for v in comparable)
    above = any(sorted([v, bound])[1] == v and v != bound for v in comparable)
    same = bound in comparable
    return {"<": below, "<=": below or same, ">": above, ">=": above or same}[operator]


def oracle(query: tuple[object, ...], key: str, data: object) -> bool:
    match query:
        case ("and", tuple() as left, tuple() as right):
            return not (not oracle(left, key, data) or not oracle(right, key, data))
        case ("or", tuple() as left, tuple() as right):
            return not (not oracle(left, key, data) and not oracle(right, key, data))
        case (tuple() as names, str() as operator, literal):
            value: object = {"key": key, "data": data}
            for name in names:
                if type(value) is not dict or name not in value:
                    return False
                value = value.get(name)
            return oracle_test(operator, value, literal)
    raise AssertionError(query)


def render(query: tuple[object, ...], choose: random.Random) -> str:
    def blank() -> str:
        return choose.choice([" ", "  ", "\n"])

    def any_case(word: str) -> str:
        return "".join(choose.choice([c.lower(), c.upper()]) for c in word)

    def quoted(value: object) -> str:
        if isinstance(value, str) and choose.random() < 0.5:
            body = json.dumps(value)[1:-1].replace('\\"', '"').replace("'", "\\'")
            return f"'{body}'"
        return json.dumps(value)

    match query:
        case ("and" | "or" as word, tuple() as left, tuple() as right):
            symbol = {"and": "&&", "or": "||"}[word]
            sign = choose.choice([any_case(word), symbol])
            return f"({render(left, choose)}){blank()}{sign}{blank()}({render(right, choose)})"
        case (tuple() as names, str() as operator, literal):
            spellings = {
                "==": ["==", "eq"],
                "!=": ["!=", "not_eq"],
                "not_in": ["not_in", "not in"],
                "not_contains": ["not_contains", "not contains"],
            }.get(operator, [operator])
            field = ".".join(map(str, names))
            if len(names) > 1 and names[1] not in ("key", "data") and choose.random() < 0.5:
                field = field.removeprefix("data.")
            value = (
                "[" + ",".join(quoted(v) for v in literal) + "]"
                if isinstance(literal, tuple)
                else quoted(literal)
            )
            return field + blank() + any_case(choose.choice(spellings)) + blank() + value
    raise AssertionError(query)


# Few names and values, so that queries often meet what they ask for.
FEW_NAMES = st.sampled_from(["a", "b", "key", "data"])
FEW_VALUES = st.sampled_from(["", "x", "xy", "X'\"", 0, 1, 2, 1.0, 1.5, True, False, None])
FEW_PATHS = st.one_of(
    st.just(("key",)),
    st.lists(FEW_NAMES, max_size=2).map(lambda names: ("data", *names)),
)
ORACLE_QUERIES = st.recursive(
    st.one_of(
        st.tuples(FEW_PATHS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), FEW_VALUES),
        st.tuples(
            FEW_PATHS,
            st.sampled_from(["in", "not_in"]),
            st.lists(FEW_VALUES, max_size=3).map(tuple),
        ),
        st.tuples(
            FEW_PATHS,
            st.sampled_from(["contains", "not_contains"]),
            st.sampled_from(["", "x", "y", "X'\""]),
        ),
    ),
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=6,
)
DATA = st.recursive(
    FEW_VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(FEW_NAMES, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    ORACLE_QUERIES,
    st.sampled_from(["", "x", "xy", "z"]),
    st.dictionaries(FEW_NAMES, DATA, min_size=1),
    st.randoms(use_true_random=False),
)
def test_matching_agrees_with_the_oracle(
    query: tuple[object, ...], key: str, data: object, choose: random.Random
) -> None:
    text = render(query, choose)
    assert parse_query(text).matches(key, data) is oracle(query, key, data), text
