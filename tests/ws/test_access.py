"""Access that is lost while a session is in the middle of something. [rest-api 6]"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.access import EVERYBODY
from starlings.core.errors import Fault, Reason
from starlings.core.objects import Kind, Match
from starlings.ws.access_checks import MOST_CHECKS
from tests.ws.closed_map import DENIED, Closed, follow, search, told
from tests.ws.sessions import ADMIN, settle, subscription_body


@pytest.mark.parametrize("way", ["grant", "switch", "everybody"])
@pytest.mark.parametrize("method", ["replay", "list_grants"])
async def test_a_subscription_that_is_being_made_is_failed_once_and_never_confirmed(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, way: str, method: str
) -> None:
    if way == "switch":
        await closed.switch(False)
    if way != "grant":
        await closed.world.node.execute(c.RemovePermission(closed.ref, "alice", ADMIN))
    if way == "everybody":
        await closed.grant(True, EVERYBODY, Match.EVERYBODY)
    peer = await closed.world.ready()
    gate = closed.hold(monkeypatch, method)
    body = subscription_body((closed.sid, "map", -1))
    peer.ask_nowait("POST", "/v4/Subscriptions", body)
    await settle()
    peer.take()
    if way == "switch":
        await closed.switch(True)
    elif way == "grant":
        await closed.grant(False)
    else:
        await closed.grant(False, EVERYBODY, Match.EVERYBODY)
    gate.set()
    await settle()
    words = told(peer)
    if method == "list_grants":  # the access was still there when it was looked at
        words = [word for word in words if word != "map_item_added"]
    assert words == [str(DENIED)]
    await closed.world.put(closed.ref, "later")
    assert told(peer) == []


async def test_a_confirmation_that_waits_for_others_is_dropped_with_the_access(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_sid, other = await closed.world.create(Kind.MAP)
    command = c.SetPermission(other, "alice", True, False, False, ADMIN)
    await closed.world.node.execute(command)
    await closed.world.put(other, "k")
    peer = await closed.world.ready()
    gate = closed.hold(monkeypatch, "replay")
    body = subscription_body((closed.sid, "map", None), (other_sid, "map", -1))
    peer.ask_nowait("POST", "/v4/Subscriptions", body)
    await settle()
    peer.take()
    await closed.grant(False)
    assert told(peer) == [str(DENIED)]
    gate.set()
    await settle()
    replayed, confirmed = peer.take_events()
    assert replayed["event_type"] == "map_item_added"
    assert [one["object_sid"] for one in confirmed["events"]] == [other_sid]


async def test_a_repair_does_not_go_on_for_whom_may_read_no_more(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await closed.world.ready()
    await peer.subscribe((closed.sid, "map", None))
    (subscription,) = peer.session.subscriptions()
    gate = closed.hold(monkeypatch, "replay")
    subscription.last_id = 0
    subscription.hold()
    peer.session.on_gap(subscription)
    await settle()
    await closed.grant(False)
    assert told(peer) == [str(DENIED)]
    gate.set()
    await settle()
    assert told(peer) == []


@pytest.mark.parametrize("may_read", [False, True])
async def test_nothing_goes_out_while_it_is_looked_whether_it_may(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, may_read: bool
) -> None:
    peer = await closed.world.ready()
    await peer.subscribe((closed.sid, "map", None))
    gate = closed.hold(monkeypatch, "list_grants")
    await closed.grant(may_read)
    await closed.world.put(closed.ref, "later")
    await closed.world.put(closed.ref, "latest")
    assert told(peer) == []
    gate.set()
    await settle()
    assert told(peer) == (["map_item_added"] * 2 if may_read else [str(DENIED)])


@pytest.mark.parametrize("may_read", [False, True])
async def test_no_result_goes_out_while_it_is_looked_whether_it_may(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, may_read: bool
) -> None:
    peer = await closed.world.ready()
    await follow(closed, peer)
    gate = closed.hold(monkeypatch, "list_grants")
    await closed.grant(may_read)
    await closed.world.put(closed.ref, "later")
    await closed.world.put(closed.ref, "latest")
    assert told(peer) == []
    gate.set()
    await settle()
    assert told(peer) == (["live_query_updated"] if may_read else [str(DENIED)])
    await closed.world.put(closed.ref, "after")
    assert told(peer) == (["live_query_item_updated"] if may_read else [])


async def test_a_result_that_has_not_changed_meanwhile_is_not_sent_anew(closed: Closed) -> None:
    peer = await closed.world.ready()
    await follow(closed, peer)
    await closed.grant(True)
    assert told(peer) == []


@pytest.mark.parametrize("kind", [None, "live_query"])
async def test_a_search_answers_nobody_who_lost_access_while_it_was_reading(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, kind: str | None
) -> None:
    peer = await closed.world.ready()
    gate = closed.hold(monkeypatch, "list_items")
    body = {"query_string": "", "type": kind}
    asked = asyncio.create_task(search(peer, body))
    await settle()
    await closed.grant(False)
    gate.set()
    status, answer = await asked
    assert (status, answer["code"]) == (403, DENIED)
    assert closed.world.face.queries.statistics().live_queries == 0


async def test_who_is_not_concerned_goes_on(closed: Closed) -> None:
    await closed.grant(True, "bob")
    peer = await closed.world.ready()
    await peer.subscribe((closed.sid, "map", None))
    for identity, match in (("bob", Match.EXACT), ("al", Match.EXACT), ("al", Match.PREFIX)):
        await closed.grant(False, identity, match)
    await closed.grant(False, EVERYBODY, Match.EVERYBODY)
    await closed.world.put(closed.ref, "later")
    assert told(peer) == ["map_item_added"]


@pytest.mark.parametrize(
    ("identity", "match"), [("ali", Match.PREFIX), (EVERYBODY, Match.EVERYBODY)]
)
async def test_a_wider_permission_that_goes_takes_the_subscription_along(
    closed: Closed, identity: str, match: Match
) -> None:
    await closed.grant(True, identity, match)
    await closed.world.node.execute(c.RemovePermission(closed.ref, "alice", ADMIN))
    peer = await closed.world.ready()
    await peer.subscribe((closed.sid, "map", None))
    await closed.world.put(closed.ref, "before")
    assert told(peer) == ["map_item_added"]
    await closed.world.node.execute(c.RemovePermission(closed.ref, identity, ADMIN, match=match))
    await settle()
    assert told(peer) == [str(DENIED)]
    await closed.world.put(closed.ref, "after")
    assert told(peer) == []


async def test_a_live_query_ends_with_its_session_when_it_cannot_be_known_whether_it_may_go_on(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await closed.world.ready()
    await follow(closed, peer)

    async def fail(*arguments: Any) -> Any:
        raise Fault(Reason.UNAVAILABLE)

    monkeypatch.setattr(closed.world.store, "list_grants", fail)
    await closed.grant(False)
    assert told(peer) == []  # of a failure the client would never recover
    assert peer.is_closed
    assert closed.world.face.queries.statistics().live_queries == 0


@pytest.mark.parametrize("way", ["grant", "switch"])
async def test_many_subscriptions_are_looked_at_a_few_at_once(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Each look reads the store, which others wait for too."""
    if way == "switch":
        await closed.grant(False)
        await closed.switch(False)
    peers = [await closed.world.ready() for _ in range(3 * MOST_CHECKS)]
    for peer in peers:
        await peer.subscribe((closed.sid, "map", None))
    gate = asyncio.Event()
    original = closed.world.node.may_read
    looks = 0

    async def may_read(*arguments: Any) -> bool:
        nonlocal looks
        looks += 1
        await gate.wait()
        return await original(*arguments)

    monkeypatch.setattr(closed.world.node, "may_read", may_read)
    if way == "switch":
        await closed.switch(True)
    else:
        for may in (False, True, False):  # the looks that have not begun will see the last
            await closed.grant(may)
    assert looks == MOST_CHECKS
    await closed.world.put(closed.ref, "secret")  # waits with those that have not been looked at
    gate.set()
    await settle()
    await settle()
    assert [told(peer) for peer in peers] == [[str(DENIED)]] * len(peers)
    # Those that had begun were told of the changes after them by another.
    assert looks == len(peers) + (MOST_CHECKS if way == "grant" else 0)


