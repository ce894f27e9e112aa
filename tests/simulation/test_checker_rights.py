"""The simulation must notice access control that is broken."""

from __future__ import annotations

from typing import Any

from starlings.core import access
from starlings.core.objects import Match, Permission
from starlings.node.node import Node
from starlings.node.subscription import Subscription
from starlings.ws import queries, session
from starlings.ws.catchup import CatchUp
from starlings.ws.queries import SessionQueries
from tests.simulation.broken import assert_noticed
from tests.simulation.live_queries import LiveQueries
from tests.simulation.stores import LateMemoryStore
from tests.simulation.wide_grants import WideGrants


def test_a_grant_that_never_ends_is_noticed() -> None:
    def is_live(self: Permission, now: int) -> bool:
        return True

    assert_noticed(Permission, "is_live", is_live, WideGrants, saying="had no right to write")


def test_a_grant_whose_end_nobody_records_is_noticed() -> None:
    async def list_due_permissions(self: LateMemoryStore, now: int, limit: int) -> list[Permission]:
        return []

    assert_noticed(
        LateMemoryStore,
        "list_due_permissions",
        list_due_permissions,
        WideGrants,
        saying="was never recorded",
    )


def test_a_grant_that_counts_for_readers_after_its_end_is_noticed() -> None:
    async def find(self: Node, oid: int, identity: str) -> Permission | None:
        grants = await self.store.list_grants(oid, identity)
        now = self.sources.now() - 900
        return access.find_deciding(grants, identity, now)

    assert_noticed(
        Node, "find_deciding_permission", find, WideGrants, saying="was answered, and had no right"
    )


def test_a_grant_that_ends_too_early_is_noticed() -> None:
    original = Permission.is_live

    def is_live(self: Permission, now: int) -> bool:
        return original(self, now + 500)

    assert_noticed(Permission, "is_live", is_live, WideGrants, saying="before its time")


def test_a_shorter_prefix_that_decides_is_noticed() -> None:
    def narrowness(grant: Permission) -> tuple[int, int]:
        return -grant.match, -len(grant.identity)

    assert_noticed(access, "_narrowness", narrowness, WideGrants, saying="access:")


def test_a_prefix_that_is_for_everybody_is_noticed() -> None:
    def is_for(grant: Permission, identity: str) -> bool:
        return grant.match is not Match.EXACT or grant.identity == identity

    assert_noticed(access, "_is_for", is_for, WideGrants, saying="had no right")


def test_a_grant_for_everybody_that_is_for_nobody_is_noticed() -> None:
    original = access._is_for

    def is_for(grant: Permission, identity: str) -> bool:
        return grant.match is not Match.EVERYBODY and original(grant, identity)

    assert_noticed(access, "_is_for", is_for, WideGrants, saying="was refused, and had the right")


def test_a_wide_grant_that_is_taken_in_vain_is_noticed() -> None:
    def may_concern(grant_identity: str, identity: str) -> bool:
        return grant_identity == identity

    assert_noticed(session, "may_concern", may_concern, WideGrants, saying="was sent")


def test_a_wide_grant_that_is_taken_from_a_query_in_vain_is_noticed() -> None:
    def may_concern(grant_identity: str, identity: str) -> bool:
        return grant_identity == identity

    assert_noticed(queries, "may_concern", may_concern, WideGrants, LiveQueries, saying="goes on")


def test_events_that_go_on_while_grants_are_looked_at_are_noticed() -> None:
    def begin_doubt(self: Subscription) -> None:
        self._doubts += 1

    assert_noticed(Subscription, "begin_doubt", begin_doubt, WideGrants, saying="was sent")


def test_results_that_go_on_while_grants_are_looked_at_are_noticed() -> None:
    def send(self: SessionQueries, held: Any, frame: bytes) -> None:
        self._peer.send(frame)

    assert_noticed(
        SessionQueries, "send", send, WideGrants, LiveQueries, saying="was sent live_query_item"
    )


def test_a_change_that_is_held_back_for_ever_is_noticed() -> None:
    def end_doubt(self: Subscription) -> None:
        """As if there had been another doubt."""

    assert_noticed(Subscription, "end_doubt", end_doubt, WideGrants, saying="the store")


def test_a_subscription_without_a_session_is_noticed() -> None:
    original = CatchUp.end

    def end(self: CatchUp) -> None:
        original(self)
        self._is_ended = False

    assert_noticed(CatchUp, "end", end, WideGrants, saying="the hub has")
