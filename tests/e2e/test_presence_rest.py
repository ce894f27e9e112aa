"""The REST side of presence: settings, bad input, and identities of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.raw import raw_client
from tests.e2e.server import ServerProcess


@pytest.fixture
def raw(server: ServerProcess) -> Iterator[httpx.Client]:
    """Below a service of the test's own."""
    with raw_client(server) as client:
        created = client.post(f"{server.base_url}/v1/Services").raise_for_status().json()
        client.base_url = httpx.URL(f"{server.base_url}/v1/Services/{created['sid']}")
        yield client


def test_presence_is_off_until_it_is_switched_on(raw: httpx.Client) -> None:
    settings = raw.get("/Presence").raise_for_status().json()
    assert {name: settings[name] for name in settings if "sid" not in name} == {
        "enabled": False,
        "map_unique_name": None,
        "on_disconnect_enabled": False,
        "on_disconnect_map_unique_name": None,
        "window": 2000,
        "url": f"{raw.base_url}".rstrip("/") + "/Presence",
    }
    assert raw.get("/Maps/presence").status_code == 404


def test_what_is_not_given_stays_as_it_is(raw: httpx.Client) -> None:
    form = {"Enabled": "true", "MapUniqueName": "who", "OnDisconnectEnabled": "TRUE"}
    first = raw.post("/Presence", data=form).raise_for_status().json()
    again = raw.post("/Presence", data={"Enabled": "true"}).raise_for_status().json()
    assert again == first == raw.get("/Presence").json()
    assert (again["map_unique_name"], again["on_disconnect_map_unique_name"]) == (
        "who",
        "on-disconnect",
    )
    assert raw.get("/Maps/who").json()["sid"] == again["map_sid"]
    off = raw.post("/Presence", data={"OnDisconnectEnabled": "false"}).raise_for_status().json()
    assert (off["enabled"], off["on_disconnect_enabled"]) == (True, False)
    assert raw.get("/Maps/on-disconnect").status_code == 404


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({}, 400, 54010),
        ({"Colour": "red"}, 400, 54010),
        ({"Enabled": "maybe"}, 400, 20001),
        ({"Enabled": ""}, 400, 20001),
        ({"MapUniqueName": "who"}, 400, 20001),
        ({"OnDisconnectMapUniqueName": "acts", "OnDisconnectEnabled": "false"}, 400, 20001),
        ({"Enabled": "true", "MapUniqueName": ""}, 400, 54302),
        ({"Enabled": "true", "MapUniqueName": "x" * 321}, 400, 54302),
        ({"Enabled": "true", "MapUniqueName": "MP" + "0" * 32}, 400, 54302),
        ({"Enabled": "true", "MapUniqueName": "a\0b"}, 400, 54302),
        (
            {
                "Enabled": "true",
                "MapUniqueName": "x",
                "OnDisconnectEnabled": "true",
                "OnDisconnectMapUniqueName": "x",
            },
            400,
            20001,
        ),
    ],
)
def test_bad_settings_are_refused_and_change_nothing(
    raw: httpx.Client, form: dict[str, str], status: int, code: int
) -> None:
    answer = raw.post("/Presence", data=form)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert raw.get("/Presence").json()["enabled"] is False
    assert raw.get("/Maps").json()["maps"] == []


def test_presence_of_no_service_is_not_found(raw: httpx.Client, server: ServerProcess) -> None:
    for sid in ("IS" + "0" * 32, "nonsense"):
        url = f"{server.base_url}/v1/Services/{sid}/Presence"
        assert raw.get(url).json()["code"] == 54050
        assert raw.post(url, data={"Enabled": "true"}).json()["code"] == 54050
    assert raw.delete("/Presence").status_code == 405


def test_what_the_server_keeps_is_not_for_rest_to_change(raw: httpx.Client) -> None:
    form = {"Enabled": "true", "OnDisconnectEnabled": "true"}
    settings = raw.post("/Presence", data=form).raise_for_status().json()
    for name in ("presence", settings["map_sid"], "on-disconnect"):
        for answer in (
            raw.post(f"/Maps/{name}", data={"Ttl": "5"}),
            raw.post(f"/Maps/{name}/Items", data={"Key": "k", "Data": "{}", "CollectionTtl": "5"}),
            raw.delete(f"/Maps/{name}"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, 54007)
    name = "/Documents/starlings.presence"
    assert raw.get(name).json()["data"]["presence"]["sid"] == settings["map_sid"]
    assert raw.post(name, data={"Data": "{}"}).status_code == 403
    assert raw.delete(name).status_code == 403
    taken = raw.post("/Documents", data={"UniqueName": "starlings.presence"})
    assert (taken.status_code, taken.json()["code"]) == (400, 54302)
    grant = {"Read": "true", "Write": "false", "Manage": "false"}
    assert raw.post("/Maps/presence/Permissions/alice", data=grant).status_code == 200


def test_removing_the_service_ends_its_presence(raw: httpx.Client) -> None:
    raw.post("/Presence", data={"Enabled": "true"}).raise_for_status()
    assert raw.delete("").status_code == 204
    assert raw.get("/Presence").status_code == 404
