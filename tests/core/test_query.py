"""The query language: form, meaning, limits, and the tables of its reference page."""

import json
import random
import re
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.query import (
    MAX_ARRAY_ITEMS,
    MAX_DEPTH,
    MAX_NUMBER_CHARACTERS,
    MAX_OPERATORS,
    MAX_TEXT_CHARACTERS,
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

REFERENCE = FilePath(__file__).parents[2] / "docs" / "reference" / "queries.md"


def matches(text: str, data: object, key: str = "alice") -> bool:
    return parse_query(text).matches(key, data)


def refusal(text: str) -> QueryError:
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    return caught.value


def comparison(name: str, value: int) -> Comparison:
    return Comparison(Path(Root.DATA, (name,)), Operator.EQ, value)


def rows(header: str) -> list[list[str]]:
    """The cells, without their backquotes, of the reference page's table with this header."""
    table = REFERENCE.read_text(encoding="utf-8").split(header + "\n")[1].split("\n\n")[0]
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()[1:]
    ]


EXAMPLES = rows("| query | key | data | matches |")
OFFENCES = rows("| query | code | place |")


# --- The reference page ---


@pytest.mark.parametrize(("text", "key", "data", "expected"), EXAMPLES)
def test_the_examples_of_the_reference_hold(text: str, key: str, data: str, expected: str) -> None:
    assert expected in ("yes", "no")
    assert parse_query(text).matches(key, json.loads(data)) is (expected == "yes")


@pytest.mark.parametrize(("text", "code", "place"), OFFENCES)
def test_the_errors_of_the_reference_hold(text: str, code: str, place: str) -> None:
    error = refusal(text)
    assert (error.code, error.position) == (int(code), int(place))


def test_the_limits_of_the_reference_are_those_in_force() -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    assert f"(*chosen*) | {MAX_TEXT_CHARACTERS:,} characters".replace(",", " ") in page
    assert f"open at once (*chosen*) | {MAX_DEPTH} |" in page
    assert f"a number is too long (*chosen*) | {MAX_NUMBER_CHARACTERS} characters |" in page
    assert f"counts as one | {MAX_OPERATORS} |" in page
    assert f"an array has too many items | {MAX_ARRAY_ITEMS} |" in page


# --- Form ---


EVERY_KIND_OF_DATA: list[object] = [{}, {"a": 1}, [], "x", 1.5, True, None]


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_a_blank_query_matches_every_item(text: str) -> None:
    assert parse_query(text) == Query(None)
    assert all(matches(text, data) for data in EVERY_KIND_OF_DATA)


@pytest.mark.parametrize(
    ("spelling", "operator"),
    [
        ("==", Operator.EQ),
        ("EQ", Operator.EQ),
        ("!=", Operator.NOT_EQ),
        ("not_eq", Operator.NOT_EQ),
        ("Not_Eq", Operator.NOT_EQ),
        ("<", Operator.LESS),
        ("<=", Operator.LESS_EQ),
        (">", Operator.GREATER),
        (">=", Operator.GREATER_EQ),
        ("Contains", Operator.CONTAINS),
        ("NOT_CONTAINS", Operator.NOT_CONTAINS),
        ("not  CONTAINS", Operator.NOT_CONTAINS),
    ],
)
def test_each_spelling_of_an_operator_is_read(spelling: str, operator: Operator) -> None:
    query = parse_query(f'data.a {spelling} "x"')
    assert query == Query(Comparison(Path(Root.DATA, ("a",)), operator, "x"))


@pytest.mark.parametrize(
    ("spelling", "operator"),
    [
        ("in", Operator.IN),
        ("IN", Operator.IN),
        ("NOT_IN", Operator.NOT_IN),
        ("not In", Operator.NOT_IN),
    ],
)
def test_each_spelling_of_an_array_operator_is_read(spelling: str, operator: Operator) -> None:
    query = parse_query(f'a {spelling} ["x", 1, null]')
    assert query == Query(Comparison(Path(Root.DATA, ("a",)), operator, ("x", 1, None)))


@pytest.mark.parametrize("lookalike", ["\u0131n", "\u0131N", "contain\u017f", "\u0130N"])
def test_letters_that_only_look_like_a_keyword_are_refused(lookalike: str) -> None:
    assert refusal(f'a {lookalike} ["x"]').position == 2


