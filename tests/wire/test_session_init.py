"""A session before it is ready: what init is answered, and what comes before it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from starlings.wire.close_codes import EXPIRED_TOKEN, THROTTLED
from starlings.wire.messages import (
    ClientClose,
    DeleteNotificationContext,
    Init,
    InitRegistration,
    PutNotificationContext,
    Reply,
    ServerClose,
    Status,
    Telemetry,
    Unknown,
    Upstream,
)
from starlings.wire.session_events import (
    Accepted,
    FrameReceived,
    FrameRejected,
    InitRefused,
    InitRequested,
    Reason,
    Send,
    SessionClosed,
)
from tests.wire.peers import (
    INIT,
    OK,
    REQUEST,
    START,
    TIMING,
    UPDATE,
    Peer,
    a_ready_peer,
    accepted_with,
    an_accepted_peer,
    an_initialising_peer,
    unavailable,
)
from tests.wire.strategies import frame


def test_init_asks_the_owner_to_check_the_token() -> None:
    peer = an_accepted_peer()
    assert peer.send(INIT) == [InitRequested(INIT)]
    assert peer.session.state == Accepted(START + TIMING.init_timeout_ms, INIT.id)


def test_an_accepted_init_is_answered_as_documented() -> None:
    peer = an_initialising_peer()
    [output] = peer.session.handle(
        accepted_with(
            continuation_token="xRngxiJ1vTQQVJoAKCS_0jin-QkKixsD",
            registrations=(InitRegistration("EP6", "ers", "data_sync", ["twilio.sync.event"]),),
        ),
        START,
    )
    assert output == Send(
        frame(
            b'{"method":"reply","id":"TM-init","status":{"code":200,"status":"OK"},'
            b'"capabilities":["client_update","offline_storage","telemetry.v1"],'
            b'"continuation_token":"xRngxiJ1vTQQVJoAKCS_0jin-QkKixsD",'
            b'"continuation_token_status":{"reissued":false},'
            b'"init_registrations":[{"notification_ctx_id":"EP6","type":"ers",'
            b'"product":"data_sync","message_types":["twilio.sync.event"]}],'
            b'"offline_storage":{"data_sync":{"storage_id":"AC1:IS1:zoe"}},'
            b'"account_descriptor":{"account_sid":"AC1","instance_sids":{"data_sync":"IS1"},'
            b'"identity":"zoe"},"payload_size":0}'
        )
    )


def test_offline_storage_can_be_left_out() -> None:
    [reply] = an_initialising_peer().tell(accepted_with(storage_id=None))
    assert isinstance(reply, Reply)
    assert reply.offline_storage is None


def test_a_refused_init_is_answered_and_the_client_is_given_time_to_read_it() -> None:
    peer = an_initialising_peer()
    assert peer.tell(InitRefused(EXPIRED_TOKEN)) == [
        Reply(
            INIT.id,
            Status(401, "UNAUTHORIZED", 20104, "Access Token expired or expiration date invalid"),
        )
    ]
    assert peer.session.deadline_ms == START + TIMING.close_timeout_ms
    assert peer.tick_at(START + TIMING.close_timeout_ms) == [SessionClosed(Reason.INIT_REFUSED)]


def test_a_throttled_init_tells_the_delay_with_a_maximum_above_the_minimum() -> None:
    [reply] = an_initialising_peer().tell(InitRefused(THROTTLED, 2500))
    assert isinstance(reply, Reply)
    policy = json.loads(reply.payload)["backoff_policy"]
    assert policy["reconnect_min_ms"] == 2500
    assert policy["reconnect_max_ms"] > 2500


def test_a_second_init_is_a_bad_request_and_the_first_goes_on() -> None:
    peer = an_initialising_peer()
    assert peer.send(Init("TM-2", "t")) == [Reply("TM-2", Status(400, "BAD_REQUEST"))]
    [reply] = peer.tell(accepted_with())
    assert isinstance(reply, Reply)
    assert reply.id == INIT.id


@pytest.mark.parametrize("a_peer", [an_accepted_peer, an_initialising_peer])
@pytest.mark.parametrize(
    "message",
    [
        UPDATE,
        REQUEST,
        PutNotificationContext("TM-x"),
        DeleteNotificationContext("TM-x"),
        Unknown("TM-x", "dance"),
    ],
)
def test_whatever_comes_before_init_is_through_is_unauthorized(
    a_peer: Any, message: Upstream
) -> None:
    peer: Peer = a_peer()
    [reply] = peer.send(message)
    assert isinstance(reply, Reply)
    assert (reply.id, reply.status.code) == (message.id, 401)
    assert isinstance(peer.session.state, Accepted)


@pytest.mark.parametrize("message", [Reply("TM-x", OK), Telemetry("TM-x")])
def test_what_expects_no_answer_gets_none_before_init(message: Upstream) -> None:
    assert an_accepted_peer().send(message) == []


def test_bytes_that_are_no_frame_end_a_connection_without_init() -> None:
    peer = an_accepted_peer()
    rejected, close = peer.tell(FrameReceived(b"GET / HTTP/1.1"))
    assert isinstance(rejected, FrameRejected)
    assert isinstance(close, ServerClose)
    assert close.status.code == 417
    assert peer.send(Reply(close.id, OK)) == [SessionClosed(Reason.PROTOCOL_ERROR)]


@pytest.mark.parametrize("a_peer", [an_accepted_peer, an_initialising_peer])
def test_a_broken_frame_whose_id_can_be_read_is_answered_before_init_too(
    a_peer: Any,
) -> None:
    """After 417 a client never comes back. [4.6]"""
    peer: Peer = a_peer()
    header = b'{"method":"init","id":"1","token":7}'
    rejected, reply = peer.tell(
        FrameReceived(b"TWILSOCK V3.0 %d\r\n%b\r\n" % (len(header), header))
    )
    assert isinstance(rejected, FrameRejected)
    assert reply == Reply("1", Status(400, "BAD_REQUEST"))
    assert isinstance(peer.session.state, Accepted)


def test_without_init_in_time_the_connection_is_dropped() -> None:
    peer = an_accepted_peer()
    assert peer.session.deadline_ms == START + TIMING.init_timeout_ms
    assert peer.tick_at(START + TIMING.init_timeout_ms - 1) == []
    assert peer.tick_at(START + TIMING.init_timeout_ms) == [SessionClosed(Reason.NO_INIT)]


def test_an_init_the_owner_did_not_decide_in_time_is_answered_as_unavailable() -> None:
    assert an_initialising_peer().tick_at(START + TIMING.init_timeout_ms) == [
        unavailable(INIT.id),
        SessionClosed(Reason.INIT_UNANSWERED),
    ]


@pytest.mark.parametrize("a_peer", [an_accepted_peer, an_initialising_peer, a_ready_peer])
def test_a_client_that_leaves_is_answered_before_the_end(a_peer: Any) -> None:
    peer: Peer = a_peer()
    outputs = peer.send(ClientClose("TM-bye"))
    assert outputs == [Reply("TM-bye", OK), SessionClosed(Reason.CLIENT_LEFT)]
