"""Who may open a WebSocket; the answers on the wire are in test_transport.py."""

from __future__ import annotations

import pytest

from starlings.ws.handshake import Accepted, Handshake, Refused
from starlings.ws.options import WebSocketOptions

OFFER = "permessage-deflate; client_max_window_bits"


def decide(
    options: WebSocketOptions,
    target: bytes = b"/v3/wsconnect",
    origin: str | None = None,
    offers: str = "",
    open_connections: int = 0,
    version: str | None = "13",
) -> Refused | Accepted:
    return Handshake(options).decide(target, version, origin, offers, open_connections)


@pytest.mark.parametrize("target", [b"/v3/wsconnect", b"/v3/wsconnect?", b"/v3/wsconnect?a=/b?c"])
def test_the_one_path_is_accepted_with_any_query(target: bytes) -> None:
    assert decide(WebSocketOptions(), target) == Accepted(None, {})


@pytest.mark.parametrize("target", [b"/", b"/v3/wsconnect/", b"/v3/wsconnec", b"?/v3/wsconnect"])
def test_every_other_path_is_not_found(target: bytes) -> None:
    assert decide(WebSocketOptions(), target) == Refused(404, b"Not found")


@pytest.mark.parametrize("version", ["8", "7", "", None])
def test_another_version_is_told_which_one_it_may_try(version: str | None) -> None:
    answer = decide(WebSocketOptions(), version=version)
    assert isinstance(answer, Refused)
    assert (answer.status, answer.headers) == (426, (("Sec-WebSocket-Version", "13"),))


@pytest.mark.parametrize(
    ("allowed", "origin", "is_accepted"),
    [
        (None, "https://any.example", True),
        (frozenset({"https://a.example"}), "https://a.example", True),
        (frozenset({"https://a.example"}), None, True),
        (frozenset({"https://a.example"}), "https://a.example.evil", False),
        (frozenset({"https://a.example"}), "", False),
        (frozenset(), "https://a.example", False),
    ],
)
def test_only_listed_origins_are_accepted_and_those_without_one(
    allowed: frozenset[str] | None, origin: str | None, is_accepted: bool
) -> None:
    answer = decide(WebSocketOptions(allowed_origins=allowed), origin=origin)
    assert answer == (Accepted(None, {}) if is_accepted else Refused(403, b"Origin not allowed"))


def test_as_many_are_accepted_as_may_be_open() -> None:
    options = WebSocketOptions(max_connections=2)
    assert isinstance(decide(options, open_connections=1), Accepted)
    assert decide(options, open_connections=2) == Refused(503, b"Too many connections")


def test_a_stranger_is_not_told_that_the_server_is_full() -> None:
    options = WebSocketOptions(max_connections=0, allowed_origins=frozenset())
    assert decide(options, b"/x", "https://a.example") == Refused(404, b"Not found")
    assert decide(options, origin="https://a.example") == Refused(403, b"Origin not allowed")


def test_compression_is_agreed_on_only_where_it_is_switched_on() -> None:
    assert decide(WebSocketOptions(), offers=OFFER) == Accepted(None, {})
    compressing = WebSocketOptions(compress_from_bytes=100)
    answer = decide(compressing, offers=OFFER)
    assert isinstance(answer, Accepted)
    assert answer.agreement is not None
    assert answer.headers == {"Sec-WebSocket-Extensions": answer.agreement.answer}
    assert decide(compressing, offers="x-unknown") == Accepted(None, {})
    assert decide(compressing) == Accepted(None, {})
