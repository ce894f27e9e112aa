"""The requests of one session: bounded, each carried out once, each answered in its turn."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from starlings.core.errors import Fault, Reason
from starlings.core.limits import OFF
from starlings.core.objects import Kind
from starlings.storage.memory import MemoryStore
from starlings.wire.messages import Notification
from starlings.ws import inbox
from starlings.ws.inbox import (
    MOST_CHANGE_BYTES,
    MOST_REPLY_BYTES,
    MOST_REQUEST_BYTES,
    MOST_REQUESTS,
    REQUEST_ID_CHARACTERS,
)
from starlings.ws.outbox import OutboxLimits
from tests.ws.sessions import ADMIN, a_world, settle, subscription_body


async def test_the_reply_comes_before_the_own_event() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.DOCUMENT)
        await peer.subscribe((sid, "document", 0))
        message_id = peer.ask_nowait("POST", f"/v3/Documents/{sid}", {"data": {"a": 1}})
        await settle()
        reply, event = peer.take()
        assert (reply.id, type(event).__name__) == (message_id, "Notification")


async def test_own_removals_are_muted_and_own_messages_not_echoed_but_others_are_told() -> None:
    async with a_world() as world:
        peer, other = await world.ready(), await world.ready()
        sid, ref = await world.create(Kind.MAP)
        stream, _ = await world.create(Kind.STREAM)
        await world.put(ref, "k")
        for one in (peer, other):
            await one.subscribe((sid, "map", 0), (stream, "stream", None))
        removal = await peer.ask(
            "DELETE", f"/v3/Maps/{sid}/Items/k", headers={"Twilio-Request-Id": "RQ1"}
        )
        assert removal.status == 200
        assert (
            await peer.ask("POST", f"/v3/Streams/{stream}/Messages", {"data": {}})
        ).status == 201
        (muted,) = peer.take_events()
        assert (muted["event_type"], muted["event"]["id"]) == ("map_item_dropped", 1)
        assert [one["event_type"] for one in other.take_events()] == [
            "map_item_removed",
            "stream_message_published",
        ]


@pytest.mark.parametrize("is_anew", [False, True])
async def test_an_own_removal_asked_for_before_the_subscription_is_told(
    is_anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client may have opened the map again meanwhile: the reply is of no use to it then."""
    async with a_world() as world:
        peer = await world.ready()
        sid, ref = await world.create(Kind.MAP)
        await world.put(ref, "k")
        if is_anew:
            await peer.subscribe((sid, "map", 0))
        gate = asyncio.Event()
        original = MemoryStore.execute

        async def execute(command: Any) -> Any:
            await gate.wait()
            return await original(world.store, command)

        monkeypatch.setattr(world.store, "execute", execute)
        peer.ask_nowait("DELETE", f"/v3/Maps/{sid}/Items/k", headers={"Twilio-Request-Id": "RQ1"})
        await settle()
        await peer.subscribe((sid, "map", 0), number=2)
        gate.set()
        await settle()
        assert [one["event_type"] for one in peer.take_events()] == ["map_item_removed"]


@pytest.mark.parametrize("way", ["opened", "created", "opened again"])
async def test_an_own_removal_before_the_first_subscription_is_not_told_twice(way: str) -> None:
    """The SDK subscribes a tenth of a second after it has opened an object."""
    async with a_world() as world:
        peer = await world.ready()
        if way == "created":
            made = await peer.ask("POST", "/v3/Maps", {})
            sid, last_id = made.body["sid"], made.body["last_event_id"]
            await peer.ask("PUT", f"/v3/Maps/{sid}/Items/k", {"data": {}})
        else:
            sid, ref = await world.create(Kind.MAP)
            await world.put(ref, "k")
            opened = await peer.ask("GET", f"/v3/Maps/{sid}")
            last_id = opened.body["last_event_id"]
        await peer.ask("DELETE", f"/v3/Maps/{sid}/Items/k", headers={"Twilio-Request-Id": "RQ1"})
        if way == "opened again":
            await peer.ask("GET", f"/v3/Maps/{sid}")
        *_, removal, confirmed = await peer.subscribe((sid, "map", last_id))
        told = "map_item_removed" if way == "opened again" else "map_item_dropped"
        assert (removal["event_type"], removal["event"]["id"]) == (told, 1)
        assert confirmed["events"][0]["last_event_id"] == 1


async def test_a_removal_begun_on_a_lost_connection_is_told_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        first = world.connect()
        token = (await first.init()).continuation_token
        sid, ref = await world.create(Kind.MAP)
        await world.put(ref, "k")
        gate = asyncio.Event()
        original = MemoryStore.execute

        async def execute(command: Any) -> Any:
            await gate.wait()
            return await original(world.store, command)

        monkeypatch.setattr(world.store, "execute", execute)
        first.ask_nowait("DELETE", f"/v3/Maps/{sid}/Items/k")
        await settle()
        first.lose()
        second = world.connect()
        await second.init(continuation_token=token)
        await second.subscribe((sid, "map", 0))
        gate.set()
        await settle()
        assert [one["event_type"] for one in second.take_events()] == ["map_item_removed"]


