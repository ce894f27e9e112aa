"""Kill -9 in the midst of concurrent writes: what was acknowledged is there, and nothing is torn.

One data directory lives through many rounds. In each, 64 writers share a few fresh objects; the
server is killed after a random number of answers; a new one must then know every acknowledged
write, with the revision and the value that were acknowledged. A write without an answer may or may
not have happened, so each writer leaves at most one in doubt: beyond those no counter has a gap.

``STARLINGS_KILL_SEED`` repeats a run's numbers; the writers' interleaving is the machine's.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import ServerProcess, check_data

ROUNDS = 20
WRITERS = 64
OBJECTS_OF_A_KIND = 3
ACKNOWLEDGEMENTS = (1, 400)
"""After how many answers the kill comes, at least and at most: a slow machine tests the same."""

SEED = int(os.environ.get("STARLINGS_KILL_SEED", "20"))


class _Countdown:
    """Opens after so many acknowledged writes."""

    def __init__(self, writes: int) -> None:
        self._left = writes
        self._opened = asyncio.Event()

    def tick(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._opened.set()

    async def wait(self) -> None:
        async with asyncio.timeout(60):
            await self._opened.wait()


@dataclass
class _Object:
    """One object and what its writers know about it.

    ``acknowledged`` maps a revision, as a number, to the value stored under it; ``items`` maps a
    key or index to the newest revision acknowledged for it. ``doubts`` holds the values of writes
    that were sent and not answered.
    """

    path: str
    countdown: _Countdown
    acknowledged: dict[int, Any] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    doubts: list[Any] = field(default_factory=list)

    @property
    def is_document(self) -> bool:
        return self.path.startswith("/Documents/")

    def acknowledge(self, revision: str, value: Any) -> None:
        number = int(revision, 16)
        assert f"{number:x}" == revision
        assert number not in self.acknowledged, f"{self.path}: revision {revision} was given twice"
        self.acknowledged[number] = value

    def assert_counter(self, events: int) -> None:
        """``events`` took place; all but the writes in doubt were acknowledged, none is missing."""
        unknown = set(range(events)) - set(self.acknowledged)
        assert max(self.acknowledged, default=-1) < events, f"{self.path} went back in time"
        assert len(unknown) <= len(self.doubts), (
            f"{self.path}: {sorted(unknown)} belong to no write; {len(self.doubts)} in doubt"
        )


async def _write(
    client: httpx.AsyncClient, target: _Object, path: str, form: dict[str, str], value: Any
) -> httpx.Response | None:
    """Send one write and note its outcome; None when the server is gone."""
    target.doubts.append(value)
    try:
        response = await client.post(path, data=form)
    except httpx.TransportError:
        return None
    assert response.status_code in (200, 201), response.text
    target.doubts.remove(value)
    target.countdown.tick()
    body = response.json()
    target.acknowledge(body["revision"], value)
    if not target.is_document:
        target.items[_item_name(body)] = int(body["revision"], 16)
    return response


def _item_name(item: dict[str, Any]) -> str:
    return str(item["key"] if "key" in item else item["index"])


def _form(value: Any, **more: str) -> dict[str, str]:
    return {"Data": json.dumps(value), **more}


async def _write_document(client: httpx.AsyncClient, document: _Object, writer: int) -> None:
    n = 0
    while True:
        value = {"writer": writer, "n": n}
        if await _write(client, document, document.path, _form(value), value) is None:
            return
        n += 1


async def _write_list(client: httpx.AsyncClient, sync_list: _Object, writer: int) -> None:
    """Append, and every third time replace one's newest item."""
    n = 0
    index: int | None = None
    while True:
        items = f"{sync_list.path}/Items"
        path = items if index is None or n % 3 != 2 else f"{items}/{index}"
        value = {"writer": writer, "n": n}
        response = await _write(client, sync_list, path, _form(value), value)
        if response is None:
            return
        index = response.json()["index"]
        n += 1


async def _write_map(client: httpx.AsyncClient, sync_map: _Object, writer: int) -> None:
    """Create a key, and every third time replace the value of one's newest."""
    n = 0
    newest: str | None = None
    while True:
        items = f"{sync_map.path}/Items"
        value = {"writer": writer, "n": n}
        if newest is None or n % 3 != 2:
            form = _form(value, Key=f"{writer}-{n}")
            response = await _write(client, sync_map, items, form, value)
        else:
            response = await _write(client, sync_map, f"{items}/{newest}", _form(value), value)
        if response is None:
            return
        newest = response.json()["key"]
        n += 1