@pytest.mark.parametrize("what", ["object", "query"])
async def test_a_look_that_fails_in_a_way_nobody_foresaw_is_no_permission(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    peer = await closed.world.ready()
    if what == "object":
        await peer.subscribe((closed.sid, "map", None))
    else:
        body = {"query_string": "", "type": "live_query"}
        assert (await peer.ask("POST", "/v3/Insights/room/Items", body)).status == 200

    async def may_read(*_: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(closed.world.node, "may_read", may_read)
    await closed.grant(True)
    assert peer.is_closed
    assert "A check of access failed" in caplog.text


async def test_a_service_that_changes_otherwise_has_nothing_checked(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await closed.grant(True)
    peer = await closed.world.ready()
    await peer.subscribe((closed.sid, "map", None))
    looks: list[Hashable] = []
    monkeypatch.setattr(closed.world.face.checks, "add", lambda key, check: looks.append(key))
    settings = c.ServiceSettings(friendly_name="new")
    await closed.world.node.execute(c.UpdateService(closed.world.service.oid, settings, ADMIN))
    await settle()
    assert looks == []


@pytest.mark.parametrize("is_query", [False, True])
async def test_a_look_that_is_cut_short_is_no_permission(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, is_query: bool
) -> None:
    """As when the server ends just then."""
    peer = await closed.world.ready()
    if is_query:
        await follow(closed, peer)
    else:
        await peer.subscribe((closed.sid, "map", None))
    closed.hold(monkeypatch, "list_grants")
    await closed.grant(False)
    await closed.world.put(closed.ref, "secret")
    for task in list(closed.world.face._tasks):
        task.cancel()
    await settle()
    await closed.world.put(closed.ref, "more")
    assert told(peer) == []
    assert peer.is_closed
