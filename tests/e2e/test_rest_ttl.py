"""Time to live of objects and items. The tests of expiry wait for real seconds. [REST 5]"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.helper import assert_about, refusal
from tests.e2e.raw import assert_refused, unused_name

YEAR = 31_536_000


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _wait_until(is_true: Callable[[], bool], *, seconds: float = 5) -> None:
    """Poll until it is true; expiry has no signal that a REST client could wait for."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)


def _is_gone(raw: httpx.Client, path: str, code: int) -> Callable[[], bool]:
    def check() -> bool:
        response = raw.get(path)
        if response.status_code == 200:
            return False
        assert_refused(response, 404, code)
        return True

    return check


def test_a_document_and_a_stream_take_a_ttl(service: Any) -> None:
    for objects in (service.documents, service.sync_streams):
        created = objects.create(ttl=3600)
        assert_about(created.date_expires, _in(3600))
        assert_about(objects(created.sid).update(ttl=YEAR).date_expires, _in(YEAR))
        assert objects(created.sid).update(ttl=0).date_expires is None
        assert objects(created.sid).fetch().date_expires is None
        assert objects.create(ttl=0).date_expires is None


def test_a_collection_takes_its_own_name_of_the_ttl_before_the_alias(service: Any) -> None:
    for objects in (service.sync_lists, service.sync_maps):
        assert_about(objects.create(ttl=100).date_expires, _in(100))
        assert_about(objects.create(collection_ttl=200).date_expires, _in(200))
        created = objects.create(ttl=100, collection_ttl=200)
        assert_about(created.date_expires, _in(200))
        assert_about(created.update(ttl=300).date_expires, _in(300))
        assert_about(created.update(ttl=300, collection_ttl=400).date_expires, _in(400))
        assert created.update(collection_ttl=0).date_expires is None


def test_an_item_takes_its_own_name_of_the_ttl_before_the_alias(service: Any) -> None:
    sync_list = service.sync_lists.create()
    sync_map = service.sync_maps.create()
    for items, keys in (
        (sync_list.sync_list_items, [{}, {}, {}]),
        (sync_map.sync_map_items, [{"key": key} for key in "abc"]),
    ):
        assert_about(items.create(data={}, ttl=100, **keys[0]).date_expires, _in(100))
        assert_about(items.create(data={}, item_ttl=200, **keys[1]).date_expires, _in(200))
        item = items.create(data={}, ttl=100, item_ttl=200, **keys[2])
        assert_about(item.date_expires, _in(200))
        assert_about(item.update(ttl=300).date_expires, _in(300))
        assert_about(item.update(ttl=300, item_ttl=400).date_expires, _in(400))
        assert item.update(item_ttl=0).date_expires is None


def test_an_item_write_can_set_the_ttl_of_its_collection(service: Any) -> None:
    sync_list = service.sync_lists.create()
    item = sync_list.sync_list_items.create(data={}, collection_ttl=500)
    assert item.date_expires is None
    assert_about(service.sync_lists(sync_list.sid).fetch().date_expires, _in(500))
    item.update(data={}, collection_ttl=600)
    assert_about(service.sync_lists(sync_list.sid).fetch().date_expires, _in(600))

    sync_map = service.sync_maps.create()
    item = sync_map.sync_map_items.create(key="k", data={}, collection_ttl=500)
    assert item.date_expires is None
    assert_about(service.sync_maps(sync_map.sid).fetch().date_expires, _in(500))
    item.update(item_ttl=50, collection_ttl=0)
    assert service.sync_maps(sync_map.sid).fetch().date_expires is None


def test_the_ttl_of_a_collection_alone_is_no_update_of_an_item(service: Any) -> None:
    list_item = service.sync_lists.create().sync_list_items.create(data={})
    map_item = service.sync_maps.create().sync_map_items.create(key="k", data={})

    for item in (list_item, map_item):
        with refusal(400, 54010):
            item.update(collection_ttl=60)


