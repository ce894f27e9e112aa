"""Base URLs and callers' addresses, with and without proxies."""

import pytest

from starlings.rest.urls import Origin, quote_segment

PROXY = "10.0.0.1"


def origin(public_url: str | None = None) -> Origin:
    return Origin(public_url, {PROXY, "10.0.0.2"}.__contains__)


def scope(peer: str = "192.0.2.7", scheme: str = "http") -> dict[str, object]:
    return {"scheme": scheme, "client": (peer, 1), "server": ("127.0.0.1", 8000)}


def test_the_setting_wins_and_loses_its_trailing_slash() -> None:
    base = origin("https://sync.example.test/").find_base_url(scope(), {b"host": b"else.test"})
    assert base == "https://sync.example.test"


@pytest.mark.parametrize(
    "host", [b"sync.test", b"sync.test:8080", b"127.0.0.1:1", b"[::1]:8080", b"under_score"]
)
def test_without_one_the_host_header_tells(host: bytes) -> None:
    found = origin()
    for _ in range(2):
        assert found.find_base_url(scope(), {b"host": host}) == f"http://{host.decode()}"
        assert found.find_base_url(scope(scheme="https"), {b"host": host}).startswith("https://")


@pytest.mark.parametrize("host", [b"", b"a b", b'a"b', b"a/b", b"a@b", b"\xff", b"h:x", b"x" * 300])
def test_a_strange_host_gives_way_to_the_servers_own_address(host: bytes) -> None:
    assert origin().find_base_url(scope(), {b"host": host}) == "http://127.0.0.1:8000"


def test_without_host_and_address_there_is_still_a_url() -> None:
    own = {**scope(), "server": ("::1", 80)}
    assert origin().find_base_url(own, {}) == "http://[::1]:80"
    own = {**scope(), "server": None}
    assert origin().find_base_url(own, {}) == "http://localhost"


def test_a_trusted_proxy_is_believed() -> None:
    headers = {
        b"host": b"inner:8000",
        b"x-forwarded-proto": b"http, https",
        b"x-forwarded-host": b"outer.test",
    }
    assert origin().find_base_url(scope(PROXY), headers) == "https://outer.test"
    assert origin().find_base_url(scope(), headers) == "http://inner:8000"
    strange = {b"host": b"inner", b"x-forwarded-proto": b"ftp"}
    assert origin().find_base_url(scope(PROXY), strange) == "http://inner"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.7", b"198.51.100.1", "192.0.2.7"),
        (PROXY, b"198.51.100.1", "198.51.100.1"),
        (PROXY, b"6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (PROXY, b"198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (PROXY, b"10.0.0.2", "10.0.0.2"),
        (PROXY, b"nonsense", PROXY),
        (PROXY, b"", PROXY),
        (PROXY, b"2001:DB8::1", "2001:db8::1"),
        (PROXY, b"198.51.100.1:4711", "198.51.100.1"),
        (PROXY, b"[2001:db8::1]:4711, 10.0.0.2:99", "2001:db8::1"),
        (PROXY, b"[2001:db8::1]", "2001:db8::1"),
        (PROXY, b"[", PROXY),
        (PROXY, b":", PROXY),
    ],
)
def test_the_address_is_the_nearest_that_is_no_trusted_proxy(
    peer: str, forwarded: bytes, address: str
) -> None:
    assert origin().find_address(scope(peer), {b"x-forwarded-for": forwarded}) == address


def test_a_peer_without_address_has_none() -> None:
    assert origin().find_address({**scope(), "client": None}, {}) == ""
    assert origin().find_base_url({**scope(), "client": None}, {b"host": b"h"}) == "http://h"


def test_the_memory_of_hosts_is_bounded() -> None:
    found = origin()
    for number in range(1000):
        found.find_base_url(scope(), {b"host": b"h%d" % number})
    assert len(found._bases) <= 64


def test_a_segment_keeps_nothing_that_could_end_it() -> None:
    assert quote_segment("a/b?c#d%+é") == "a%2Fb%3Fc%23d%25%2B%C3%A9"