@pytest.mark.parametrize("connective", ["AND", "and", "And", "&&"])
def test_each_spelling_of_and_is_read(connective: str) -> None:
    expected = Query(And((comparison("a", 1), comparison("b", 2))))
    assert parse_query(f"a==1 {connective} b==2") == expected


@pytest.mark.parametrize("connective", ["OR", "or", "oR", "||"])
def test_each_spelling_of_or_is_read(connective: str) -> None:
    expected = Query(Or((comparison("a", 1), comparison("b", 2))))
    assert parse_query(f"a==1 {connective} b==2") == expected


def test_and_binds_closer_than_or() -> None:
    a, b, c, d = (comparison(name, 1) for name in "abcd")
    assert parse_query("a==1 OR b==1 AND c==1 OR d==1") == Query(Or((a, And((b, c)), d)))


def test_parentheses_group_before_and() -> None:
    a, b, c = (comparison(name, 1) for name in "abc")
    assert parse_query("(a==1 OR b==1) AND ((c==1))") == Query(And((Or((a, b)), c)))


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("key", Path(Root.KEY, ())),
        ("data", Path(Root.DATA, ())),
        ("Key", Path(Root.DATA, ("Key",))),
        ("a", Path(Root.DATA, ("a",))),
        ("a.b", Path(Root.DATA, ("a", "b"))),
        ("data.key", Path(Root.DATA, ("key",))),
        ("data.data.data", Path(Root.DATA, ("data", "data"))),
        ("data.in.AND.null", Path(Root.DATA, ("in", "AND", "null"))),
        ("data.2fa.-x.$y", Path(Root.DATA, ("2fa", "-x", "$y"))),
        ('data."a.b".\'c "d\'', Path(Root.DATA, ("a.b", 'c "d'))),
        ('data.""."\\u0041"', Path(Root.DATA, ("", "A"))),
        ("данные.é", Path(Root.DATA, ("данные", "é"))),
    ],
)
def test_a_field_leads_from_its_root_through_names(field: str, path: Path) -> None:
    assert parse_query(f"{field} == 1") == Query(Comparison(path, Operator.EQ, 1))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('""', ""),
        ("''", ""),
        ('"it\'s"', "it's"),
        ("'it\\'s'", "it's"),
        (r'"\"\\\/\b\f\n\r\t\u00e9"', '"\\/\b\f\n\r\té'),
        (r'"\ud83d\ude00 \uD83D\uDE00"', "😀 😀"),
        (r'"\\ud83d"', r"\ud83d"),
        ('"line\nbreak"', "line\nbreak"),
        ("0", 0),
        ("-12", -12),
        ("1.50", 1.5),
        ("-0.5e-3", -0.0005),
        ("1E3", 1000.0),
        ("9007199254740993", 9007199254740993),
        ("TRUE", True),
        ("false", False),
        ("Null", None),
    ],
)
def test_a_value_is_read(written: str, value: object) -> None:
    query = parse_query(f"a == {written}")
    assert isinstance(query.expression, Comparison)
    assert query.expression.operand == value
    assert type(query.expression.operand) is type(value)


def test_blanks_between_the_parts_are_free() -> None:
    tight = 'a=="x"&&(b IN["y",1]||c<-1)'
    loose = '\n a == "x"\t&& ( b IN [ "y" , 1 ] || c < -1 ) \u00a0'
    assert parse_query(tight) == parse_query(loose)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a", 1),
        ("a ==", 4),
        ("== 1", 0),
        ("in == 1", 0),
        ('"a" == 1', 0),
        ("1 == a", 0),
        ("a . b == 1", 2),
        ("a. == 1", 1),
        ("data.'a == 1", 4),
        ("a b == 1", 2),
        ("a NOT 1", 6),
        ("a NOT_IN 1", 9),
        ("a == [1]", 5),
        ("a IN [1", 7),
        ("a IN [1,]", 8),
        ("a IN [,1]", 6),
        ("a IN [1 2]", 8),
        ("a IN [[1]]", 6),
        ("a CONTAINS null", 11),
        ("a == 1 b == 2", 7),
        ("a == 1 AND", 10),
        ("a == 1 AND OR b == 2", 11),
        ("a == 1)", 6),
        ("()", 1),
        ("(a == 1 b", 8),
        ("a & b", 2),
        ("a == -", 5),
        ("a == 01", 5),
        ("a == 1.", 5),
        ("a == 1x", 5),
        ("a == .5", 5),
        ("a == +1", 5),
        ("a == 1e999", 5),
        ("a == NaN", 5),
        (r'a == "\x"', 6),
        (r'a == "ab\u12"', 8),
        ('a == "\\\n"', 6),
        (r'a == "\ud800"', 6),
        (r'a == "\ud83d\ud83d"', 6),
        (r'a == "\ude00"', 6),
        ('a == "x\ud800"', 7),
        ("\ud800", 0),
        ("\x00", 0),
        ("a == 1; b", 6),
    ],
)
def test_what_is_no_query_is_refused_at_its_place(text: str, position: int) -> None:
    error = refusal(text)
    assert type(error) is QuerySyntaxError
    assert (error.code, error.position) == (54507, position)


