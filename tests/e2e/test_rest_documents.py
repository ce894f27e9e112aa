"""Documents through the official helper library. [REST 2.2, 3, 9]"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.helper import assert_about, is_sid, refusal
from tests.e2e.raw import NO_SUCH, unused_name
from tests.e2e.server import ServerProcess


def test_a_created_document_has_every_documented_field(
    client: Any, service: Any, server: ServerProcess
) -> None:
    name = unused_name("doc")

    created = service.documents.create(unique_name=name, data={"greeting": "héllo"})

    assert is_sid(created.sid, "ET")
    assert created.unique_name == name
    assert created.account_sid == server.credentials.account_sid
    assert created.service_sid == service.fetch().sid
    assert created.url == (
        f"{server.base_url}/v1/Services/{created.service_sid}/Documents/{created.sid}"
    )
    assert created.links == {"permissions": f"{created.url}/Permissions"}
    assert created.revision == "0"
    assert created.data == {"greeting": "héllo"}
    assert created.date_expires is None
    assert_about(created.date_created, datetime.now(UTC))
    assert created.date_updated == created.date_created
    assert created.created_by == "system"


def test_a_document_without_parameters_is_anonymous_and_empty(service: Any) -> None:
    created = service.documents.create()

    assert created.unique_name is None
    assert created.data == {}


def test_a_document_is_found_by_sid_and_by_unique_name(service: Any) -> None:
    created = service.documents.create(unique_name=unused_name("a doc, with spaces & é"))

    by_sid = service.documents(created.sid).fetch()
    by_name = service.documents(created.unique_name).fetch()

    assert by_sid.sid == by_name.sid == created.sid
    assert by_name.url == created.url


def test_an_update_replaces_the_whole_value_and_counts_one_revision(service: Any) -> None:
    created = service.documents.create(data={"a": 1, "b": 2})

    updated = service.documents(created.sid).update(data={"c": 3})

    assert (updated.data, updated.revision) == ({"c": 3}, "1")
    assert service.documents(created.sid).fetch().data == {"c": 3}
    assert updated.date_created == created.date_created


def test_revisions_are_hexadecimal_without_padding(service: Any) -> None:
    document = service.documents(service.documents.create().sid)

    revisions = [document.update(data={"n": n}).revision for n in range(17)]

    assert revisions == [*"123456789abcdef", "10", "11"]


def test_a_write_of_the_same_data_still_counts(service: Any) -> None:
    created = service.documents.create(data={"same": True})

    assert service.documents(created.sid).update(data={"same": True}).revision == "1"


def test_an_update_with_the_current_revision_is_made_and_a_stale_one_refused(service: Any) -> None:
    document = service.documents(service.documents.create(data={"n": 0}).sid)

    assert document.update(data={"n": 1}, if_match="0").revision == "1"
    with refusal(412, 54103):
        document.update(data={"n": 2}, if_match="0")
    with refusal(412, 54103):
        document.update(data={"n": 2}, if_match="2")

    assert document.fetch().data == {"n": 1}
    assert document.fetch().revision == "1"


def test_a_deleted_document_is_gone_and_its_name_is_free(service: Any) -> None:
    name = unused_name("doc")
    created = service.documents.create(unique_name=name)

    assert service.documents(name).delete() is True

    with refusal(404, 54100):
        service.documents(created.sid).fetch()
    with refusal(404, 54300):
        service.documents(name).fetch()
    with refusal(404, 54100):
        service.documents(created.sid).delete()
    with refusal(404, 54300):
        service.documents(name).update(data={})
    again = service.documents.create(unique_name=name)
    assert again.sid != created.sid
    assert again.revision == "0"


def test_a_unique_name_is_taken_once_per_type(service: Any) -> None:
    name = unused_name("shared")
    service.documents.create(unique_name=name)

    with refusal(409, 54301):
        service.documents.create(unique_name=name)
    assert service.sync_lists.create(unique_name=name).unique_name == name
    assert service.sync_maps.create(unique_name=name).unique_name == name
    assert service.sync_streams.create(unique_name=name).unique_name == name


@pytest.mark.parametrize("name", ["", "n" * 321, f"ET{NO_SUCH}", f"XX{NO_SUCH}"])
def test_a_bad_unique_name_is_refused_for_every_type(service: Any, name: str) -> None:
    for collection in (
        service.documents,
        service.sync_lists,
        service.sync_maps,
        service.sync_streams,
    ):
        with refusal(400, 54302):
            collection.create(unique_name=name)


@pytest.mark.parametrize("name", ["n" * 320, "é" * 320, f"et{NO_SUCH}", f"ET{NO_SUCH}0", "0"])
def test_names_up_to_320_characters_that_are_no_sid_are_accepted(service: Any, name: str) -> None:
    created = service.documents.create(unique_name=name)

    assert service.documents(name).fetch().sid == created.sid


def test_documents_are_listed_in_the_order_of_their_creation(client: Any) -> None:
    service = client.sync.v1.services.create()
    created = [service.documents.create(data={"n": n}).sid for n in range(7)]

    assert [document.sid for document in service.documents.list()] == created
    assert [document.sid for document in service.documents.list(limit=3)] == created[:3]
    assert [document.sid for document in service.documents.stream(page_size=2)] == created
    assert [document.data["n"] for document in service.documents.list()] == list(range(7))


@pytest.mark.parametrize("data", ["scalar", "7", "[1]", '"text"', "true", "{", '{"a":NaN}'])
def test_data_that_is_no_json_object_is_refused(service: Any, data: str) -> None:
    document = service.documents.create()

    with refusal(400, 54008):
        service.documents.create(data=data)
    with refusal(400, 54008):
        document.update(data=data)


def test_null_data_is_refused(service: Any) -> None:
    document = service.documents.create()

    with refusal(400, 54101):
        service.documents.create(data="null")
    with refusal(400, 54101):
        document.update(data="null")


def test_an_update_without_parameters_is_refused(service: Any) -> None:
    with refusal(400, 54010):
        service.documents.create().update()


def test_unknown_documents_are_not_found(service: Any) -> None:
    with refusal(404, 54100):
        service.documents(f"ET{NO_SUCH}").fetch()
    with refusal(404, 54300):
        service.documents("never made").fetch()


def test_the_response_carries_the_revision_as_entity_tag(service: Any) -> None:
    response = service.documents.create_with_http_info(data={"n": 0})

    assert response.status_code == 201
    assert response.headers["etag"] == '"0"'
    updated = response.data.update_with_http_info(data={"n": 1})
    assert (updated.status_code, updated.headers["etag"]) == (200, '"1"')
