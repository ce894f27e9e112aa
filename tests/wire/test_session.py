from __future__ import annotations

import json
from itertools import count
from typing import Any, get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from starlings.wire.close_codes import (
    EXPIRED_TOKEN,
    INVALID_TOKEN,
    OFFLOAD,
    THROTTLED,
    TOKEN_EXPIRED,
)
from starlings.wire.codec import decode_downstream, encode_upstream
from starlings.wire.messages import (
    AccountDescriptor,
    ClientClose,
    ClientUpdate,
    ContinuationTokenStatus,
    DeleteNotificationContext,
    Downstream,
    HttpRequest,
    Init,
    InitRegistration,
    Ping,
    PutNotificationContext,
    Reply,
    Request,
    ServerClose,
    Status,
    Telemetry,
    TelemetryEvent,
    Unknown,
    Update,
    Upstream,
)
from starlings.wire.session import (
    MAX_PENDING_UPDATES,
    TRANSITIONS,
    ServerSession,
    SessionMisuse,
)
from starlings.wire.session_events import (
    Accepted,
    Closed,
    CloseRequested,
    Closing,
    DropRequested,
    FrameReceived,
    FrameRejected,
    InitAccepted,
    InitRefused,
    InitRequested,
    Input,
    Output,
    Ready,
    Reason,
    RequestReceived,
    Send,
    SessionClosed,
    State,
    TelemetryReceived,
    Tick,
    Timing,
    TransportLost,
    UpdateAccepted,
    UpdateRefused,
    UpdateRequested,
)
from tests.wire.strategies import frame

START = 1_000_000
HOUR = 3_600_000
TIMING = Timing()
WARNED = START + HOUR - TIMING.expiry_warning_ms
OK = Status(200, "OK")
INIT = Init("TM-init", "a.b.c")
UPDATE = Update("TM-up", "d.e.f")
REQUEST = Request("TM-get", HttpRequest("/v3/Maps/m", "GET"))


# Builders and assertions


def accepted_with(expires_at_ms: int = START + HOUR, **changes: Any) -> InitAccepted:
    values: dict[str, Any] = {
        "expires_at_ms": expires_at_ms,
        "continuation_token": "ct",
        "continuation_token_status": ContinuationTokenStatus(False),
        "registrations": (),
        "account": AccountDescriptor("AC1", {"data_sync": "IS1"}, "zoe"),
        "storage_id": "AC1:IS1:zoe",
    }
    return InitAccepted(**{**values, **changes})


class Peer:
    """A session and the client at its other end, joined in memory."""

    def __init__(self, timing: Timing = TIMING) -> None:
        ids = count(1)
        self.now_ms = START
        self.session = ServerSession(lambda: f"TM{next(ids):032x}", START, timing)

    def tell(self, event: Input) -> list[Output | Downstream]:
        """What comes out, with frames already decoded."""
        return [
            decode_downstream(output.frame) if isinstance(output, Send) else output
            for output in self.session.handle(event, self.now_ms)
        ]

    def send(self, message: Upstream) -> list[Output | Downstream]:
        return self.tell(FrameReceived(encode_upstream(message)))

    def tick_at(self, now_ms: int) -> list[Output | Downstream]:
        self.now_ms = now_ms
        return self.tell(Tick())


def an_accepted_peer() -> Peer:
    return Peer()


def an_initialising_peer() -> Peer:
    peer = Peer()
    peer.send(INIT)
    return peer


def a_ready_peer(expires_at_ms: int = START + HOUR) -> Peer:
    peer = an_initialising_peer()
    peer.tell(accepted_with(expires_at_ms))
    return peer


def an_updating_peer() -> Peer:
    peer = a_ready_peer()
    peer.send(UPDATE)
    return peer


def a_closing_peer() -> Peer:
    peer = a_ready_peer()
    peer.tell(CloseRequested(OFFLOAD))
    return peer


def a_closed_peer() -> Peer:
    peer = a_ready_peer()
    peer.tell(TransportLost())
    return peer


def unavailable(request_id: str) -> Reply:
    return Reply(request_id, Status(503, "SERVICE_UNAVAILABLE"))


def close_sent(outputs: list[Output | Downstream]) -> ServerClose:
    [close] = [output for output in outputs if isinstance(output, ServerClose)]
    return close


# The whole table