def test_an_update_of_data_does_not_move_the_expiry(service: Any) -> None:
    document = service.documents.create(ttl=3600)
    list_item = service.sync_lists.create().sync_list_items.create(data={}, ttl=3600)
    map_item = service.sync_maps.create().sync_map_items.create(key="k", data={}, ttl=3600)

    for created in (document, list_item, map_item):
        assert created.update(data={"new": True}).date_expires == created.date_expires


def test_a_ttl_alone_counts_as_an_update_of_documents_and_items(service: Any) -> None:
    document = service.documents.create(data={"kept": True})
    sync_list = service.sync_lists.create()
    list_item = sync_list.sync_list_items.create(data={"kept": True})
    sync_map = service.sync_maps.create()
    map_item = sync_map.sync_map_items.create(key="k", data={"kept": True})

    for created in (document, list_item, map_item):
        updated = created.update(ttl=60)
        assert (updated.revision, updated.data) == ("1", {"kept": True})
    assert service.sync_lists(sync_list.sid).fetch().revision == "2"
    assert service.sync_maps(sync_map.sid).fetch().revision == "2"


def test_the_ttl_of_a_collection_leaves_its_revision(service: Any) -> None:
    for objects in (service.sync_lists, service.sync_maps):
        created = objects.create()
        assert objects(created.sid).update(ttl=60).revision == "0"


@pytest.mark.parametrize("ttl", ["-1", str(YEAR + 1), "1.5", "soon", "1e3", "9" * 5000])
def test_a_ttl_out_of_range_is_refused_everywhere(raw: httpx.Client, ttl: str) -> None:
    assert raw.post("/Lists", data={"UniqueName": f"l{ttl[:9]}"}).status_code == 201
    assert raw.post("/Maps", data={"UniqueName": f"m{ttl[:9]}"}).status_code == 201
    items = {"lists": f"/Lists/l{ttl[:9]}", "maps": f"/Maps/m{ttl[:9]}"}

    for path in ("/Documents", "/Lists", "/Maps", "/Streams"):
        assert_refused(raw.post(path, data={"Ttl": ttl}), 400, 54011)
    for path in items.values():
        assert_refused(raw.post(path, data={"Ttl": ttl}), 400, 54011)
        assert_refused(raw.post(path, data={"CollectionTtl": ttl}), 400, 54011)
        for name in ("Ttl", "ItemTtl", "CollectionTtl"):
            form = {"Key": "k", "Data": "{}", name: ttl}
            assert_refused(raw.post(f"{path}/Items", data=form), 400, 54011)
        assert raw.get(f"{path}/Items").json()["items"] == []


def test_an_empty_ttl_is_allowed(raw: httpx.Client) -> None:
    created = raw.post("/Documents", data={"Ttl": ""})

    assert created.status_code == 201
    assert created.json()["date_expires"] is None


def test_an_expired_document_is_hidden_and_its_name_free(raw: httpx.Client) -> None:
    name = unused_name("doc")
    created = raw.post("/Documents", data={"UniqueName": name, "Ttl": "1"}).json()
    assert raw.get(f"/Documents/{name}").status_code == 200

    _wait_until(_is_gone(raw, f"/Documents/{name}", 54300))

    assert_refused(raw.get(f"/Documents/{created['sid']}"), 404, 54100)
    assert_refused(raw.post(f"/Documents/{created['sid']}", data={"Ttl": "60"}), 404, 54100)
    assert_refused(raw.delete(f"/Documents/{name}"), 404, 54300)
    listed = raw.get("/Documents", params={"PageSize": "100"}).json()["documents"]
    assert created["sid"] not in [document["sid"] for document in listed]
    again = raw.post("/Documents", data={"UniqueName": name})
    assert again.status_code == 201
    assert again.json()["sid"] != created["sid"]


def test_an_object_is_not_hidden_before_its_time(raw: httpx.Client) -> None:
    started = time.monotonic()
    created = raw.post("/Documents", data={"Ttl": "2"}).json()

    _wait_until(_is_gone(raw, f"/Documents/{created['sid']}", 54100))

    # Two seconds from the request; the server's clock may be read a moment after ours.
    assert time.monotonic() - started >= 1.9


