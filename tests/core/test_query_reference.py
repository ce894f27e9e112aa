"""The tables of the query language's reference page hold."""

import json
import re
from pathlib import Path as FilePath

import pytest

from starlings.core.query import (
    MAX_ARRAY_ITEMS,
    MAX_DEPTH,
    MAX_NUMBER_CHARACTERS,
    MAX_OPERATORS,
    MAX_TEXT_CHARACTERS,
    parse_query,
)
from tests.core.queries import refusal

REFERENCE = FilePath(__file__).parents[2] / "docs" / "reference" / "queries.md"


def rows(header: str) -> list[list[str]]:
    """The cells, without their backquotes, of the reference page's table with this header."""
    table = REFERENCE.read_text(encoding="utf-8").split(header + "\n")[1].split("\n\n")[0]
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()[1:]
    ]


EXAMPLES = rows("| query | key | data | matches |")
OFFENCES = rows("| query | code | place |")


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


def test_the_tables_of_the_reference_were_found() -> None:
    # parametrize over an empty list would pass without testing anything.
    page = REFERENCE.read_text(encoding="utf-8")
    assert len(EXAMPLES) + len(OFFENCES) > 25
    assert len(re.findall(r"\| (?:yes|no) \|$", page, re.MULTILINE)) == len(EXAMPLES)
