from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.wire.messages import HttpValue
from starlings.wire.paths import (
    BadQuery,
    Kind,
    NoRoute,
    Operation,
    PageQuery,
    Route,
    parse_page_query,
    parse_params,
    parse_target,
)

# As JavaScript's encodeURIComponent does it.
UNESCAPED = "!'()*-._~"

OBJECTS = [
    ("Documents", Kind.DOCUMENT),
    ("Lists", Kind.LIST),
    ("Maps", Kind.MAP),
    ("Streams", Kind.STREAM),
]

# Method, path behind /v3 or behind /v3/Services/{IS}, and what it means. [wire-protocol 6.2]
REQUESTS: list[tuple[str, str, Route]] = [
    row
    for name, kind in OBJECTS
    for row in [
        ("POST", f"/{name}", Route(kind, Operation.CREATE)),
        ("GET", f"/{name}/x", Route(kind, Operation.READ, None, "x")),
        ("POST", f"/{name}/x", Route(kind, Operation.UPDATE, None, "x")),
        ("DELETE", f"/{name}/x", Route(kind, Operation.REMOVE, None, "x")),
    ]
] + [
    ("GET", "/Lists/x/Items", Route(Kind.LIST, Operation.READ_ITEMS, None, "x")),
    ("POST", "/Lists/x/Items", Route(Kind.LIST, Operation.ADD_ITEM, None, "x")),
    ("GET", "/Lists/x/Items/7", Route(Kind.LIST, Operation.READ_ITEM, None, "x", "7")),
    ("POST", "/Lists/x/Items/7", Route(Kind.LIST, Operation.UPDATE_ITEM, None, "x", "7")),
    ("DELETE", "/Lists/x/Items/7", Route(Kind.LIST, Operation.REMOVE_ITEM, None, "x", "7")),
    ("GET", "/Lists/x/Context", Route(Kind.LIST, Operation.READ_CONTEXT, None, "x")),
    ("GET", "/Maps/x/Items", Route(Kind.MAP, Operation.READ_ITEMS, None, "x")),
    ("POST", "/Maps/x/Items", Route(Kind.MAP, Operation.ADD_ITEM, None, "x")),
    ("GET", "/Maps/x/Items/k", Route(Kind.MAP, Operation.READ_ITEM, None, "x", "k")),
    ("PUT", "/Maps/x/Items/k", Route(Kind.MAP, Operation.PUT_ITEM, None, "x", "k")),
    ("POST", "/Maps/x/Items/k", Route(Kind.MAP, Operation.UPDATE_ITEM, None, "x", "k")),
    ("DELETE", "/Maps/x/Items/k", Route(Kind.MAP, Operation.REMOVE_ITEM, None, "x", "k")),
    ("POST", "/Streams/x/Messages", Route(Kind.STREAM, Operation.PUBLISH, None, "x")),
    ("POST", "/Insights/x/Items", Route(Kind.INSIGHTS, Operation.SEARCH, None, "x")),
    ("GET", "/Configuration", Route(Kind.CONFIGURATION, Operation.READ)),
]


@pytest.mark.parametrize(("method", "path", "route"), REQUESTS)
def test_every_request_is_found_by_its_short_path(method: str, path: str, route: Route) -> None:
    assert parse_target(method, f"/v3{path}") == route


@pytest.mark.parametrize(("method", "path", "route"), REQUESTS)
def test_every_request_is_found_by_its_long_path(method: str, path: str, route: Route) -> None:
    expected = Route(route.kind, route.operation, "IS1", route.object_ref, route.key)
    assert parse_target(method, f"/v3/Services/IS1{path}") == expected


def test_subscriptions_live_in_version_four() -> None:
    expected = Route(Kind.SUBSCRIPTIONS, Operation.SUBSCRIBE)
    assert parse_target("POST", "/v4/Subscriptions") == expected
    assert parse_target("POST", "/v3/Subscriptions") == NoRoute(
        404, "The requested resource was not found"
    )


HARD_KEYS = ["a/b", "100%", "..", ".", "a+b", "a%2Fb", "ключ 😀", "a b", "?x=1#y", "Items", "{key}"]


@pytest.mark.parametrize("key", HARD_KEYS)
def test_a_hard_key_in_a_path_comes_out_as_it_was(key: str) -> None:
    route = parse_target("PUT", f"/v3/Maps/{quote(key, UNESCAPED)}/Items/{quote(key, UNESCAPED)}")
    assert route == Route(Kind.MAP, Operation.PUT_ITEM, None, key, key)


def test_an_empty_key_of_a_map_is_for_the_rules_to_refuse() -> None:
    """An unknown path would be a 404, by which the JavaScript SDK takes the map for removed."""
    route = parse_target("PUT", "/v3/Maps/m/Items/")
    assert route == Route(Kind.MAP, Operation.PUT_ITEM, None, "m", "")


@given(st.text(min_size=1))
def test_any_key_in_a_path_comes_out_as_it_was(key: str) -> None:
    route = parse_target("PUT", f"/v3/Maps/m/Items/{quote(key, UNESCAPED)}")
    assert route == Route(Kind.MAP, Operation.PUT_ITEM, None, "m", key)


@pytest.mark.parametrize(("raw", "key"), [("a+b", "a+b"), ("..", ".."), ("100%", "100%")])
def test_a_key_that_was_not_encoded_is_taken_as_it_is(raw: str, key: str) -> None:
    route = parse_target("PUT", f"/v3/Maps/m/Items/{raw}")
    assert route == Route(Kind.MAP, Operation.PUT_ITEM, None, "m", key)


