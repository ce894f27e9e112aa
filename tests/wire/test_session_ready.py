"""A session that is ready, then one that is closing: what is answered, pinged and let go."""

from __future__ import annotations

import json

import pytest

from starlings.wire.close_codes import OFFLOAD, TOKEN_EXPIRED
from starlings.wire.codec import encode_upstream
from starlings.wire.messages import (
    ClientClose,
    DeleteNotificationContext,
    Init,
    Ping,
    PutNotificationContext,
    Reply,
    Status,
    Telemetry,
    TelemetryEvent,
    Unknown,
    Upstream,
)
from starlings.wire.session_events import (
    CloseRequested,
    FrameReceived,
    FrameRejected,
    Reason,
    RequestReceived,
    SessionClosed,
    TelemetryReceived,
    Timing,
)
from tests.wire.peers import (
    INIT,
    OK,
    REQUEST,
    START,
    TIMING,
    Peer,
    a_closing_peer,
    a_ready_peer,
    accepted_with,
    close_sent,
)
from tests.wire.strategies import frame


def test_a_request_is_handed_to_the_owner() -> None:
    assert a_ready_peer().send(REQUEST) == [RequestReceived(REQUEST)]


def test_telemetry_is_handed_on_and_not_answered() -> None:
    event = TelemetryEvent(-5.0, 0.0, "t")
    assert a_ready_peer().send(Telemetry("TM-x", [event])) == [TelemetryReceived([event])]
    assert a_ready_peer().send(Telemetry("TM-x", [])) == []


@pytest.mark.parametrize(
    "message", [PutNotificationContext("TM-x", "c", b"{}"), DeleteNotificationContext("TM-x", "c")]
)
def test_notification_contexts_are_answered_politely(message: Upstream) -> None:
    assert a_ready_peer().send(message) == [Reply("TM-x", OK)]


@pytest.mark.parametrize("message", [Init("TM-x", "t"), Unknown("TM-x", "dance")])
def test_init_again_and_foreign_methods_are_bad_requests(message: Upstream) -> None:
    peer = a_ready_peer()
    assert peer.send(message) == [Reply("TM-x", Status(400, "BAD_REQUEST"))]
    assert peer.session.is_ready


def test_an_acknowledgement_needs_nothing() -> None:
    assert a_ready_peer().send(Reply("TM-x", OK)) == []


def test_a_broken_message_with_an_id_is_answered_and_the_session_goes_on() -> None:
    peer = a_ready_peer()
    rejected, reply = peer.tell(FrameReceived(frame(b'{"method":"update","id":"TM-x"}')))
    assert isinstance(rejected, FrameRejected)
    assert reply == Reply("TM-x", Status(400, "BAD_REQUEST"))
    assert peer.session.is_ready


def test_bytes_that_are_no_frame_are_reported_and_the_session_goes_on() -> None:
    peer = a_ready_peer()
    [rejected] = peer.tell(FrameReceived(b"\xff"))
    assert isinstance(rejected, FrameRejected)
    assert peer.session.is_ready


# Liveness


def test_a_ping_is_sent_again_and_again() -> None:
    peer = a_ready_peer()
    first = START + TIMING.ping_interval_ms
    assert peer.session.deadline_ms == first
    [ping] = peer.tick_at(first)
    assert isinstance(ping, Ping)
    peer.send(Reply(ping.id, OK))
    assert peer.session.deadline_ms == first + TIMING.ping_interval_ms
    [again] = peer.tick_at(first + TIMING.ping_interval_ms)
    assert isinstance(again, Ping)
    assert again.id != ping.id


def test_a_late_tick_is_not_followed_by_a_burst_of_pings() -> None:
    peer = a_ready_peer()
    late = START + TIMING.ping_interval_ms * 2 + 5
    assert len(peer.tick_at(late)) == 1
    assert peer.tick_at(late) == []


def test_a_silent_client_counts_as_dead() -> None:
    peer = a_ready_peer()
    silent_at = START + TIMING.silence_timeout_ms
    assert SessionClosed(Reason.SILENT) not in peer.tick_at(silent_at - 1)
    assert peer.session.deadline_ms == silent_at
    assert peer.tick_at(silent_at) == [SessionClosed(Reason.SILENT)]


@pytest.mark.parametrize("data", [encode_upstream(Reply("TM-x", OK)), b"\xff"])
def test_any_frame_is_a_sign_of_life(data: bytes) -> None:
    peer = a_ready_peer()
    peer.now_ms = START + TIMING.silence_timeout_ms - 1
    peer.tell(FrameReceived(data))
    assert SessionClosed(Reason.SILENT) not in peer.tick_at(START + TIMING.silence_timeout_ms)


def test_a_long_check_of_the_token_does_not_count_as_silence() -> None:
    peer = Peer(Timing(init_timeout_ms=100_000))
    peer.send(INIT)
    peer.now_ms = START + 90_000
    peer.tell(accepted_with())
    assert SessionClosed(Reason.SILENT) not in peer.tick_at(START + 90_001)


# CLOSING


def test_draining_sends_a_close_with_status_and_backoff() -> None:
    peer = a_ready_peer()
    close = close_sent(peer.tell(CloseRequested(OFFLOAD, 2500)))
    assert (close.status.code, close.status.status) == (308, "OFFLOAD")
    policy = json.loads(close.payload)["backoff_policy"]
    assert policy["reconnect_min_ms"] == 2500
    assert policy["reconnect_max_ms"] > 2500


def test_a_close_without_backoff_has_no_payload() -> None:
    assert close_sent(a_ready_peer().tell(CloseRequested(TOKEN_EXPIRED))).payload == b""


def test_the_session_closes_when_the_client_acknowledges() -> None:
    peer = a_ready_peer()
    close = close_sent(peer.tell(CloseRequested(OFFLOAD)))
    assert peer.send(Reply("another", OK)) == []
    assert peer.send(Reply(close.id, OK)) == [SessionClosed(Reason.DRAINED)]


def test_the_session_closes_when_the_client_does_not_acknowledge() -> None:
    peer = a_closing_peer()
    assert peer.session.deadline_ms == START + TIMING.close_timeout_ms
    assert peer.tick_at(START + TIMING.close_timeout_ms - 1) == []
    assert peer.tick_at(START + TIMING.close_timeout_ms) == [SessionClosed(Reason.DRAINED)]


def test_a_client_that_leaves_while_closing_is_answered() -> None:
    assert a_closing_peer().send(ClientClose("TM-bye")) == [
        Reply("TM-bye", OK),
        SessionClosed(Reason.DRAINED),
    ]


def test_requests_while_closing_are_dropped() -> None:
    assert a_closing_peer().send(REQUEST) == []


def test_bytes_that_are_no_frame_are_reported_while_closing() -> None:
    [rejected] = a_closing_peer().tell(FrameReceived(b""))
    assert isinstance(rejected, FrameRejected)
