"""The server as a process: what it says, what it keeps over restarts and how it ends."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.raw import assert_refused, raw_client
from tests.e2e.server import ServerProcess, check_data


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of this test's own."""
    with ServerProcess(tmp_path / "data") as server:
        yield server


def test_state_and_credentials_outlive_a_restart_and_a_kill(server: ServerProcess) -> None:
    credentials = server.credentials
    with raw_client(server) as raw:
        document = raw.post("/Documents", data={"UniqueName": "kept", "Data": '{"n":1.0}'}).text
        raw.post("/Maps", data={"UniqueName": "kept"})
        raw.post("/Maps/kept/Items", data={"Key": "k", "Data": "{}"})
        raw.post("/Maps/kept/Permissions/alice", data={"Read": "true"})

    for end in (server.stop, server.kill):
        end()
        server.start(port=server.port)
        assert server.credentials == credentials
        with raw_client(server) as raw:
            assert raw.get("/Documents/kept").text == document
            assert raw.get("/Maps/kept/Items/k").json()["revision"] == "0"
            assert raw.get("/Maps/kept").json()["revision"] == "1"
            assert raw.get("/Maps/kept/Permissions/alice").json()["read"] is True


def test_a_deletion_outlives_a_kill(server: ServerProcess) -> None:
    with raw_client(server) as raw:
        raw.post("/Documents", data={"UniqueName": "gone"})
        assert raw.delete("/Documents/gone").status_code == 204
    server.kill()
    server.start()

    with raw_client(server) as raw:
        assert_refused(raw.get("/Documents/gone"), 404, 54300)


def test_it_stops_although_a_client_keeps_its_connection(server: ServerProcess) -> None:
    with raw_client(server) as raw, socket.create_connection(("127.0.0.1", server.port)):
        assert raw.get("/Documents").status_code == 200

        server.stop()


def test_it_stops_properly_in_the_midst_of_writing_and_keeps_what_it_acknowledged(
    server: ServerProcess,
) -> None:
    """Several times, for the moment matters: periodic work may be under way when it stops."""
    acknowledged: set[int] = set()
    chance = random.Random(7)
    with raw_client(server) as raw:
        raw.post("/Lists", data={"UniqueName": "log"})

    def write(raw: httpx.Client) -> None:
        while True:
            try:
                response = raw.post("/Lists/log/Items", data={"Data": "{}"})
            except httpx.TransportError:
                return
            if response.status_code != 201:  # it may say that it is stopping
                assert_refused(response, 503, 20503)
                return
            acknowledged.add(response.json()["index"])

    for _ in range(8):
        with raw_client(server) as raw, ThreadPoolExecutor(8) as pool:
            writers = [pool.submit(write, raw) for _ in range(8)]
            time.sleep(chance.uniform(0.1, 0.5))
            server.stop()
            for writer in writers:
                writer.result()
        server.start()

    with raw_client(server) as raw:
        assert int(raw.get("/Lists/log").json()["revision"], 16) >= len(acknowledged)
        for index in acknowledged:
            assert raw.get(f"/Lists/log/Items/{index}").status_code == 200


def test_a_second_server_on_the_same_data_is_turned_away(server: ServerProcess) -> None:
    second = ServerProcess(server.data)
    with pytest.raises(AssertionError, match="did not listen"):
        second.start()

    assert "Traceback" not in second.stderr, "an operator's mistake deserves a sentence"
    assert second.stderr or second.stdout
    with raw_client(server) as raw:
        assert raw.get("/Documents").status_code == 200


def test_the_environment_fixes_the_credentials(tmp_path: Path) -> None:
    given = {
        "STARLINGS_ACCOUNT_SID": f"AC{'1' * 32}",
        "STARLINGS_AUTH_TOKEN": "2" * 32,
        "STARLINGS_API_KEY_SID": f"SK{'3' * 32}",
        "STARLINGS_API_KEY_SECRET": "4" * 32,
    }
    with ServerProcess(tmp_path / "data", environment=given) as server:
        for user, password in (
            (given["STARLINGS_ACCOUNT_SID"], given["STARLINGS_AUTH_TOKEN"]),
            (given["STARLINGS_API_KEY_SID"], given["STARLINGS_API_KEY_SECRET"]),
        ):
            response = httpx.post(
                f"{server.base_url}/v1/Services/default/Documents",
                auth=(user, password),
                trust_env=False,
            )
            assert response.json()["account_sid"] == given["STARLINGS_ACCOUNT_SID"]


def test_stored_data_pass_the_check_and_damage_does_not(server: ServerProcess) -> None:
    with raw_client(server) as raw:
        for n in range(200):
            raw.post("/Documents", data={"Data": f'{{"n":{n},"t":"{"x" * 1000}"}}'})
    server.stop()
    sound = check_data(server.data)
    assert sound.returncode == 0, sound.stdout + sound.stderr

    largest = max(server.data.rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8192] = b"\xff" * 8192
    largest.write_bytes(content)

    assert check_data(server.data).returncode != 0


def test_a_check_of_no_data_is_an_error(tmp_path: Path) -> None:
    checked: subprocess.CompletedProcess[str] = check_data(tmp_path / "nothing here")

    assert checked.returncode != 0
    assert "Traceback" not in checked.stderr