PEERS = [
    an_accepted_peer,
    an_initialising_peer,
    a_ready_peer,
    an_updating_peer,
    a_closing_peer,
    a_closed_peer,
]

EVENTS: list[Input] = [
    FrameReceived(encode_upstream(INIT)),
    accepted_with(),
    InitRefused(EXPIRED_TOKEN),
    UpdateAccepted(UPDATE.id, START + 2 * HOUR),
    UpdateRefused(UPDATE.id, INVALID_TOKEN),
    CloseRequested(OFFLOAD),
    DropRequested(Reason.SHUTDOWN),
    Tick(),
    TransportLost(),
]


def test_the_table_has_a_row_for_each_state() -> None:
    assert set(TRANSITIONS) == set(get_args(State))


def test_the_events_of_these_tests_are_all_there_are() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Input))


@pytest.mark.parametrize("a_peer", PEERS)
@pytest.mark.parametrize("event", EVENTS)
def test_each_input_leads_where_the_table_says(a_peer: Any, event: Input) -> None:
    peer: Peer = a_peer()
    before = peer.session.state
    allowed = TRANSITIONS[type(before)].get(type(event))
    needs_request = (
        isinstance(event, InitAccepted | InitRefused)
        and before == Accepted(START + TIMING.init_timeout_ms)
    ) or (
        isinstance(event, UpdateAccepted | UpdateRefused)
        and isinstance(before, Ready)
        and not before.update_ids
    )
    if allowed is None or needs_request:
        with pytest.raises(SessionMisuse):
            peer.tell(event)
        assert peer.session.state == before
        return
    outputs = peer.tell(event)
    after = peer.session.state
    assert type(after) in allowed
    just_closed = isinstance(after, Closed) and not isinstance(before, Closed)
    assert [type(output) for output in outputs].count(SessionClosed) == just_closed


@pytest.mark.parametrize(
    ("a_peer", "event", "state"),
    [
        (an_accepted_peer, CloseRequested(OFFLOAD), Closing),
        (an_accepted_peer, DropRequested(Reason.SHUTDOWN), Closed),
        (an_accepted_peer, TransportLost(), Closed),
        (an_initialising_peer, accepted_with(), Ready),
        (an_initialising_peer, InitRefused(EXPIRED_TOKEN), Closing),
        (an_updating_peer, UpdateAccepted(UPDATE.id, START + HOUR), Ready),
        (an_updating_peer, UpdateRefused(UPDATE.id, INVALID_TOKEN), Ready),
        (a_ready_peer, CloseRequested(OFFLOAD), Closing),
        (a_ready_peer, DropRequested(Reason.SLOW), Closed),
        (a_ready_peer, TransportLost(), Closed),
        (a_closing_peer, DropRequested(Reason.SHUTDOWN), Closed),
        (a_closing_peer, TransportLost(), Closed),
        (a_closing_peer, CloseRequested(TOKEN_EXPIRED), Closing),
    ],
)
def test_an_input_changes_the_state(a_peer: Any, event: Input, state: type[State]) -> None:
    peer: Peer = a_peer()
    peer.tell(event)
    assert isinstance(peer.session.state, state)


@pytest.mark.parametrize("event", EVENTS)
def test_nothing_comes_out_of_a_closed_session(event: Input) -> None:
    peer = a_closed_peer()
    assert peer.tell(event) == []
    assert peer.session.deadline_ms is None


def test_only_a_ready_session_may_be_sent_events() -> None:
    assert [a_peer().session.is_ready for a_peer in PEERS] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


# ACCEPTED


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
        Reply(INIT.id, Status(401, "UNAUTHORIZED", 20104, "Access Token expired"))
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


# READY


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


# Token updates


def test_an_update_asks_the_owner_and_a_yes_is_answered() -> None:
    peer = a_ready_peer()
    assert peer.send(UPDATE) == [UpdateRequested("TM-up", "d.e.f")]
    assert peer.tell(UpdateAccepted("TM-up", START + 2 * HOUR)) == [Reply("TM-up", OK)]


def test_a_refused_update_is_answered_and_the_old_token_stays_in_force() -> None:
    peer = an_updating_peer()
    assert peer.tell(UpdateRefused("TM-up", INVALID_TOKEN)) == [
        Reply("TM-up", Status(401, "UNAUTHORIZED", 20101, "Invalid Access Token"))
    ]
    state = peer.session.state
    assert isinstance(state, Ready)
    assert (state.expires_at_ms, state.update_ids) == (START + HOUR, ())


