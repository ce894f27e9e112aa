"""The events of an object: who changed what, and when."""

from __future__ import annotations

from typing import Any

from tests.rest.asgi import Api


async def events_of(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = await api.get(f"{path}/Events", **query)
    assert answer.status == 200
    events: list[dict[str, Any]] = answer.json["events"]
    return events


async def test_a_maps_whole_life_is_told_in_order(api: Api) -> None:
    await api.make("/Maps", UniqueName="m")
    await api.post("/Maps/m/Items", Key="k", Data='{"n":1}')
    await api.post("/Maps/m/Items/k", Data='{"n":2}')
    await api.post("/Maps/m/Permissions/alice", Read="true")
    await api.post("/Maps/m", CollectionTtl=60)
    await api.delete("/Maps/m/Items/k")
    events = await events_of(api, "/Maps/m")
    assert [event["type"] for event in events] == [
        "map_created",
        "map_item_added",
        "map_item_updated",
        "map_permission_set",
        "map_expiry_set",
        "map_item_removed",
    ]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["event_id"] for event in events] == [None, 0, 1, None, None, 2]
    assert [event["revision"] for event in events] == ["0", "1", "2", "2", "2", "3"]
    assert events[2]["data"] == {"n": 2}
    assert events[2]["item_revision"] == "1"
    assert events[2]["key"] == "k"
    assert events[3]["key"] == "alice"
    assert events[4]["date_expires"] is not None
    assert {event["identity"] for event in events} == {"system"}
    assert all(event["request_id"].startswith("RQ") for event in events)


async def test_pages_lead_both_ways_and_from_is_a_sequence(api: Api) -> None:
    await api.make("/Documents", UniqueName="d", Data="{}")
    for number in range(9):
        await api.post("/Documents/d", Data=f'{{"n":{number}}}')
    first = (await api.get("/Documents/d/Events", PageSize=4)).json
    second = (await api.get(first["meta"]["next_page_url"])).json
    assert [event["sequence"] for event in second["events"]] == [5, 6, 7, 8]
    back = (await api.get(second["meta"]["previous_page_url"])).json
    assert back["events"] == first["events"]
    newest = await events_of(api, "/Documents/d", Order="desc", PageSize=2)
    assert [event["sequence"] for event in newest] == [10, 9]
    middle = await events_of(api, "/Documents/d", From=7, Bounds="exclusive")
    assert [event["sequence"] for event in middle] == [8, 9, 10]
    assert (await api.get("/Documents/d/Events", From="x")).code == 20001


async def test_the_events_of_a_removed_object_are_told_by_its_sid(api: Api) -> None:
    made = await api.make("/Lists", UniqueName="l")
    await api.post("/Lists/l/Items", Data='{"n":1}')
    await api.delete("/Lists/l")
    events = await events_of(api, f"/Lists/{made['sid']}")
    assert [event["type"] for event in events] == [
        "list_created",
        "list_item_added",
        "list_removed",
    ]
    assert events[1]["key"] == 0
    assert (await api.get("/Lists/l/Events")).code == 54300
    guessed = made["sid"][:-1] + ("0" if made["sid"][-1] != "0" else "1")
    assert (await api.get(f"/Lists/{guessed}/Events")).code == 54150
    for plural, prefix, code in (("Maps", "MP", 54200), ("Documents", "ET", 54100)):
        assert (await api.get(f"/{plural}/{prefix}{made['sid'][2:]}/Events")).code == code
    assert (await api.get(f"/Lists/ES{'0' * 32}/Events")).code == 54150


async def test_the_events_of_an_expired_object_are_told_before_it_is_removed(api: Api) -> None:
    made = await api.make("/Documents", Ttl=1)
    api.clock.advance(1)
    assert (await api.get(f"/Documents/{made['sid']}")).status == 404
    [created] = await events_of(api, f"/Documents/{made['sid']}")
    assert created["type"] == "document_created"


async def test_what_is_or_was_of_another_service_is_not_told(api: Api) -> None:
    """The other one may be of another account."""
    made = await api.make("/Documents", Data='{"secret":1}')
    other = (await api.post("/v1/Services", FriendlyName="other")).json["sid"]
    there = f"/v1/Services/{other}/Documents/{made['sid']}/Events"
    assert (await api.get(there)).status == 404
    await api.delete(f"/Documents/{made['sid']}")
    assert (await api.get(there)).status == 404
    removed = (await events_of(api, f"/Documents/{made['sid']}"))[-1]
    assert (removed["type"], removed["key"]) == ("document_removed", None)


async def test_streams_have_no_revision(api: Api) -> None:
    await api.make("/Streams", UniqueName="s")
    [created] = await events_of(api, "/Streams/s")
    assert (created["type"], created["revision"], created["data"]) == ("stream_created", None, None)