def test_a_cancelled_ttl_keeps_the_object(raw: httpx.Client) -> None:
    doomed = raw.post("/Documents", data={"Ttl": "1"}).json()["sid"]
    kept = raw.post("/Documents", data={"Ttl": "1"}).json()["sid"]
    assert raw.post(f"/Documents/{kept}", data={"Ttl": "0"}).json()["date_expires"] is None

    _wait_until(_is_gone(raw, f"/Documents/{doomed}", 54100))

    assert raw.get(f"/Documents/{kept}").status_code == 200


def test_an_expired_stream_is_hidden(raw: httpx.Client) -> None:
    sid = raw.post("/Streams", data={"Ttl": "1"}).json()["sid"]

    _wait_until(_is_gone(raw, f"/Streams/{sid}", 54250))

    assert_refused(raw.post(f"/Streams/{sid}/Messages", data={"Data": "{}"}), 404, 54250)


@pytest.mark.parametrize(("path", "code"), [("/Lists", 54150), ("/Maps", 54200)])
def test_an_expired_collection_takes_its_items(raw: httpx.Client, path: str, code: int) -> None:
    name = unused_name("collection")
    sid = raw.post(path, data={"UniqueName": name, "CollectionTtl": "1"}).json()["sid"]
    form = {"Key": "k", "Data": "{}"}
    assert raw.post(f"{path}/{sid}/Items", data=form).status_code == 201

    _wait_until(_is_gone(raw, f"{path}/{sid}", code))

    assert_refused(raw.get(f"{path}/{sid}/Items"), 404, code)
    assert_refused(raw.post(f"{path}/{sid}/Items", data=form), 404, code)
    again = raw.post(path, data={"UniqueName": name}).json()
    assert again["revision"] == "0"
    assert raw.get(f"{path}/{name}/Items").json()["items"] == []


def test_an_expired_map_item_is_hidden_and_its_key_free(raw: httpx.Client) -> None:
    sid = raw.post("/Maps").json()["sid"]
    items = f"/Maps/{sid}/Items"
    raw.post(items, data={"Key": "kept", "Data": "{}"})
    first = raw.post(items, data={"Key": "k", "Data": "{}", "ItemTtl": "1"}).json()
    assert_refused(raw.post(items, data={"Key": "k", "Data": "{}"}), 409, 54208)

    _wait_until(_is_gone(raw, f"{items}/k", 54201))

    assert [item["key"] for item in raw.get(items).json()["items"]] == ["kept"]
    assert_refused(raw.post(f"{items}/k", data={"Data": "{}"}), 404, 54201)
    assert_refused(raw.delete(f"{items}/k"), 404, 54201)
    again = raw.post(items, data={"Key": "k", "Data": "{}"})
    assert again.status_code == 201
    assert int(again.json()["revision"], 16) > int(first["revision"], 16)


def test_an_expired_list_item_is_hidden_and_its_index_never_used_again(raw: httpx.Client) -> None:
    sid = raw.post("/Lists").json()["sid"]
    items = f"/Lists/{sid}/Items"
    assert raw.post(items, data={"Data": "{}"}).json()["index"] == 0
    assert raw.post(items, data={"Data": "{}", "Ttl": "1"}).json()["index"] == 1

    _wait_until(_is_gone(raw, f"{items}/1", 54151))

    assert [item["index"] for item in raw.get(items).json()["items"]] == [0]
    assert raw.post(items, data={"Data": "{}"}).json()["index"] == 2


def test_expiry_is_kept_over_a_restart(raw: httpx.Client, server: Any) -> None:
    doomed = raw.post("/Documents", data={"Ttl": "1"}).json()["sid"]
    kept = raw.post("/Documents", data={"Ttl": "3600"}).json()

    server.restart(keep_port=True)

    _wait_until(_is_gone(raw, f"/Documents/{doomed}", 54100))
    assert raw.get(f"/Documents/{kept['sid']}").json() == kept