async def test_a_repeated_request_is_carried_out_once() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.LIST)
        headers = {"Twilio-Request-Id": "RQ1"}
        answers = [
            await peer.ask("POST", f"/v3/Lists/{sid}/Items", {"data": {}}, headers=headers)
            for _ in range(3)
        ]
        assert answers[0] == answers[1] == answers[2]
        page = await peer.ask("GET", f"/v3/Lists/{sid}/Items")
        assert [item["index"] for item in page.body["items"]] == [0]


async def test_a_repeated_request_of_another_identity_is_another() -> None:
    async with a_world() as world:
        sid, _ = await world.create(Kind.LIST)
        headers = {"Twilio-Request-Id": "RQ1"}
        indexes = []
        for token in ("alice", "bob"):
            peer = await world.ready(token)
            answer = await peer.ask("POST", f"/v3/Lists/{sid}/Items", {"data": {}}, headers=headers)
            indexes.append(answer.body["index"])
        assert indexes == [0, 1]


async def test_an_id_of_a_request_has_a_bound() -> None:
    """It is written to the log with the event, and remembered."""
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.LIST)
        statuses = []
        for size in (REQUEST_ID_CHARACTERS, REQUEST_ID_CHARACTERS + 1):
            headers = {"Twilio-Request-Id": "x" * size}
            answer = await peer.ask("POST", f"/v3/Lists/{sid}/Items", {"data": {}}, headers=headers)
            statuses.append((answer.status, answer.body.get("code")))
        assert statuses == [(201, None), (400, 20001)]
        page = await peer.ask("GET", f"/v3/Lists/{sid}/Items")
        assert len(page.body["items"]) == 1


