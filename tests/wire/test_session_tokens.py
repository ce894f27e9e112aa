"""New tokens for a session, and the end of those that expire."""

from __future__ import annotations

import pytest

from starlings.wire.close_codes import INVALID_TOKEN, OFFLOAD
from starlings.wire.codec import encode_upstream
from starlings.wire.messages import ClientClose, ClientUpdate, Reply, Status, Update
from starlings.wire.session import MAX_PENDING_UPDATES, SessionMisuse
from starlings.wire.session_events import (
    CloseRequested,
    Closing,
    DropRequested,
    FrameReceived,
    FrameRejected,
    Input,
    Ready,
    Reason,
    SessionClosed,
    Tick,
    UpdateAccepted,
    UpdateRefused,
    UpdateRequested,
)
from tests.wire.peers import (
    HOUR,
    OK,
    START,
    TIMING,
    UPDATE,
    WARNED,
    a_closing_peer,
    a_ready_peer,
    accepted_with,
    an_initialising_peer,
    an_updating_peer,
    unavailable,
)


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
