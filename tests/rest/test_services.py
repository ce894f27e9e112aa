"""Services. [rest-api 2.1]"""

import pytest

from tests.rest.asgi import ACCOUNT_SID, BASE, NO_SUCH, Api

SERVICES = "/v1/Services"


async def test_a_new_service_has_the_documented_defaults(api: Api) -> None:
    created = await api.make(SERVICES)
    url = f"{BASE}/v1/Services/{created['sid']}"
    assert created | {"sid": ""} == {
        "sid": "",
        "unique_name": None,
        "account_sid": ACCOUNT_SID,
        "friendly_name": None,
        "date_created": "2026-05-28T20:26:40Z",
        "date_updated": "2026-05-28T20:26:40Z",
        "url": url,
        "webhook_url": None,
        "webhooks_from_rest_enabled": False,
        "reachability_webhooks_enabled": False,
        "acl_enabled": False,
        "reachability_debouncing_enabled": False,
        "reachability_debouncing_window": 5000,
        "links": {
            "documents": f"{url}/Documents",
            "lists": f"{url}/Lists",
            "maps": f"{url}/Maps",
            "streams": f"{url}/Streams",
        },
    }


@pytest.mark.parametrize(
    ("parameter", "field", "sent", "stored"),
    [
        ("FriendlyName", "friendly_name", "Café", "Café"),
        ("WebhookUrl", "webhook_url", "https://h.test/?a=1&b=2", "https://h.test/?a=1&b=2"),
        ("WebhooksFromRestEnabled", "webhooks_from_rest_enabled", "true", True),
        ("ReachabilityWebhooksEnabled", "reachability_webhooks_enabled", "True", True),
        ("AclEnabled", "acl_enabled", "TRUE", True),
        ("ReachabilityDebouncingEnabled", "reachability_debouncing_enabled", "true", True),
        ("ReachabilityDebouncingWindow", "reachability_debouncing_window", "30000", 30000),
    ],
)
async def test_every_setting_is_created_updated_and_kept(
    api: Api, parameter: str, field: str, sent: str, stored: object
) -> None:
    created = await api.make(SERVICES, **{parameter: sent})
    assert created[field] == stored
    plain = await api.make(SERVICES)
    api.clock.advance(5)
    updated = (await api.post(f"{SERVICES}/{plain['sid']}", **{parameter: sent})).json
    assert updated == plain | {field: stored, "date_updated": "2026-05-28T20:26:45Z"}
    assert (await api.get(f"{SERVICES}/{plain['sid']}")).json == updated


@pytest.mark.parametrize(
    ("parameter", "value", "code"),
    [
        ("FriendlyName", "", 54053),
        ("FriendlyName", "n" * 256, 54053),
        ("FriendlyName", "a\0b", 54053),
        ("WebhookUrl", "ftp://h.test", 54051),
        ("WebhookUrl", "h.test", 54051),
        ("WebhookUrl", "https://", 54051),
        ("WebhookUrl", "http://h.test/\0", 54051),
        ("WebhookUrl", "http://" + "h" * 506, 54051),
        ("ReachabilityDebouncingWindow", "999", 20001),
        ("ReachabilityDebouncingWindow", "30001", 20001),
        ("ReachabilityDebouncingWindow", "-1", 20001),
        ("ReachabilityDebouncingWindow", "soon", 20001),
        ("ReachabilityDebouncingWindow", "", 20001),
        ("AclEnabled", "yes", 20001),
        ("AclEnabled", "", 20001),
        ("WebhooksFromRestEnabled", "1", 20001),
        ("ReachabilityWebhooksEnabled", "1", 20001),
        ("ReachabilityDebouncingEnabled", "1", 20001),
    ],
)
async def test_a_bad_setting_is_refused_and_changes_nothing(
    api: Api, parameter: str, value: str, code: int
) -> None:
    service = await api.make(SERVICES)
    for path in (SERVICES, f"{SERVICES}/{service['sid']}"):
        answer = await api.post(path, **({"FriendlyName": "new"} | {parameter: value}))
        assert (answer.status, answer.code) == (400, code)
        assert parameter in answer.json["message"]
    assert (await api.get(SERVICES)).json["services"] == [service]


async def test_an_empty_webhook_url_clears_it(api: Api) -> None:
    service = await api.make(SERVICES, WebhookUrl="https://h.test/")
    assert (await api.post(f"{SERVICES}/{service['sid']}", WebhookUrl="")).json[
        "webhook_url"
    ] is None


async def test_an_update_without_a_parameter_is_refused(api: Api) -> None:
    service = await api.make(SERVICES)
    for form in ({}, {"Unknown": "1"}):
        assert (await api.post(f"{SERVICES}/{service['sid']}", **form)).code == 54010


async def test_the_default_service_is_made_by_its_first_use_and_made_anew(api: Api) -> None:
    first = (await api.get(f"{SERVICES}/default")).json
    assert (first["unique_name"], first["friendly_name"]) == ("default", "Default Service")
    assert (await api.get(f"{SERVICES}/{first['sid']}")).json == first
    assert (await api.delete(f"{SERVICES}/default")).status == 204
    assert (await api.get(f"{SERVICES}/default")).json["sid"] != first["sid"]


async def test_a_deleted_service_is_gone_with_all_inside(api: Api) -> None:
    service = await api.make(SERVICES)
    path = f"{SERVICES}/{service['sid']}"
    await api.make(f"{path}/Documents", UniqueName="d")
    assert (await api.delete(path)).status == 204
    for answer in (
        await api.get(path),
        await api.post(path, FriendlyName="x"),
        await api.delete(path),
        await api.get(f"{path}/Documents/d"),
        await api.get(f"{path}/Documents"),
    ):
        assert (answer.status, answer.code) == (404, 54050)


@pytest.mark.parametrize("name", [f"IS{NO_SUCH}", f"ET{NO_SUCH}", "no-such-name", "Default"])
async def test_unknown_services_are_not_found(api: Api, name: str) -> None:
    assert (await api.get(f"{SERVICES}/{name}")).code == 54050


async def test_services_are_paged_in_the_order_of_their_creation(api: Api) -> None:
    created = []
    for _ in range(5):
        created.append((await api.make(SERVICES))["sid"])
        api.clock.advance(0.001)
    page = (await api.get(SERVICES, PageSize=2)).json
    listed = [service["sid"] for service in page["services"]]
    while page["meta"]["next_page_url"]:
        page = (await api.get(page["meta"]["next_page_url"])).json
        listed += [service["sid"] for service in page["services"]]
    assert listed == created
    back = (await api.get(page["meta"]["previous_page_url"])).json
    assert [service["sid"] for service in back["services"]] == listed[2:4]
