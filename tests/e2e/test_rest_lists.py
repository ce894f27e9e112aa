"""Lists and their items through the official helper library. [REST 2.3, 2.4, 9]"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.helper import assert_about, is_sid, page_refusal, refusal
from tests.e2e.raw import NO_SUCH, unused_name
from tests.e2e.server import ServerProcess


@pytest.fixture
def items(service: Any) -> Any:
    """The items of a new, empty list."""
    return service.sync_lists(service.sync_lists.create().sid).sync_list_items


def test_a_created_list_has_every_documented_field(service: Any, server: ServerProcess) -> None:
    name = unused_name("list")

    created = service.sync_lists.create(unique_name=name)

    assert is_sid(created.sid, "ES")
    assert created.unique_name == name
    assert created.account_sid == server.credentials.account_sid
    assert created.service_sid == service.fetch().sid
    assert created.url == f"{server.base_url}/v1/Services/{created.service_sid}/Lists/{created.sid}"
    assert created.links == {
        "items": f"{created.url}/Items",
        "permissions": f"{created.url}/Permissions",
    }
    assert created.revision == "0"
    assert created.date_expires is None
    assert_about(created.date_created, datetime.now(UTC))
    assert created.date_updated == created.date_created
    assert created.created_by == "system"


def test_a_list_is_found_by_name_listed_and_deleted(client: Any) -> None:
    service = client.sync.v1.services.create()
    first = service.sync_lists.create(unique_name="first")
    second = service.sync_lists.create()

    assert [found.sid for found in service.sync_lists.list()] == [first.sid, second.sid]
    assert service.sync_lists("first").fetch().sid == first.sid
    assert service.sync_lists("first").delete() is True
    with refusal(404, 54150):
        service.sync_lists(first.sid).fetch()
    with refusal(404, 54300):
        service.sync_lists("first").sync_list_items.create(data={})


def test_an_update_of_a_list_needs_a_parameter(service: Any) -> None:
    with refusal(400, 54010):
        service.sync_lists.create().update()


def test_the_first_item_has_index_and_revision_zero_and_moves_the_list_to_one(
    service: Any, server: ServerProcess
) -> None:
    created = service.sync_lists.create()

    item = service.sync_lists(created.sid).sync_list_items.create(data={"n": "first"})

    assert item.index == 0
    assert item.revision == "0"
    assert item.data == {"n": "first"}
    assert item.list_sid == created.sid
    assert item.service_sid == created.service_sid
    assert item.account_sid == server.credentials.account_sid
    assert item.url == f"{created.url}/Items/0"
    assert item.date_expires is None
    assert item.date_updated == item.date_created
    assert item.created_by == "system"
    after = service.sync_lists(created.sid).fetch()
    assert after.revision == "1"
    assert after.date_updated == item.date_updated


def test_every_item_event_takes_the_next_number_of_its_list(service: Any) -> None:
    sync_list = service.sync_lists(service.sync_lists.create().sid)
    items = sync_list.sync_list_items

    assert [items.create(data={"n": n}).revision for n in range(3)] == ["0", "1", "2"]
    assert items(1).update(data={"n": "one"}).revision == "3"
    assert items(0).delete() is True  # event 4
    assert sync_list.fetch().revision == "5"
    created = items.create(data={})
    assert (created.index, created.revision) == (3, "5")
    assert items(1).fetch().revision == "3"
    assert items(2).fetch().revision == "2"
    for _ in range(11):
        items(1).update(data={})
    assert items(1).fetch().revision == "10"
    assert sync_list.fetch().revision == "11"


def test_indexes_are_never_used_again(items: Any) -> None:
    assert [items.create(data={}).index for _ in range(3)] == [0, 1, 2]
    items(2).delete()
    items(1).delete()

    assert items.create(data={}).index == 3
    for index in (1, 2):
        with refusal(404, 54151):
            items(index).fetch()


def test_an_item_is_replaced_fetched_and_deleted(items: Any) -> None:
    items.create(data={"a": 1})

    updated = items(0).update(data={"b": 2})

    assert (updated.index, updated.data, updated.revision) == (0, {"b": 2}, "1")
    assert items(0).fetch().data == {"b": 2}
    assert items(0).delete() is True
    with refusal(404, 54151):
        items(0).fetch()
    with refusal(404, 54151):
        items(0).update(data={})
    with refusal(404, 54151):
        items(0).delete()


def test_a_conditional_update_compares_the_revision_of_the_item(items: Any) -> None:
    items.create(data={"n": 0})
    items.create(data={"n": 1})

    # The list is at revision 2 by now, the item still at 0.
    with refusal(412, 54155):
        items(0).update(data={}, if_match="2")
    assert items(0).update(data={"n": "new"}, if_match="0").revision == "2"
    with refusal(412, 54155):
        items(0).update(data={}, if_match="0")
    assert items(0).fetch().data == {"n": "new"}


def test_deleting_a_list_takes_its_items(service: Any) -> None:
    name = unused_name("list")
    created = service.sync_lists.create(unique_name=name)
    created.sync_list_items.create(data={})
    created.delete()

    again = service.sync_lists.create(unique_name=name)

    assert again.revision == "0"
    assert again.sync_list_items.list() == []
    assert again.sync_list_items.create(data={}).index == 0


def test_refused_item_data(items: Any) -> None:
    items.create(data={})
    for data, code in (("text", 54008), ("[]", 54008), ("null", 54156)):
        with refusal(400, code):
            items.create(data=data)
        with refusal(400, code):
            items(0).update(data=data)
    with refusal(413, 54006):
        items.create(data={"text": "x" * 16384})
    with refusal(400, 54010):
        items(0).update()


def test_a_refused_append_leaves_no_trace(service: Any) -> None:
    sync_list = service.sync_lists(service.sync_lists.create().sid)
    with refusal(400, 54008):
        sync_list.sync_list_items.create(data="text")

    assert sync_list.fetch().revision == "0"
    assert sync_list.sync_list_items.create(data={}).revision == "0"


def test_items_of_unknown_lists_are_refused(service: Any) -> None:
    with page_refusal(404, 54150):
        service.sync_lists(f"ES{NO_SUCH}").sync_list_items.list()
    with refusal(404, 54150):
        service.sync_lists(f"ES{NO_SUCH}").sync_list_items.create(data={})
    with refusal(404, 54300):
        service.sync_lists("never made").sync_list_items(0).fetch()
    with refusal(404, 54150):
        service.sync_lists(f"MP{NO_SUCH}").fetch()


def test_a_bad_index_is_refused(service: Any, items: Any) -> None:
    for index in ("one", "-1", "1.5"):
        with refusal(400, 54458):
            items(index).fetch()
        with refusal(400, 54458):
            items(index).delete()
        with page_refusal(400, 54458):
            items.list(from_=index)
    with refusal(404, 54151):
        items(10**30).fetch()
