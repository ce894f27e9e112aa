"""What a query means: which values satisfy which comparison."""

import pytest

from tests.core.queries import matches


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


def test_what_is_in_an_array_is_told_by_value_and_type() -> None:
    values = [[1], {"b": 1}, True, 1.5, None, "y"]
    assert not matches("a IN [1, 0, false]", {"a": values})
    assert matches("a NOT IN [1, 0, false]", {"a": values})
    for literal in ("true", "1.5", "null", '"y"'):
        assert matches(f"a IN [7, {literal}]", {"a": values})
    assert matches("a IN [2]", {"a": 2.0})
