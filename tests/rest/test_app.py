"""What holds for every request: credentials, headers, methods, order of checks, faults."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.limits import OFF, Limits, Rates
from starlings.rest.app import RestApp
from tests.rest.asgi import BASE, NO_SUCH, Api

EVERY_PATH = [
    "/v1/Services",
    "/v1/Services/default",
    *(f"/v1/Services/default/{kind}" for kind in ("Documents", "Lists", "Maps", "Streams")),
    *(f"/v1/Services/default/{kind}/x" for kind in ("Documents", "Lists", "Maps", "Streams")),
    "/v1/Services/default/Lists/x/Items/0",
    "/v1/Services/default/Maps/x/Items/k",
    "/v1/Services/default/Maps/x/Permissions/alice",
]


@pytest.mark.parametrize("path", [*EVERY_PATH, "/v1/nowhere", "/"])
async def test_without_credentials_nothing_is_told(api: Api, path: str) -> None:
    api.gate.refusal = Refusal(Reason.UNAUTHENTICATED)
    for method in ("GET", "POST", "DELETE", "PUT"):
        answer = await api.ask(method, path, raw=True)
        assert (answer.status, answer.code) == (401, 20003)
        assert answer.headers["www-authenticate"] == 'Basic realm="Starlings"'


async def test_too_many_failed_attempts_are_told_when_to_come_back(api: Api) -> None:
    api.gate.refusal = Refusal(Reason.TOO_MANY_REQUESTS, retry_after_seconds=30)
    answer = await api.get("/Documents")
    assert (answer.status, answer.code) == (429, 20429)
    assert answer.headers["retry-after"] == "30"


async def test_credentials_and_address_reach_the_authenticator(api: Api) -> None:
    await api.get("/Documents", headers={"authorization": "Basic abc"})
    assert api.gate.asked == [(b"Basic abc", "192.0.2.1")]
    await api.get("/Documents")
    assert api.gate.asked[1] == (None, "192.0.2.1")


async def test_behind_a_trusted_proxy_the_callers_own_address_counts() -> None:
    api = Api(trusted=["192.0.2.1"])
    await api.get("/Documents", headers={"x-forwarded-for": "203.0.113.9"})
    assert api.gate.asked == [(None, "203.0.113.9")]


@pytest.mark.parametrize("status", [200, 201, 204, 404])
async def test_every_answer_has_the_live_services_headers(api: Api, status: int) -> None:
    created = await api.make("/Documents")
    match status:
        case 200:
            answer = await api.get(f"/Documents/{created['sid']}")
        case 201:
            answer = await api.post("/Documents")
        case 204:
            answer = await api.delete(f"/Documents/{created['sid']}")
        case _:
            answer = await api.get("/nowhere")
    assert answer.status == status
    headers = dict(answer.headers)
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-methods"] == "GET, POST, DELETE, OPTIONS"
    assert headers["access-control-allow-headers"] == (
        "Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match,"
        " If-Unmodified-Since, Idempotency-Key"
    )
    assert headers["access-control-allow-credentials"] == "true"
    assert headers["access-control-expose-headers"] == "ETag"
    assert len(headers["twilio-request-id"]) == 34
    assert set(headers["twilio-request-id"].removeprefix("RQ")) <= set("0123456789abcdef")
    assert float(headers["twilio-request-duration"]) >= 0
    assert headers["twilio-concurrent-requests"] == "1"


async def test_the_request_id_is_recorded_with_the_event(api: Api) -> None:
    answer = await api.post("/Documents")
    oid = int(answer.json["sid"][2:18], 16)
    (event,) = await api.store.read_log(oid, 0, 10)
    assert event.request_id == answer.headers["twilio-request-id"]


async def test_a_preflight_needs_no_credentials(api: Api) -> None:
    api.gate.refusal = Refusal(Reason.UNAUTHENTICATED)
    for path in EVERY_PATH:
        answer = await api.ask("OPTIONS", path)
        assert answer.status == 204
        assert "POST" in answer.headers["allow"]
        assert answer.headers["access-control-allow-origin"] == "*"
    assert (await api.ask("OPTIONS", "/nowhere")).code == 20404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "get"])
@pytest.mark.parametrize("path", EVERY_PATH)
async def test_other_methods_are_refused_with_those_allowed(
    api: Api, method: str, path: str
) -> None:
    answer = await api.ask(method, path)
    assert (answer.status, answer.code) == (405, 20004)
    assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].split(", "))


async def test_messages_cannot_be_listed(api: Api) -> None:
    answer = await api.get("/Streams/s/Messages")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert (await api.get(f"/Streams/s/Messages/TZ{NO_SUCH}")).code == 20404


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/Services", "/v1/Services/default/Nothing", "*"])
async def test_unknown_paths_are_not_found(api: Api, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT"):
        answer = await api.ask(method, path, raw=True)
        assert (answer.status, answer.code) == (404, 20404)


async def test_a_trailing_slash_is_served_like_the_path_without(api: Api) -> None:
    created = await api.make("/Documents/")
    assert (await api.get(f"/Documents/{created['sid']}/")).json == created
    assert (await api.get("/Documents/")).json["documents"] == [created]


async def test_head_is_get_without_the_body(api: Api) -> None:
    created = await api.make("/Documents")
    path = f"/Documents/{created['sid']}"
    head, full = await api.ask("HEAD", path), await api.get(path)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == full.headers[name]
    assert (await api.ask("HEAD", "/Documents/never-made")).status == 404


async def test_urls_follow_the_public_url() -> None:
    api = Api(public_url="https://public.test/sync/")
    created = await api.make("/Documents")
    assert created["url"].startswith("https://public.test/sync/v1/Services/IS")
    page = (await api.get("/Documents")).json
    assert page["meta"]["url"].startswith("https://public.test/sync/v1/Services/default/Documents?")


async def test_urls_follow_the_host_and_only_a_trusted_proxy() -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-host": "outer.test"}
    answer = await Api().post("/Documents", headers=headers)
    assert answer.json["url"].startswith(f"{BASE}/v1/")
    answer = await Api(trusted=["192.0.2.1"]).post("/Documents", headers=headers)
    assert answer.json["url"].startswith("https://outer.test/v1/")


async def test_several_lines_of_a_header_are_one_value(api: Api) -> None:
    await api.make("/Documents", UniqueName="d")
    lines = [(b"if-match", b"999"), (b"if-match", b"*")]
    answer = await api.ask("DELETE", "/Documents/d", headers_as_sent=lines)
    assert answer.code == 54003
    hosts = [(b"host", b"a.test"), (b"host", b"b.test")]
    assert (await api.ask("GET", "/Documents/d", headers_as_sent=hosts)).code == 20001


# What HTTP libraries make of a path that ends in ".."


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/Services/", 201),
        ("DELETE", "/%4Daps/m/", 204),
        ("POST", "/v1/Services/default/%4Daps/m/", 400),
    ],
)
async def test_a_change_at_an_odd_path_with_a_slash_is_no_fault_of_ours(
    api: Api, method: str, path: str, status: int
) -> None:
    await api.make("/Maps", UniqueName="m")
    assert (await api.ask(method, path)).status == status


async def test_an_identity_is_revoked_at_a_path_with_a_slash() -> None:
    class Book:
        def __init__(self) -> None:
            self.revoked: list[str] = []

        async def revoke_identity(self, account_sid: str, identity: str) -> int:
            self.revoked.append(identity)
            return 0

    api, book = Api(), Book()
    api.app = RestApp(api.node, api.gate, revoker=book)
    assert (await api.post("/v1/Identities/alice/Revoke/")).status == 200
    assert book.revoked == ["alice"]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("create", "form", "shortened"),
    [
        ("/Documents", {"UniqueName": ".."}, "/"),
        ("/Streams", {"UniqueName": ".."}, "/"),
        ("/Maps/m/Items", {"Key": "..", "Data": "{}"}, "/Maps/m/"),
        ("/Lists/l/Permissions/..", {"Read": "true"}, "/Lists/l/"),
    ],
)
async def test_a_shortened_path_changes_nothing(
    api: Api, create: str, form: dict[str, str], shortened: str, method: str
) -> None:
    await api.make("/Maps", UniqueName="m")
    await api.make("/Lists", UniqueName="l")
    before = (await api.get(shortened)).json
    assert (await api.post(create, **form)).status in (200, 201)
    body = b"" if method == "DELETE" else b"Ttl=1&FriendlyName=x"
    refusal = await api.ask(method, shortened, body)
    assert (refusal.status, refusal.code) == (400, 20001)
    after = (await api.get(shortened)).json
    assert (after["sid"], after.get("date_expires")) == (before["sid"], before.get("date_expires"))
    for harmless in ("GET", "HEAD"):
        assert (await api.ask(harmless, shortened)).status == 200
    # Without the slash it is meant.
    meant = f"/v1/Services/default{shortened}".rstrip("/")
    assert (await api.ask(method, meant, body)).status in (200, 204)


@pytest.mark.parametrize("path", ["/Maps/m/", "/Lists/l/", "/Lists/l/Items/0/", "/"])
async def test_without_such_a_name_a_trailing_slash_is_harmless(api: Api, path: str) -> None:
    await api.make("/Maps", UniqueName="m")
    await api.make("/Lists", UniqueName="l")
    await api.post("/Lists/l/Items", Data="{}")
    assert (await api.delete(path)).status == 204


@pytest.mark.parametrize("kind", ["Documents", "Lists", "Maps", "Streams"])
async def test_an_update_whose_dot_was_left_out_creates_nothing(api: Api, kind: str) -> None:
    await api.make(f"/{kind}/")
    await api.make(f"/{kind}", UniqueName=".")
    refusal = await api.post(f"/{kind}/", Ttl="5")
    assert (refusal.status, refusal.code) == (400, 20001)
    assert len((await api.get(f"/{kind}/")).json[kind.lower()]) == 2
    assert (await api.post(f"/{kind}", Ttl="5")).status == 201


async def test_patterns_do_not_make_a_path_with_a_slash_ambiguous(api: Api) -> None:
    await api.make("/Maps", UniqueName="m")
    await api.post("/Maps/m/Permissions/.", Read="true", Match="prefix")
    await api.post("/Maps/m/Permissions/*", Read="true", Match="everybody")
    assert (await api.post("/Maps/m/", Ttl="5")).status == 200
    assert (await api.delete("/Maps/m/")).status == 204


async def test_an_encoded_letter_makes_no_difference_to_a_path_with_a_slash(api: Api) -> None:
    await api.make("/Maps", UniqueName="m")
    assert (await api.post("/v1/%53ervices/default/%4Daps/%6D/", Ttl="5")).status == 200
    await api.post("/Maps/m/Items", Key="..", Data="{}")
    assert (await api.delete("/%4Daps/m/")).code == 20001


async def test_what_is_missing_is_told_of_a_path_with_a_slash_too(api: Api) -> None:
    assert (await api.delete("/Maps/m/")).code == 54300
    assert (await api.delete(f"/v1/Services/IS{NO_SUCH}/")).code == 54050


# Order of checks [rest-api 11]


@pytest.mark.parametrize(
    ("path", "form", "code"),
    [
        ("/Documents/{}", {"Data": "[]"}, 54100),
        ("/Documents/{}", {}, 54100),
        ("/Documents/{}", {"Ttl": "x"}, 54100),
        ("/Lists/{}", {}, 54150),
        ("/Lists/{}/Items", {}, 54150),
        ("/Lists/{}/Items/none", {"Data": "{}"}, 54150),
        ("/Maps/{}", {"Ttl": "x"}, 54200),
        ("/Maps/{}/Items", {"Key": "", "Data": "{}"}, 54200),
        ("/Maps/{}/Items/k", {}, 54200),
        ("/Maps/{}/Permissions/%07", {}, 54200),
        ("/Streams/{}", {}, 54250),
        ("/Streams/{}/Messages", {"Data": "[]"}, 54250),
        ("/Streams/{}/Messages", {"Data": '{"a":"' + "x" * 5000 + '"}'}, 54250),
    ],
)
async def test_a_missing_object_is_told_before_what_is_wrong_with_the_request(
    api: Api, path: str, form: dict[str, str], code: int
) -> None:
    prefix = {54100: "ET", 54150: "ES", 54200: "MP", 54250: "TO"}[code]
    assert (await api.post(path.format(prefix + NO_SUCH), **form)).code == code
    assert (await api.post(path.format("never-made"), **form)).code == 54300
    unknown = f"/v1/Services/IS{NO_SUCH}{path.format('x')}"
    assert (await api.post(unknown, **form)).code == 54050


@pytest.mark.parametrize("query", ["Order=up", "From=x", "PageSize=0", "PageToken=x", "Bounds=x"])
async def test_a_missing_list_is_told_before_a_bad_page(api: Api, query: str) -> None:
    assert (await api.get(f"/Lists/ES{NO_SUCH}/Items?{query}")).code == 54150
    assert (await api.get(f"/Lists/never-made/Items?{query}")).code == 54300


async def test_a_body_too_large_gives_way_to_a_missing_object(api: Api) -> None:
    answer = await api.post(f"/Documents/ET{NO_SUCH}", Data="x" * 200_000)
    assert (answer.status, answer.code) == (404, 54100)


async def test_syntax_is_told_before_the_rate_and_the_rate_before_the_missing_item() -> None:
    api = Api(Limits(rates=Rates(writes=1, reads=1, creations=1, burst_seconds=1)))
    await api.make("/Maps", UniqueName="m")
    assert (await api.post("/Maps", UniqueName="")).code == 54302
    assert (await api.post("/Maps", UniqueName="m")).code == 54009
    assert (await api.get("/Maps/m")).status == 200
    assert (await api.get("/Maps/m/Items/none")).code == 54009
    await api.make("/Maps/m/Items", Key="k", Data="{}")
    assert (await api.post("/Maps/m/Items/none", Data="[]")).code == 54008
    answer = await api.post("/Maps/m/Items/none", Data="{}", headers={"if-match": "9"})
    assert (answer.status, answer.code) == (429, 54009)
    assert "Rate limit exceeded for write-map-MP" in answer.json["message"]
    assert int(answer.headers["retry-after"]) >= 1
    api.clock.advance(10)
    assert (await api.post("/Maps/m/Items/none", Data="{}")).code == 54201


async def test_a_missing_item_is_told_before_the_condition_and_that_before_the_conflict(
    api: Api,
) -> None:
    await api.make("/Maps", UniqueName="m")
    stale = {"if-match": "77"}
    assert (await api.post("/Maps/m/Items/k", Data="{}", headers=stale)).code == 54201
    await api.make("/Maps/m/Items", Key="k", Data="{}")
    assert (await api.post("/Maps/m/Items/k", Data="{}", headers=stale)).code == 54205


async def test_a_service_of_another_account_is_told_apart(api: Api) -> None:
    service = await api.make("/v1/Services")
    api.gate.account_sid = "AC" + "f" * 32
    answer = await api.get(f"/v1/Services/{service['sid']}/Documents/x")
    assert (answer.status, answer.code) == (403, 54056)


# Faults


class _Secret(Exception):
    pass


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_what_nobody_foresaw_is_logged_and_not_told(
    api: Api, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise _Secret("the secret detail")

    monkeypatch.setattr(api.store, "find_object_named", fail)
    monkeypatch.setattr(api.store, "execute", fail)
    await_body = b"Data=%7B%7D" if method == "POST" else b""
    with caplog.at_level(logging.ERROR, "starlings.rest"):
        answer = await api.ask(method, "/Documents/name", await_body)
    assert (answer.status, answer.code) == (500, 20500)
    assert b"secret" not in answer.body
    (record,) = caplog.records
    assert answer.headers["twilio-request-id"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is _Secret


async def test_a_fault_while_looking_for_the_missing_object_is_a_fault(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise _Secret

    await api.make("/Documents", UniqueName="d")
    monkeypatch.setattr(api.store, "find_object_named", fail)
    assert (await api.post("/Documents/d", Data="[]")).code == 20500
    assert len(caplog.records) == 1


async def test_a_store_that_cannot_write_is_unavailable(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.make("/Documents", UniqueName="d")

    async def fail(*_: Any) -> None:
        raise Fault(Reason.UNAVAILABLE, "The disk is full")

    monkeypatch.setattr(api.store, "execute", fail)
    answer = await api.post("/Documents", Data="{}")
    assert (answer.status, answer.code) == (503, 20503)
    assert (await api.get("/Documents/d")).status == 200


async def test_answers_are_counted_by_status(api: Api) -> None:
    await api.make("/Documents")
    await api.make("/Documents")
    await api.get("/nowhere")
    statistics = api.app.statistics()
    assert statistics.answers == {201: 2, 404: 1}
    assert statistics.concurrent == 0


async def test_the_number_of_services_is_bounded() -> None:
    api = Api(Limits(rates=Rates(services=1)))
    await api.make("/v1/Services")
    assert (await api.post("/v1/Services")).code == 20001
    assert OFF.rates.services is None
