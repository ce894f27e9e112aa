"""What picows is given instead; how it takes it is in test_transport.py."""

from __future__ import annotations

import logging

import pytest

from starlings.ws.stand_ins import PeerLogger, make_head

HEAD = (
    b"GET /v3/wsconnect HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nCookie: a=1\r\n"
    b"SEC-WEBSOCKET-KEY: abc\r\nOrigin: https://a.example\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def test_of_a_head_only_what_matters_is_kept() -> None:
    assert make_head(HEAD, may_compress=False) == (
        b"GET /v3/wsconnect HTTP/1.1\r\nconnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSEC-WEBSOCKET-KEY: abc\r\nOrigin: https://a.example\r\n\r\n"
    )


def test_offers_of_compression_are_kept_where_they_may_be_taken() -> None:
    line = b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    assert make_head(HEAD, may_compress=True).endswith(b"https://a.example" + line)


def test_what_picows_says_of_peers_is_logged_for_who_asks_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = PeerLogger(logging.getLogger("starlings.ws.picows"))
    with caplog.at_level(logging.DEBUG, "starlings.ws.picows"):
        logger.info("new %s", "connection")
        logger.warning("full")
        logger.error("broken frame")
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("DEBUG", "new connection"),
        ("DEBUG", "full"),
        ("DEBUG", "broken frame"),
    ]


def test_a_mistake_of_ours_is_logged_as_an_error_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = PeerLogger(logging.getLogger("starlings.ws.picows"))
    try:
        raise KeyError("x")
    except KeyError:
        logger.exception("failed")
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError
