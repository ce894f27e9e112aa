"""Paths: matched raw, decoded once. [rest-api 1.1]"""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.errors import Reason, Refusal
from starlings.rest.responses import NO_CONTENT, Response
from starlings.rest.router import Router
from starlings.rest.routes import make_router

OPERATIONS = {
    "/v1/Services": {"GET", "POST"},
    "/v1/Services/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Documents": {"GET", "POST"},
    "/v1/Services/*/Documents/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Documents/*/Permissions": {"GET"},
    "/v1/Services/*/Documents/*/Permissions/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Lists": {"GET", "POST"},
    "/v1/Services/*/Lists/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Lists/*/Items": {"GET", "POST"},
    "/v1/Services/*/Lists/*/Items/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Lists/*/Permissions": {"GET"},
    "/v1/Services/*/Lists/*/Permissions/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Maps": {"GET", "POST"},
    "/v1/Services/*/Maps/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Maps/*/Items": {"GET", "POST"},
    "/v1/Services/*/Maps/*/Items/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Maps/*/Permissions": {"GET"},
    "/v1/Services/*/Maps/*/Permissions/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Streams": {"GET", "POST"},
    "/v1/Services/*/Streams/*": {"DELETE", "GET", "POST"},
    "/v1/Services/*/Streams/*/Messages": {"POST"},
}
"""The 21 paths and 48 operations of the OpenAPI file."""


async def _handler() -> Response:
    return NO_CONTENT


@pytest.fixture
def router() -> Router:
    router = Router()
    router.add("GET", "/v1/Maps/*/Items/*", _handler)
    router.add("POST", "/v1/Maps/*/Items", _handler)
    return router


def captured(router: Router, path: bytes) -> list[str]:
    return router.find(path)[1]


def test_every_operation_of_the_documented_api_has_a_handler() -> None:
    router = make_router()
    for pattern, methods in OPERATIONS.items():
        stop, segments = router.find(pattern.replace("*", "x").encode())
        assert set(stop.handlers) == methods, pattern
        assert segments == ["x"] * pattern.count("*")


@pytest.mark.parametrize(
    ("segment", "key"),
    [
        (b"plain", "plain"),
        (b"a%2Fb", "a/b"),
        (b"a%2fb", "a/b"),
        (b"a+b", "a+b"),
        (b"a%2Bb", "a+b"),
        (b"a%252Fb", "a%2Fb"),
        (b"100%", "100%"),
        (b"%zz", "%zz"),
        (b"%C3%A9", "é"),
        ("é".encode(), "é"),
        (b"%F0%9F%90%A6", "🐦"),
        (b"..", ".."),
        (b"%00", "\0"),
        (b"a;b=c", "a;b=c"),
        (b"Items", "Items"),
    ],
)
def test_a_segment_is_decoded_exactly_once(router: Router, segment: bytes, key: str) -> None:
    assert captured(router, b"/v1/Maps/m/Items/" + segment) == ["m", key]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=2))
def test_any_text_comes_back_from_its_encoded_segment(texts: list[str]) -> None:
    router = Router()
    router.add("GET", "/v1/Maps/*/Items/*", _handler)
    path = f"/v1/Maps/{quote(texts[0], safe='')}/Items/{quote(texts[1], safe='')}"
    assert captured(router, path.encode()) == texts


def test_a_trailing_slash_makes_no_difference(router: Router) -> None:
    assert captured(router, b"/v1/Maps/m/Items/k/") == ["m", "k"]
    assert captured(router, b"/v1/Maps/m/Items/") == ["m"]


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"//",
        b"/v1",
        b"/v1/Maps",
        b"/v1/Maps/m",
        b"/v1/Maps//Items",
        b"/v1/Maps/m/Items//",
        b"/v1/Maps/m/Items/k//",
        b"/v1/Maps/m/Items/k/more",
        b"/v1/maps/m/Items",
        b"/v1//Maps/m/Items",
        b"v1/Maps/m/Items",
        b"/v2/Maps/m/Items",
        b"*",
    ],
)
def test_other_paths_are_unknown(router: Router, path: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        router.find(path)
    assert caught.value.reason is Reason.UNKNOWN_PATH


@pytest.mark.parametrize("path", [b"/v1/Maps/%FF/Items", b"/v1/Maps/\xff/Items", b"/%ED%A0%80"])
def test_a_path_that_is_not_utf_8_is_refused(router: Router, path: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        router.find(path)
    assert caught.value.reason is Reason.BAD_PARAMETER


@given(st.binary(max_size=60))
def test_any_bytes_find_a_place_or_are_refused(junk: bytes) -> None:
    router = make_router()
    for path in (junk, b"/v1/Services/" + junk, b"/v1/Services/x/Maps/" + junk):
        try:
            stop, _ = router.find(path)
        except Refusal:
            continue
        assert stop.handlers


def test_a_second_handler_for_the_same_is_our_mistake(router: Router) -> None:
    with pytest.raises(AssertionError):
        router.add("POST", "/v1/Maps/*/Items", _handler)


def test_the_methods_of_a_place_include_what_every_place_answers(router: Router) -> None:
    stop, _ = router.find(b"/v1/Maps/m/Items/k")
    assert stop.methods == ["GET", "HEAD", "OPTIONS"]
    stop, _ = router.find(b"/v1/Maps/m/Items")
    assert stop.methods == ["OPTIONS", "POST"]
