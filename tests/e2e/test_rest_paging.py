"""Pages and their order over a list and a map of 1,000 items. [REST 4]"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.e2e.raw import assert_refused, raw_client, unused_name
from tests.e2e.server import ServerProcess

COUNT = 1000
KEYS = [f"{chr(97 + n * 7 % 26)}-{n:04}" for n in range(COUNT)]
SORTED_KEYS = sorted(KEYS)


@pytest.fixture(scope="module")
def full(server: ServerProcess) -> None:
    """A list ``thousand`` with data n = index, and a map ``thousand`` with `KEYS`."""
    with raw_client(server) as raw:
        assert raw.post("/Lists", data={"UniqueName": "thousand"}).status_code == 201
        assert raw.post("/Maps", data={"UniqueName": "thousand"}).status_code == 201

        def put(key: str) -> None:
            path = "/Maps/thousand/Items"
            assert raw.post(path, data={"Key": key, "Data": "{}"}).status_code == 201

        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(put, KEYS):
                pass
        for n in range(COUNT):
            item = raw.post("/Lists/thousand/Items", data={"Data": f'{{"n":{n}}}'})
            assert item.json()["index"] == n


@pytest.fixture
def list_items(full: None, service: Any) -> Any:
    return service.sync_lists("thousand").sync_list_items


@pytest.fixture
def map_items(full: None, service: Any) -> Any:
    return service.sync_maps("thousand").sync_map_items


@pytest.mark.parametrize("page_size", [1000, 100, 99, 50, 7])
def test_all_list_items_come_in_order_whatever_the_page_size(
    list_items: Any, page_size: int
) -> None:
    items = list(list_items.stream(page_size=page_size))

    assert [item.index for item in items] == list(range(COUNT))
    assert [item.data["n"] for item in items] == list(range(COUNT))


@pytest.mark.parametrize("page_size", [1000, 100, 99, 50, 7])
def test_all_map_items_come_in_key_order_whatever_the_page_size(
    map_items: Any, page_size: int
) -> None:
    assert [item.key for item in map_items.stream(page_size=page_size)] == SORTED_KEYS


def test_descending_order_reverses_lists_and_maps(list_items: Any, map_items: Any) -> None:
    assert [item.index for item in list_items.list(order="desc")] == list(range(COUNT))[::-1]
    assert [item.key for item in map_items.list(order="desc")] == SORTED_KEYS[::-1]


@pytest.mark.parametrize("limit", [1, 49, 50, 51, 100, 101, 999, 1000, 5000])
def test_a_limit_cuts_the_walk_and_large_limits_are_clamped(
    list_items: Any, map_items: Any, limit: int
) -> None:
    assert [item.index for item in list_items.list(limit=limit)] == list(range(COUNT))[:limit]
    assert [item.key for item in map_items.list(limit=limit)] == SORTED_KEYS[:limit]


@pytest.mark.parametrize(
    ("order", "bounds", "expected"),
    [
        ("asc", "inclusive", range(500, 1000)),
        ("asc", "exclusive", range(501, 1000)),
        ("desc", "inclusive", range(500, -1, -1)),
        ("desc", "exclusive", range(499, -1, -1)),
    ],
)
def test_from_and_bounds_in_both_orders(
    list_items: Any, map_items: Any, order: str, bounds: str, expected: range
) -> None:
    indexes = [item.index for item in list_items.list(from_="500", order=order, bounds=bounds)]
    keys = [item.key for item in map_items.list(from_=SORTED_KEYS[500], order=order, bounds=bounds)]

    assert indexes == list(expected)
    assert keys == [SORTED_KEYS[position] for position in expected]


def test_from_need_not_exist(list_items: Any, map_items: Any) -> None:
    after_h = [key for key in SORTED_KEYS if key > "h~"]
    before_h = [key for key in SORTED_KEYS if key < "h~"][::-1]

    assert [item.key for item in map_items.list(from_="h~")] == after_h
    assert [item.key for item in map_items.list(from_="h~", bounds="exclusive")] == after_h
    assert [item.key for item in map_items.list(from_="h~", order="desc")] == before_h
    assert list_items.list(from_="1000") == []
    assert len(list_items.list(from_="999999", order="desc")) == COUNT


def test_bounds_have_no_effect_without_from(list_items: Any) -> None:
    assert len(list_items.list(bounds="exclusive")) == COUNT


def test_a_page_leads_forwards_and_backwards(list_items: Any) -> None:
    first = list_items.page(page_size=30, order="desc")
    first_indexes = [item.index for item in first]
    second = list_items.get_page(first.next_page_url)
    second_indexes = [item.index for item in second]
    back = list_items.get_page(second.previous_page_url)

    assert first_indexes == list(range(999, 969, -1))
    assert second_indexes == list(range(969, 939, -1))
    assert [item.index for item in back] == first_indexes


def test_the_page_after_a_token_needs_only_size_and_token(list_items: Any) -> None:
    first = list_items.page(page_size=10, order="desc", from_="500", bounds="exclusive")
    token = parse_qs(urlsplit(first.next_page_url).query)["PageToken"][0]

    second = list_items.page(page_token=token, page_number=1, page_size=10)

    assert token.startswith("PT")
    assert [item.index for item in second] == list(range(489, 479, -1))


def test_the_meta_block_describes_the_page(
    full: None, raw: httpx.Client, server: ServerProcess
) -> None:
    first = raw.get(
        "/Lists/thousand/Items", params={"From": "10", "Bounds": "inclusive", "Order": "asc"}
    ).json()
    meta = first["meta"]

    assert len(first["items"]) == 50
    assert meta["key"] == "items"
    assert meta["page"] == 0
    assert meta["page_size"] == 50
    assert meta["previous_page_url"] is None
    for name in ("first_page_url", "url", "next_page_url"):
        assert meta[name].startswith(f"{server.base_url}/v1/Services/"), name
    query = parse_qs(urlsplit(meta["first_page_url"]).query)
    assert query == {
        "From": ["10"],
        "Bounds": ["inclusive"],
        "Order": ["asc"],
        "PageSize": ["50"],
        "Page": ["0"],
    }
    second = raw.get(meta["next_page_url"]).json()
    assert second["meta"]["page"] == 1
    assert second["items"][0]["index"] == 60
    assert raw.get(meta["first_page_url"]).json()["items"] == first["items"]


def test_the_last_page_has_no_next_one(full: None, raw: httpx.Client) -> None:
    exact = raw.get("/Lists/thousand/Items", params={"From": "950", "PageSize": "50"}).json()
    empty = raw.get("/Lists/thousand/Items", params={"From": "5000"}).json()

    assert len(exact["items"]) == 50
    assert exact["meta"]["next_page_url"] is None
    assert empty["items"] == []
    assert empty["meta"]["next_page_url"] is None


def test_a_page_holds_at_most_a_hundred(full: None, raw: httpx.Client) -> None:
    body = raw.get("/Maps/thousand/Items", params={"PageSize": "100000000000000000000"}).json()

    assert len(body["items"]) == 100
    assert body["meta"]["page_size"] == 100


def test_items_that_come_and_go_between_pages_shift_no_others(raw: httpx.Client) -> None:
    name = unused_name("map")
    raw.post("/Maps", data={"UniqueName": name})
    for n in range(10):
        raw.post(f"/Maps/{name}/Items", data={"Key": f"k{n}", "Data": "{}"})
    first = raw.get(f"/Maps/{name}/Items", params={"PageSize": "4"}).json()

    raw.delete(f"/Maps/{name}/Items/k0")
    raw.delete(f"/Maps/{name}/Items/k3")
    raw.post(f"/Maps/{name}/Items", data={"Key": "a-first", "Data": "{}"})
    raw.post(f"/Maps/{name}/Items", data={"Key": "k4-new", "Data": "{}"})
    second = raw.get(first["meta"]["next_page_url"]).json()

    assert [item["key"] for item in second["items"]] == ["k4", "k4-new", "k5", "k6"]


def test_objects_deleted_between_pages_shift_no_others(client: Any) -> None:
    service = client.sync.v1.services.create()
    created = [service.documents.create() for _ in range(9)]
    first = service.documents.page(page_size=3)
    assert [document.sid for document in first] == [document.sid for document in created[:3]]

    for document in created[:3]:
        document.delete()
    second = service.documents.get_page(first.next_page_url)

    assert [document.sid for document in second] == [document.sid for document in created[3:6]]


def test_keys_sort_by_code_point(raw: httpx.Client) -> None:
    name = unused_name("map")
    raw.post("/Maps", data={"UniqueName": name})
    keys = ["z", "a", "Z", "é", "e", "10", "9", "\uffee", "🐦", "-", "_", " "]
    for key in keys:
        raw.post(f"/Maps/{name}/Items", data={"Key": key, "Data": "{}"})

    listed: list[str] = []
    url: str | None = f"/Maps/{name}/Items?PageSize=1"
    while url is not None:
        page = raw.get(url).json()
        listed += [item["key"] for item in page["items"]]
        url = page["meta"]["next_page_url"]

    assert listed == sorted(keys)


def test_page_addresses_lead_on_when_the_key_needs_encoding(raw: httpx.Client) -> None:
    name = unused_name("a map / with ? and &")
    created = raw.post("/Maps", data={"UniqueName": name}).json()
    keys = ["a/b", "a&b=c", "a+b", "a%2Fb", "a#b", "a?b"]
    for key in keys:
        raw.post(f"/Maps/{created['sid']}/Items", data={"Key": key, "Data": "{}"})

    listed: list[str] = []
    url: str | None = f"/Maps/{name.replace('/', '%2F').replace('?', '%3F')}/Items?PageSize=1"
    while url is not None:
        page = raw.get(url).json()
        listed += [item["key"] for item in page["items"]]
        url = page["meta"]["next_page_url"]
    assert listed == sorted(keys)
    for key in keys:
        item = raw.get(f"/Maps/{created['sid']}/Items", params={"From": key, "PageSize": "1"})
        assert item.json()["items"][0]["key"] == key
        assert raw.get(item.json()["items"][0]["url"]).json()["key"] == key


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Order": "up"}, 54451),
        ({"Bounds": "some"}, 54452),
        ({"PageToken": "nonsense"}, 54453),
        ({"PageToken": "PT"}, 54453),
        ({"PageToken": "PTeyJhIjoxfQ=="}, 54453),
        ({"PageToken": "PT\U0001f426"}, 54453),
        ({"PageSize": "0"}, 54454),
        ({"PageSize": "-1"}, 54454),
        ({"PageSize": "ten"}, 54454),
        ({"PageSize": "1.5"}, 54454),
    ],
)
def test_bad_paging_parameters_are_refused(
    full: None, raw: httpx.Client, parameters: dict[str, str], code: int
) -> None:
    for path in ("/Lists/thousand/Items", "/Maps/thousand/Items"):
        assert_refused(raw.get(path, params=parameters), 400, code)
    if code in (54453, 54454):
        for path in ("/Documents", "/Lists", "/Maps", "/Streams", "/Maps/thousand/Permissions"):
            assert_refused(raw.get(path, params=parameters), 400, code)
        services = f"{raw.base_url.copy_with(raw_path=b'/v1/Services')}"
        assert_refused(raw.get(services, params=parameters), 400, code)


def test_a_token_of_another_kind_of_page_does_no_harm(full: None, raw: httpx.Client) -> None:
    page = raw.get("/Lists/thousand/Items", params={"PageSize": "5"}).json()
    token = parse_qs(urlsplit(page["meta"]["next_page_url"]).query)["PageToken"][0]

    for path in ("/Maps/thousand/Items", "/Documents"):
        response = raw.get(path, params={"PageToken": token})
        # Not specified: a server may recognise a foreign token or read the position in it.
        if response.status_code != 200:
            assert_refused(response, 400, 54453)


def test_the_page_number_is_only_echoed(full: None, raw: httpx.Client) -> None:
    body = raw.get("/Lists/thousand/Items", params={"Page": "7", "PageSize": "3"}).json()

    assert body["meta"]["page"] == 7
    assert [item["index"] for item in body["items"]] == [0, 1, 2]
