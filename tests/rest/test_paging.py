"""Pages: both directions, tokens, and what comes and goes between two pages. [rest-api 4]"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.errors import Reason, Refusal
from starlings.core.limits import Limits, Rates
from starlings.rest.paging import PageToken, Position, decode_page_token, encode_page_token
from tests.rest.asgi import BASE, Api

WHOLE = st.integers(min_value=0, max_value=2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=330)


@given(
    st.sampled_from([int, str, tuple]).flatmap(
        lambda kind: st.tuples(
            st.just(kind), {int: WHOLE, str: TEXT, tuple: st.tuples(WHOLE, WHOLE)}[kind]
        )
    ),
    st.integers(min_value=1, max_value=100),
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    st.data(),
)
def test_a_token_comes_back(
    place: tuple[type, Position], size: int, flags: tuple[bool, ...], data: st.DataObject
) -> None:
    kind, position = place
    descending, backward, shown, inclusive = flags
    starts: dict[type, st.SearchStrategy[int | str | None]]
    starts = {int: WHOLE, str: TEXT, tuple: st.none()}
    start = data.draw(st.none() | starts[kind])
    token = PageToken("x", position, size, descending, backward, shown, start, inclusive)
    text = encode_page_token(token)
    assert text.startswith("PT")
    assert decode_page_token(text, "x", kind) == token
    with pytest.raises(Refusal):
        decode_page_token(text, "y", kind)


@given(
    st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode())
)
def test_any_text_is_a_token_or_refused(text: str) -> None:
    for kind in (int, str, tuple):
        with pytest.raises(Refusal) as caught:
            decode_page_token("PT" + text, "x", kind)
        assert caught.value.reason is Reason.BAD_PAGE_TOKEN


@pytest.mark.parametrize(
    "content",
    [
        {"l": "li", "p": -1, "s": 5},
        {"l": "li", "p": 2**63, "s": 5},
        {"l": "li", "p": 10**30, "s": 5},
        {"l": "li", "p": "1", "s": 5},
        {"l": "li", "p": [1, 2], "s": 5},
        {"l": "li", "p": True, "s": 5},
        {"l": "li", "p": 1, "s": 0},
        {"l": "li", "p": 1, "s": 5, "f": "x"},
        {"l": "li", "p": 1, "s": 5, "f": -1},
        {"l": "li", "p": 1, "s": 5, "zz": 1},
        {"l": "mi", "p": "k", "s": 5},
        {"p": 1, "s": 5},
        [],
        None,
    ],
)
async def test_a_forged_token_is_refused(api: Api, content: Any) -> None:
    await api.make("/Lists", UniqueName="c")
    token = "PT" + base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    answer = await api.get("/Lists/c/Items", PageToken=token)
    assert (answer.status, answer.code) == (400, 54453)


async def test_a_large_size_in_a_forged_token_is_clamped(api: Api) -> None:
    await api.make("/Lists", UniqueName="c")
    token = encode_page_token(PageToken("li", 0, 10**9))
    answer = await api.get("/Lists/c/Items", PageToken=token)
    assert answer.json["meta"]["page_size"] == 100


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Order": "up"}, 54451),
        ({"Order": ""}, 54451),
        ({"Bounds": "some"}, 54452),
        ({"PageToken": "nonsense"}, 54453),
        ({"PageToken": "PT"}, 54453),
        ({"PageToken": "PT🐦"}, 54453),
        ({"PageToken": "PT" + "A" * 100_000}, 54453),
        ({"PageSize": "0"}, 54454),
        ({"PageSize": "-1"}, 54454),
        ({"PageSize": "ten"}, 54454),
        ({"PageSize": "1.5"}, 54454),
        ({"PageSize": ""}, 54454),
    ],
)
async def test_bad_parameters_are_refused(api: Api, parameters: dict[str, str], code: int) -> None:
    for kind in ("Lists", "Maps"):
        await api.make(f"/{kind}", UniqueName="c")
        answer = await api.get(f"/{kind}/c/Items", **parameters)
        assert (answer.status, answer.code) == (400, code)
    for path in ("/v1/Services", "/Documents", "/Maps", "/Streams", "/Maps/c/Permissions"):
        answer = await api.get(path, **parameters)
        if code in (54453, 54454):
            assert (answer.status, answer.code) == (400, code)
        else:
            assert answer.status == 200


async def test_a_query_that_is_not_utf_8_is_refused(api: Api) -> None:
    assert (await api.get("/Documents?PageToken=%FF")).code == 20001


async def items(api: Api, count: int, kind: str = "Maps") -> str:
    """The path of the items of a new collection: keys ``k00`` and so on, or indexes."""
    await api.make(f"/{kind}", UniqueName="c")
    path = f"/{kind}/c/Items"
    for number in range(count):
        await api.make(path, Key=f"k{number:02}", Data="{}")
    return path


def keys(page: Any) -> list[Any]:
    return [item.get("key", item.get("index")) for item in page["items"]]


async def walk(api: Api, url: str, link: str = "next_page_url") -> list[list[Any]]:
    pages = []
    next_url: str | None = url
    while next_url is not None:
        page = (await api.get(next_url)).json
        pages.append(keys(page))
        next_url = page["meta"][link]
    return pages


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    ("start", "bounds"),
    [(None, "inclusive"), ("k02", "inclusive"), ("k02", "exclusive"), ("k02x", "exclusive")],
)
async def test_a_walk_there_and_back_shows_the_same_pages(
    api: Api, size: int, order: str, start: str | None, bounds: str
) -> None:
    path = await items(api, 6)
    every = [f"k{number:02}" for number in range(6)]
    if order == "desc":
        every.reverse()
    if start is not None:
        every = [key for key in every if (key >= start if order == "asc" else key <= start)]
        every = [key for key in every if bounds == "inclusive" or key != start]
    query: dict[str, object] = {"PageSize": size, "Order": order, "Bounds": bounds}
    if start is not None:
        query["From"] = start
    first = (await api.get(path, **query)).json
    there = await walk(api, first["meta"]["url"])
    assert there == [every[n : n + size] for n in range(0, len(every), size)] or every == []
    url = first["meta"]["url"]
    while True:
        page = (await api.get(url)).json
        if page["meta"]["next_page_url"] is None:
            break
        url = page["meta"]["next_page_url"]
    back = await walk(api, url, "previous_page_url")
    assert back == there[::-1]


async def test_token_and_size_alone_lead_on(api: Api) -> None:
    path = await items(api, 30, "Lists")
    first = (await api.get(path, PageSize=3, Order="desc", From=20, Bounds="exclusive")).json
    assert keys(first) == [19, 18, 17]
    query = parse_qs(urlsplit(first["meta"]["next_page_url"]).query)
    assert sorted(query) == ["Page", "PageSize", "PageToken"]
    second = (await api.get(path, PageToken=query["PageToken"][0], PageSize=2)).json
    assert keys(second) == [16, 15]
    alone = (await api.get(path, PageToken=query["PageToken"][0])).json
    assert keys(alone) == [16, 15, 14]
    first_query = parse_qs(urlsplit(alone["meta"]["first_page_url"]).query)
    assert first_query == {
        "From": ["20"],
        "Bounds": ["exclusive"],
        "Order": ["desc"],
        "PageSize": ["3"],
        "Page": ["0"],
    }


async def test_the_meta_block_describes_the_page(api: Api) -> None:
    path = await items(api, 3)
    meta = (await api.get(path, PageSize=2, Page=7)).json["meta"]
    url = f"{BASE}/v1/Services/default{path}"
    token = meta.pop("next_page_url")
    assert token.startswith(f"{url}?PageSize=2&Page=8&PageToken=PT")
    assert meta == {
        "key": "items",
        "page": 7,
        "page_size": 2,
        "first_page_url": f"{url}?PageSize=2&Page=0",
        "previous_page_url": None,
        "url": f"{url}?PageSize=2&Page=7",
    }
    assert (await api.get(token)).json["meta"]["url"] == token


async def test_the_default_size_and_the_clamp(api: Api) -> None:
    path = await items(api, 0)
    assert (await api.get(path)).json["meta"]["page_size"] == 50
    for size in ("100", "101", "5000", "9" * 5000):
        assert (await api.get(path, PageSize=size)).json["meta"]["page_size"] == 100
    wide = Api(Limits(page_max=1000, rates=Rates.off()))
    assert (await wide.get("/Documents", PageSize=5000)).json["meta"]["page_size"] == 1000


async def test_what_comes_and_goes_between_two_pages_shifts_nothing(api: Api) -> None:
    path = await items(api, 10)
    first = (await api.get(path, PageSize=4)).json
    for key in ("k00", "k03", "k05"):
        await api.delete(f"{path}/{key}")
    for key in ("a", "k03a", "k04a"):
        await api.make(path, Key=key, Data="{}")
    second = (await api.get(first["meta"]["next_page_url"])).json
    assert keys(second) == ["k03a", "k04", "k04a", "k06"]
    back = (await api.get(second["meta"]["previous_page_url"])).json
    assert keys(back) == ["a", "k01", "k02"]
    assert back["meta"]["previous_page_url"] is None


async def test_going_back_never_leaves_the_walk(api: Api) -> None:
    path = await items(api, 10)
    first = (await api.get(path, PageSize=3, From="k04")).json
    assert keys(first) == ["k04", "k05", "k06"]
    second = (await api.get(first["meta"]["next_page_url"])).json
    await api.delete(f"{path}/k05")
    back = (await api.get(second["meta"]["previous_page_url"])).json
    assert keys(back) == ["k04", "k06"]
    assert back["meta"]["previous_page_url"] is None
    down = (await api.get(path, PageSize=2, From="k05", Order="desc")).json
    down = (await api.get(down["meta"]["next_page_url"])).json
    assert keys(down) == ["k02", "k01"]
    await api.delete(f"{path}/k03")
    back = (await api.get(down["meta"]["previous_page_url"])).json
    assert keys(back) == ["k04"]


async def test_an_empty_page_still_leads_back_and_on(api: Api) -> None:
    path = await items(api, 4)
    first = (await api.get(path, PageSize=2)).json
    second = (await api.get(first["meta"]["next_page_url"])).json
    for key in ("k02", "k03"):
        await api.delete(f"{path}/{key}")
    empty = (await api.get(first["meta"]["next_page_url"])).json
    assert (keys(empty), empty["meta"]["next_page_url"]) == ([], None)
    assert keys((await api.get(empty["meta"]["previous_page_url"])).json) == ["k00", "k01"]
    for key in ("k00", "k01"):
        await api.delete(f"{path}/{key}")
    await api.make(path, Key="k05", Data="{}")
    empty = (await api.get(second["meta"]["previous_page_url"])).json
    assert (keys(empty), empty["meta"]["previous_page_url"]) == ([], None)
    assert keys((await api.get(empty["meta"]["next_page_url"])).json) == ["k05"]


async def test_an_empty_page_of_objects_leads_back_to_the_last_one(api: Api) -> None:
    sids = []
    for _ in range(3):
        sids.append((await api.make("/Documents"))["sid"])
        api.clock.advance(1)
    first = (await api.get("/Documents", PageSize=2)).json
    await api.delete(f"/Documents/{sids[2]}")
    empty = (await api.get(first["meta"]["next_page_url"])).json
    assert empty["documents"] == []
    back = (await api.get(empty["meta"]["previous_page_url"])).json
    assert [document["sid"] for document in back["documents"]] == sids[:2]


@pytest.mark.parametrize("path", ["/v1/Services", "/Documents", "/Lists", "/Maps", "/Streams"])
async def test_objects_are_paged_by_creation_in_both_directions(api: Api, path: str) -> None:
    created = []
    for _ in range(7):
        created.append((await api.make(path))["sid"])
        api.clock.advance(0.001)
    key = path.rsplit("/", 1)[1].lower()
    listed = (await api.get(path, PageSize=100)).json[key]
    sids = [entry["sid"] for entry in listed if entry["unique_name"] is None]
    assert sids == created
    first = (await api.get(path, PageSize=3)).json
    second = (await api.get(first["meta"]["next_page_url"])).json
    back = (await api.get(second["meta"]["previous_page_url"])).json
    assert back[key] == first[key]
    assert not {entry["sid"] for entry in first[key]} & {entry["sid"] for entry in second[key]}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("0", [0, 1, 2]),
        ("1", [1, 2]),
        ("3", []),
        (str(2**63), []),
        ("9" * 400, []),
        ("", [0, 1, 2]),
    ],
)
async def test_a_list_may_start_at_any_index(api: Api, start: str, expected: list[int]) -> None:
    path = await items(api, 3, "Lists")
    assert keys((await api.get(path, From=start)).json) == expected


@pytest.mark.parametrize("start", ["x", "-1", "1.5"])
async def test_a_start_that_is_no_index_is_refused(api: Api, start: str) -> None:
    path = await items(api, 1, "Lists")
    assert (await api.get(path, From=start)).code == 54458


async def test_a_page_of_items_is_one_read() -> None:
    api = Api(Limits(rates=Rates(writes=None, creations=None, reads=1, burst_seconds=1)))
    path = await items(api, 30)
    assert len(keys((await api.get(path)).json)) == 30
    assert (await api.get(path)).code == 54009


async def test_page_urls_keep_what_is_special_in_the_path(api: Api) -> None:
    await api.make("/Maps", UniqueName="a/b ?é%2F")
    path = "/Maps/a%2Fb%20%3F%C3%A9%252F/Items"
    for key in ("1", "2"):
        await api.make(path, Key=key, Data="{}")
    first = (await api.get(path, PageSize=1)).json
    assert first["meta"]["url"].startswith(f"{BASE}/v1/Services/default{path}?")
    assert keys((await api.get(first["meta"]["next_page_url"])).json) == ["2"]
