"""HTTP itself: paths, headers, methods and what forms may look like. [REST 1]"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import httpx
import pytest

from tests.e2e.raw import assert_refused, authorization, raw_client, unused_name
from tests.e2e.server import ServerProcess


@pytest.fixture
def map_items(raw: httpx.Client) -> str:
    """The path of the items of a new map."""
    return f"/Maps/{raw.post('/Maps').json()['sid']}/Items"


# --- paths ---


def test_paths_are_served_with_and_without_a_trailing_slash(raw: httpx.Client) -> None:
    created = raw.post("/Documents/", data={"Data": '{"n":1}'})
    assert created.status_code == 201
    path = f"/Documents/{created.json()['sid']}"

    assert raw.get(f"{path}/").json() == raw.get(path).json()
    assert raw.post(f"{path}/", data={"Data": '{"n":2}'}).status_code == 200
    assert raw.get("/Documents/").status_code == 200
    assert raw.delete(f"{path}/").status_code == 204
    services = f"{raw.base_url}".rstrip("/").removesuffix("/default")
    assert raw.get(f"{services}/").json()["services"] == raw.get(services).json()["services"]


@pytest.mark.parametrize(
    ("segment", "key"),
    [
        ("a%2Fb", "a/b"),
        ("a%3Fb%23c", "a?b#c"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("a%252Fb", "a%2Fb"),
        ("100%25", "100%"),
        ("%E2%98%95", "☕"),
        ("%F0%9F%90%A6", "🐦"),
        ("%2E%2E%2Fx", "../x"),
        ("%2e", "."),
        ("a;b=c,d", "a;b=c,d"),
        ("Items", "Items"),
        ("a%26b%3Dc", "a&b=c"),
    ],
)
def test_a_path_segment_is_split_raw_and_decoded_once(
    raw: httpx.Client, map_items: str, segment: str, key: str
) -> None:
    assert raw.post(map_items, data={"Key": key, "Data": "{}"}).status_code == 201

    fetched = raw.get(f"{map_items}/{segment}")

    assert fetched.status_code == 200, fetched.text
    assert fetched.json()["key"] == key
    # The item's own address is complete, encoded, and leads back to it; but a dot is left out
    # by clients on the way, encoded or not (RFC 3986, 5.2.4).
    if key != ".":
        assert raw.get(fetched.json()["url"]).json()["key"] == key
    assert raw.post(f"{map_items}/{segment}", data={"Data": '{"n":1}'}).status_code == 200
    assert raw.delete(f"{map_items}/{segment}").status_code == 204
    assert raw.get(map_items).json()["items"] == []


def test_a_unique_name_with_a_slash_stays_one_segment(raw: httpx.Client) -> None:
    name = unused_name("rooms/1?x=#")
    created = raw.post("/Documents", data={"UniqueName": name}).json()

    segment = name.replace("/", "%2F").replace("?", "%3F").replace("#", "%23")
    found = raw.get(f"/Documents/{segment}")

    assert found.json()["sid"] == created["sid"]


@pytest.mark.parametrize(
    "path", ["/v1", "/v2/Services", "/v1/Nope", "/v1/Services/default/Nope", "/V1/Services"]
)
def test_an_unknown_path_is_not_found(raw: httpx.Client, server: ServerProcess, path: str) -> None:
    assert_refused(raw.get(f"{server.base_url}{path}"), 404, 20404)


def test_segments_too_many_are_an_unknown_path(raw: httpx.Client, map_items: str) -> None:
    for path in ("/Documents/a/b", f"{map_items}/k/more", "/Documents/a/Permissions/b/c"):
        assert_refused(raw.get(path), 404, 20404)


# --- methods ---


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE"])
def test_another_method_is_not_allowed(raw: httpx.Client, method: str) -> None:
    for path in ("/Documents", "/Documents/some"):
        response = raw.request(method, path)
        assert response.status_code == 405
        assert response.json()["status"] == 405
        assert {"GET", "POST"} <= set(re.split(r",\s*", response.headers["allow"]))


def test_a_method_of_another_resource_is_not_allowed(raw: httpx.Client, map_items: str) -> None:
    stream = f"/Streams/{raw.post('/Streams').json()['sid']}"
    for method, path in (
        ("DELETE", "/Documents"),
        ("DELETE", map_items),
        ("GET", f"{stream}/Messages"),
        ("POST", "/Documents/some/Permissions"),
    ):
        assert raw.request(method, path).status_code == 405, (method, path)


def test_head_is_get_without_a_body_or_not_allowed(raw: httpx.Client) -> None:
    path = f"/Documents/{raw.post('/Documents').json()['sid']}"

    response = raw.head(path)

    assert response.status_code in (200, 405)
    assert response.content == b""
    assert raw.get(path).status_code == 200  # the connection is still in step


@pytest.mark.parametrize("path", ["/Documents", "/Maps/m/Items/a%2Fb", "/Documents/never-made"])
def test_a_preflight_is_answered_without_credentials(server: ServerProcess, path: str) -> None:
    response = httpx.options(
        f"{server.base_url}/v1/Services/default{path}",
        headers={
            "Origin": "https://app.example.test",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,if-match",
        },
        trust_env=False,
    )

    assert response.status_code in (200, 204)
    _assert_cors(response)
    assert response.content == b""


# --- headers ---


def _assert_cors(response: httpx.Response) -> None:
    def values(name: str) -> set[str]:
        return set(re.split(r",\s*", response.headers[f"access-control-{name}"]))

    assert response.headers["access-control-allow-origin"] == "*"
    assert values("allow-methods") == {"GET", "POST", "DELETE", "OPTIONS"}
    assert values("allow-headers") == {
        *("Accept", "Authorization", "Content-Type", "If-Match", "If-Modified-Since"),
        *("If-None-Match", "If-Unmodified-Since", "Idempotency-Key"),
    }
    assert response.headers["access-control-allow-credentials"] == "true"
    assert values("expose-headers") == {"ETag"}


def test_every_answer_carries_the_documented_headers(raw: httpx.Client, map_items: str) -> None:
    item = f"{map_items}/k"
    responses = [
        raw.post(map_items, data={"Key": "k", "Data": "{}"}),
        raw.get(item),
        raw.get(map_items),
        raw.post(item, data={"Data": "no json"}),
        raw.delete(item),
        raw.get(item),
        raw.get("/Nope"),
        raw.put("/Documents"),
        httpx.get(f"{raw.base_url}", trust_env=False),
    ]
    assert [response.status_code for response in responses] == [
        *(201, 200, 200, 400, 204, 404, 404, 405, 401)
    ]

    for response in responses:
        _assert_cors(response)
        assert re.fullmatch("RQ[0-9a-f]{32}", response.headers["twilio-request-id"])
        assert float(response.headers["twilio-request-duration"]) >= 0
    ids = {response.headers["twilio-request-id"] for response in responses}
    assert len(ids) == len(responses)


def test_bodies_are_json_and_a_deletion_has_none(raw: httpx.Client) -> None:
    created = raw.post("/Documents")
    path = f"/Documents/{created.json()['sid']}"
    deleted = raw.delete(path)

    for response in (created, raw.get("/Documents")):
        assert response.headers["content-type"].split(";")[0] == "application/json"
    assert deleted.status_code == 204
    assert deleted.content == b""
    assert raw.get(path).status_code == 404


def test_documents_and_items_have_quoted_entity_tags_and_nothing_else_has(
    raw: httpx.Client, map_items: str
) -> None:
    document = raw.post("/Documents")
    map_item = raw.post(map_items, data={"Key": "k", "Data": "{}"})
    sync_list = raw.post("/Lists")
    items = f"/Lists/{sync_list.json()['sid']}/Items"
    list_item = raw.post(items, data={"Data": "{}"})

    for response in (document, map_item, list_item, raw.get(f"{items}/0")):
        assert response.headers["etag"] == f'"{response.json()["revision"]}"'
    for response in (sync_list, raw.get(items), raw.post("/Streams"), raw.get("/Documents")):
        assert "etag" not in response.headers


def test_dates_have_no_fraction(raw: httpx.Client) -> None:
    body = raw.post("/Documents", data={"Ttl": "60"}).json()

    for name in ("date_created", "date_updated", "date_expires"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body[name])


def test_addresses_follow_the_host_that_was_called(raw: httpx.Client) -> None:
    headers = {"Host": "sync.example.test:8443"}

    created = raw.post("/Documents", headers=headers).json()

    assert created["url"].startswith("http://sync.example.test:8443/v1/Services/IS")
    assert created["links"]["permissions"].startswith("http://sync.example.test:8443/")


def test_addresses_follow_the_scheme_that_a_trusted_proxy_tells(
    raw: httpx.Client, tmp_path: Path
) -> None:
    headers = {"Host": "sync.example.test:8443", "X-Forwarded-Proto": "https"}
    trusting = {"STARLINGS_TRUSTED_PROXIES": "127.0.0.1"}
    behind_proxy = ServerProcess(tmp_path / "data", environment=trusting)
    with behind_proxy, raw_client(behind_proxy) as proxied:
        proxied.post("/Documents")
        page = proxied.get("/Documents", headers=headers).json()

    assert page["meta"]["url"].startswith("https://sync.example.test:8443/v1/Services/")
    assert page["documents"][0]["url"].startswith("https://sync.example.test:8443/")
    # From anybody else the header is but a claim.
    assert raw.post("/Documents", headers=headers).json()["url"].startswith("http://sync.")


def test_conditions_on_collections_are_ignored(raw: httpx.Client) -> None:
    for path in ("/Lists", "/Maps", "/Streams"):
        one = f"{path}/{raw.post(path).json()['sid']}"
        assert raw.post(one, data={"Ttl": "60"}, headers={"If-Match": "ff"}).status_code == 200
        assert raw.delete(one, headers={"If-Match": "ff"}).status_code == 204


# --- forms ---


def test_a_get_with_the_content_type_of_a_form_is_served(raw: httpx.Client) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    assert raw.get("/Documents", headers=headers).status_code == 200


def test_an_empty_post_is_an_update_without_parameters(raw: httpx.Client) -> None:
    path = f"/Documents/{raw.post('/Documents').json()['sid']}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    for headers in ({}, form, {**form, "Content-Length": "0"}):
        assert_refused(raw.post(path, headers=headers), 400, 54010)
    assert_refused(raw.post(path, data={"Unknown": "1"}), 400, 54010)


def test_flags_are_read_in_any_case(raw: httpx.Client) -> None:
    services = f"{raw.base_url}".rstrip("/").removesuffix("/default")
    for text, expected in (("true", True), ("True", True), ("FALSE", False), ("false", False)):
        assert raw.post(services, data={"AclEnabled": text}).json()["acl_enabled"] is expected
    for text in ("yes", "1", "maybe"):
        assert_refused(raw.post(services, data={"AclEnabled": text}), 400, 20001)


def test_a_form_decodes_plus_and_percent(raw: httpx.Client, map_items: str) -> None:
    response = raw.post(
        map_items,
        content=b"Key=a+b%2Bc%C3%A9&Data=%7B%22t%22%3A+%22x%2By%22%7D",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"},
    )

    assert response.json()["key"] == "a b+cé"
    assert response.json()["data"] == {"t": "x+y"}


def test_requests_keep_one_connection(server: ServerProcess) -> None:
    """Three requests in one segment come back in order: a 404, a refused form, and a page."""
    head = f"Host: h\r\nAuthorization: {authorization(server)}\r\n"
    paths = ("GET /v1/Nope", "POST /v1/Services/default/Lists/x", "GET /v1/Services/default/Lists")
    message = "".join(f"{path} HTTP/1.1\r\n{head}Content-Length: 0\r\n\r\n" for path in paths)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(message.encode())
        received = b""
        while received.count(b"HTTP/1.1 ") < 3 or b'"meta"' not in received:
            chunk = connection.recv(65536)
            assert chunk, received
            received += chunk

    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"404", b"404", b"200"]


# --- what is refused before the API hears of it ---


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /v1/Services/" + b"x" * 33_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431, 20431),
        (b"GET /v1/\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400, 20001),
        (b"FOO /v1/Services HTTP/1.1\r\nHost: h\r\n\r\n", 400, 20001),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n", 413, 54006),
    ],
)
def test_what_the_server_refuses_by_itself_looks_like_any_refusal(
    server: ServerProcess, sent: bytes, status: int, code: int
) -> None:
    url = httpx.URL(server.base_url)
    assert url.port is not None
    with socket.create_connection((url.host, url.port), timeout=10) as peer:
        peer.sendall(sent)
        answer = b""
        while part := peer.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\naccess-control-allow-origin: *" in head
    assert re.search(rb"\r\ntwilio-request-id: RQ[0-9a-f]{32}\r\n", head)
    assert b"\r\ncontent-type: application/json" in head
    refusal = json.loads(body)
    assert (refusal["status"], refusal["code"]) == (status, code)
    assert refusal["message"]
