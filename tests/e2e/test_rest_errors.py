"""The table of refusals: each code that REST can produce, with its status and shape. [REST 11]

54007, 54419, 54450 and the live query codes need a client's session; 54056 is in
`test_rest_accounts`, rates (54009) in `test_rest_limits`, access tokens in the tests of the socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.raw import NO_SUCH, assert_refused, unused_name

OBJECT_KINDS = ["Documents", "Lists", "Maps", "Streams"]

Ask = Callable[[httpx.Client], httpx.Response]


@pytest.fixture
def root(raw: httpx.Client) -> str:
    """The address of the collection of services."""
    return f"{raw.base_url}".rstrip("/").removesuffix("/default")


def _document(raw: httpx.Client) -> str:
    return f"/Documents/{raw.post('/Documents').json()['sid']}"


def _list(raw: httpx.Client) -> str:
    return f"/Lists/{raw.post('/Lists').json()['sid']}"


def _list_item(raw: httpx.Client) -> str:
    path = f"{_list(raw)}/Items"
    raw.post(path, data={"Data": "{}"})
    return f"{path}/0"


def _map(raw: httpx.Client) -> str:
    return f"/Maps/{raw.post('/Maps').json()['sid']}"


def _map_item(raw: httpx.Client) -> str:
    path = f"{_map(raw)}/Items"
    raw.post(path, data={"Key": "k", "Data": "{}"})
    return f"{path}/k"


def _stream(raw: httpx.Client) -> str:
    return f"/Streams/{raw.post('/Streams').json()['sid']}"


def _post(path: Callable[[httpx.Client], str] | str, headers: Any = None, **form: str) -> Ask:
    def ask(raw: httpx.Client) -> httpx.Response:
        return raw.post(path if isinstance(path, str) else path(raw), data=form, headers=headers)

    return ask


def _get(path: Callable[[httpx.Client], str] | str, **query: str) -> Ask:
    def ask(raw: httpx.Client) -> httpx.Response:
        return raw.get(path if isinstance(path, str) else path(raw), params=query)

    return ask


def _below(path: Callable[[httpx.Client], str], tail: str) -> Callable[[httpx.Client], str]:
    return lambda raw: path(raw) + tail


def _twice(path: Callable[[httpx.Client], str] | str, **form: str) -> Ask:
    def ask(raw: httpx.Client) -> httpx.Response:
        address = path if isinstance(path, str) else path(raw)
        assert raw.post(address, data=form).status_code == 201
        return raw.post(address, data=form)

    return ask


BIG = '{"t":"' + "x" * 16384 + '"}'
CONDITION = {"If-Match": "ff"}
LIST_ITEMS = _below(_list, "/Items")
MAP_ITEMS = _below(_map, "/Items")
MESSAGES = _below(_stream, "/Messages")

REFUSALS: list[tuple[int, int, Ask]] = [
    (400, 54003, _post(_document, {"If-Match": "latest"}, Data="{}")),
    (400, 54003, _post(_list_item, {"If-Match": "latest"}, Data="{}")),
    (400, 54003, _post(_map_item, {"If-Match": "latest"}, Data="{}")),
    (413, 54006, _post("/Documents", Data=BIG)),
    (413, 54006, _post(LIST_ITEMS, Data=BIG)),
    (413, 54006, _post(MAP_ITEMS, Key="k", Data=BIG)),
    (413, 54006, _post(MESSAGES, Data=BIG[:6] + "x" * 4096 + '"}')),
    (400, 54008, _post("/Documents", Data="{")),
    (400, 54008, _post(_document, Data="{'a':1}")),
    (400, 54008, _post(LIST_ITEMS, Data="[1]")),
    (400, 54008, _post(MAP_ITEMS, Key="k", Data='"text"')),
    (400, 54008, _post(MESSAGES, Data="1")),
    (400, 54010, _post(_document)),
    (400, 54010, _post(_list)),
    (400, 54010, _post(_map)),
    (400, 54010, _post(_stream)),
    (400, 54010, _post(_list_item)),
    (400, 54010, _post(_map_item)),
    (400, 54010, _post(_list_item, CollectionTtl="60")),
    (400, 54010, _post(_map_item, CollectionTtl="60")),
    (400, 54011, _post("/Documents", Ttl="-1")),
    (400, 54011, _post(_document, Ttl="31536001")),
    (400, 54011, _post(LIST_ITEMS, Data="{}", ItemTtl="x")),
    (400, 54011, _post(_map_item, Data="{}", CollectionTtl="x")),
    (400, 54011, _post(_stream, Ttl="x")),
    (404, 54100, _get(f"/Documents/ET{NO_SUCH}")),
    (404, 54100, _get(f"/Documents/ET{NO_SUCH}/Permissions")),
    (404, 54100, _post(f"/Documents/ET{NO_SUCH}", Data="{}")),
    (400, 54101, _post("/Documents", Data="null")),
    (400, 54101, _post(_document, Data="null")),
    (412, 54103, _post(_document, CONDITION, Data="{}")),
    (404, 54150, _get(f"/Lists/ES{NO_SUCH}")),
    (404, 54150, _get(f"/Lists/ES{NO_SUCH}/Items")),
    (404, 54150, _get(f"/Lists/ES{NO_SUCH}/Items/0")),
    (404, 54151, _get(_below(_list, "/Items/0"))),
    (404, 54151, _post(_below(_list, "/Items/7"), Data="{}")),
    (412, 54155, _post(_list_item, CONDITION, Data="{}")),
    (400, 54156, _post(LIST_ITEMS)),
    (400, 54156, _post(LIST_ITEMS, Ttl="60")),
    (400, 54156, _post(LIST_ITEMS, Data="null")),
    (404, 54200, _get(f"/Maps/MP{NO_SUCH}")),
    (404, 54200, _get(f"/Maps/MP{NO_SUCH}/Items/k")),
    (404, 54200, _post(f"/Maps/MP{NO_SUCH}/Items", Key="k", Data="{}")),
    (404, 54201, _get(_below(_map, "/Items/k"))),
    (404, 54201, _post(_below(_map, "/Items/k"), Data="{}")),
    (412, 54205, _post(_map_item, CONDITION, Data="{}")),
    (400, 54206, _post(MAP_ITEMS, Key="k")),
    (400, 54206, _post(MAP_ITEMS, Key="k", Data="null")),
    (409, 54208, _twice(MAP_ITEMS, Key="k", Data="{}")),
    (400, 54209, _post(MAP_ITEMS, Data="{}")),
    (400, 54209, _post(MAP_ITEMS, Key="", Data="{}")),
    (400, 54209, _post(MAP_ITEMS, Key="k" * 321, Data="{}")),
    (404, 54250, _get(f"/Streams/TO{NO_SUCH}")),
    (404, 54250, _post(f"/Streams/TO{NO_SUCH}/Messages", Data="{}")),
    (400, 54251, _post(MESSAGES)),
    (400, 54251, _post(MESSAGES, Data="null")),
    *((404, 54300, _get(f"/{kind}/never-made")) for kind in OBJECT_KINDS),
    (404, 54300, _get("/Lists/never-made/Items")),
    (404, 54300, _post("/Maps/never-made/Items", Key="k", Data="{}")),
    *((409, 54301, _twice(f"/{kind}", UniqueName=unused_name("twice"))) for kind in OBJECT_KINDS),
    *((400, 54302, _post(f"/{kind}", UniqueName="")) for kind in OBJECT_KINDS),
    *((400, 54302, _post(f"/{kind}", UniqueName=f"ZZ{NO_SUCH}")) for kind in OBJECT_KINDS),
    (400, 54351, _post(_below(_document, f"/Permissions/{'i' * 257}"), Read="true")),
    (400, 54351, _get(_below(_list, f"/Permissions/{'i' * 257}"))),
    (404, 54354, _get(_below(_map, "/Permissions/nobody"))),
    (400, 54451, _get(LIST_ITEMS, Order="sideways")),
    (400, 54452, _get(MAP_ITEMS, Bounds="none")),
    (400, 54453, _get("/Documents", PageToken="nonsense")),
    (400, 54454, _get("/Documents", PageSize="0")),
    (400, 54458, _get(_below(_list, "/Items/one"))),
    (400, 54458, _get(LIST_ITEMS, From="-1")),
    (404, 20404, _get("/Nope")),
]


def _name(value: object) -> str:
    return str(value) if isinstance(value, int) else ""


@pytest.mark.parametrize(("status", "code", "ask"), REFUSALS, ids=_name)
def test_a_refusal_has_the_documented_status_code_and_shape(
    raw: httpx.Client, status: int, code: int, ask: Ask
) -> None:
    assert_refused(ask(raw), status, code)


def test_refusals_of_a_service(raw: httpx.Client, root: str) -> None:
    unknown = f"{root}/IS{NO_SUCH}"
    service = raw.post(root).json()["url"]

    assert_refused(raw.get(unknown), 404, 54050)
    assert_refused(raw.get(f"{unknown}/Documents"), 404, 54050)
    assert_refused(raw.post(f"{unknown}/Maps", data={}), 404, 54050)
    assert_refused(raw.get(f"{root}/no-such-name/Lists"), 404, 54050)
    for address in (root, service):
        assert_refused(raw.post(address, data={"WebhookUrl": "no url"}), 400, 54051)
        assert_refused(raw.post(address, data={"FriendlyName": "n" * 256}), 400, 54053)
        window = {"ReachabilityDebouncingWindow": "999"}
        assert_refused(raw.post(address, data=window), 400, 20001)
        assert_refused(raw.post(address, data={"AclEnabled": "perhaps"}), 400, 20001)
    assert_refused(raw.post(service), 400, 54010)


def test_the_messages_seen_on_the_live_service(raw: httpx.Client) -> None:
    assert raw.get("/Documents/never-made").json()["message"] == "Unique name not found"
    assert raw.get(f"{_list(raw)}/Items/0").json()["message"] == "Item not found"
    assert raw.get(f"{_map(raw)}/Items/k").json()["message"] == "Item not found"
    assert raw.post("/Maps", data={"UniqueName": ""}).json()["message"] == (
        "Invalid unique name. Expected a string with length 1-320 not matching the SID pattern "
        "[A-Z]{2}[a-f0-9]{32}"
    )


# --- the order of checks ---


def test_an_unknown_service_comes_before_its_contents(raw: httpx.Client, root: str) -> None:
    path = f"{root}/IS{NO_SUCH}/Maps/MP{NO_SUCH}/Items"
    assert_refused(raw.post(path, data={"Data": "no json"}), 404, 54050)


def test_an_unknown_parent_comes_before_bad_syntax(raw: httpx.Client) -> None:
    assert_refused(raw.post(f"/Maps/MP{NO_SUCH}/Items", data={"Data": "no"}), 404, 54200)
    assert_refused(raw.post(f"/Lists/ES{NO_SUCH}/Items"), 404, 54150)
    assert_refused(raw.get(f"/Lists/ES{NO_SUCH}/Items", params={"Order": "up"}), 404, 54150)


def test_bad_syntax_comes_before_an_unknown_item(raw: httpx.Client) -> None:
    assert_refused(raw.post(f"{_map(raw)}/Items/none", data={"Data": "no"}), 400, 54008)
    assert_refused(raw.post(f"{_list(raw)}/Items/9"), 400, 54010)


def test_an_unknown_item_comes_before_its_condition(raw: httpx.Client) -> None:
    path = f"{_map(raw)}/Items/none"
    assert_refused(raw.post(path, data={"Data": "{}"}, headers=CONDITION), 404, 54201)


def test_bad_syntax_comes_before_a_conflict(raw: httpx.Client) -> None:
    path = _map_item(raw).removesuffix("/k")
    assert_refused(raw.post(path, data={"Key": "k", "Data": "no"}), 400, 54008)