Writer = Callable[[httpx.AsyncClient, _Object, int], Coroutine[Any, Any, None]]
_KINDS: list[tuple[str, Writer]] = [
    ("Documents", _write_document),
    ("Lists", _write_list),
    ("Maps", _write_map),
]


@asynccontextmanager
async def _connect(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    credentials = server.credentials
    async with httpx.AsyncClient(
        base_url=f"{server.base_url}/v1/Services/default",
        auth=(credentials.account_sid, credentials.auth_token),
        limits=httpx.Limits(max_connections=WRITERS),
        timeout=20.0,
        trust_env=False,
    ) as client:
        yield client


async def _create_objects(client: httpx.AsyncClient, countdown: _Countdown) -> list[_Object]:
    objects: list[_Object] = []
    for kind, _ in _KINDS:
        for _ in range(OBJECTS_OF_A_KIND):
            created = await client.post(f"/{kind}", data={"Data": '{"writer":null}'})
            assert created.status_code == 201, created.text
            objects.append(_Object(f"/{kind}/{created.json()['sid']}", countdown))
            if kind == "Documents":  # its creation is its first event
                objects[-1].acknowledge("0", {"writer": None})
    return objects


async def _write_until_killed(
    server: ServerProcess,
    client: httpx.AsyncClient,
    objects: list[_Object],
    countdown: _Countdown,
) -> None:
    writers = dict(_KINDS)
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            target = objects[number % len(objects)]
            group.create_task(writers[target.path.split("/")[1]](client, target, number))
        await countdown.wait()
        server.kill()


async def _items(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    url: str | None = f"{path}/Items?PageSize=100"
    while url is not None:
        page = (await client.get(url)).json()
        found += page["items"]
        url = page["meta"]["next_page_url"]
    return found


async def _assert_kept(client: httpx.AsyncClient, target: _Object) -> None:
    """What the new server tells agrees with what the old one acknowledged."""
    response = await client.get(target.path)
    assert response.status_code == 200, f"{target.path} is lost: {response.text}"
    revision = int(response.json()["revision"], 16)
    if target.is_document:
        target.assert_counter(revision + 1)
        data = response.json()["data"]
        if revision in target.acknowledged:
            assert data == target.acknowledged[revision]
        else:
            assert data in target.doubts
        return

    # A collection's revision is the number of its events; an item has that of its last one.
    target.assert_counter(revision)
    items = await _items(client, target.path)
    stored = {_item_name(item): item for item in items}
    revisions = {int(item["revision"], 16) for item in items}
    assert len(revisions) == len(stored) == len(items), f"{target.path}: twice the same"
    assert max(revisions, default=-1) == revision - 1
    assert set(target.items) <= set(stored), f"{target.path}: acknowledged items are lost"
    for name, item in stored.items():
        number = int(item["revision"], 16)
        newest = target.items.get(name, -1)
        assert number >= newest, f"{target.path}: an acknowledged update of {name} is lost"
        if number == newest:
            assert item["data"] == target.acknowledged[number]
        else:
            assert item["data"] in target.doubts, f"{target.path}: {item} was never sent"
    if target.path.startswith("/Lists/"):
        assert [item["index"] for item in items] == list(range(len(items)))


def _assert_sound(data: Path) -> None:
    checked = check_data(data)
    assert checked.returncode == 0, f"{checked.stdout}\n{checked.stderr}"


@pytest.mark.timeout(240)
async def test_acknowledged_writes_outlive_a_kill_in_the_midst_of_writing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    older: list[_Object] = []
    with ServerProcess(tmp_path / "data") as server:
        for round_number in range(ROUNDS):
            async with _connect(server) as client:
                countdown = _Countdown(chance.randint(*ACKNOWLEDGEMENTS))
                objects = await _create_objects(client, countdown)
                await _write_until_killed(server, client, objects, countdown)
            if round_number % 4 == 3:
                # Otherwise the server itself is the first to open what the kill left behind.
                _assert_sound(server.data)
            server.start()
            async with _connect(server) as client:
                for target in [*objects, *older]:
                    await _assert_kept(client, target)
            # One round's objects are read again after the next kill too.
            older = objects
        server.stop()
        _assert_sound(server.data)
        assert "Traceback" not in server.stderr, server.stderr
