"""Subscribing: what is replayed, in which pages, and how each entry is confirmed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from starlings.core import commands as c
from starlings.core.limits import OFF
from starlings.core.objects import Kind
from starlings.wire.codec import encode_upstream
from starlings.wire.messages import HttpRequest, HttpValue, Request
from starlings.ws import catchup
from starlings.ws.options import WebSocketOptions
from tests.ws.catching_up import a_map, completed, told
from tests.ws.sessions import ADMIN, a_world, settle, subscription_body


@pytest.mark.parametrize("kind", [Kind.LIST, Kind.MAP])
async def test_who_has_no_event_is_told_what_followed_the_first_items_it_read(kind: Kind) -> None:
    """As a page that was loaded again: it has the object from its cache, and reads items anew."""
    async with a_world() as world:
        sid, ref = await world.create(kind)
        peer = await world.ready()
        path = f"/v3/{kind.word.capitalize()}s/{sid}/Items"

        async def add(key: str) -> None:
            await world.node.execute(
                c.AddListItem(ref, b"{}", None, None, ADMIN)
                if kind is Kind.LIST
                else c.PutMapItem(ref, key, b"{}", None, None, ADMIN)
            )
            await settle()

        await add("a")
        await peer.ask("GET", path)
        await add("b")
        await peer.ask("GET", path, params={"Key": "a"} if kind is Kind.MAP else {"Index": "0"})
        await add("c")
        added = f"{kind.word}_item_added"
        assert told(await peer.subscribe((sid, kind.word, None))) == [
            (added, 1),
            (added, 2),
            completed(2),
        ]
        await add("d")
        assert told(peer.take_events()) == [(added, 3)]
        # What it read under a subscription, or before another, is of no interest.
        await peer.ask("GET", path)
        await add("e")
        peer.take()
        assert told(await peer.subscribe((sid, kind.word, None))) == [completed(4)]


async def test_a_thousand_subscriptions_of_a_kotlin_client_come_in_one_message() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sids = [f"ET{number:032x}" for number in range(1000)]
        body = {
            "event_protocol_version": 4,
            "action": "establish",
            "correlation_id": 1,
            "requests": [
                {
                    "type": "com.twilio.sync.subscriptions.Subscribe",
                    "object_sid": sid,
                    "object_type": "document",
                    "last_event_id": 1_000_000,
                }
                for sid in sids
            ],
        }
        headers: dict[str, HttpValue] = {"Twilio-Request-Id": ["RQ" + "0" * 32]}
        http = HttpRequest("/v4/Subscriptions", "POST", params={}, headers=headers)
        text = json.dumps(body, separators=(",", ":")).encode()
        frame = encode_upstream(Request("RQ" + "0" * 32, http, "data_sync", text))
        assert len(frame) < WebSocketOptions().max_message_bytes
        peer.session.on_message(frame)
        await settle()
        failed = [one for event in peer.take_events() for one in event["events"]]
        assert [one["object_sid"] for one in failed] == sids


@pytest.mark.parametrize(
    ("last_id", "replayed"),
    [(None, []), (2, []), (1, [2]), (0, [1, 2]), (-1, [0, 1, 2]), (-7, [0, 1, 2])],
)
async def test_a_replay_begins_behind_the_last_event_that_the_client_has(
    last_id: int | None, replayed: list[int]
) -> None:
    async with a_world() as world:
        sid, ref = await a_map(world, 3)
        peer = await world.ready()
        events = await peer.subscribe((sid, "map", last_id))
        assert told(events) == [*(("map_item_added", one) for one in replayed), completed(2)]
        await world.put(ref, "live")
        assert told(peer.take_events()) == [("map_item_added", 3)]


async def test_a_new_collection_is_confirmed_at_minus_one() -> None:
    async with a_world() as world:
        sid, _ = await a_map(world, 0)
        peer = await world.ready()
        assert told(await peer.subscribe((sid, "map", -1))) == [completed(-1)]


@pytest.mark.parametrize("last_id", [3, 10**6, 2**70])
async def test_an_event_id_of_another_history_fails_with_404(last_id: int) -> None:
    async with a_world() as world:
        sid, _ = await a_map(world, 3)
        peer = await world.ready()
        (failed,) = await peer.subscribe((sid, "map", last_id))
        assert failed["event_type"] == "subscription_failed"
        assert failed["events"][0]["error"]["status"] == 404
        assert failed["events"][0]["error"]["code"] == 54200


async def test_a_document_is_replayed_as_its_present_state() -> None:
    async with a_world() as world:
        sid, ref = await world.create(Kind.DOCUMENT, data=b'{"n":0}')
        for number in (1, 2, 3):
            data = b'{"n":%d}' % number
            await world.node.execute(c.UpdateDocument(ref, data, None, None, ADMIN))
        await settle()
        peer = await world.ready()
        events = await peer.subscribe((sid, "document", 1))
        assert told(events) == [("document_updated", 3), completed(3)]
        assert events[0]["event"]["document_data"] == {"n": 3}


async def test_a_stream_has_nothing_to_replay() -> None:
    async with a_world() as world:
        sid, ref = await world.create(Kind.STREAM)
        await world.node.publish_message(ref, b"{}", ADMIN)
        peer = await world.ready()
        assert told(await peer.subscribe((sid, "stream", None))) == [completed(None)]


async def test_replayed_events_carry_the_correlation_id_and_live_ones_none() -> None:
    number = 1_795_389_771_254
    async with a_world() as world:
        sid, ref = await a_map(world, 1)
        peer = await world.ready()
        events = await peer.subscribe((sid, "map", -1), number=number)
        assert [one["correlation_id"] for one in events] == [number, number]
        await world.put(ref, "live")
        assert "correlation_id" not in peer.take_events()[0]


@pytest.mark.parametrize("number", [1, 2**53, 1.5])
async def test_the_correlation_id_stays_the_same_number(number: float) -> None:
    async with a_world() as world:
        sid, _ = await a_map(world, 0)
        peer = await world.ready()
        (confirmed,) = await peer.subscribe((sid, "map", -1), number=number)
        assert confirmed["correlation_id"] == number
        assert type(confirmed["correlation_id"]) is type(number)


async def test_a_long_replay_is_paged_and_begins_again_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catchup, "PAGE_EVENTS", 3)
    async with a_world() as world:
        sid, _ = await a_map(world, 7)
        peer = await world.ready()
        seen: list[int] = []
        last_id, status = -1, "interrupted"
        for _ in range(3):
            assert status == "interrupted"
            *events, (_, (status, confirmed_id)) = told(await peer.subscribe((sid, "map", last_id)))
            assert 1 <= len(events) <= 3
            seen += [event_id for _, event_id in events]
            last_id = seen[-1]
            assert confirmed_id == last_id
            listeners = world.face.hub.statistics().listeners
            assert listeners == (0 if status == "interrupted" else 1)
        assert (seen, status) == (list(range(7)), "completed")


@pytest.mark.parametrize("is_trimmed", [False, True])
async def test_a_page_ends_when_it_has_too_many_bytes(
    monkeypatch: pytest.MonkeyPatch, is_trimmed: bool
) -> None:
    monkeypatch.setattr(catchup, "PAGE_BYTES", 1000)
    async with a_world() as world:
        sid, ref = await a_map(world, 0)
        for key in "abc":
            await world.put(ref, key, b'{"x":"%s"}' % (b"x" * 1200))
        if is_trimmed:
            await world.store.trim_log(world.clock_ms + 1, 0, 1000)
        peer = await world.ready()
        assert told(await peer.subscribe((sid, "map", -1))) == [
            ("map_item_added", 0),
            ("subscription_established", ("interrupted", 0)),
        ]


async def test_without_the_log_the_present_state_and_the_removals_are_sent() -> None:
    async with a_world() as world:
        sid, ref = await a_map(world, 3)
        await world.put(ref, "k0")
        await world.node.execute(c.RemoveItem(ref, "k1", None, ADMIN))
        await settle()
        await world.store.trim_log(world.clock_ms + 1, 0, 1000)
        peer = await world.ready()
        assert told(await peer.subscribe((sid, "map", 0))) == [
            ("map_item_added", 2),
            ("map_item_updated", 3),
            ("map_item_removed", 4),
            completed(4),
        ]


async def test_a_page_of_nothing_but_expired_items_still_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catchup, "PAGE_EVENTS", 2)
    async with a_world() as world:
        sid, ref = await a_map(world, 0)
        for key in "abc":
            await world.node.execute(c.PutMapItem(ref, key, b"{}", 1, None, ADMIN))
        world.clock_ms += 5_000
        await world.put(ref, "d")
        await world.store.trim_log(world.clock_ms + 1, 0, 1000)
        peer = await world.ready()
        *events, _ = told(await peer.subscribe((sid, "map", -1)))
        assert [event_id for _, event_id in events] == [0, 1]


async def test_what_happens_during_a_replay_comes_behind_its_confirmation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        sid, ref = await a_map(world, 2)
        peer = await world.ready()
        original = world.store.replay

        async def replay(*arguments: Any) -> Any:
            events = await original(*arguments)
            await world.put(ref, "meanwhile")
            return events

        monkeypatch.setattr(world.store, "replay", replay)
        events = await peer.subscribe((sid, "map", 0))
        await settle()
        assert told(events + peer.take_events()) == [
            ("map_item_added", 1),
            completed(1),
            ("map_item_added", 2),
        ]


async def test_confirmations_are_gathered_and_failures_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world(replace(OFF, subscriptions=3)) as world:
        sids = [(await a_map(world, 0))[0] for _ in range(4)]
        peer = await world.ready()
        gone = "MP" + "0" * 32
        events = await peer.subscribe(
            *((sid, "map", -1) for sid in sids),
            (gone, "map", -1),
            ("nonsense", "document", 0),
            (sids[0], "list", -1),
            (sids[0], "planet", -1),
        )
        failed, established = events
        assert [one["object_sid"] for one in established["events"]] == sids[:3]
        errors = [
            (one["object_sid"], one["error"]["status"], one["error"]["code"])
            for one in failed["events"]
        ]
        assert errors[:3] == [(sids[3], 429, 54419), (gone, 429, 54419), ("nonsense", 404, 54100)]
        assert len(errors) == 5


async def test_what_does_not_exist_fails_with_the_code_of_its_kind() -> None:
    codes = {"document": 54100, "list": 54150, "map": 54200, "stream": 54250}
    prefixes = {"document": "ET", "list": "ES", "map": "MP", "stream": "TO"}
    async with a_world() as world:
        peer = await world.ready()
        (failed,) = await peer.subscribe(
            *((prefixes[kind] + "0" * 32, kind, None) for kind in codes)
        )
        assert [one["error"]["code"] for one in failed["events"]] == list(codes.values())


async def test_what_may_not_be_read_fails_with_403() -> None:
    async with a_world() as world:
        await world.node.execute(
            c.UpdateService(world.service.oid, c.ServiceSettings(has_acl=True), ADMIN)
        )
        sid, _ = await a_map(world, 1)
        peer = await world.ready()
        (failed,) = await peer.subscribe((sid, "map", -1))
        assert failed["events"][0]["error"]["status"] == 403
        assert world.face.hub.statistics().listeners == 0


@pytest.mark.parametrize("entries", [49, 50, 51, 120])
async def test_many_confirmations_go_out_in_few_notifications(entries: int) -> None:
    async with a_world() as world:
        sids = [(await a_map(world, 0))[0] for _ in range(entries)]
        peer = await world.ready()
        await peer.ask(
            "POST", "/v4/Subscriptions", subscription_body(*((sid, "map", -1) for sid in sids))
        )
        for _ in range(20):
            await settle()
        events = peer.take_events()
        assert [one["object_sid"] for event in events for one in event["events"]] == sids
        assert len(events) == -(-entries // catchup.CONFIRM_ENTRIES)


async def test_a_cancel_is_confirmed_also_for_what_was_never_subscribed_to() -> None:
    async with a_world() as world:
        sid, ref = await a_map(world, 0)
        unknown = "MP" + "0" * 32
        peer = await world.ready()
        await peer.subscribe((sid, "map", -1))
        (canceled,) = await peer.subscribe(
            (sid, "map", None), (unknown, "map", None), action="cancel"
        )
        assert canceled["event_type"] == "subscription_canceled"
        assert [one["object_sid"] for one in canceled["events"]] == [sid, unknown]
        await world.put(ref, "k")
        assert peer.take_events() == []
        assert world.face.hub.statistics().listeners == 0


async def test_a_cancel_comes_behind_the_request_to_subscribe_before_it() -> None:
    async with a_world() as world:
        sid, ref = await a_map(world, 0)
        peer = await world.ready()
        for action in ("establish", "cancel"):
            body = subscription_body((sid, "map", -1), action=action)
            peer.ask_nowait("POST", "/v4/Subscriptions", body)
        await settle()
        assert [one["event_type"] for one in peer.take_events()] == [
            "subscription_established",
            "subscription_canceled",
        ]
        await world.put(ref, "k")
        assert peer.take_events() == []


async def test_to_subscribe_twice_is_to_hear_once() -> None:
    async with a_world() as world:
        sid, ref = await a_map(world, 1)
        peer = await world.ready()
        await peer.subscribe((sid, "map", -1))
        assert told(await peer.subscribe((sid, "map", -1))) == [("map_item_added", 0), completed(0)]
        await world.put(ref, "live")
        assert told(peer.take_events()) == [("map_item_added", 1)]
