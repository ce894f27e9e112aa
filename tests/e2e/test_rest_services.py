"""Services through the official helper library. [REST 2.1]"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.e2e.helper import assert_about, is_sid, page_refusal, refusal
from tests.e2e.raw import NO_SUCH, unused_name
from tests.e2e.server import ServerProcess


def test_a_created_service_has_the_documented_defaults(client: Any, server: ServerProcess) -> None:
    created = client.sync.v1.services.create()

    assert is_sid(created.sid, "IS")
    assert created.account_sid == server.credentials.account_sid
    assert created.unique_name is None
    assert created.friendly_name is None
    assert created.webhook_url is None
    assert created.webhooks_from_rest_enabled is False
    assert created.reachability_webhooks_enabled is False
    assert created.acl_enabled is False
    assert created.reachability_debouncing_enabled is False
    assert created.reachability_debouncing_window == 5000
    assert created.url == f"{server.base_url}/v1/Services/{created.sid}"
    assert created.links == {
        "documents": f"{created.url}/Documents",
        "lists": f"{created.url}/Lists",
        "maps": f"{created.url}/Maps",
        "streams": f"{created.url}/Streams",
    }
    assert_about(created.date_created, datetime.now(UTC))
    assert created.date_updated == created.date_created


def test_every_parameter_of_a_service_can_be_created_and_updated(client: Any) -> None:
    created = client.sync.v1.services.create(
        friendly_name="Café ☕",
        webhook_url="https://example.test/hook?a=1&b=2",
        reachability_webhooks_enabled=True,
        acl_enabled=True,
        reachability_debouncing_enabled=True,
        reachability_debouncing_window=1000,
        webhooks_from_rest_enabled=True,
    )
    fetched = client.sync.v1.services(created.sid).fetch()
    assert fetched.friendly_name == "Café ☕"
    assert fetched.webhook_url == "https://example.test/hook?a=1&b=2"
    assert fetched.reachability_webhooks_enabled is True
    assert fetched.acl_enabled is True
    assert fetched.reachability_debouncing_enabled is True
    assert fetched.reachability_debouncing_window == 1000
    assert fetched.webhooks_from_rest_enabled is True

    updated = fetched.update(
        friendly_name="Tea",
        webhook_url="http://example.test/",
        reachability_webhooks_enabled=False,
        acl_enabled=False,
        reachability_debouncing_enabled=False,
        reachability_debouncing_window=30000,
        webhooks_from_rest_enabled=False,
    )
    assert updated.sid == created.sid
    assert updated.friendly_name == "Tea"
    assert updated.webhook_url == "http://example.test/"
    assert updated.reachability_webhooks_enabled is False
    assert updated.acl_enabled is False
    assert updated.reachability_debouncing_enabled is False
    assert updated.reachability_debouncing_window == 30000
    assert updated.webhooks_from_rest_enabled is False


def test_an_update_leaves_what_it_does_not_name(client: Any) -> None:
    created = client.sync.v1.services.create(friendly_name="Kept", acl_enabled=True)

    updated = created.update(reachability_debouncing_window=2000)

    assert (updated.friendly_name, updated.acl_enabled) == ("Kept", True)


def test_an_empty_webhook_url_clears_it(client: Any) -> None:
    created = client.sync.v1.services.create(webhook_url="https://example.test/")

    assert created.update(webhook_url="").webhook_url is None


def test_the_default_service_answers_to_its_alias_and_to_its_sid(client: Any) -> None:
    by_alias = client.sync.v1.services("default").fetch()
    by_sid = client.sync.v1.services(by_alias.sid).fetch()

    assert by_alias.unique_name == "default"
    assert by_alias.friendly_name == "Default Service"
    assert by_sid.sid == by_alias.sid
    assert by_alias.url.endswith(by_alias.sid)


def test_objects_made_under_the_alias_belong_to_the_default_service(client: Any) -> None:
    default = client.sync.v1.services("default").fetch()
    document = client.sync.v1.services("default").documents.create()

    assert document.service_sid == default.sid
    assert client.sync.v1.services(default.sid).documents(document.sid).fetch().sid == document.sid


def test_services_are_listed_in_the_order_of_their_creation(client: Any) -> None:
    created = [client.sync.v1.services.create(friendly_name=unused_name()).sid for _ in range(5)]

    listed = [service.sid for service in client.sync.v1.services.list()]
    paged = [service.sid for service in client.sync.v1.services.stream(page_size=2)]

    assert [sid for sid in listed if sid in created] == created
    assert paged == listed


def test_objects_of_one_service_are_unknown_in_another(client: Any) -> None:
    one = client.sync.v1.services.create()
    other = client.sync.v1.services.create()
    document = one.documents.create(unique_name="here")

    with refusal(404, 54100):
        client.sync.v1.services(other.sid).documents(document.sid).fetch()
    with refusal(404, 54300):
        client.sync.v1.services(other.sid).documents("here").fetch()
    assert other.documents.create(unique_name="here").sid != document.sid


def test_deleting_a_service_takes_everything_inside_with_it(client: Any) -> None:
    service = client.sync.v1.services.create()
    service.documents.create(unique_name="inside")

    assert service.delete() is True

    with refusal(404, 54050):
        client.sync.v1.services(service.sid).fetch()
    with refusal(404, 54050):
        client.sync.v1.services(service.sid).documents("inside").fetch()
    with refusal(404, 54050):
        client.sync.v1.services(service.sid).delete()


def test_the_default_service_is_made_anew_after_its_deletion(client: Any) -> None:
    before = client.sync.v1.services("default").fetch()
    client.sync.v1.services("default").documents.create(unique_name="gone with it")

    client.sync.v1.services("default").delete()
    after = client.sync.v1.services("default").fetch()

    assert after.sid != before.sid
    assert after.unique_name == "default"
    with refusal(404, 54300):
        client.sync.v1.services("default").documents("gone with it").fetch()


def test_an_unknown_service_is_not_found(client: Any) -> None:
    with refusal(404, 54050):
        client.sync.v1.services(f"IS{NO_SUCH}").fetch()
    with page_refusal(404, 54050):
        client.sync.v1.services("no such name").documents.list()


def test_refused_parameters_of_a_service(client: Any) -> None:
    services = client.sync.v1.services
    for url in ("ftp://example.test/", "example.test", "/path", "https://", "http://" + "x" * 506):
        with refusal(400, 54051):
            services.create(webhook_url=url)
    with refusal(400, 54053):
        services.create(friendly_name="n" * 256)
    for window in (999, 30001, -1, "soon", "1.5"):
        with refusal(400, 20001):
            services.create(reachability_debouncing_window=window)
    created = services.create(friendly_name="n" * 255, webhook_url="http://h.test/" + "x" * 498)
    with refusal(400, 54010):
        created.update()
    with refusal(400, 54053):
        created.update(friendly_name="n" * 256)


def test_an_api_key_reaches_the_services_of_its_account(client: Any, key_client: Any) -> None:
    created = client.sync.v1.services.create(friendly_name="Shared")

    assert key_client.sync.v1.services(created.sid).fetch().friendly_name == "Shared"
    assert key_client.sync.v1.services("default").documents.create().created_by == "system"
