"""The simulation must notice presence that is broken."""

from __future__ import annotations

from starlings.core.objects import Item
from starlings.node.on_disconnect import Action, OnDisconnectState
from starlings.node.presence import PresenceState, PresenceWrite
from starlings.node.presence_room import PresenceRoom
from tests.simulation.broken import assert_noticed
from tests.simulation.presence import Presence


def test_a_ghost_is_noticed() -> None:
    original = PresenceState.disconnect

    def disconnect(self: PresenceState, identity: str, endpoint: str, deadline: float) -> None:
        if identity != "erik":
            original(self, identity, endpoint, deadline)

    assert_noticed(PresenceState, "disconnect", disconnect, Presence, saying="present are")


def test_somebody_who_is_lost_is_noticed() -> None:
    original = PresenceState.connect

    def connect(self: PresenceState, identity: str, endpoint: str, now: int) -> None:
        original(self, identity, endpoint, now)
        if identity == "frida":
            del self._changed[identity]

    assert_noticed(PresenceState, "connect", connect, Presence, saying="present are")


def test_an_entry_that_goes_before_the_window_is_over_is_noticed() -> None:
    original = PresenceState.disconnect

    def disconnect(self: PresenceState, identity: str, endpoint: str, deadline: float) -> None:
        original(self, identity, endpoint, deadline - 0.5)

    assert_noticed(PresenceState, "disconnect", disconnect, Presence, saying="was removed at")


def test_a_restart_without_time_to_come_back_is_noticed() -> None:
    original = PresenceState.restore

    def restore(self: PresenceState, item: Item, now: int, deadline: float) -> None:
        original(self, item, now, deadline - 9.0)

    assert_noticed(PresenceState, "restore", restore, Presence, saying="was removed at")


def test_a_restart_that_forgets_who_was_there_is_noticed() -> None:
    def restore(self: PresenceState, item: Item, now: int, deadline: float) -> None:
        """As if there had been no entry."""

    assert_noticed(PresenceState, "restore", restore, Presence)


def test_who_comes_a_second_time_without_having_left_is_noticed() -> None:
    original = PresenceState.connect

    def connect(self: PresenceState, identity: str, endpoint: str, now: int) -> None:
        known = self._presences.get(identity)
        if known is not None and not known.connections:
            known.since = now
        original(self, identity, endpoint, now)

    assert_noticed(PresenceState, "connect", connect, Presence, saying="came twice")


def test_what_was_published_and_gets_lost_is_noticed() -> None:
    original = PresenceState.disconnect

    def disconnect(self: PresenceState, identity: str, endpoint: str, deadline: float) -> None:
        original(self, identity, endpoint, deadline)
        self._presences[identity].published = None

    assert_noticed(PresenceState, "disconnect", disconnect, Presence, saying="had published")


def test_needless_writes_are_noticed() -> None:
    original = PresenceState.take

    def take(self: PresenceState, now: float, limit: int) -> list[PresenceWrite]:
        writes = original(self, now, limit)
        for identity, one in self._presences.items():
            if one.connections and one.written is not None and not one.is_busy:
                one.is_busy = True
                writes.append(PresenceWrite(identity, one.written))
        return writes

    assert_noticed(PresenceState, "take", take, Presence, saying="nothing has changed")


def test_an_action_in_spite_of_a_return_is_noticed() -> None:
    original = OnDisconnectState.connect

    def connect(self: OnDisconnectState, endpoint: str) -> None:
        gone_at = self._gone_at.get(endpoint)
        original(self, endpoint)
        if gone_at is not None:
            self._gone_at[endpoint] = gone_at

    assert_noticed(OnDisconnectState, "connect", connect, Presence, saying="was performed at")


def test_an_action_that_is_repeated_after_a_fault_is_noticed() -> None:
    def is_done(self: OnDisconnectState, action: Action) -> bool:
        return False

    assert_noticed(
        OnDisconnectState, "is_done", is_done, Presence, saying="performed twice", trouble=0.3
    )


def test_an_action_that_is_never_performed_is_noticed() -> None:
    original = OnDisconnectState.take

    def take(self: OnDisconnectState, now: float, limit: int) -> list[Action]:
        return [one for one in original(self, now, limit) if not one.key.endswith("-2")]

    assert_noticed(OnDisconnectState, "take", take, Presence, saying="waits for ever")


def test_an_action_that_is_dropped_unperformed_is_noticed() -> None:
    async def change(self: PresenceRoom, action: Action) -> None:
        """As if it had been refused."""

    assert_noticed(PresenceRoom, "_change", change, Presence, saying="was dropped")
