"""What an operator lets queries cost, as clients meet it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from starlings.wire.codec import decode_downstream, encode_upstream
from starlings.wire.messages import HttpRequest, Init, Reply, Request
from tests.e2e.raw import raw_client
from tests.e2e.server import ServerProcess
from tests.ops.commands import starlings

BOUNDS = {
    "STARLINGS_QUERIES_MAX_ITEMS": "3",
    "STARLINGS_QUERIES_MAX_LIVE": "1",
    "STARLINGS_QUERIES_MAX_LIVE_BYTES": "2000",
}


class Client:
    """A client that asks queries."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self._socket = socket
        self._ids = (f"TM{number}" for number in count())
        message_id = next(self._ids)
        socket.send(encode_upstream(Init(id=message_id, token=token)))
        assert self._wait_for(message_id).status.code == 200

    def ask(self, index: str, text: str = "", *, is_live: bool = False) -> tuple[int, int | None]:
        """Status and error code of a query."""
        fields: dict[str, Any] = {"query_string": text}
        if is_live:
            fields["type"] = "live_query"
        message_id = next(self._ids)
        request = HttpRequest(f"/v3/Insights/{index}/Items", "POST")
        payload = json.dumps(fields).encode()
        self._socket.send(encode_upstream(Request(message_id, request, "data_sync", payload)))
        reply = self._wait_for(message_id)
        assert reply.http_status is not None
        return reply.http_status.code, json.loads(reply.payload).get("code")

    def _wait_for(self, message_id: str) -> Reply:
        while True:
            frame = self._socket.recv(timeout=10)
            assert isinstance(frame, bytes)
            message = decode_downstream(frame)
            if isinstance(message, Reply) and message.id == message_id:
                return message


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("data")
    with ServerProcess(data, environment=BOUNDS) as server, raw_client(server) as raw:
        for index, items in {
            "small": ["{}"] * 3,
            "large": ["{}"] * 4,
            "heavy": [json.dumps({"t": "x" * 2000})],
        }.items():
            raw.post("/Maps", data={"UniqueName": index}).raise_for_status()
            for number, text in enumerate(items):
                form = {"Key": str(number), "Data": text}
                raw.post(f"/Maps/{index}/Items", data=form).raise_for_status()
        yield server
        assert "Traceback" not in server.stderr, server.stderr


@pytest.fixture
def client(bounded: ServerProcess) -> Iterator[Client]:
    minted = starlings("token", "--identity", "zoe", "--data", Path(bounded.data))
    assert minted.returncode == 0, minted.stderr
    with connect(bounded.ws_url, proxy=None) as socket:
        yield Client(socket, minted.stdout.strip())


def test_a_map_of_more_items_is_not_searched(client: Client) -> None:
    assert client.ask("small") == (200, None)
    assert client.ask("large") == (413, 54006)
    assert client.ask("large", is_live=True) == (413, 54006)


def test_one_map_has_so_many_different_live_queries(client: Client) -> None:
    assert client.ask("small", is_live=True) == (200, None)
    assert client.ask("small", is_live=True) == (200, None)
    assert client.ask("small", 'a == "b"', is_live=True) == (429, 54419)


def test_live_results_take_so_much_memory(client: Client) -> None:
    assert client.ask("heavy") == (200, None)
    assert client.ask("heavy", is_live=True) == (413, 54006)
