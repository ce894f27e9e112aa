"""The operator's paths: health, readiness, metrics."""

import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from starlings.app.figures import list_figures
from starlings.app.health import Health
from starlings.app.metrics import Metrics, RequestCounter, classify_path
from starlings.app.site import Site
from starlings.auth.basic import BasicAuthenticator
from starlings.auth.failures import BURST
from starlings.auth.tokens import verify_token
from starlings.core.limits import OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.rest.app import RestApp
from starlings.storage.memory import MemoryStore
from starlings.ws.face import SyncFace
from starlings.ws.http import BoundedHttpServer
from tests.auth.sources import ACCOUNT, AUTH_TOKEN, a_keyring

AUTH = (ACCOUNT, AUTH_TOKEN)


async def is_writable() -> bool:
    return True


@pytest.fixture
def health() -> Health:
    return Health(is_writable, lambda: 0)


@pytest.fixture
def site(health: Health) -> Site:
    keyring = a_keyring()
    authenticator = BasicAuthenticator(keyring)
    store = MemoryStore(OFF, SYSTEM_SOURCES.now)
    node = Node(store, OFF, SYSTEM_SOURCES)
    rest = RestApp(node, authenticator, is_trusted_proxy="10.0.0.1".__eq__)
    face = SyncFace(node, lambda text: verify_token(text, keyring, OFF, 0), b"secret")
    requests = RequestCounter()
    figures = list_figures(store, rest, face, BoundedHttpServer(), authenticator, keyring)
    return Site(rest, health, Metrics(requests, figures, "1.2.3"), requests)


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(site)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as opened:
        yield opened