def test_an_error_names_what_was_expected_and_found_but_not_the_text() -> None:
    error = refusal("data.secret hunter2")
    assert str(error) == "expected an operator, found a name (at character 12)"


# --- Limits ---


def chain(comparisons: int) -> str:
    return " AND ".join("a == 1" for _ in range(comparisons))


def test_29_operators_are_allowed() -> None:
    assert matches(chain(15), {"a": 1})


def test_the_30th_operator_is_refused_when_it_compares() -> None:
    error = refusal(f"({chain(15)}) OR b == 1")
    assert type(error) is TooManyOperators
    assert error.code == 54509
    # 15 comparisons and 14 times AND are 29; the OR is the 30th.
    assert error.position == len(f"({chain(15)}) ")


def test_two_words_of_one_operator_count_once() -> None:
    assert parse_query(" AND ".join(["a NOT IN [1]"] * 15))


def test_an_array_of_29_items_is_allowed() -> None:
    assert matches(f"a IN [{', '.join(map(str, range(29)))}]", {"a": 28})


def test_the_30th_item_of_an_array_is_refused() -> None:
    text = f"a IN [{','.join('1' * 30)}]"
    error = refusal(text)
    assert type(error) is ArrayTooLong
    assert (error.code, error.position) == (54510, len(text) - 2)


def test_each_array_counts_its_own_items() -> None:
    array = ", ".join("1" * 29)
    assert matches(f"a IN [{array}] AND b IN [{array}]", {"a": 1, "b": 1})


def test_the_first_offence_from_the_left_decides() -> None:
    too_long = f"a IN [{','.join('1' * 30)}]"
    assert refusal(f"{chain(16)} AND {too_long} AND )").code == 54509
    assert refusal(f"{too_long} AND {chain(16)} AND )").code == 54510
    assert refusal(f") AND {too_long} AND {chain(16)}").code == 54507


def test_32_open_parentheses_are_allowed() -> None:
    assert matches("(" * 32 + "a == 1" + ")" * 32, {"a": 1})


def test_parentheses_side_by_side_do_not_add_up() -> None:
    group = "(" * 32 + "a == 1" + ")" * 32
    assert matches(f"{group} AND {group}", {"a": 1})


@pytest.mark.parametrize("depth", [33, MAX_TEXT_CHARACTERS])
def test_deep_parentheses_are_refused_without_overflow(depth: int) -> None:
    error = refusal("(" * depth)
    assert (error.code, error.position) == (54507, 32)


def test_a_text_of_16384_characters_is_allowed_and_no_longer() -> None:
    assert parse_query("a == 1".ljust(MAX_TEXT_CHARACTERS))
    assert refusal("a == 1".ljust(MAX_TEXT_CHARACTERS + 1)).code == 54507


def test_a_number_of_64_characters_is_allowed_and_no_longer() -> None:
    assert matches("a == " + "9" * 64, {"a": int("9" * 64)})
    assert refusal("a == " + "9" * 65).position == 5


# --- Meaning ---


@pytest.mark.parametrize(
    "condition",
    ["== 1", "!= 1", "< 1", ">= 1", "IN [1]", "NOT_IN [1]", 'CONTAINS ""', 'NOT_CONTAINS "x"'],
)
@pytest.mark.parametrize("data", [{}, {"a": {}}, {"a": None}, {"a": "b"}, {"a": [{"b": 1}]}, [], 1])
def test_a_missing_field_satisfies_no_comparison(condition: str, data: object) -> None:
    assert not matches(f"data.a.b {condition}", data)


