"""The query language: its form and its limits."""

import pytest

from starlings.core.query import (
    MAX_TEXT_CHARACTERS,
    And,
    ArrayTooLong,
    Comparison,
    Operator,
    Or,
    Path,
    Query,
    QuerySyntaxError,
    Root,
    TooManyOperators,
    parse_query,
)
from tests.core.queries import comparison, matches, refusal

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


def test_the_comparisons_of_a_query_are_counted() -> None:
    assert parse_query("").comparisons == 0
    assert parse_query("a == 1").comparisons == 1
    assert parse_query("a == 1 AND (b == 2 OR c IN [1, 2])").comparisons == 3
