from __future__ import annotations

import pytest

from starlings.wire.messages import HttpRequest, HttpValue, Metadata, Status

HEADERS: dict[str, HttpValue] = {
    "If-Match": "5",
    "Accept": ["a", "b"],
    "Empty": [],
    "Null": None,
}
REQUEST = HttpRequest("/v3/Maps", "GET", headers=HEADERS)


@pytest.mark.parametrize("name", ["If-Match", "if-match", "IF-MATCH"])
def test_a_header_is_found_whatever_its_case(name: str) -> None:
    assert REQUEST.find_header(name) == "5"


def test_the_first_of_several_values_of_a_header_counts() -> None:
    assert REQUEST.find_header("accept") == "a"


@pytest.mark.parametrize("name", ["empty", "null", "missing"])
def test_a_header_without_a_value_is_not_found(name: str) -> None:
    assert REQUEST.find_header(name) is None


def test_a_request_without_headers_has_none() -> None:
    request = HttpRequest("/v3/Maps", "GET")
    assert request.find_header("if-match") is None


@pytest.mark.parametrize(
    ("metadata", "label"),
    [
        (Metadata(sdk="JS", sdkv="4.0.1"), "JS 4.0.1"),
        (Metadata(sdk="JS"), "JS"),
        (Metadata(sdk={"no": "text"}, sdkv=4), ""),
        (Metadata(), ""),
        (Metadata(sdk="a\nb\x7fü"), "a?b??"),
        (Metadata(sdk="x" * 100), "x" * 64),
    ],
)
def test_the_label_of_a_client_is_safe_to_log(metadata: Metadata, label: str) -> None:
    assert metadata.label == label


@pytest.mark.parametrize(
    ("code", "is_success"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_only_two_hundreds_are_a_success(code: int, is_success: bool) -> None:
    assert Status(code).is_success is is_success
