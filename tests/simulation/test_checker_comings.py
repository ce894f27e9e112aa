"""The simulation must notice reachability and the revocation of identities that are broken."""

from __future__ import annotations

from starlings.auth.keyring import Keyring
from starlings.node.reachability import Change, Reachability, ReachabilityState
from starlings.ws.face import SyncFace
from tests.simulation.broken import assert_noticed
from tests.simulation.endpoints import Endpoints
from tests.simulation.revocations import Revocations

# Reachability


def test_a_coming_that_is_told_twice_is_noticed() -> None:
    original = ReachabilityState.connect

    def connect(
        self: ReachabilityState, service_oid: int, identity: str, endpoint: str
    ) -> list[Change]:
        return original(self, service_oid, identity, endpoint) * 2

    assert_noticed(ReachabilityState, "connect", connect, Endpoints, saying="told twice")


def test_a_return_within_the_window_that_is_told_is_noticed() -> None:
    original = ReachabilityState.connect

    def connect(
        self: ReachabilityState, service_oid: int, identity: str, endpoint: str
    ) -> list[Change]:
        changes = original(self, service_oid, identity, endpoint)
        return changes or [Change(service_oid, identity, endpoint, is_connected=True)]

    assert_noticed(ReachabilityState, "connect", connect, Endpoints, saying="endpoints are")


def test_a_going_that_is_told_before_the_window_is_over_is_noticed() -> None:
    original = ReachabilityState.disconnect

    def disconnect(
        self: ReachabilityState,
        service_oid: int,
        identity: str,
        endpoint: str,
        deadline: float | None,
    ) -> list[Change]:
        early = None if deadline is None else deadline - 0.9
        return original(self, service_oid, identity, endpoint, early)

    assert_noticed(
        ReachabilityState, "disconnect", disconnect, Endpoints, saying="was told to be gone"
    )


def test_a_going_that_is_never_told_is_noticed() -> None:
    original = ReachabilityState.tick

    def tick(self: ReachabilityState, now: float) -> list[Change]:
        return original(self, now)[1:]

    assert_noticed(ReachabilityState, "tick", tick, Endpoints, saying="endpoints are connected")


def test_a_restart_that_leaves_ghosts_is_noticed() -> None:
    async def restore(self: Reachability) -> None:
        """As if nobody had been there."""

    assert_noticed(Reachability, "restore", restore, Endpoints, saying="endpoints are connected")


def test_a_restart_without_time_to_return_is_noticed() -> None:
    original = ReachabilityState.restore

    def restore(
        self: ReachabilityState, service_oid: int, identity: str, endpoint: str, deadline: float
    ) -> None:
        original(self, service_oid, identity, endpoint, deadline - 10.0)

    assert_noticed(ReachabilityState, "restore", restore, Endpoints, saying="was told to be gone")


def test_changes_that_are_lost_with_a_fault_are_noticed() -> None:
    original = Reachability._add_batch

    async def add_batch(self: Reachability) -> None:
        try:
            await original(self)
        except Exception:
            self._untold.clear()
            raise

    assert_noticed(Reachability, "_add_batch", add_batch, Endpoints, saying="told", trouble=0.3)


# Revocations


def test_sessions_that_outlive_their_identity_are_noticed() -> None:
    def revoke_identity(self: SyncFace, account_sid: str, identity: str) -> int:
        return 0

    assert_noticed(SyncFace, "revoke_identity", revoke_identity, Revocations, saying="goes on")


def test_tokens_that_outlive_their_identity_are_noticed() -> None:
    def find_revocation(self: Keyring, account_sid: str, identity: str) -> int | None:
        return None

    assert_noticed(Keyring, "find_revocation", find_revocation, Revocations, saying="goes on")


def test_new_tokens_that_are_refused_are_noticed() -> None:
    original = Keyring.find_revocation

    def find_revocation(self: Keyring, account_sid: str, identity: str) -> int | None:
        at = original(self, account_sid, identity)
        return None if at is None else at + 3_000

    assert_noticed(Keyring, "find_revocation", find_revocation, Revocations, saying="is refused")