async def test_a_flood_is_answered_429_until_the_second_is_over() -> None:
    async with a_world(replace(OFF, connection_requests=5.0)) as world:
        peer = await world.ready()
        path = "/v3/Configuration"
        statuses = [(await peer.ask("GET", path)).status for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        world.clock_ms += 1000
        assert (await peer.ask("GET", path)).status == 200


async def test_more_requests_than_may_be_under_way_are_answered_429(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        peer = await world.ready()
        gate = asyncio.Event()

        async def find_object_named(*_: Any) -> None:
            await gate.wait()

        monkeypatch.setattr(world.store, "find_object_named", find_object_named)
        for _ in range(MOST_REQUESTS):
            peer.ask_nowait("GET", "/v3/Documents/x")
        answer = await peer.ask("GET", "/v3/Documents/x")
        assert (answer.status, answer.body["code"]) == (429, 20429)
        assert "under way" in answer.body["message"]
        gate.set()
        replies: list[Any] = []
        while len(replies) < MOST_REQUESTS:
            await settle()
            more = peer.take()
            assert more
            replies += more
        assert (await peer.ask("GET", "/v3/Documents/x")).status == 404


async def test_more_bytes_of_requests_than_may_be_under_way_are_answered_429(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refused, not left unread: acknowledgements come the same way."""
    async with a_world() as world:
        peer = await world.ready()
        gate = asyncio.Event()

        async def create_object(*_: Any) -> None:
            await gate.wait()
            raise Fault(Reason.UNAVAILABLE)

        monkeypatch.setattr(world.node, "create_object", create_object)
        body = {"data": {"x": "y" * 120_000}}
        most = MOST_REQUEST_BYTES // len(json.dumps(body))
        for _ in range(2):
            for _ in range(most):
                peer.ask_nowait("POST", "/v3/Documents", body)
            answer = await peer.ask("POST", "/v3/Documents", body)
            assert (answer.status, answer.body["code"]) == (429, 20429)
            assert f"{MOST_REQUEST_BYTES} bytes" in answer.body["message"]
            gate.set()
            await settle()
            assert len(peer.take()) == most
            gate.clear()


async def test_one_request_is_always_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MOST_REQUEST_BYTES", 10)
    async with a_world() as world:
        peer = await world.ready()
        first = peer.ask_nowait("GET", "/v3/Configuration")
        second = peer.ask_nowait("GET", "/v3/Configuration")
        await settle()
        statuses = {reply.id: reply.http_status.code for reply in peer.take()}
        assert statuses == {first: 200, second: 429}


@pytest.mark.parametrize("path", ["Documents/{}", "Maps/{}/Items", "Maps/{}?Include"])
async def test_reads_wait_for_room_however_many_are_asked_for_at_once(path: str) -> None:
    """Cut off for what it has asked for, a client on a slow link would ask for it again."""
    size = 16_000
    async with a_world() as world:
        peer = await world.ready()
        connection = peer.connection
        path, _, include = path.partition("?")
        kind = Kind.MAP if path.startswith("Maps") else Kind.DOCUMENT
        data = b'{"x":"%s"}' % (b"y" * size)
        sid, ref = await world.create(kind, data=data if kind is Kind.DOCUMENT else None)
        if kind is Kind.MAP:
            for number in range(20):
                await world.put(ref, str(number), data)
        connection.is_stalled = True
        params = {"Include": "items"} if include else None
        wanted = [
            peer.ask_nowait("GET", "/v3/" + path.format(sid), params=params) for _ in range(90)
        ]
        got: list[str] = []
        while len(got) < len(wanted):
            await settle()
            assert size < connection.queued_bytes < MOST_REPLY_BYTES + 10_000
            got += [reply.id for reply in peer.take()]
            connection.queued_bytes = 0
            peer.session.on_drained()
        assert got == wanted


async def test_a_change_passes_waiting_reads_and_its_reply_comes_before_its_event() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.DOCUMENT)
        await peer.subscribe((sid, "document", 0))
        peer.connection.is_stalled = True
        peer.connection.queued_bytes = MOST_REPLY_BYTES
        path = f"/v3/Documents/{sid}"
        read = peer.ask_nowait("GET", path)
        change = peer.ask_nowait("POST", path, {"data": {"a": 1}})
        await settle()
        reply, event = peer.take()
        assert (reply.id, type(event).__name__) == (change, "Notification")
        peer.connection.queued_bytes = 0
        peer.session.on_drained()
        await settle()
        (reply,) = peer.take()
        assert reply.id == read
        assert json.loads(reply.payload)["data"] == {"a": 1}


@pytest.mark.parametrize("size", [10, 1_000, 16_000])
async def test_changes_wait_for_room_in_order_however_many_are_sent_at_once(size: int) -> None:
    """A client that was busy for a while sends all that it has to; it is no slow reader yet."""
    count = 4_000_000 // (size + 5_000)
    async with a_world() as world:
        peer = await world.ready()
        connection = peer.connection
        sid, ref = await world.create(Kind.LIST)
        await peer.subscribe((sid, "list", -1))
        connection.is_stalled = True
        connection.queued_bytes = 0
        path, body = f"/v3/Lists/{sid}/Items", {"data": {"x": "y" * size}}
        sent = [peer.ask_nowait("POST", path, body) for _ in range(count)]
        got: list[str] = []
        while len(got) < count:
            await settle()
            assert 0 < connection.queued_bytes < OutboxLimits().queued_bytes
            got += [one.id for one in peer.take() if not isinstance(one, Notification)]
            connection.queued_bytes = 0
            peer.session.on_drained()
        assert got == sent
        assert (await world.node.read_object(ref, ADMIN)).item_count == count


async def test_changes_that_wait_are_carried_out_when_their_client_leaves() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, ref = await world.create(Kind.LIST)
        peer.connection.is_stalled = True
        peer.connection.queued_bytes = MOST_CHANGE_BYTES
        for number in range(3):
            peer.ask_nowait("POST", f"/v3/Lists/{sid}/Items", {"data": {"n": number}})
        await settle()
        assert (await world.node.read_object(ref, ADMIN)).item_count == 0
        peer.lose()
        await settle()
        assert (await world.node.read_object(ref, ADMIN)).item_count == 3


async def test_reads_that_wait_end_with_their_session() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.DOCUMENT)
        peer.connection.is_stalled = True
        peer.connection.queued_bytes = MOST_REPLY_BYTES
        peer.ask_nowait("GET", f"/v3/Documents/{sid}")
        await settle()
        left = peer.session._inbox
        assert left is not None
        peer.lose()
        peer.connection.queued_bytes = 0
        left.go_on()
        await settle()
        assert peer.take() == []
        assert left._promised_bytes == 0


async def test_a_mistake_of_ours_is_a_fault_without_detail(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world() as world:
        peer = await world.ready()

        async def find_object_named(*_: Any) -> None:
            raise ZeroDivisionError("secret")

        monkeypatch.setattr(world.store, "find_object_named", find_object_named)
        answer = await peer.ask("GET", "/v3/Documents/x\n\x1b[2Jforged")
        assert (answer.status, answer.body["code"]) == (500, 20500)
        assert "secret" not in answer.body["message"]
        (line,) = caplog.messages
        assert line.startswith("A request failed")
        assert line.isprintable()  # it is one line, and a terminal does nothing but show it


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"action":"x"}'])
async def test_a_malformed_request_to_subscribe_is_refused(body: bytes) -> None:
    async with a_world() as world:
        peer = await world.ready()
        answer = await peer.ask("POST", "/v4/Subscriptions", payload=body)
        assert (answer.status, answer.body["code"]) == (400, 20001)


async def test_a_storm_of_subscriptions_is_bounded() -> None:
    async with a_world() as world:
        peer = await world.ready()
        sid, _ = await world.create(Kind.MAP)
        peer.connection.is_stalled = True
        peer.connection.queued_bytes = MOST_REPLY_BYTES
        statuses = [
            (
                await peer.ask(
                    "POST", "/v4/Subscriptions", subscription_body((sid, "map", -1), number=one)
                )
            ).status
            for one in range(50)
        ]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) < 40
        peer.connection.is_stalled = False
        peer.connection.queued_bytes = 0
        peer.session.on_drained()
        await settle()
        assert len(peer.take_events()) == statuses.count(200)
