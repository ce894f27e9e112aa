"""Tunnelled requests, answered as the clients need it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starlings.core import commands as c
from starlings.core.objects import Kind
from starlings.ws import render
from tests.ws.sessions import ADMIN, Answered, Peer, World, a_world, settle

TRAP_KEYS = ["a/b", "100%", "..", ".", "a+b", "a%2Fb", "ü", "\U0001f426", " ", "?x=1", "#", "a\tb"]


async def a_client(world: World) -> Peer:
    return await world.ready()


async def add_items(peer: Peer, sid: str, count: int) -> None:
    for number in range(count):
        answer = await peer.ask("POST", f"/v3/Lists/{sid}/Items", {"data": {"n": number}})
        assert answer.status == 201


@pytest.mark.parametrize("key", TRAP_KEYS)
async def test_keys_survive_every_way_they_travel(key: str) -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.MAP)
        path = f"/v3/Maps/{sid}/Items/{quote(key, safe='')}"
        put = await peer.ask("PUT", path, {"data": {"n": 1}})
        assert (put.status, put.body["key"]) == (201, key)
        own_path = put.body["url"].removeprefix("https://starlings")
        changed = await peer.ask("POST", own_path, {"data": {"n": 2}})
        assert (changed.status, changed.body["key"]) == (200, key)
        items = f"/v3/Maps/{sid}/Items"
        for name in ("Key", "From"):
            read = await peer.ask("GET", items, params={name: quote(key, safe="")})
            assert [(one["key"], one["data"]) for one in read.body["items"]] == [(key, {"n": 2})]
        removed = await peer.ask("DELETE", own_path, payload=b"data_sync")
        assert (removed.status, removed.body["last_event_id"]) == (200, 2)


async def test_open_or_create_goes_by_404_and_409() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        for kind in ("Documents", "Lists", "Maps", "Streams"):
            missing = await peer.ask("GET", f"/v3/{kind}/n%2F1")
            assert (missing.status, missing.body["code"]) == (404, 54300)
            body = {"unique_name": "n/1", "data": {"a": 1}}
            created = await peer.ask("POST", f"/v3/{kind}", body)
            assert (created.status, created.body["unique_name"]) == (201, "n/1")
            assert "data" not in created.body
            again = await peer.ask("POST", f"/v3/{kind}", body)
            assert (again.status, again.body["code"]) == (409, 54301)
            opened = await peer.ask("GET", f"/v3/{kind}/n%2F1")
            assert (opened.status, opened.body["sid"]) == (200, created.body["sid"])


async def test_a_document_has_its_data_only_when_it_is_read() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.DOCUMENT, data=b'{"z":1,"a":1.0}')
        changed = await peer.ask("POST", f"/v3/Documents/{sid}", {"data": {"b": 2}})
        assert (changed.status, changed.body["last_event_id"]) == (200, 1)
        assert "data" not in changed.body
        assert (await peer.ask("GET", f"/v3/Documents/{sid}")).body["data"] == {"b": 2}


async def test_delete_ignores_its_payload_whatever_it_is() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        for kind, path in ((Kind.DOCUMENT, "Documents"), (Kind.STREAM, "Streams")):
            for payload in (b"data_sync", b"{", b""):
                sid, _ = await world.create(kind)
                assert await peer.ask("DELETE", f"/v3/{path}/{sid}", payload=payload) == Answered(
                    204, None
                )


async def test_a_put_tells_new_from_replaced() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.MAP)
        path = f"/v3/Maps/{sid}/Items/k"
        answers = [await peer.ask("PUT", path, {"data": {}}) for _ in range(2)]
        assert [one.status for one in answers] == [201, 200]
        assert [one.body["revision"] for one in answers] == ["0", "1"]
        assert all("data" not in one.body for one in answers)


async def test_minus_one_lets_only_one_of_several_creators_through() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.MAP)
        path, headers = f"/v3/Maps/{sid}/Items/k", {"If-Match": "-1"}
        answers = [await peer.ask("PUT", path, {"data": {"n": n}}, headers=headers) for n in (1, 2)]
        assert [one.status for one in answers] == [201, 412]
        assert answers[1].body["code"] == 54205


@pytest.mark.parametrize("name", ["If-Match", "if-match", "IF-MATCH"])
async def test_a_stale_revision_is_412_for_every_kind(name: str) -> None:
    async with a_world() as world:
        peer = await a_client(world)
        document, _ = await world.create(Kind.DOCUMENT)
        sid, _ = await world.create(Kind.LIST)
        await add_items(peer, sid, 1)
        mapped, ref = await world.create(Kind.MAP)
        await world.put(ref, "k")
        codes = []
        for method, path in (
            ("POST", f"/v3/Documents/{document}"),
            ("POST", f"/v3/Lists/{sid}/Items/0"),
            ("PUT", f"/v3/Maps/{mapped}/Items/k"),
        ):
            answer = await peer.ask(method, path, {"data": {}}, headers={name: "ff"})
            assert answer.status == 412
            codes.append(answer.body["code"])
            good = await peer.ask(method, path, {"data": {}}, headers={name: ["0"]})
            assert good.status == 200
        assert codes == [54103, 54155, 54205]


async def test_single_items_that_are_not_there_are_an_empty_page() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.LIST)
        mapped, _ = await world.create(Kind.MAP)
        for path, name in ((f"/v3/Lists/{sid}", "Index"), (f"/v3/Maps/{mapped}", "Key")):
            answer = await peer.ask("GET", f"{path}/Items", params={name: "5"})
            assert answer.status == 200
            assert answer.body["items"] == []
            assert answer.body["meta"]["next_token"] is None
        missing = await peer.ask("POST", f"/v3/Lists/{sid}/Items/5", {"data": {}})
        assert (missing.status, missing.body["code"]) == (404, 54151)
        missing = await peer.ask("DELETE", f"/v3/Maps/{mapped}/Items/5")
        assert (missing.status, missing.body["code"]) == (404, 54201)


@pytest.mark.parametrize(
    ("kind", "path", "key", "code"),
    [(Kind.LIST, "Lists", "0", 54151), (Kind.MAP, "Maps", "a%2Fb", 54201)],
)
async def test_kotlin_mutates_an_item_that_it_reads_by_its_own_url(
    kind: Kind, path: str, key: str, code: int
) -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(kind)
        url = f"/v3/Services/{world.service.sid}/{path}/{sid}/Items/{key}"
        missing = await peer.ask("GET", url)
        assert (missing.status, missing.body["code"]) == (404, code)
        added = await peer.ask(
            "POST", f"/v3/{path}/{sid}/Items", {"key": unquote(key), "data": {"n": 1}}
        )
        read = await peer.ask("GET", url)
        assert (read.status, read.body) == (200, added.body | {"data": {"n": 1}})
        headers = {"If-Match": [read.body["revision"]]}
        changed = await peer.ask("POST", url, {"data": {"n": 2}}, headers=headers)
        assert (changed.status, changed.body["last_event_id"]) == (200, 1)
        assert "data" not in changed.body


async def test_a_map_is_opened_with_its_items_when_asked() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, ref = await world.create(Kind.MAP)
        await world.put(ref, "b", b'{"n":2}')
        await world.put(ref, "a", b'{"n":1}')
        with_items = await peer.ask("GET", f"/v3/Maps/{sid}", params={"Include": "items"})
        assert [(one["key"], one["data"]) for one in with_items.body["items"]] == [
            ("a", {"n": 1}),
            ("b", {"n": 2}),
        ]
        assert "items" not in (await peer.ask("GET", f"/v3/Maps/{sid}")).body


async def test_expired_items_are_not_shown() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, ref = await world.create(Kind.MAP)
        await world.put(ref, "stays")
        await world.node.execute(c.PutMapItem(ref, "goes", b"{}", 1, None, ADMIN))
        world.clock_ms += 1000
        page = await peer.ask("GET", f"/v3/Maps/{sid}/Items", params={"HideExpired": "true"})
        assert [one["key"] for one in page.body["items"]] == ["stays"]
        one = await peer.ask("GET", f"/v3/Maps/{sid}/Items", params={"Key": "goes"})
        assert one.body["items"] == []


async def test_kotlin_adds_map_items_with_post() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.MAP)
        body = {"key": "a/b", "data": {"n": 1}, "ttl": 0}
        added = await peer.ask("POST", f"/v3/Maps/{sid}/Items", body)
        assert (added.status, added.body["key"], "data" in added.body) == (201, "a/b", False)
        taken = await peer.ask("POST", f"/v3/Maps/{sid}/Items", body)
        assert (taken.status, taken.body["code"]) == (409, 54208)


async def test_a_time_to_live_alone_is_a_change_of_the_object() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        for kind, path in ((Kind.LIST, "Lists"), (Kind.MAP, "Maps"), (Kind.STREAM, "Streams")):
            sid, _ = await world.create(kind)
            answer = await peer.ask("POST", f"/v3/{path}/{sid}", {"ttl": 60})
            assert (answer.status, answer.body["date_expires"] is None) == (200, False)
            assert (await peer.ask("POST", f"/v3/{path}/{sid}", {"ttl": 0})).body[
                "date_expires"
            ] is None
            nothing = await peer.ask("POST", f"/v3/{path}/{sid}", {})
            assert (nothing.status, nothing.body["code"]) == (400, 54010)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v3/Nothing/x", 404, 20404),
        ("GET", "/", 404, 20404),
        ("GET", "", 404, 20404),
        ("PATCH", "/v3/Documents/x", 405, 20004),
        ("GET", "/v3/Documents/%ff", 400, 20001),
        ("GET", "/v3/Services/IS00000000000000000000000000000000/Documents/x", 404, 54050),
        ("GET", "/v3/Documents/ET00000000000000000000000000000000", 404, 54100),
        ("GET", "/v3/Maps/ET00000000000000000000000000000000", 404, 54200),
        ("GET", "/v3/Lists/x/Items/abc", 404, 20404),
    ],
)
async def test_what_is_not_there_is_told_by_status_and_code(
    method: str, path: str, status: int, code: int
) -> None:
    async with a_world() as world:
        answer = await (await a_client(world)).ask(method, path)
        assert (answer.status, answer.body["code"], answer.body["status"]) == (status, code, status)


async def test_the_long_form_of_a_path_is_the_same() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.DOCUMENT)
        for service in (world.service.sid, "default"):
            path = f"/v3/Services/{service}/Documents/{sid}"
            assert (await peer.ask("GET", path)).status == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 54008),
        (b"[]", 20001),
        (b'{"data":[]}', 54008),
        (b'{"data":null}', 54101),
        (b'{"data":"x"}', 54008),
        (b'{"ttl":"soon"}', 20001),
        (b'{"ttl":-1}', 54011),
        (b'{"data":{},"ttl":1e99}', 20001),
        (b"\xff", 54008),
        (b"{}", 54010),
    ],
)
async def test_a_bad_body_is_refused(body: bytes, code: int) -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.DOCUMENT)
        answer = await peer.ask("POST", f"/v3/Documents/{sid}", payload=body)
        assert (answer.status, answer.body["code"]) == (400, code)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Order": "up"}, 54451),
        ({"PageSize": "0"}, 54454),
        ({"PageSize": "x"}, 54454),
        ({"Index": "-1"}, 54458),
        ({"From": "a"}, 54458),
        ({"Bounds": "x"}, 54452),
        ({"From": "%ff"}, 54458),
    ],
)
async def test_a_bad_parameter_is_refused_with_its_code(params: dict[str, str], code: int) -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.LIST)
        answer = await peer.ask("GET", f"/v3/Lists/{sid}/Items", params=params)
        assert (answer.status, answer.body["code"]) == (400, code)


async def test_kotlin_asks_with_lists_of_values() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.LIST)
        await add_items(peer, sid, 5)
        page = await peer.ask(
            "GET",
            f"/v3/Lists/{sid}/Items",
            params={"From": ["3"], "Bounds": ["exclusive"], "Order": ["desc"], "PageSize": ["2"]},
        )
        assert [one["index"] for one in page.body["items"]] == [2, 1]
        assert page.body["meta"]["next_token"]
        assert page.body["meta"]["previous_token"]


@settings(max_examples=60)
@given(
    keys=st.sets(st.text(alphabet="abÿ￿\U0001f426", min_size=1, max_size=2), max_size=12),
    start=st.none() | st.text(alphabet="abÿ￿\U0001f426", min_size=1, max_size=2),
    is_descending=st.booleans(),
    bounds=st.sampled_from(["inclusive", "exclusive"]),
    size=st.integers(1, 5),
)
def test_page_tokens_are_true_exactly_if_there_is_more_of_a_map(
    keys: set[str], start: str | None, is_descending: bool, bounds: str, size: int
) -> None:
    async def check() -> None:
        async with a_world() as world:
            peer = await a_client(world)
            sid, ref = await world.create(Kind.MAP)
            for key in keys:
                await world.put(ref, key)
            ordered = sorted(keys, key=str.encode, reverse=is_descending)
            await check_page(peer, f"/v3/Maps/{sid}/Items", "key", ordered, start)

    async def check_page(
        peer: Peer, path: str, field: str, ordered: list[str], start: str | None
    ) -> None:
        params = {"Order": "desc" if is_descending else "asc", "PageSize": str(size)}
        if start is not None:
            params |= {"From": quote(start, safe=""), "Bounds": bounds}

        def is_before(key: str) -> bool:
            if start is None or key == start:
                return start is not None and bounds == "exclusive"
            return (key.encode() > start.encode()) == is_descending

        before = [key for key in ordered if is_before(key)]
        wanted = ordered[len(before) :]
        page = await peer.ask("GET", path, params=params)
        assert [one[field] for one in page.body["items"]] == wanted[:size]
        assert bool(page.body["meta"]["previous_token"]) == bool(before)
        assert bool(page.body["meta"]["next_token"]) == (len(wanted) > size)

    asyncio.run(check())


@settings(max_examples=60)
@given(
    count=st.integers(0, 9),
    removed=st.sets(st.integers(0, 8)),
    start=st.none() | st.integers(0, 12),
    is_descending=st.booleans(),
    size=st.integers(1, 5),
)
def test_page_tokens_are_true_exactly_if_there_is_more_of_a_list(
    count: int, removed: set[int], start: int | None, is_descending: bool, size: int
) -> None:
    async def check() -> None:
        async with a_world() as world:
            peer = await a_client(world)
            sid, ref = await world.create(Kind.LIST)
            await add_items(peer, sid, count)
            left = [index for index in range(count) if index not in removed]
            for index in set(range(count)) - set(left):
                await world.node.execute(c.RemoveItem(ref, index, None, ADMIN))
            await settle()
            ordered = sorted(left, reverse=is_descending)
            before = [
                one
                for one in ordered
                if start is not None and (one > start) == is_descending and one != start
            ]
            wanted = ordered[len(before) :]
            params: dict[str, Any] = {
                "Order": "desc" if is_descending else "asc",
                "PageSize": str(size),
                "HideExpired": "true",
            }
            if start is not None:
                params["From"] = str(start)
            page = await peer.ask("GET", f"/v3/Lists/{sid}/Items", params=params)
            assert [one["index"] for one in page.body["items"]] == wanted[:size]
            assert bool(page.body["meta"]["previous_token"]) == bool(before)
            assert bool(page.body["meta"]["next_token"]) == (len(wanted) > size)

    asyncio.run(check())


async def test_a_page_is_no_longer_than_the_limit() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.LIST)
        answer = await peer.ask("GET", f"/v3/Lists/{sid}/Items", params={"PageSize": "1000"})
        assert answer.body["meta"]["page_size"] == 100


async def test_published_messages_have_a_sid() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.STREAM)
        answer = await peer.ask("POST", f"/v3/Streams/{sid}/Messages", {"data": {"a": 1}})
        assert (answer.status, answer.body["sid"][:2]) == (201, "TZ")
        missing = await peer.ask("POST", f"/v3/Streams/{sid}/Messages", {})
        assert (missing.status, missing.body["code"]) == (400, 54251)
        large = await peer.ask("POST", f"/v3/Streams/{sid}/Messages", {"data": {"a": "x" * 4096}})
        assert (large.status, large.body["code"]) == (413, 54006)


async def test_a_lists_context_is_that_of_its_creation() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        created = await peer.ask("POST", "/v3/Lists", {"context": {"a": 1}})
        path = created.body["links"]["context"].removeprefix("https://starlings")
        assert (await peer.ask("GET", path)).body == {"data": {"a": 1}, "last_event_id": -1}


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_is_cut_by_bytes_and_its_tokens_are_exact(order: str) -> None:
    """Of full size, a hundred items would be more than a connection may leave unread."""
    async with a_world() as world:
        peer = await a_client(world)
        sid, ref = await world.create(Kind.MAP)
        keys = [f"k{number:02}" for number in range(50)]
        for key in keys:
            await world.put(ref, key, b'{"x":"%s"}' % (b"y" * 16_000))
        params = {"Order": order, "PageSize": "100"}
        seen: list[str] = []
        while True:
            page = await peer.ask("GET", f"/v3/Maps/{sid}/Items", params=params)
            meta, items = page.body["meta"], [one["key"] for one in page.body["items"]]
            assert (meta["previous_token"] is None) == (not seen)
            assert len(json.dumps(page.body)) < render.PAGE_BYTES + 1000
            seen += items
            if meta["next_token"] is None:
                break
            assert len(items) == 15  # of 16,000 bytes and their other fields
            params |= {"From": items[-1], "Bounds": "exclusive"}
        assert seen == (keys if order == "asc" else keys[::-1])


async def test_a_page_that_begins_with_what_is_known_has_something_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client asks from the last item that it has; of a page without another it thinks that
    there is nothing behind it."""
    monkeypatch.setattr(render, "PAGE_BYTES", 10)
    async with a_world() as world:
        peer = await a_client(world)
        sid, ref = await world.create(Kind.MAP)
        for key in "abc":
            await world.put(ref, key)
        page = await peer.ask("GET", f"/v3/Maps/{sid}/Items", params={"From": "a"})
        assert [one["key"] for one in page.body["items"]] == ["a", "b"]
        assert page.body["meta"]["next_token"] is not None