def test_updates_may_be_decided_in_any_order() -> None:
    peer = an_updating_peer()
    peer.send(Update("TM-2", "t"))
    assert peer.tell(UpdateAccepted("TM-2", START + HOUR)) == [Reply("TM-2", OK)]
    assert peer.tell(UpdateAccepted("TM-up", START + HOUR)) == [Reply("TM-up", OK)]


def test_an_update_decided_twice_is_the_owners_mistake() -> None:
    peer = an_updating_peer()
    peer.tell(UpdateAccepted("TM-up", START + HOUR))
    with pytest.raises(SessionMisuse):
        peer.tell(UpdateAccepted("TM-up", START + HOUR))


def test_a_flood_of_updates_is_throttled() -> None:
    peer = a_ready_peer()
    for number in range(MAX_PENDING_UPDATES):
        assert peer.send(Update(f"TM-{number}", "t")) == [UpdateRequested(f"TM-{number}", "t")]
    [reply] = peer.send(Update("TM-more", "t"))
    assert isinstance(reply, Reply)
    assert (reply.id, reply.status.code) == ("TM-more", 429)


def test_an_update_that_repeats_an_id_under_way_is_not_asked_again() -> None:
    peer = an_updating_peer()
    [rejected] = peer.send(UPDATE)
    assert isinstance(rejected, FrameRejected)
    assert peer.tell(UpdateAccepted("TM-up", START + HOUR)) == [Reply("TM-up", OK)]


@pytest.mark.parametrize(
    ("event", "now_ms"),
    [
        (CloseRequested(OFFLOAD), START),
        (DropRequested(Reason.SHUTDOWN), START),
        (Tick(), START + TIMING.silence_timeout_ms),
        (Tick(), START + HOUR),
        (FrameReceived(encode_upstream(ClientClose("TM-bye"))), START),
    ],
)
def test_trap_2_a_session_never_ends_with_an_update_unanswered(event: Input, now_ms: int) -> None:
    peer = an_updating_peer()
    peer.now_ms = now_ms
    assert peer.tell(event)[0] == unavailable("TM-up")
    assert not peer.session.is_ready


def test_trap_2_an_update_that_comes_while_closing_is_answered_too() -> None:
    assert a_closing_peer().send(UPDATE) == [unavailable("TM-up")]


def test_a_decision_that_comes_too_late_does_nothing() -> None:
    peer = an_updating_peer()
    peer.tell(CloseRequested(OFFLOAD))
    assert peer.tell(UpdateAccepted("TM-up", START + HOUR)) == []
    assert isinstance(peer.session.state, Closing)


# Expiry


def test_expiry_is_announced_once_three_minutes_before() -> None:
    peer = a_ready_peer()
    peer.now_ms = WARNED - 1
    peer.send(Reply("TM-x", OK))
    assert not any(isinstance(output, ClientUpdate) for output in peer.tick_at(WARNED - 1))
    updates = [output for output in peer.tick_at(WARNED) if isinstance(output, ClientUpdate)]
    assert [update.client_update_type for update in updates] == ["token_about_to_expire"]
    assert peer.tick_at(WARNED + 1) == []


def test_a_short_lived_token_is_announced_at_once_after_the_reply() -> None:
    reply, update = an_initialising_peer().tell(accepted_with(START + 60_000))
    assert isinstance(reply, Reply)
    assert isinstance(update, ClientUpdate)


def test_after_an_update_expiry_is_announced_again() -> None:
    peer = an_initialising_peer()
    peer.tell(accepted_with(START + 60_000))
    peer.send(UPDATE)
    reply, update = peer.tell(UpdateAccepted("TM-up", START + 120_000))
    assert isinstance(reply, Reply)
    assert isinstance(update, ClientUpdate)


def test_an_update_moves_the_announcement_and_the_end() -> None:
    peer = an_updating_peer()
    peer.tell(UpdateAccepted("TM-up", START + 2 * HOUR))
    state = peer.session.state
    assert isinstance(state, Ready)
    assert state.expires_at_ms == START + 2 * HOUR
    assert state.warn_at_ms == START + 2 * HOUR - TIMING.expiry_warning_ms