def test_an_encoded_slash_does_not_make_a_longer_path() -> None:
    expected = Route(Kind.MAP, Operation.READ, None, "m/Items/k")
    assert parse_target("GET", "/v3/Maps/m%2FItems%2Fk") == expected
    assert isinstance(parse_target("GET", "/v3/Maps/m/Items%2Fk"), NoRoute)
    assert isinstance(parse_target("GET", "/v3/Maps/m/Items%2F{key}"), NoRoute)


def test_a_segment_that_is_not_utf8_is_a_bad_request() -> None:
    assert parse_target("GET", "/v3/Maps/%FF") == NoRoute(400, "The path is not valid UTF-8")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v3",
        "/v3/",
        "/v3/Maps/",
        "//v3/Maps/m",
        "v3/Maps/m",
        "/v2/Maps/m",
        "/v3/maps/m",
        "/v3/Maps/m/",
        "/v3/Maps//Items",
        "/v3/Lists/l/Items/",
        "/v3/Documents/",
        "/v3/Services/IS1/Maps/",
        "/v3/Maps/m/Items/k/x",
        "/v3/Maps/m/Permissions",
        "/v3/Maps/m/Permissions/alice",
        "/v3/Services/IS1/Documents/d/Permissions",
        "/v3/Lists/l/Messages",
        "/v3/Lists/l/Items/first",
        "/v3/Lists/l/Items/-1",
        "/v3/Lists/l/Items/%D9%A2",
        "/v3/Lists/l/Items/1234567890123456",
        "/v3/Documents/d/Items",
        "/v3/Services",
        "/v3/Services/IS1",
        "/v3/Services/IS1/Services/IS2/Maps/m",
        "/v3/Insights/i",
        "/v3/Configuration/x",
        "/v4/Subscriptions/x",
        "/v4/Maps/m",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_clients_never_ask_for_is_not_found(method: str, path: str) -> None:
    result = parse_target(method, path)
    assert isinstance(result, NoRoute)
    assert result.status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v3/Maps", ("POST",)),
        ("PUT", "/v3/Maps/m", ("DELETE", "GET", "POST")),
        ("PUT", "/v3/Lists/l/Items/1", ("DELETE", "GET", "POST")),
        ("PATCH", "/v3/Maps/m/Items/k", ("DELETE", "GET", "POST", "PUT")),
        ("GET", "/v3/Streams/s/Messages", ("POST",)),
        ("GET", "/v4/Subscriptions", ("POST",)),
        ("get", "/v3/Maps/m", ("DELETE", "GET", "POST")),
    ],
)
def test_another_method_is_answered_with_those_that_exist(
    method: str, path: str, allowed: tuple[str, ...]
) -> None:
    result = parse_target(method, path)
    assert isinstance(result, NoRoute)
    assert (result.status, result.allowed) == (405, allowed)


@given(st.text(), st.text())
def test_any_target_gives_a_route_or_a_status(method: str, path: str) -> None:
    result = parse_target(method, path)
    assert isinstance(result, Route) or result.status in (400, 404, 405)


# Parameters


@pytest.mark.parametrize("key", HARD_KEYS)
def test_a_hard_key_in_a_parameter_comes_out_as_it_was(key: str) -> None:
    params: dict[str, HttpValue] = {"Key": quote(key, UNESCAPED)}
    assert parse_page_query(Kind.MAP, params) == PageQuery(only=key)


def test_parameters_come_as_lists_whatever_the_client_sends() -> None:
    params: dict[str, HttpValue] = {"a": "1%202", "b": ["%41", "%2541"], "c": [], "d": None}
    assert parse_params(params) == {"a": ["1 2"], "b": ["A", "%41"], "c": [], "d": []}
    assert parse_params(None) == {}


def test_a_parameter_that_is_not_utf8_is_bad() -> None:
    with pytest.raises(BadQuery) as caught:
        parse_params({"Key": "%FF"})
    assert caught.value.name == "Key"


def test_the_documented_page_request_is_understood() -> None:
    params: dict[str, HttpValue] = {
        "HideExpired": "true",
        "From": "19",
        "PageSize": "21",
        "Order": "asc",
    }
    expected = PageQuery(start="19", page_size=21, hide_expired=True)
    assert parse_page_query(Kind.LIST, params) == expected


def test_the_page_request_of_kotlin_is_understood() -> None:
    params: dict[str, HttpValue] = {
        "Order": ["desc"],
        "PageSize": ["100"],
        "From": ["5"],
        "Bounds": ["exclusive"],
    }
    expected = PageQuery(start="5", is_ascending=False, is_inclusive=False, page_size=100)
    assert parse_page_query(Kind.MAP, params) == expected


def test_a_query_without_parameters_begins_at_the_start_and_goes_up() -> None:
    assert parse_page_query(Kind.MAP, {}) == PageQuery(None, None, True, True, None, False)


def test_index_is_for_lists_and_key_is_for_maps() -> None:
    params: dict[str, HttpValue] = {"Index": "3", "Key": "k"}
    assert parse_page_query(Kind.LIST, params).only == "3"
    assert parse_page_query(Kind.MAP, params).only == "k"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Kind.LIST, "Index", "first"),
        (Kind.LIST, "Index", ""),
        (Kind.LIST, "Index", "-1"),
        (Kind.LIST, "From", "1.5"),
        (Kind.LIST, "From", "٢"),
        (Kind.LIST, "From", "1" * 16),
        (Kind.MAP, "PageSize", "0"),
        (Kind.MAP, "PageSize", "many"),
        (Kind.MAP, "PageSize", "1" * 5000),
        (Kind.MAP, "Order", "ASC"),
        (Kind.MAP, "Bounds", "open"),
        (Kind.MAP, "HideExpired", "1"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(kind: Kind, name: str, value: str) -> None:
    with pytest.raises(BadQuery, match=name) as caught:
        parse_page_query(kind, {name: value})
    assert caught.value.name == name
