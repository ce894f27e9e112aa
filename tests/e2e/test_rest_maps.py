"""Maps and their items through the official helper library. [REST 2.3, 2.5, 9]"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.helper import assert_about, is_sid, page_refusal, refusal
from tests.e2e.raw import NO_SUCH, unused_name
from tests.e2e.server import ServerProcess


@pytest.fixture
def items(service: Any) -> Any:
    """The items of a new, empty map."""
    return service.sync_maps(service.sync_maps.create().sid).sync_map_items


def test_a_created_map_has_every_documented_field(service: Any, server: ServerProcess) -> None:
    name = unused_name("map")

    created = service.sync_maps.create(unique_name=name)

    assert is_sid(created.sid, "MP")
    assert created.unique_name == name
    assert created.account_sid == server.credentials.account_sid
    assert created.service_sid == service.fetch().sid
    assert created.url == f"{server.base_url}/v1/Services/{created.service_sid}/Maps/{created.sid}"
    assert created.links == {
        "items": f"{created.url}/Items",
        "permissions": f"{created.url}/Permissions",
    }
    assert created.revision == "0"
    assert created.date_expires is None
    assert_about(created.date_created, datetime.now(UTC))
    assert created.date_updated == created.date_created
    assert created.created_by == "system"


def test_a_map_is_found_by_name_listed_and_deleted(client: Any) -> None:
    service = client.sync.v1.services.create()
    first = service.sync_maps.create(unique_name="first")
    second = service.sync_maps.create()

    assert [found.sid for found in service.sync_maps.list()] == [first.sid, second.sid]
    assert service.sync_maps("first").fetch().sid == first.sid
    assert service.sync_maps("first").delete() is True
    with refusal(404, 54200):
        service.sync_maps(first.sid).fetch()
    with refusal(404, 54300):
        service.sync_maps("first").sync_map_items.create(key="k", data={})


def test_an_update_of_a_map_needs_a_parameter(service: Any) -> None:
    with refusal(400, 54010):
        service.sync_maps.create().update()


def test_the_first_item_has_revision_zero_and_moves_the_map_to_one(
    service: Any, server: ServerProcess
) -> None:
    created = service.sync_maps.create()

    item = service.sync_maps(created.sid).sync_map_items.create(key="alice", data={"n": 1})

    assert item.key == "alice"
    assert item.revision == "0"
    assert item.data == {"n": 1}
    assert item.map_sid == created.sid
    assert item.service_sid == created.service_sid
    assert item.account_sid == server.credentials.account_sid
    assert item.url == f"{created.url}/Items/alice"
    assert item.date_expires is None
    assert item.date_updated == item.date_created
    assert item.created_by == "system"
    after = service.sync_maps(created.sid).fetch()
    assert after.revision == "1"
    assert after.date_updated == item.date_updated


def test_every_item_event_takes_the_next_number_of_its_map(service: Any) -> None:
    sync_map = service.sync_maps(service.sync_maps.create().sid)
    items = sync_map.sync_map_items

    assert items.create(key="a", data={}).revision == "0"
    assert items.create(key="b", data={}).revision == "1"
    assert items("a").update(data={"n": 1}).revision == "2"
    assert items("a").delete() is True  # event 3
    assert items.create(key="a", data={}).revision == "4"
    assert items("b").fetch().revision == "1"
    assert sync_map.fetch().revision == "5"
    for _ in range(12):
        items("b").update(data={})
    assert items("b").fetch().revision == "10"
    assert sync_map.fetch().revision == "11"


def test_an_item_is_replaced_fetched_and_deleted(items: Any) -> None:
    items.create(key="k", data={"a": 1})

    updated = items("k").update(data={"b": 2})

    assert (updated.key, updated.data, updated.revision) == ("k", {"b": 2}, "1")
    assert items("k").fetch().data == {"b": 2}
    assert items("k").delete() is True
    with refusal(404, 54201):
        items("k").fetch()
    with refusal(404, 54201):
        items("k").update(data={})
    with refusal(404, 54201):
        items("k").delete()


def test_a_key_is_created_once_and_an_update_never_creates(items: Any) -> None:
    items.create(key="k", data={"n": 1})

    with refusal(409, 54208):
        items.create(key="k", data={"n": 2})
    with refusal(404, 54201):
        items("other").update(data={})

    assert items("k").fetch().data == {"n": 1}
    assert [item.key for item in items.list()] == ["k"]


def test_keys_are_case_sensitive_text_of_up_to_320_characters(items: Any) -> None:
    keys = ["k", "K", "two words", "ключ", "🐦", "a.b:c@d&e=f+g%h", "x" * 320, "é" * 320]
    for key in keys:
        items.create(key=key, data={"key": key})

    assert sorted(item.key for item in items.list()) == sorted(keys)
    for key in set(keys) - {"a.b:c@d&e=f+g%h"}:  # the helper does not encode a percent sign
        assert items(key).fetch().data == {"key": key}


def test_bad_keys_are_refused(items: Any) -> None:
    for key in ("", "x" * 321):
        with refusal(400, 54209):
            items.create(key=key, data={})


def test_a_conditional_update_compares_the_revision_of_the_item(items: Any) -> None:
    items.create(key="a", data={})
    items.create(key="b", data={})

    # The map is at revision 2 by now, the item still at 0.
    with refusal(412, 54205):
        items("a").update(data={}, if_match="2")
    assert items("a").update(data={"n": "new"}, if_match="0").revision == "2"
    with refusal(412, 54205):
        items("a").update(data={}, if_match="0")
    assert items("a").fetch().data == {"n": "new"}


def test_a_key_made_again_has_a_revision_no_old_condition_meets(items: Any) -> None:
    items.create(key="k", data={})
    items("k").delete()

    assert items.create(key="k", data={}).revision == "2"
    with refusal(412, 54205):
        items("k").update(data={}, if_match="0")


def test_deleting_a_map_takes_its_items(service: Any) -> None:
    name = unused_name("map")
    created = service.sync_maps.create(unique_name=name)
    created.sync_map_items.create(key="k", data={})
    created.delete()

    again = service.sync_maps.create(unique_name=name)

    assert again.sync_map_items.list() == []
    assert again.sync_map_items.create(key="k", data={}).revision == "0"


def test_refused_item_data(items: Any) -> None:
    items.create(key="k", data={})
    for data, code in (("text", 54008), ("[]", 54008), ("null", 54206)):
        with refusal(400, code):
            items.create(key="new", data=data)
        with refusal(400, code):
            items("k").update(data=data)
    with refusal(413, 54006):
        items.create(key="new", data={"text": "x" * 16384})
    with refusal(400, 54010):
        items("k").update()
    assert [item.key for item in items.list()] == ["k"]


def test_items_of_unknown_maps_are_refused(service: Any) -> None:
    with page_refusal(404, 54200):
        service.sync_maps(f"MP{NO_SUCH}").sync_map_items.list()
    with refusal(404, 54200):
        service.sync_maps(f"MP{NO_SUCH}").sync_map_items.create(key="k", data={})
    with refusal(404, 54300):
        service.sync_maps("never made").sync_map_items("k").fetch()
