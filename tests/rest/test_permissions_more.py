"""Permissions for more than one identity and for a time, their explanation, and revocation: ours.
[docs/reference/access.md]
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from starlings.core.errors import Fault, Reason
from starlings.core.limits import OFF
from starlings.rest.app import RestApp
from tests.rest.asgi import ACCOUNT_SID, Api

PATHS = ["/Documents", "/Lists", "/Maps", "/Streams"]
each_kind = pytest.mark.parametrize("path", PATHS)


async def explain(api: Api, path: str, identity: str) -> tuple[set[str], object]:
    """Which operations are allowed, and the one reason for all."""
    operations = (await api.get(f"{path}/Permissions/{identity}/Explain")).json["operations"]
    (because, *others) = [one["because"] for one in operations.values()]
    assert all(other == because for other in others)
    return {one["needs"] for one in operations.values() if one["allowed"]}, because


@each_kind
async def test_one_path_has_a_permission_for_each_match(api: Api, path: str) -> None:
    owner = await api.make(path, UniqueName="o")
    one = f"{path}/o/Permissions/a"
    exact = (await api.post(one, Read="true")).json
    prefix = (await api.post(one, Write="true", Match="prefix")).json
    assert (exact["match"], exact["url"]) == ("exact", f"{owner['url']}/Permissions/a")
    assert (prefix["match"], prefix["read"], prefix["write"]) == ("prefix", False, True)
    assert prefix["url"] == f"{owner['url']}/Permissions/a?Match=prefix"
    everybody = (await api.post(f"{path}/o/Permissions/*", Read="true", Match="everybody")).json
    assert (everybody["match"], everybody["identity"]) == ("everybody", "*")
    for granted in (exact, prefix, everybody):
        assert (await api.get(granted["url"])).json == granted
        assert (await api.post(granted["url"], Manage="true")).json["match"] == granted["match"]
    changed = (await api.get(f"{path}/o/Permissions")).json["permissions"]
    assert [one["manage"] for one in changed] == [True] * 3
    exact = (await api.get(one)).json
    assert (await api.delete(prefix["url"])).status == 204
    assert (await api.get(prefix["url"])).code == 54354
    assert (await api.delete(prefix["url"])).code == 54354
    assert (await api.get(one)).json == exact


@each_kind
async def test_pages_tell_rows_of_one_text_apart(api: Api, path: str) -> None:
    await api.make(path, UniqueName="o")
    rows = [("*", "exact"), ("*", "everybody"), ("a", "exact"), ("a", "prefix"), ("ab", "prefix")]
    for identity, match in reversed(rows):
        await api.post(f"{path}/o/Permissions/{identity}", Match=match)

    page = (await api.get(f"{path}/o/Permissions", PageSize=1)).json
    pages = [page]
    while url := page["meta"]["next_page_url"]:
        page = (await api.get(url)).json
        pages.append(page)
    seen = [(row["identity"], row["match"]) for page in pages for row in page["permissions"]]
    assert seen == rows
    for before, after in pairwise(pages):
        back = (await api.get(after["meta"]["previous_page_url"])).json
        assert back["permissions"] == before["permissions"]


async def test_a_page_that_has_become_empty_leads_back(api: Api) -> None:
    await api.make("/Maps", UniqueName="o")
    for match in ("exact", "prefix"):
        await api.post("/Maps/o/Permissions/a", Match=match)
    first = (await api.get("/Maps/o/Permissions", PageSize=1)).json
    await api.delete("/Maps/o/Permissions/a?Match=prefix")
    empty = (await api.get(first["meta"]["next_page_url"])).json
    assert empty["permissions"] == []
    back = (await api.get(empty["meta"]["previous_page_url"])).json
    assert back["permissions"] == first["permissions"]


@each_kind
async def test_bad_parameters_are_refused(api: Api, path: str) -> None:
    await api.make(path, UniqueName="o")
    one = f"{path}/o/Permissions/a"
    for match in ("", "Exact", "regex", "everybody"):
        assert (await api.post(one, Read="true", Match=match)).code == 20001
        assert (await api.post(f"{one}?Match={match}", Read="true")).code == 20001
        assert (await api.get(one, Match=match)).code == 20001
        assert (await api.delete(f"{one}?Match={match}")).code == 20001
    assert (await api.post(f"{one}?Match=prefix", Match="exact")).code == 20001
    for ttl in ("-1", "x", "1.5", str(OFF.ttl_seconds + 1)):
        assert (await api.post(one, Read="true", Ttl=ttl)).code == 54011
    assert (await api.get(f"{path}/o/Permissions")).json["permissions"] == []


@each_kind
async def test_a_permission_ends_by_itself(api: Api, path: str) -> None:
    await api.make(path, UniqueName="o")
    one = f"{path}/o/Permissions/a"
    granted = (await api.post(one, Read="true", Ttl=60)).json
    assert granted["date_expires"] == "2026-05-28T20:27:40Z"
    assert (await api.post(f"{path}/o/Permissions/b", Ttl=0)).json["date_expires"] is None
    api.clock.advance(59.999)
    assert (await api.get(one)).json == granted
    api.clock.advance(0.001)
    assert (await api.get(one)).code == 54354
    listed = (await api.get(f"{path}/o/Permissions")).json["permissions"]
    assert [row["identity"] for row in listed] == ["b"]
    assert (await api.post(one, Read="true")).json["date_expires"] is None


@each_kind
async def test_an_explanation_follows_the_table_of_precedence(api: Api, path: str) -> None:
    service = await api.make("/v1/Services", AclEnabled="true")
    base = f"/v1/Services/{service['sid']}{path}"
    owner = await api.make(base)
    one = f"{base}/{owner['sid']}"

    assert await explain(api, one, "guest-7") == (set(), "no grant")
    steps = [
        ("*", "everybody", {"read"}),
        ("gue", "prefix", {"write"}),
        ("guest-", "prefix", {"read", "write", "manage"}),
        ("guest-7", "exact", set[str]()),
    ]
    for identity, match, rights in steps:
        flags = {right.capitalize(): "true" for right in rights}
        await api.post(f"{one}/Permissions/{identity}", Match=match, Ttl=60, **flags)
        allowed, because = await explain(api, one, "guest-7")
        assert allowed == rights
        assert isinstance(because, dict)
        assert (because["identity"], because["match"]) == (identity, match)
        assert because["date_expires"] is not None
    allowed, because = await explain(api, one, "Guest-7")
    assert allowed == {"read"}
    api.clock.advance(60)
    assert await explain(api, one, "guest-7") == (set(), "no grant")
    await api.post(f"/v1/Services/{service['sid']}", AclEnabled="false")
    assert await explain(api, one, "guest-7") == ({"read", "write", "manage"}, "acl is off")


@each_kind
async def test_an_explanation_says_of_what_it_is(api: Api, path: str) -> None:
    owner = await api.make(path, UniqueName="o")
    told = (await api.get(f"{path}/o/Permissions/a%2Fb/Explain")).json
    assert told["url"] == f"{owner['url']}/Permissions/a%2Fb/Explain"
    assert (told["identity"], told["acl_enabled"]) == ("a/b", False)
    assert (await api.get(told["url"])).json == told
    assert (await api.get(f"{path}/o/Permissions/%07/Explain")).code == 54351
    assert (await api.get(f"{path}/missing/Permissions/a/Explain")).code == 54300


class Record:
    """Notes who was revoked."""

    def __init__(self) -> None:
        self.revoked: list[tuple[str, str]] = []
        self.fault: Fault | None = None

    async def revoke_identity(self, account_sid: str, identity: str) -> int:
        if self.fault is not None:
            raise self.fault
        self.revoked.append((account_sid, identity))
        return 1_780_000_000_999


async def test_an_identity_is_revoked_for_the_account_that_asks(api: Api) -> None:
    record = Record()
    api.app = RestApp(api.node, api.gate, revoker=record)
    answer = await api.post("/v1/Identities/a%2Fb/Revoke")
    assert answer.status == 200
    assert answer.json == {
        "account_sid": ACCOUNT_SID,
        "identity": "a/b",
        "date_revoked": "2026-05-28T20:26:40Z",
    }
    assert (await api.post(f"/v1/Identities/{'x' * 257}/Revoke")).code == 54351
    assert (await api.post("/v1/Identities/b/Revoke/")).status == 200
    assert record.revoked == [(ACCOUNT_SID, "a/b"), (ACCOUNT_SID, "b")]
    record.fault = Fault(Reason.UNAVAILABLE)
    assert (await api.post("/v1/Identities/a/Revoke")).status == 503


async def test_without_a_record_there_is_nothing_to_ask(api: Api) -> None:
    assert (await api.post("/v1/Identities/a/Revoke")).status == 404