async def test_the_items_that_come_with_a_map_are_cut_by_bytes_too() -> None:
    async with a_world() as world:
        peer = await a_client(world)
        sid, ref = await world.create(Kind.MAP)
        for number in range(20):
            await world.put(ref, f"k{number:02}", b'{"x":"%s"}' % (b"y" * 16_000))
        opened = await peer.ask("GET", f"/v3/Maps/{sid}", params={"Include": "items"})
        assert [one["key"] for one in opened.body["items"]] == [f"k{n:02}" for n in range(15)]


@pytest.mark.parametrize("half", [rb"\ud83c", rb"\udfc6", rb"\ud83c x"])
async def test_half_a_character_is_refused_with_the_sentence_of_rest(half: bytes) -> None:
    """``JSON.stringify`` sends that of a text that was cut inside an emoji."""
    async with a_world() as world:
        peer = await a_client(world)
        sid, _ = await world.create(Kind.DOCUMENT)
        payload = b'{"data":{"text":"%b"}}' % half
        answer = await peer.ask("POST", f"/v3/Documents/{sid}", payload=payload)
        assert (answer.status, answer.body["code"]) == (400, 54008)
        assert "(a \\u escape is half of a pair" in answer.body["message"]
        answer = await peer.ask("POST", f"/v3/Documents/{sid}", payload=payload[:-3])
        assert (answer.status, answer.body["code"]) == (400, 54008)
        assert "half of a pair" not in answer.body["message"]
