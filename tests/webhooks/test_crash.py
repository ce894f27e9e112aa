"""Kill -9 in the midst of writes and deliveries: each event is delivered, in order, signed.

One data directory lives through several rounds. In each, clients on the socket and callers of REST
write to shared objects while a receiver process takes webhooks; the server is killed at a random
moment. After the last round a server runs until nothing waits. What the receiver noted is then
compared with the event log in the database: for each object, without repetitions (known by their
token), the same events in the same order. Messages of streams, which no log has, must have arrived
if they were acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import websockets
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from starlings.core.events import EventType
from starlings.core.objects import Kind
from starlings.storage.sqlite.check import check_database
from tests.e2e.server import ServerProcess
from tests.webhooks.clients import rest_client, socket_client, token_for
from tests.webhooks.receiver import Received, run_receiver

ROUNDS = int(os.environ.get("STARLINGS_WEBHOOK_ROUNDS", "6"))
WRITERS = 6
"""Of each kind: on the socket, by REST."""
OBJECTS = 4
SECONDS = (0.2, 0.7)
SEED = int(os.environ.get("STARLINGS_KILL_SEED", "20"))

Told = tuple[str, str, str]
"""Of an event: the name of its webhook, the number in it, the item."""


@dataclass
class Tally:
    """What writers know."""

    acknowledged: int = 0
    messages: set[str] = field(default_factory=set)
    """The data of acknowledged ones."""


async def _write_by_socket(server: ServerProcess, number: int, tally: Tally, run: int) -> None:
    """Until the server is gone: put, append, set, remove, publish."""
    chance = random.Random(number + 1000 * run)
    async with socket_client(server) as client:
        await client.begin(token_for(server, f"client {number}"))
        step = 0
        while True:
            step += 1
            target = chance.randrange(OBJECTS)
            data = {"data": {"client": number, "run": run, "step": step}}
            match chance.randrange(5):
                case 0:
                    status = await client.ask("POST", f"/Lists/l{target}/Items", data)
                case 1:
                    status = await client.ask("POST", f"/Documents/d{target}", data)
                case 2:
                    key = chance.randrange(6)
                    status = await client.ask("DELETE", f"/Maps/m{target}/Items/k{key}", "")
                    assert status in (200, 404)
                    status = 200
                case 3:
                    status = await client.ask("POST", f"/Streams/s{target}/Messages", data)
                    assert status == 201
                    tally.messages.add(json.dumps(data["data"], separators=(",", ":")))
                case _:
                    key = chance.randrange(6)
                    status = await client.ask("PUT", f"/Maps/m{target}/Items/k{key}", data)
            assert status in (200, 201), status
            tally.acknowledged += 1


async def _write_by_rest(client: httpx.AsyncClient, number: int, tally: Tally, run: int) -> None:
    step = 0
    while True:
        step += 1
        target = (number + step) % OBJECTS
        form = {"Data": json.dumps({"rest": number, "run": run, "step": step})}
        if step % 3:
            response = await client.post(f"/Lists/l{target}/Items", data=form)
        else:
            response = await client.post(
                f"/Maps/m{target}/Items", data=form | {"Key": f"{run}-{number}-{step}"}
            )
        assert response.status_code == 201, response.text
        tally.acknowledged += 1


async def _until_gone(writer: asyncio.Future[None]) -> None:
    with suppress(httpx.TransportError, websockets.WebSocketException, OSError):
        await writer


async def _write_until_killed(server: ServerProcess, tally: Tally, run: int, at: float) -> None:
    async with rest_client(server) as client:
        writers = [
            asyncio.ensure_future(_write_by_socket(server, number, tally, run))
            for number in range(WRITERS)
        ] + [
            asyncio.ensure_future(_write_by_rest(client, number, tally, run))
            for number in range(WRITERS)
        ]
        async with asyncio.TaskGroup() as group:
            for writer in writers:
                group.create_task(_until_gone(writer))
            await asyncio.sleep(at)
            server.kill()


async def _prepare(server: ServerProcess, url: str) -> None:
    async with rest_client(server) as client:
        form = {"WebhookUrl": url, "WebhooksFromRestEnabled": "true"}
        assert (await client.post("", data=form)).status_code == 200
        for kind, letter in (("Documents", "d"), ("Lists", "l"), ("Maps", "m"), ("Streams", "s")):
            for number in range(OBJECTS):
                made = await client.post(f"/{kind}", data={"UniqueName": f"{letter}{number}"})
                assert made.status_code == 201, made.text


def _wait_until_empty(data: Path, *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = sqlite3.connect(f"{(data / 'starlings.db').as_uri()}?mode=ro", uri=True)
        (waiting,) = connection.execute("SELECT count(*) FROM webhook").fetchone()
        connection.close()
        if waiting == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"{waiting} webhooks still wait")


_VERBS = {
    EventType.OBJECT_CREATED: "created",
    EventType.OBJECT_REMOVED: "removed",
    EventType.DOCUMENT_UPDATED: "updated",
    EventType.ITEM_ADDED: "item_added",
    EventType.ITEM_UPDATED: "item_updated",
    EventType.ITEM_REMOVED: "item_removed",
}


def _logged(data: Path) -> dict[str, list[Told]]:
    """The events of each object that must have been told, from the database."""
    connection = sqlite3.connect(f"{(data / 'starlings.db').as_uri()}?mode=ro", uri=True)
    found: dict[str, list[Told]] = defaultdict(list)
    for sid, kind, type_, event_id, key in connection.execute(
        "SELECT sid, kind, type, event.event_id, key FROM event JOIN object USING (oid)"
        " ORDER BY oid, event.seq"
    ):
        name = f"{Kind(kind).word}_{_VERBS[EventType(type_)]}"
        # Documents tell their revision, items their event, creations of collections neither.
        number = event_id if "item" in name or kind == Kind.DOCUMENT else ""
        found[sid].append((name, str(number), "" if key is None else str(key)))
    connection.close()
    return dict(found)


def _told(requests: list[Received]) -> dict[str, list[Told]]:
    """The same from what was received, each token once."""
    found: dict[str, list[Told]] = defaultdict(list)
    seen: set[str] = set()
    for one in requests:
        told = one.parameters
        name = told["EventType"]
        if one.token in seen or name == "stream_message_published":
            continue
        seen.add(one.token)
        (sid,) = (
            told[f"{word}Sid"]
            for word in ("Document", "List", "Map", "Stream")
            if f"{word}Sid" in told
        )
        number = told.get("EventId", "")
        if name.startswith("document"):
            number = str(int(told["DocumentRevision"], 16))
        key = told.get("ItemIndex", told.get("ItemKey", ""))
        found[sid].append((name, number, key))
    return dict(found)


async def test_no_event_is_lost_or_out_of_order_whenever_the_server_is_killed(
    tmp_path: Path,
) -> None:
    chance = random.Random(SEED)
    tally = Tally()
    environment = {"STARLINGS_WEBHOOKS_ALLOW_PRIVATE": "1"}
    (tmp_path / "receiver").mkdir()
    with (
        run_receiver(tmp_path / "receiver") as receiver,
        ServerProcess(tmp_path / "data", environment=environment) as server,
    ):
        url = receiver.url("ok/hook?x=1")
        await _prepare(server, url)
        for run in range(ROUNDS):
            await _write_until_killed(server, tally, run, chance.uniform(*SECONDS))
            assert check_database(server.data / "starlings.db", 0).findings == []
            server.start()
        _wait_until_empty(server.data)
        auth_token = server.credentials.auth_token
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()
        requests = receiver.received()

    logged = _logged(server.data)
    told = _told(requests)
    events = sum(map(len, logged.values()))
    tokens = {one.token for one in requests}
    messages = {
        one.parameters["MessageData"]
        for one in requests
        if one.parameters["EventType"] == "stream_message_published"
    }
    lost = sum(
        len(set(expected) - set(told.get(sid, ()))) for sid, expected in logged.items()
    ) + len(tally.messages - messages)
    print(
        f"\nevents {events}, messages {len(tally.messages)}, acknowledged {tally.acknowledged},"
        f" crashes {ROUNDS}, deliveries {len(requests)},"
        f" duplicates {len(requests) - len(tokens)}, losses {lost}"
    )
    assert events > 100 * ROUNDS / 6
    assert lost == 0
    assert told == logged
    validator = RequestValidator(auth_token)
    assert all(validator.validate(url, one.parameters, one.signature) for one in requests)