def test_trap_1_an_expired_token_ends_the_session_without_a_close() -> None:
    peer = a_ready_peer()
    peer.now_ms = START + HOUR - 1
    peer.send(Reply("TM-x", OK))
    assert peer.tick_at(START + HOUR - 1) != [SessionClosed(Reason.TOKEN_EXPIRED)]
    assert peer.tick_at(START + HOUR) == [SessionClosed(Reason.TOKEN_EXPIRED)]


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


# Any order of events


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order, the rules that hold in every state hold."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = Peer()
        self.unanswered: set[str] = set()
        self.closed = 0
        self.messages = 0

    def _see(self, outputs: list[Output | Downstream]) -> None:
        assert self.closed == 0 or outputs == []
        for output in outputs:
            match output:
                case Reply(id=answered):
                    self.unanswered.discard(answered)
                case SessionClosed(reason=reason):
                    self.closed += 1
                    assert output is outputs[-1]
                    lost = reason is Reason.TRANSPORT_LOST
                    assert lost or not self.unanswered, "an update is left unanswered"
                case ServerClose(status=status):
                    assert status.status

    @rule(message=st.sampled_from(["init", "update", "request", "reply", "close", "unknown"]))
    def client_sends(self, message: str) -> None:
        self.messages += 1
        name = f"RQ{self.messages}"
        messages: dict[str, Upstream] = {
            "init": Init(name, "t"),
            "update": Update(name, "t"),
            "request": Request(name, HttpRequest("/", "GET")),
            "reply": Reply(name, OK),
            "close": ClientClose(name),
            "unknown": Unknown(name, "dance"),
        }
        if message == "update" and not self.closed:
            self.unanswered.add(name)
        self._see(self.peer.send(messages[message]))

    @rule(data=st.binary(max_size=20))
    def client_sends_rubbish(self, data: bytes) -> None:
        self._see(self.peer.tell(FrameReceived(data)))

    def _init_is_pending(self) -> bool:
        state = self.peer.session.state
        return isinstance(state, Accepted) and state.init_id is not None

    @precondition(_init_is_pending)
    @rule(is_accepted=st.booleans(), lifetime_ms=st.integers(0, 400_000))
    def owner_decides_init(self, is_accepted: bool, lifetime_ms: int) -> None:
        expires_at_ms = self.peer.now_ms + lifetime_ms
        yes, no = accepted_with(expires_at_ms), InitRefused(EXPIRED_TOKEN)
        self._see(self.peer.tell(yes if is_accepted else no))

    def _update_is_pending(self) -> bool:
        state = self.peer.session.state
        return isinstance(state, Ready) and bool(state.update_ids)

    @precondition(_update_is_pending)
    @rule(is_accepted=st.booleans(), lifetime_ms=st.integers(0, 400_000))
    def owner_decides_update(self, is_accepted: bool, lifetime_ms: int) -> None:
        state = self.peer.session.state
        assert isinstance(state, Ready)
        name = state.update_ids[-1]
        yes = UpdateAccepted(name, self.peer.now_ms + lifetime_ms)
        self._see(self.peer.tell(yes if is_accepted else UpdateRefused(name, INVALID_TOKEN)))
        assert name not in self.unanswered

    @rule(passed_ms=st.integers(0, 40_000))
    def time_passes(self, passed_ms: int) -> None:
        self._see(self.peer.tick_at(self.peer.now_ms + passed_ms))

    @rule(delay_ms=st.none() | st.integers(0, 10_000))
    def owner_drains(self, delay_ms: int | None) -> None:
        self._see(self.peer.tell(CloseRequested(OFFLOAD, delay_ms)))

    @rule(is_lost=st.booleans())
    def connection_ends(self, is_lost: bool) -> None:
        self._see(self.peer.tell(TransportLost() if is_lost else DropRequested(Reason.SLOW)))

    @invariant()
    def a_session_closes_exactly_once(self) -> None:
        assert self.closed == isinstance(self.peer.session.state, Closed)

    @invariant()
    def a_tick_at_the_deadline_leaves_none_in_the_past(self) -> None:
        deadline_ms = self.peer.session.deadline_ms
        if deadline_ms is None:
            assert self.closed
        elif deadline_ms <= self.peer.now_ms:
            self._see(self.peer.tell(Tick()))
            again_ms = self.peer.session.deadline_ms
            assert again_ms is None or again_ms > self.peer.now_ms


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(stateful_step_count=30, deadline=None)