def samples(text: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, tuple(sorted(sample.labels.items())), sample.value


async def test_health_is_200_without_credentials(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert (await client.head("/healthz")).content == b""


async def test_whoever_opens_the_address_in_a_browser_is_told_what_this_is(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/")
    assert (answer.status_code, "www-authenticate" in answer.headers) == (200, False)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Starlings is running" in answer.text
    assert "credentials.json" in answer.text
    assert ACCOUNT not in answer.text
    assert "1.2.3" not in answer.text  # the version is for those with credentials
    asked_for = await client.head("/")
    assert (asked_for.status_code, asked_for.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("GET", "/v1"), ("GET", "/index.html")]
)
async def test_all_other_paths_ask_for_credentials_before_they_tell_anything(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    assert (await client.request(method, path)).status_code == 401
    assert (await client.request(method, path, auth=AUTH)).status_code == 404


async def test_readiness_ends_when_draining_begins(
    client: httpx.AsyncClient, health: Health
) -> None:
    assert (await client.get("/readyz")).status_code == 200
    health.is_draining = True
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "draining\n")
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/v1/Services/default", "/nothing"])
async def test_answers_while_draining_end_their_connection(
    client: httpx.AsyncClient, health: Health, path: str
) -> None:
    assert "connection" not in (await client.get(path, auth=AUTH)).headers
    health.is_draining = True
    assert (await client.get(path, auth=AUTH)).headers["connection"] == "close"


async def test_metrics_ask_for_credentials(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert "starlings_" not in answer.text
    assert (await client.get("/metrics", auth=(ACCOUNT, "wrong"))).status_code == 401


async def fail(client: httpx.AsyncClient, path: str, *forwarded: str) -> httpx.Response:
    """A failed log-in that claims, in one header or more, to come by a proxy from an address."""
    headers = [("x-forwarded-for", value) for value in forwarded]
    return await client.get(path, auth=(ACCOUNT, "wrong"), headers=headers)


@pytest.mark.parametrize("path", ["/metrics", "/v1/Services"])
async def test_who_guesses_behind_a_trusted_proxy_locks_out_nobody_else(
    site: Site, path: str
) -> None:
    transport = httpx.ASGITransport(site, client=("10.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        # An attacker may write what it likes in front of what the proxy adds, be it to the same
        # header or by one of its own.
        for n in range(BURST):
            one = f"192.0.2.{n}, 203.0.113.9"
            answer = await fail(client, path, *(one.split(", ") if n % 2 else [one]))
            assert answer.status_code == 401
        refused = await fail(client, path, "192.0.2.99, 203.0.113.9")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert (await fail(client, path, "203.0.113.10")).status_code == 401


@pytest.mark.parametrize("path", ["/metrics", "/v1/Services"])
async def test_who_is_no_trusted_proxy_is_not_believed(
    client: httpx.AsyncClient, path: str
) -> None:
    for n in range(BURST):
        assert (await fail(client, path, f"192.0.2.{n}")).status_code == 401
    assert (await fail(client, path, "192.0.2.99")).status_code == 429


async def test_failed_log_ins_of_rest_and_metrics_count_together(
    client: httpx.AsyncClient,
) -> None:
    for n in range(BURST):
        path = ("/metrics", "/v1/Services")[n % 2]
        assert (await fail(client, path, "")).status_code == 401
    assert (await fail(client, "/metrics", "")).status_code == 429


async def test_metrics_count_answers_by_route_method_and_status(client: httpx.AsyncClient) -> None:
    await client.post("/v1/Services/default/Maps", data={"UniqueName": "m"}, auth=AUTH)
    for key in ("x", "x"):
        data = {"Key": key, "Data": "{}"}
        await client.post("/v1/Services/default/Maps/m/Items", data=data, auth=AUTH)
    answer = await client.get("/metrics", auth=AUTH)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {(name, labels): value for name, labels, value in samples(answer.text)}

    def answers(route: str, status: str) -> float:
        labels = (("method", "POST"), ("route", route), ("status", status))
        return found["starlings_rest_answers_total", labels]

    assert answers("map", "201") == 1
    assert answers("map_item", "201") == 1
    assert answers("map_item", "409") == 1
    assert found["starlings_build_info", (("version", "1.2.3"),)] == 1
    assert found["starlings_store_refusals_total", ()] == 1
    assert found["starlings_auth_keys", ()] == 2


async def test_units_are_last_in_the_names_of_figures(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics", auth=AUTH)).text
    names = {name for name, _, _ in samples(text) if name.startswith("starlings_")}
    assert "starlings_ws_compressed_before_bytes_total" in names
    assert not [name for name in names if re.search("_(bytes|seconds)_(?!total$)", name)]


async def test_what_callers_choose_never_becomes_a_label(client: httpx.AsyncClient) -> None:
    await client.get("/v1/Services/default/Maps/my-secret-name", auth=AUTH)
    await client.request("BREW", "/teapot", auth=AUTH)
    text = (await client.get("/metrics", auth=AUTH)).text
    assert "my-secret-name" not in text
    assert "teapot" not in text
    assert "BREW" not in text


async def test_other_methods_on_these_paths_are_unknown_paths_of_rest(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.post("/healthz", auth=AUTH)).status_code == 404


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/Services", "service"),
        ("/v1/Services/", "service"),
        ("/v1/Services/IS1", "service"),
        ("/v1/Services/IS1/", "service"),
        ("/v1/Services/IS1/Documents", "document"),
        ("/v1/Services/IS1/Documents/a", "document"),
        ("/v1/Services/IS1/Documents/a/Permissions/zoe", "document_permission"),
        ("/v1/Services/IS1/Lists/a/Items", "list_item"),
        ("/v1/Services/IS1/Maps/a/Items/k/", "map_item"),
        ("/v1/Services/IS1/Streams/a/Messages", "stream_message"),
        ("/v1/Services/IS1/Maps/a/Other", "other"),
        ("/v1/Services/IS1/Rooms", "other"),
        ("/v2/Services", "other"),
        ("/", "other"),
        ("", "other"),
    ],
)
def test_paths_are_classed(path: str, expected: str) -> None:
    assert classify_path(path) == expected
