"""Arrays in data: a comparison holds if it holds for an item, however large the array is."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.query import Comparison, Operator, Path, Query, Root, parse_query, sort_arrays
from tests.core.queries import matches


class Counting(list[object]):
    """An array that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[object]:
        self.times += 1
        return super().__iter__()


@pytest.mark.parametrize(
    ("operator", "literal"),
    [
        ("IN", "[" + ",".join(["null", "true", '"x"', *map(str, range(26))]) + "]"),
        ("==", "7"),
        ("==", "false"),
        ("<", "-1"),
        (">=", '"z"'),
        ("CONTAINS", '"y"'),
    ],
)
def test_an_array_is_gone_through_a_few_times_however_much_is_asked(
    operator: str, literal: str
) -> None:
    """Else clients could choose data and queries that keep the server busy for minutes."""
    array = Counting([100, "a", 200] * 2_000)
    data = sort_arrays({"a": {"b": array}})
    queries = [
        parse_query(" OR ".join([f"data.a.b {operator} {literal}"] * 15) + " " * number)
        for number in range(20)
    ]
    assert not any(query.matches("k", data) for query in queries)
    assert array.times <= 5


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.5, 1.0, -0.0, 2.0**53]),
    st.text(alphabet="ab", max_size=2),
)


@given(
    st.lists(st.one_of(SCALARS, st.just({}), st.just(["a"])), max_size=6),
    st.sampled_from([op for op in Operator if op not in (Operator.IN, Operator.NOT_IN)]),
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.booleans(),
)
def test_a_comparison_holds_for_an_array_if_it_holds_for_an_item_of_it(
    items: list[object],
    operator: Operator,
    literal: str | int | float | bool | None,
    literals: list[str | int | float | bool | None],
    is_in: bool,
) -> None:
    if is_in:
        test = Comparison(Path(Root.DATA, ("a",)), Operator.IN, tuple(literals))
    else:
        test = Comparison(Path(Root.DATA, ("a",)), operator, literal)
    is_negated = operator in (Operator.NOT_EQ, Operator.NOT_CONTAINS) and not is_in
    one_by_one = [Query(test).matches("k", {"a": item}) for item in items if item != ["a"]]
    # [chosen] A negated operator is the opposite of its positive form, for arrays too.
    expected = all(one_by_one) if is_negated else any(one_by_one)
    assert Query(test).matches("k", {"a": list(items)}) is expected
    assert Query(test).matches("k", sort_arrays({"a": list(items)})) is expected


def test_nothing_is_found_across_two_strings_of_an_array() -> None:
    assert not matches('a CONTAINS "ab"', {"a": ["a", "b"]})
    assert matches('a CONTAINS ""', {"a": [1, ""]})
    assert not matches('a CONTAINS ""', {"a": [1]})
