"""The items of lists and maps. [rest-api 2.4, 2.5, 5]"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from starlings.core.limits import Limits, Rates
from tests.rest.asgi import BASE, Api


@dataclass(frozen=True)
class _Kind:
    path: str
    item: str
    form: dict[str, str]
    data_missing: int
    not_found: int
    mismatch: int


KINDS = [
    _Kind("/Lists/c/Items", "/Lists/c/Items/0", {}, 54156, 54151, 54155),
    _Kind("/Maps/c/Items", "/Maps/c/Items/k", {"Key": "k"}, 54206, 54201, 54205),
]


@pytest.fixture
async def full(api: Api) -> Api:
    """An app with an empty list and an empty map, both named ``c``."""
    await api.make("/Lists", UniqueName="c")
    await api.make("/Maps", UniqueName="c")
    return api


both = pytest.mark.parametrize("kind", KINDS, ids=["list", "map"])


@both
async def test_a_new_item_has_every_field(full: Api, kind: _Kind) -> None:
    answer = await full.post(kind.path, **kind.form, Data='{"n":1e2}')
    assert answer.status == 201
    assert answer.headers["etag"] == '"0"'
    assert b'"data":{"n":1e2},' in answer.body
    item = answer.json
    collection = (await full.get(kind.path.removesuffix("/Items"))).json
    assert item["url"] == f"{collection['url']}/Items/{kind.item.rsplit('/', 1)[1]}"
    assert collection["sid"] in (item.get("list_sid"), item.get("map_sid"))
    assert (item.get("index"), item.get("key")) in ((0, None), (None, "k"))
    assert collection["revision"] == "1"
    assert (await full.get(kind.item)).json == item
    assert (await full.get(kind.path)).json["items"] == [item]


@both
@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ("text", 400, 54008),
        ("[]", 400, 54008),
        ("{", 400, 54008),
        ("null", 400, None),
        ("", 400, None),
        ('{"t":"' + "x" * 16384 + '"}', 413, 54006),
    ],
)
async def test_bad_data_are_refused(
    full: Api, kind: _Kind, data: str, status: int, code: int | None
) -> None:
    await full.make(kind.path, **kind.form, Data="{}")
    for path, form in (
        (kind.path, kind.form | ({"Key": "new"} if kind.form else {})),
        (kind.item, {}),
    ):
        answer = await full.post(path, **form, Data=data)
        assert (answer.status, answer.code) == (status, code or kind.data_missing)
    assert len((await full.get(kind.path)).json["items"]) == 1


@both
async def test_data_are_required(full: Api, kind: _Kind) -> None:
    assert (await full.post(kind.path, **kind.form)).code == kind.data_missing
    assert (await full.post(kind.path, **kind.form, Ttl=5)).code == kind.data_missing


@both
async def test_the_items_own_name_of_the_ttl_wins_over_the_alias(full: Api, kind: _Kind) -> None:
    at = {60: "2026-05-28T20:27:40Z", 120: "2026-05-28T20:28:40Z"}
    item = await full.make(kind.path, **kind.form, Data="{}", ItemTtl=120, Ttl=60, CollectionTtl=60)
    assert item["date_expires"] == at[120]
    collection = kind.path.removesuffix("/Items")
    assert (await full.get(collection)).json["date_expires"] == at[60]
    assert (await full.post(kind.item, Ttl=60)).json["date_expires"] == at[60]
    updated = await full.post(kind.item, ItemTtl=0, Ttl="x", CollectionTtl=0)
    assert updated.json["date_expires"] is None
    assert (await full.get(collection)).json["date_expires"] is None


@both
@pytest.mark.parametrize("name", ["Ttl", "ItemTtl", "CollectionTtl"])
async def test_bad_ttls_are_refused(full: Api, kind: _Kind, name: str) -> None:
    for ttl in ("-1", "31536001", "x"):
        answer = await full.post(kind.path, **kind.form, **{"Data": "{}", name: ttl})
        assert (answer.status, answer.code) == (400, 54011)
        assert name in answer.json["message"]


@both
@pytest.mark.parametrize("form", [{}, {"CollectionTtl": "60"}, {"Ttl": ""}, {"ItemTtl": ""}])
async def test_an_update_needs_data_or_a_ttl_of_the_item(
    full: Api, kind: _Kind, form: dict[str, str]
) -> None:
    await full.make(kind.path, **kind.form, Data="{}")
    assert (await full.post(kind.item, **form)).code == 54010


@both
async def test_an_item_is_replaced_conditionally_and_deleted(full: Api, kind: _Kind) -> None:
    await full.make(kind.path, **kind.form, Data="{}")
    answer = await full.post(kind.item, Data='{"b":2}', headers={"if-match": '"0"'})
    assert (answer.status, answer.json["revision"], answer.json["data"]) == (200, "1", {"b": 2})
    for value, status, code in (("0", 412, kind.mismatch), ("x", 400, 54003)):
        for answer in (
            await full.post(kind.item, Data="{}", headers={"if-match": value}),
            await full.delete(kind.item, headers={"if-match": value}),
        ):
            assert (answer.status, answer.code) == (status, code)
    assert (await full.delete(kind.item, headers={"if-match": "1"})).status == 204
    for answer in (
        await full.get(kind.item),
        await full.post(kind.item, Data="{}"),
        await full.delete(kind.item),
    ):
        assert (answer.status, answer.code) == (404, kind.not_found)
        assert answer.json["message"] == "Item not found"


@both
async def test_an_expired_item_is_hidden(full: Api, kind: _Kind) -> None:
    await full.make(kind.path, **kind.form, Data="{}", Ttl=1)
    full.clock.advance(1)
    assert (await full.get(kind.item)).code == kind.not_found
    assert (await full.get(kind.path)).json["items"] == []


@pytest.mark.parametrize("index", ["one", "-1", "1.5", "+1", "%201", "0x1", "٣"])
async def test_a_bad_index_is_refused(full: Api, index: str) -> None:
    path = f"/Lists/c/Items/{index}"
    for answer in (
        await full.get(path),
        await full.post(path, Data="{}"),
        await full.delete(path),
    ):
        assert (answer.status, answer.code) == (400, 54458)


@pytest.mark.parametrize("index", [str(2**63 - 1), str(2**63), "9" * 5000, "00", "1"])
async def test_an_index_of_any_size_is_looked_for(full: Api, index: str) -> None:
    if index == "00":
        await full.make("/Lists/c/Items", Data="{}")
        assert (await full.get(f"/Lists/c/Items/{index}")).json["index"] == 0
    else:
        assert (await full.get(f"/Lists/c/Items/{index}")).code == 54151
        assert (await full.delete(f"/Lists/c/Items/{index}")).code == 54151


@pytest.mark.parametrize(
    ("segment", "key"),
    [
        ("a%2Fb", "a/b"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("%25", "%"),
        ("%", "%"),
        ("%3F%23", "?#"),
        ("%F0%9F%90%A6", "🐦"),
        ("%01%1F", "\x01\x1f"),
        ("..", ".."),
        ("Items", "Items"),
    ],
)
async def test_any_key_is_reached_by_its_path_and_by_its_url(
    full: Api, segment: str, key: str
) -> None:
    item = await full.make("/Maps/c/Items", Key=key, Data="{}")
    assert (await full.get(f"/Maps/c/Items/{segment}")).json == item
    assert (await full.get(item["url"])).json == item
    assert item["url"].startswith(BASE)
    assert (await full.delete(item["url"])).status == 204


@pytest.mark.parametrize("key", ["", "x" * 321, "a\0b", None])
async def test_bad_keys_are_refused(full: Api, key: str | None) -> None:
    form = {} if key is None else {"Key": key}
    answer = await full.post("/Maps/c/Items", **form, Data="{}")
    assert (answer.status, answer.code) == (400, 54209)
    assert (await full.get(f"/Maps/c/Items/{'x' * 321}")).code == 54209


async def test_a_walk_cannot_start_at_what_is_longer_than_any_key(full: Api) -> None:
    assert (await full.get("/Maps/c/Items", From="k" * 320)).status == 200
    refusal = await full.get("/Maps/c/Items", From="k" * 321)
    assert (refusal.status, refusal.code) == (400, 54209)


async def test_a_key_of_320_characters_is_kept(full: Api) -> None:
    key = "é" * 320
    item = await full.make("/Maps/c/Items", Key=key, Data="{}")
    assert (await full.get(item["url"])).json["key"] == key


async def test_a_key_is_taken_once_and_an_update_never_creates(full: Api) -> None:
    assert (await full.post("/Maps/c/Items/k", Data="{}")).code == 54201
    await full.make("/Maps/c/Items", Key="k", Data="{}")
    answer = await full.post("/Maps/c/Items", Key="k", Data="{}")
    assert (answer.status, answer.code) == (409, 54208)


async def test_a_full_list_takes_no_more() -> None:
    api = Api(Limits(items=1, rates=Rates.off()))
    await api.make("/Lists", UniqueName="c")
    await api.make("/Lists/c/Items", Data="{}")
    assert (await api.post("/Lists/c/Items", Data="{}")).code == 20001