def test_a_name_below_the_key_is_missing() -> None:
    assert not matches('key.a != "x"', {"a": 1})


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ('== "5"', 5),
        ("== 5", "5"),
        ("== 1", True),
        ("== true", 1),
        ("== 0", False),
        ("== null", False),
        ("== null", ""),
        ("== null", {}),
        ("IN [1, 0]", True),
    ],
)
def test_values_of_different_types_are_unequal(condition: str, value: object) -> None:
    assert not matches(f"a {condition}", {"a": value})
    assert matches(f"a {condition.replace('==', '!=').replace('IN', 'NOT_IN')}", {"a": value})


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
@pytest.mark.parametrize(
    ("literal", "value"),
    [("5", "5"), ('"5"', 5), ("1", True), ("true", 1), ("true", True), ("null", None), ("1", {})],
)
def test_values_of_different_or_unordered_types_have_no_order(
    operator: str, literal: str, value: object
) -> None:
    assert not matches(f"a {operator} {literal}", {"a": value})


@pytest.mark.parametrize(
    ("operator", "below", "same", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
    ],
)
def test_numbers_and_strings_are_ordered(
    operator: str, below: bool, same: bool, above: bool
) -> None:
    for literal, values in (("5", (4.5, 5.0, 6)), ('"Z"', ("A", "Z", "a"))):
        found = [matches(f"a {operator} {literal}", {"a": value}) for value in values]
        assert found == [below, same, above]


def test_large_integers_compare_exactly() -> None:
    assert not matches("a == 9007199254740993", {"a": 9007199254740992})
    assert matches("a > 9007199254740992.0", {"a": 9007199254740993})


def test_a_number_that_is_none_has_no_order() -> None:
    assert not any(matches(f"a {op} 1", {"a": float("nan")}) for op in ("<", "<=", "=="))


def test_contains_finds_a_substring_with_its_case() -> None:
    assert matches('a CONTAINS "nn"', {"a": "Anna"})
    assert not matches('a CONTAINS "anna"', {"a": "Anna"})
    assert matches('a CONTAINS ""', {"a": ""})


@pytest.mark.parametrize("value", [12, True, None, {"1": "1"}, ["2", 1]])
def test_contains_looks_only_into_strings(value: object) -> None:
    assert not matches('a CONTAINS "1"', {"a": value})
    assert matches('a NOT CONTAINS "1"', {"a": value})


def test_an_array_matches_through_one_of_its_items() -> None:
    data: object = {"a": ["sales", 7]}
    assert matches('a == "sales" AND a == 7 AND a > 6 AND a IN [7] AND a CONTAINS "ale"', data)
    assert not matches('a == "sale" OR a > 7 OR a IN ["x"] OR a CONTAINS "x"', data)


def test_a_negated_operator_wants_none_of_the_items() -> None:
    data: object = {"a": ["sales", 7]}
    assert matches('a != "x" AND a NOT_IN ["x", 8] AND a NOT_CONTAINS "x"', data)
    assert not matches('a != "sales" OR a NOT_IN [7] OR a NOT_CONTAINS "s"', data)


def test_an_empty_array_satisfies_only_negated_operators() -> None:
    assert matches('a != 1 AND a NOT_IN [1] AND a NOT_CONTAINS ""', {"a": []})
    assert not matches('a == 1 OR a IN [1] OR a CONTAINS "" OR a >= 0', {"a": []})


def test_arrays_inside_arrays_are_not_searched() -> None:
    assert not matches("a == 1", {"a": [[1]]})


def test_nothing_is_in_an_empty_list_of_values() -> None:
    assert not matches("a IN []", {"a": 1})
    assert matches("a NOT_IN []", {"a": 1})


def test_data_itself_can_be_compared() -> None:
    assert matches('data == "x"', "x")
    assert matches('data CONTAINS "x"', ["wxyz"])


# --- Any text, any query ---

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


def test_the_tables_of_the_reference_were_found() -> None:
    # parametrize over an empty list would pass without testing anything.
    page = REFERENCE.read_text(encoding="utf-8")
    assert len(EXAMPLES) + len(OFFENCES) > 25
    assert len(re.findall(r"\| (?:yes|no) \|$", page, re.MULTILINE)) == len(EXAMPLES)
