"""Every route against every wrong caller: nobody reads, changes or counts against what belongs to
another account, or to another service of the same one.

The routes are those of the router: one without a row in the table below fails. Not told apart by
this API are services of other accounts and none at all: it says 403 for the one, 404 for the other,
as the documented one does; a SID has 64 bits that nobody can guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from starlings.core.errors import Reason, Refusal
from starlings.core.limits import Limits, Rates
from starlings.rest.app import RestApp
from starlings.rest.router import Stop
from starlings.rest.routes import make_router
from tests.rest.asgi import NO_SUCH, Api

OTHER_ACCOUNT = "AC" + "0b" * 16
Route = tuple[str, str]

_GRANT = {"Read": "true", "Write": "true", "Manage": "true"}
_ITEM = {"Data": '{"stolen":1}'}
_TTL = {"Ttl": "1"}

# What a route is asked with, so that it would do something; and what stands for its last segment.
ROWS: dict[Route, tuple[dict[str, str], str]] = {
    ("GET", "/v1/Services/*"): ({}, ""),
    ("POST", "/v1/Services/*"): ({"FriendlyName": "stolen", "AclEnabled": "true"}, ""),
    ("DELETE", "/v1/Services/*"): ({}, ""),
    ("GET", "/v1/Services/*/Presence"): ({}, ""),
    ("POST", "/v1/Services/*/Presence"): ({"Enabled": "true"}, ""),
}
for _plural in ("Documents", "Lists", "Maps", "Streams"):
    _base = f"/v1/Services/*/{_plural}"
    ROWS |= {
        ("GET", _base): ({}, ""),
        ("POST", _base): ({"UniqueName": "planted"}, ""),
        ("GET", f"{_base}/*"): ({}, ""),
        ("POST", f"{_base}/*"): (_TTL, ""),
        ("DELETE", f"{_base}/*"): ({}, ""),
        ("GET", f"{_base}/*/Events"): ({}, ""),
        ("GET", f"{_base}/*/Permissions"): ({}, ""),
        ("GET", f"{_base}/*/Permissions/*"): ({}, "alice"),
        ("POST", f"{_base}/*/Permissions/*"): (_GRANT, "mallory"),
        ("DELETE", f"{_base}/*/Permissions/*"): ({}, "alice"),
        ("GET", f"{_base}/*/Permissions/*/Explain"): ({}, "alice"),
    }
for _plural, _key in (("Lists", "0"), ("Maps", "k")):
    _base = f"/v1/Services/*/{_plural}/*/Items"
    ROWS |= {
        ("GET", _base): ({}, ""),
        ("POST", _base): ({"Key": "planted", **_ITEM}, ""),
        ("GET", f"{_base}/*"): ({}, _key),
        ("POST", f"{_base}/*"): (_ITEM, _key),
        ("DELETE", f"{_base}/*"): ({}, _key),
    }
ROWS["POST", "/v1/Services/*/Streams/*/Messages"] = (_ITEM, "")

OF_NO_SERVICE = {
    ("GET", "/v1/Services"),
    ("POST", "/v1/Services"),
    ("POST", "/v1/Identities/*/Revoke"),
}
OF_OBJECTS = [route for route in ROWS if route[1].count("*") >= 2]


class Book:
    """Implements ``Revoker``."""

    def __init__(self) -> None:
        self.revoked: list[tuple[str, str]] = []

    async def revoke_identity(self, account_sid: str, identity: str) -> int:
        self.revoked.append((account_sid, identity))
        return 0


def routes_of(stop: Stop, path: str = "") -> Iterator[Route]:
    for method in stop.handlers:
        yield method, path
    for literal, further in stop._literals.items():
        yield from routes_of(further, path if literal == "" else f"{path}/{literal}")
    if stop._capture is not None:
        yield from routes_of(stop._capture, f"{path}/*")


def test_every_route_has_a_row() -> None:
    assert set(routes_of(make_router(Book())._root)) == ROWS.keys() | OF_NO_SERVICE


class Victim:
    """An account with a service that has one of each, and what may be seen of it."""

    def __init__(self) -> None:
        self.api = Api(Limits(rates=Rates(burst_seconds=1.0)))
        self.owner = self.api.gate.account_sid
        self.sids: dict[str, str] = {}
        self.service_sid = ""

    async def fill(self) -> None:
        api = self.api
        created = await api.post("/v1/Services", FriendlyName="mine")
        self.service_sid = created.json["sid"]
        base = f"/v1/Services/{self.service_sid}"
        for plural in ("Documents", "Lists", "Maps", "Streams"):
            form = {"Data": '{"secret":1}'} if plural == "Documents" else {}
            made = await api.make(f"{base}/{plural}", UniqueName=f"my-{plural}", **form)
            self.sids[plural] = made["sid"]
            await api.post(f"{base}/{plural}/{made['sid']}/Permissions/alice", Read="true")
        await api.make(f"{base}/Lists/my-Lists/Items", Data='{"secret":1}')
        await api.make(f"{base}/Maps/my-Maps/Items", Key="k", Data='{"secret":1}')

    async def look(self) -> list[Any]:
        """All that the owner can see."""
        self.api.gate.account_sid = self.owner
        base = f"/v1/Services/{self.service_sid}"
        paths = ["/v1/Services", base]
        for plural in self.sids:
            one = f"{base}/{plural}/my-{plural}"
            paths += [f"{base}/{plural}", one, f"{one}/Events", f"{one}/Permissions"]
            paths += [f"{one}/Items"] if plural in ("Lists", "Maps") else []
        seen = []
        for path in paths:
            answer = await self.api.get(path)
            assert answer.status == 200, answer.body
            seen.append(answer.json)
        return seen


def fill(route: Route, service: str, name: str) -> str:
    """The path of a route: ``name`` stands for the object."""
    path = route[1].replace("*", service, 1).replace("*", name, 1)
    return path.replace("*", ROWS[route][1], 1)


async def ask(api: Api, route: Route, path: str) -> Any:
    method = route[0]
    if method == "POST":
        return await api.post(path, **ROWS[route][0])
    return await api.ask(method, path)


def plural_of(route: Route) -> str:
    return route[1].split("/")[4]


@pytest.mark.parametrize("route", sorted(ROWS), ids=" ".join)
async def test_a_service_of_another_account_is_closed(route: Route) -> None:
    victim = Victim()
    await victim.fill()
    before = await victim.look()
    victim.api.gate.account_sid = OTHER_ACCOUNT
    plural = plural_of(route) if route in OF_OBJECTS else ""
    for name in {victim.sids.get(plural, "x"), f"my-{plural}", "nothing"}:
        answer = await ask(victim.api, route, fill(route, victim.service_sid, name))
        if route[1].endswith("/Presence"):  # of this app, which keeps none
            assert answer.code in (Reason.FOREIGN_SERVICE.code, Reason.UNKNOWN_PATH.code)
        else:
            assert (answer.status, answer.code) == (403, Reason.FOREIGN_SERVICE.code)
        assert b"secret" not in answer.body
    assert await victim.look() == before


@pytest.mark.parametrize("is_same_account", [False, True])
@pytest.mark.parametrize("route", sorted(OF_OBJECTS), ids=" ".join)
async def test_an_object_of_another_service_is_not_there(
    route: Route, is_same_account: bool
) -> None:
    victim = Victim()
    await victim.fill()
    before = await victim.look()
    api = victim.api
    if not is_same_account:
        api.gate.account_sid = OTHER_ACCOUNT
    plural = plural_of(route)
    sid = victim.sids[plural]
    absent = f"{sid[:2]}{NO_SUCH}"
    for service in ("default", (await api.get("/v1/Services/default")).json["sid"]):
        there = await ask(api, route, fill(route, service, sid))
        nowhere = await ask(api, route, fill(route, service, absent))
        assert there.status == 404
        assert there.body.replace(sid.encode(), b"") == nowhere.body.replace(absent.encode(), b"")
        named = await ask(api, route, fill(route, service, f"my-{plural}"))
        assert (named.status, named.code) == (404, Reason.NAME_NOT_FOUND.code)
        for other_plural, other_sid in victim.sids.items():
            if other_plural != plural:
                assert (await ask(api, route, fill(route, service, other_sid))).status == 404
    default = (await api.get("/v1/Services/default")).json["sid"]
    after = await victim.look()
    # The default service of the same account came into being by being asked for.
    mine = [one for one in after[0]["services"] if one["sid"] != default or not is_same_account]
    assert [one for one in mine if one["sid"] == victim.service_sid] == [
        one for one in before[0]["services"] if one["sid"] == victim.service_sid
    ]
    assert after[1:] == before[1:]


@pytest.mark.parametrize("route", sorted(OF_OBJECTS), ids=" ".join)
async def test_strangers_take_nothing_from_the_rates_of_others(route: Route) -> None:
    victim = Victim()
    await victim.fill()
    plural = plural_of(route)
    victim.api.gate.account_sid = OTHER_ACCOUNT
    for service in (victim.service_sid, "default"):
        for _ in range(100):  # more than any bucket holds
            await ask(victim.api, route, fill(route, service, victim.sids[plural]))
    victim.api.gate.account_sid = victim.owner
    answer = await ask(victim.api, route, fill(route, victim.service_sid, victim.sids[plural]))
    assert answer.status not in (403, 404, 429), answer.body


@pytest.mark.parametrize("route", sorted(ROWS), ids=" ".join)
async def test_a_removed_service_and_what_was_in_it_are_gone(route: Route) -> None:
    victim = Victim()
    await victim.fill()
    await victim.api.delete(f"/v1/Services/{victim.service_sid}")
    name = victim.sids[plural_of(route)] if route in OF_OBJECTS else "x"
    for service in (victim.service_sid, "default") if route in OF_OBJECTS else [victim.service_sid]:
        answer = await ask(victim.api, route, fill(route, service, name))
        assert answer.status == 404
        assert b"secret" not in answer.body


@pytest.mark.parametrize("route", sorted(ROWS.keys() | OF_NO_SERVICE), ids=" ".join)
async def test_without_good_credentials_no_route_tells_anything(route: Route) -> None:
    victim = Victim()
    await victim.fill()
    before = await victim.look()
    victim.api.gate.refusal = Refusal(Reason.UNAUTHENTICATED)
    method, pattern = route
    plural = plural_of(route) if route in OF_OBJECTS else ""
    path = pattern.replace("*", victim.service_sid, 1)
    path = path.replace("*", victim.sids.get(plural, "x"), 1).replace("*", "k")
    answer = await victim.api.ask(method, path, b"FriendlyName=stolen" * (method == "POST"))
    assert (answer.status, answer.code) == (401, Reason.UNAUTHENTICATED.code)
    victim.api.gate.refusal = None
    assert await victim.look() == before


async def test_routes_of_no_service_are_about_the_callers_own_account() -> None:
    victim, book = Victim(), Book()
    await victim.fill()
    api = victim.api
    api.app = RestApp(api.node, api.gate, revoker=book)
    api.gate.account_sid = OTHER_ACCOUNT
    assert (await api.get("/v1/Services")).json["services"] == []
    made = await api.post("/v1/Services", FriendlyName="other")
    assert made.json["account_sid"] == OTHER_ACCOUNT
    await api.post("/v1/Identities/alice/Revoke")
    assert book.revoked == [(OTHER_ACCOUNT, "alice")]
    api.gate.account_sid = victim.owner
    services = (await api.get("/v1/Services")).json["services"]
    assert [one["sid"] for one in services] == [victim.service_sid]


async def test_a_page_token_of_another_account_leads_to_nothing_of_it() -> None:
    victim = Victim()
    await victim.fill()
    api = victim.api
    base = f"/v1/Services/{victim.service_sid}"
    for number in range(3):
        await api.make(f"{base}/Documents", UniqueName=f"d{number}", Data="{}")
    page = (await api.get(f"{base}/Documents", PageSize=1)).json
    token = page["meta"]["next_page_url"].rpartition("PageToken=")[2]
    api.gate.account_sid = OTHER_ACCOUNT
    assert (await api.get(f"/Documents?PageToken={token}")).json["documents"] == []
    stolen = await api.get(page["meta"]["next_page_url"])
    assert (stolen.status, stolen.code) == (403, Reason.FOREIGN_SERVICE.code)
