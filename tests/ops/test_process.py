"""A real server process: how it starts, what it prints, how it ends."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import ServerProcess
from tests.ops.commands import starlings, start

FIXED = {
    "STARLINGS_ACCOUNT_SID": "AC" + "a" * 32,
    "STARLINGS_AUTH_TOKEN": "fixed-auth-token",
    "STARLINGS_API_KEY_SID": "SK" + "b" * 32,
    "STARLINGS_API_KEY_SECRET": "fixed-api-key-secret",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as started:
        yield started


def status_of(server: ServerProcess, username: str, password: str) -> int:
    url = f"{server.base_url}/v1/Services/default"
    with httpx.Client(auth=(username, password), trust_env=False, timeout=10) as client:
        return client.get(url).status_code


def wait_for_status(server: ServerProcess, username: str, password: str, status: int) -> None:
    """A change of credentials must be in force within two seconds."""
    deadline = time.monotonic() + 2
    while (seen := status_of(server, username, password)) != status:
        assert time.monotonic() < deadline, f"still {seen} after two seconds"
        time.sleep(0.05)


def test_the_first_start_makes_credentials_and_prints_one_line(server: ServerProcess) -> None:
    assert server.stdout == f"Listening on {server.base_url}\n"
    made = server.credentials
    assert status_of(server, made.account_sid, made.auth_token) == 200
    assert status_of(server, made.api_key_sid, made.api_key_secret) == 200
    assert status_of(server, made.account_sid, made.api_key_secret) == 401
    for name in ("credentials.json", "secret.key", "starlings.db"):
        assert stat.S_IMODE((server.data / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700


@pytest.mark.parametrize("room_bytes", [0, 1_000, 20_000, 60_000, 100_000, 120_000, 140_000])
def test_a_first_start_without_room_is_completed_by_the_next(
    tmp_path: Path, room_bytes: int
) -> None:
    data = tmp_path / "data"
    process = start("serve", "--port", "0", "--data", data, most_file_bytes=room_bytes)
    assert process.stdout is not None
    has_begun = process.stdout.readline() != ""
    if has_begun:
        process.kill()
    _, log = process.communicate(timeout=10)
    lines = [line for line in log.splitlines() if not line.startswith("{")]
    if not has_begun:
        assert (process.returncode, len(lines)) == (2, 1)
        assert lines[0].startswith("starlings: ")
        assert "can't be read" not in lines[0]
    left = (data / "credentials.json").read_text() if has_begun else None
    with ServerProcess(data) as server:
        made = server.credentials
        assert left in (None, (data / "credentials.json").read_text())
        assert status_of(server, made.account_sid, made.auth_token) == 200
        assert status_of(server, made.api_key_sid, made.api_key_secret) == 200


def test_a_server_killed_when_it_has_said_that_it_has_an_account_has_shown_it(
    tmp_path: Path,
) -> None:
    process = start("serve", "--port", "0", "--data", tmp_path)
    assert process.stderr is not None
    assert "Account added" in process.stderr.readline()
    process.kill()
    process.communicate(timeout=10)
    shown = (tmp_path / "credentials.json").read_text()
    with ServerProcess(tmp_path) as server:
        made = server.credentials
        assert (tmp_path / "credentials.json").read_text() == shown
        assert status_of(server, made.account_sid, made.auth_token) == 200
        assert status_of(server, made.api_key_sid, made.api_key_secret) == 200


def test_secrets_are_neither_in_the_log_nor_in_the_database_file(server: ServerProcess) -> None:
    made = server.credentials
    assert status_of(server, made.account_sid, made.auth_token) == 200
    server.stop()
    stored = b"".join(file.read_bytes() for file in server.data.glob("starlings.db*"))
    assert made.account_sid.encode() in stored
    for secret in (made.auth_token, made.api_key_secret):
        assert secret not in server.stderr
        assert secret.encode() not in stored


def test_health_answers_and_a_restart_keeps_the_credentials(server: ServerProcess) -> None:
    made = server.credentials
    for path in ("/healthz", "/readyz"):
        assert httpx.get(server.base_url + path, trust_env=False).status_code == 200
    server.restart()
    assert server.credentials == made
    assert status_of(server, made.account_sid, made.auth_token) == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    process = start("serve", "--port", "0", "--data", tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Listening on http://127.0.0.1:")
    process.send_signal(number)
    output, log = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, "")
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines[-1]["message"] == "Stopped"
    assert "Traceback" not in log


@pytest.mark.parametrize("stdout", ["closed", "full", "unread"])
def test_a_server_that_can_print_nothing_serves_and_logs_its_address(
    tmp_path: Path, stdout: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    target = full if stdout == "full" else writer
    arguments = ("serve", "--port", "0", "--data", tmp_path)
    process = start(*arguments, stdout=target, is_stdout_closed=stdout == "closed")
    os.close(writer)
    os.close(full)
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    started = next(line for line in lines if "Started" in line)
    found = re.search(r"address=(http://127\.0\.0\.1:\d+) ", started)
    assert found is not None
    wait_until(lambda: answers(found[1]))
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=10)
    assert (process.returncode, "Traceback" in log, "Exception" in log) == (0, False, False)


def answers(base_url: str) -> bool:
    try:
        return httpx.get(f"{base_url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_request_that_has_begun_is_finished_after_sigterm(server: ServerProcess) -> None:
    body = b"UniqueName=late&Data=%7B%7D"
    made = server.credentials
    with begin_request(server.port, made.account_sid, made.auth_token, body) as peer:
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: not is_accepting(server.port))
        peer.sendall(body[5:])
        assert peer.recv(65536).startswith(b"HTTP/1.1 201")
    wait_until(lambda: not server.is_running)
    server.kill()  # it has ended; this only takes in what is left of it
    server.start()
    answer = httpx.get(
        f"{server.base_url}/v1/Services/default/Documents/late",
        auth=(made.account_sid, made.auth_token),
        trust_env=False,
    )
    assert answer.status_code == 200


def test_callers_who_go_on_asking_are_told_to_close_and_never_reset(server: ServerProcess) -> None:
    made = server.credentials
    with contextlib.ExitStack() as stack:
        callers = [
            stack.enter_context(
                httpx.Client(
                    base_url=server.base_url,
                    auth=(made.account_sid, made.auth_token),
                    trust_env=False,
                    transport=httpx.HTTPTransport(limits=httpx.Limits(max_connections=1)),
                )
            )
            for _ in range(5)
        ]
        for caller in callers:
            assert "connection" not in caller.get("/v1/Services/default").headers
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: callers[0].get("/readyz").status_code == 503)
        for caller in callers[1:]:
            answer = caller.get("/v1/Services/default")
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_a_request_that_never_ends_is_refused_when_the_time_to_drain_is_over(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path / "data", environment={"STARLINGS_DRAIN": "1"}) as server:
        made = server.credentials
        credentials = (made.account_sid, made.auth_token)
        with begin_request(server.port, *credentials, b"UniqueName=late") as peer:
            server.stop()
            answer = peer.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b'"code":20503' in answer
        assert "Traceback" not in server.stderr


def test_more_signals_end_the_wait_and_never_kill(tmp_path: Path) -> None:
    process = start("serve", "--port", "0", "--drain", "60", "--data", tmp_path)
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    shown = json.loads((tmp_path / "credentials.json").read_text())
    with begin_request(port, shown["account_sid"], shown["auth_token"], b"UniqueName=late"):
        for _ in range(5):
            process.send_signal(signal.SIGTERM)  # does nothing once the process has ended
            time.sleep(0.01)  # or the kernel would make one signal of them
        _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in log


def begin_request(port: int, username: str, password: str, body: bytes) -> socket.socket:
    """A connection with a request of which the server has the head and five bytes of the body."""
    credentials = base64.b64encode(f"{username}:{password}".encode())
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    peer.sendall(
        b"POST /v1/Services/default/Documents HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: Basic %b\r\nContent-Length: %d\r\n\r\n%b"
        % (credentials, len(body), body[:5])
    )
    # The server has it once it has answered something sent later.
    assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    return peer


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_accepting(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_second_process_on_the_same_directory_is_refused(server: ServerProcess) -> None:
    refused = starlings("serve", "--port", "0", "--data", server.data)
    assert refused.returncode == 2
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert f"in use by another process (pid {server.pid})" in line
    assert httpx.get(f"{server.base_url}/healthz", trust_env=False).status_code == 200


def test_a_directory_is_free_again_after_a_crash(server: ServerProcess) -> None:
    made = server.credentials
    server.kill()
    server.start()
    assert status_of(server, made.account_sid, made.auth_token) == 200


def test_a_taken_port_is_one_clear_line(server: ServerProcess, tmp_path: Path) -> None:
    refused = starlings("serve", "--port", str(server.port), "--data", tmp_path / "other")
    assert refused.returncode == 2
    assert [line for line in refused.stderr.splitlines() if not line.startswith("{")] == [
        f"starlings: Can't listen on 127.0.0.1 port {server.port}: Address already in use"
    ]


@pytest.mark.parametrize("lack", ["missing", "empty"])
def test_a_database_that_was_lost_is_not_replaced_by_a_new_one(
    server: ServerProcess, lack: str
) -> None:
    made = server.credentials
    server.kill()  # so that the log holds what was written
    database = server.data / "starlings.db"
    content = database.read_bytes()
    if lack == "missing":
        database.unlink()
    else:
        os.truncate(database, 0)
    before = {file.name: file.read_bytes() for file in server.data.iterdir()}
    assert len(before["starlings.db-wal"]) > 0
    refused = starlings("serve", "--port", "0", "--data", server.data)
    assert refused.returncode == 2
    [line] = refused.stderr.splitlines()
    assert "(starlings.db-wal, starlings.db-shm, credentials.json)" in line
    after = {file.name: file.read_bytes() for file in server.data.iterdir()}
    assert after | {"lock": b""} == before | {"lock": b""}
    database.write_bytes(content)
    server.start()
    assert status_of(server, made.account_sid, made.auth_token) == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "/dev/null/x"], "can't be made"),
        (["--data", "/dev/null"], "can't be made"),
        (["--port", "none"], "--port 'none'"),
        (["--config", "/nowhere.toml"], "nowhere.toml"),
        (["--host", "256.256.256.256", "--port", "0"], "256.256.256.256"),
        (["--ssl-certfile", "/nowhere.pem", "--port", "0"], "nowhere.pem"),
    ],
)
def test_what_prevents_the_start_is_one_clear_line(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    if "--data" not in arguments:
        arguments = [*arguments, "--data", str(tmp_path)]
    refused = starlings("serve", *arguments)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("starlings: ")
    assert said in line


def test_fixed_credentials_are_in_force_and_in_no_file(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", environment=FIXED) as server:
        assert not (server.data / "credentials.json").exists()
        account = FIXED["STARLINGS_ACCOUNT_SID"]
        key = FIXED["STARLINGS_API_KEY_SID"]
        assert status_of(server, account, FIXED["STARLINGS_AUTH_TOKEN"]) == 200
        assert status_of(server, key, FIXED["STARLINGS_API_KEY_SECRET"]) == 200
        server.stop()
    # Another token and another key at the next start: replaced and added.
    later = FIXED | {
        "STARLINGS_AUTH_TOKEN": "other-auth-token",
        "STARLINGS_API_KEY_SID": "SK" + "c" * 32,
        "STARLINGS_API_KEY_SECRET": "other-api-key-secret",
    }
    with ServerProcess(tmp_path / "data", environment=later) as server:
        assert status_of(server, account, "other-auth-token") == 200
        assert status_of(server, account, FIXED["STARLINGS_AUTH_TOKEN"]) == 401
        assert status_of(server, key, FIXED["STARLINGS_API_KEY_SECRET"]) == 200
        assert status_of(server, "SK" + "c" * 32, "other-api-key-secret") == 200


def test_only_what_is_not_fixed_is_made_and_shown(tmp_path: Path) -> None:
    sid = FIXED["STARLINGS_ACCOUNT_SID"]
    with ServerProcess(tmp_path / "data", environment={"STARLINGS_ACCOUNT_SID": sid}) as server:
        shown = json.loads((server.data / "credentials.json").read_text())
        assert set(shown) == {"auth_token", "api_key_sid", "api_key_secret"}
        assert status_of(server, sid, shown["auth_token"]) == 200


def test_a_missing_or_wrong_secret_key_is_told_and_the_right_one_helps(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        made = server.credentials
        server.stop()
        key = (server.data / "secret.key").read_text()
        (server.data / "secret.key").unlink()
        missing = starlings("serve", "--port", "0", "--data", server.data)
        assert missing.returncode == 2
        assert "secret.key is missing" in missing.stderr
        assert "Traceback" not in missing.stderr
        (server.data / "secret.key").write_text("A" * 43 + "=\n")
        wrong = starlings("serve", "--port", "0", "--data", server.data)
        assert wrong.returncode == 2
        assert f"does not open the secret of {made.account_sid}" in wrong.stderr
        assert "Traceback" not in wrong.stderr
        environment = {"STARLINGS_SECRET_KEY": key.strip()}
    with ServerProcess(tmp_path / "data", environment=environment) as server:
        assert status_of(server, made.account_sid, made.auth_token) == 200


def test_keys_work_side_by_side_and_a_revoked_one_ends_while_the_server_runs(
    server: ServerProcess,
) -> None:
    old = server.credentials
    created = starlings("keys", "create", "--name", "second", "--json", "--data", server.data)
    new = json.loads(created.stdout)
    wait_for_status(server, new["api_key_sid"], new["api_key_secret"], 200)
    assert status_of(server, old.api_key_sid, old.api_key_secret) == 200
    revoked = starlings("keys", "revoke", old.api_key_sid, "--data", server.data)
    assert revoked.returncode == 0
    wait_for_status(server, old.api_key_sid, old.api_key_secret, 401)
    assert status_of(server, new["api_key_sid"], new["api_key_secret"]) == 200
    listed = starlings("keys", "list", "--json", "--data", server.data)
    rows = {row["api_key_sid"]: row for row in json.loads(listed.stdout)}
    assert rows[old.api_key_sid]["revoked"] is not None
    assert rows[new["api_key_sid"]]["revoked"] is None
    assert rows[new["api_key_sid"]]["friendly_name"] == "second"
    table = starlings("keys", "list", "--data", server.data).stdout
    for output in (listed.stdout, table):
        assert new["api_key_sid"] in output
        assert new["api_key_secret"] not in output
        assert old.api_key_secret not in output


def test_a_backup_made_while_writing_has_every_write_acknowledged_before_it(
    server: ServerProcess, tmp_path: Path
) -> None:
    made = server.credentials
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        auth = (made.account_sid, made.auth_token)
        with httpx.Client(auth=auth, trust_env=False, timeout=10) as client:
            url = f"{server.base_url}/v1/Services/default/Lists"
            assert client.post(url, data={"UniqueName": "l"}).status_code == 201
            while not stop.is_set():
                answer = client.post(f"{url}/l/Items", data={"Data": "{}"})
                assert answer.status_code == 201
                acknowledged.append(answer.json()["index"])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 10
        while len(acknowledged) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        before = acknowledged[-1]
        backed_up = starlings("backup", tmp_path / "copy.db", "--data", server.data)
    finally:
        stop.set()
        writer.join()
    assert backed_up.returncode == 0, backed_up.stderr
    assert starlings("check", "--data", server.data).returncode == 0
    restored = starlings("restore", tmp_path / "copy.db", "--data", tmp_path / "new")
    assert restored.returncode == 0, restored.stderr
    assert "secret.key" in restored.stderr
    (tmp_path / "new" / "secret.key").write_text((server.data / "secret.key").read_text())
    with ServerProcess(tmp_path / "new") as other:
        url = f"{other.base_url}/v1/Services/default/Lists/l/Items"
        auth = (made.account_sid, made.auth_token)
        page = httpx.get(f"{url}?Order=desc&PageSize=1", auth=auth, trust_env=False)
        assert page.json()["items"][0]["index"] >= before
        other.stop()
        assert starlings("check", "--data", other.data).returncode == 0


def test_a_restore_into_a_directory_in_use_is_refused(
    server: ServerProcess, tmp_path: Path
) -> None:
    assert starlings("backup", tmp_path / "copy.db", "--data", server.data).returncode == 0
    again = starlings("backup", tmp_path / "copy.db", "--data", server.data)
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    refused = starlings("restore", tmp_path / "copy.db", "--force", "--data", server.data)
    assert refused.returncode == 2
    assert "in use" in refused.stderr
