"""The whole table of the session's transitions, and any order of what may happen."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from starlings.wire.close_codes import EXPIRED_TOKEN, INVALID_TOKEN, OFFLOAD, TOKEN_EXPIRED
from starlings.wire.codec import encode_upstream
from starlings.wire.messages import (
    ClientClose,
    Downstream,
    HttpRequest,
    Init,
    Reply,
    Request,
    ServerClose,
    Unknown,
    Update,
    Upstream,
)
from starlings.wire.session import TRANSITIONS, SessionMisuse
from starlings.wire.session_events import (
    Accepted,
    Closed,
    CloseRequested,
    Closing,
    DropRequested,
    FrameReceived,
    InitAccepted,
    InitRefused,
    Input,
    Output,
    Ready,
    Reason,
    SessionClosed,
    State,
    Tick,
    TransportLost,
    UpdateAccepted,
    UpdateRefused,
)
from tests.wire.peers import (
    HOUR,
    INIT,
    OK,
    START,
    TIMING,
    UPDATE,
    Peer,
    a_closed_peer,
    a_closing_peer,
    a_ready_peer,
    accepted_with,
    an_accepted_peer,
    an_initialising_peer,
    an_updating_peer,
)

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
        (a_ready_peer, DropRequested(Reason.REVOKED), Closed),
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
        self._see(self.peer.tell(TransportLost() if is_lost else DropRequested(Reason.REVOKED)))

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
