"""Webhooks of a real server: reachability, private targets, hanging targets, the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from tests.e2e.server import ServerProcess
from tests.webhooks.clients import rest_client, socket_client, token_for
from tests.webhooks.receiver import Receiver, run_receiver

COMMAND = Path(sys.executable).with_name("starlings")


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with run_receiver(tmp_path_factory.mktemp("receiver")) as receiver:
        yield receiver


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    environment = {"STARLINGS_WEBHOOKS_ALLOW_PRIVATE": "1", "STARLINGS_WEBHOOKS_MAX_AGE": "0"}
    with ServerProcess(tmp_path, environment=environment) as server:
        yield server
        assert "Traceback" not in server.stderr, server.stderr
        server.stop()


async def set_up(server: ServerProcess, url: str, **more: str) -> None:
    async with rest_client(server) as client:
        form = {"WebhookUrl": url, "WebhooksFromRestEnabled": "true", **more}
        assert (await client.post("", data=form)).status_code == 200


async def wait_for(look: Callable[[], bool], what: str) -> None:
    for _ in range(1000):
        if look():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never came: {what}")


def starlings(*arguments: str) -> str:
    run = subprocess.run(
        [str(COMMAND), *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


async def test_endpoints_that_come_and_go_are_told_signed_and_debounced(
    server: ServerProcess, receiver: Receiver
) -> None:
    url = receiver.url("ok/reach")
    await set_up(
        server,
        url,
        ReachabilityWebhooksEnabled="true",
        ReachabilityDebouncingEnabled="true",
        ReachabilityDebouncingWindow="1000",
    )
    token = token_for(server, "bob")
    async with socket_client(server) as client:
        continuation = await client.begin(token)
    async with socket_client(server) as client:
        assert await client.begin(token, continuation) == continuation
        await wait_for(lambda: len(receiver.received("ok/reach")) == 1, "the connect event")
    await wait_for(lambda: len(receiver.received("ok/reach")) == 2, "the disconnect event")
    told = [one.parameters for one in receiver.received("ok/reach")]
    assert [one["EventType"] for one in told] == ["endpoint_connected", "endpoint_disconnected"]
    assert {one["Identity"] for one in told} == {"bob"}
    # The second connection, which nobody was told of, goes under the id of the first.
    assert told[0]["EndpointId"] == told[1]["EndpointId"]
    assert told[0]["EndpointId"].startswith("EP")
    assert all(one.keys() == told[0].keys() and len(one) == 5 for one in told)
    validate = RequestValidator(server.credentials.auth_token).validate
    for one in receiver.received("ok/reach"):
        assert validate(url, one.parameters, one.signature)


async def test_endpoints_of_a_killed_server_are_told_to_be_gone_by_the_next_one(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Nobody is told twice to have come, and nobody stays as a ghost."""

    def told() -> list[tuple[str, str]]:
        # A delivery that the kill cut off is repeated, under its token.
        first = {one.token: one.parameters for one in reversed(receiver.received("ok/ghost"))}
        return [
            (one["EventType"].removeprefix("endpoint_"), one["Identity"])
            for one in reversed(first.values())
        ]

    await set_up(server, receiver.url("ok/ghost"), ReachabilityWebhooksEnabled="true")
    bob, eve = token_for(server, "bob"), token_for(server, "eve")
    async with socket_client(server) as one, socket_client(server) as two:
        continuation = await one.begin(bob)
        await two.begin(eve)
        await wait_for(lambda: len(told()) == 2, "both connect events")
        server.kill()
    server.start()
    async with socket_client(server) as client:
        await client.begin(bob, continuation)
        await wait_for(lambda: len(told()) == 3, "one disconnect event")
    await wait_for(lambda: len(told()) == 4, "the other disconnect event")
    assert sorted(told()[:2]) == [("connected", "bob"), ("connected", "eve")]
    assert told()[2:] == [("disconnected", "eve"), ("disconnected", "bob")]


async def test_a_private_target_is_refused_by_default_and_dead_letters_can_be_dropped(
    tmp_path: Path, receiver: Receiver
) -> None:
    with ServerProcess(tmp_path, environment={"STARLINGS_WEBHOOKS_MAX_AGE": "0"}) as server:
        await set_up(server, receiver.url("ok/private"))
        async with rest_client(server) as client:
            assert (await client.post("/Maps", data={"UniqueName": "m"})).status_code == 201

        def dead() -> list[dict[str, object]]:
            listed: list[dict[str, object]] = json.loads(
                starlings("webhooks", "list", "--json", "--data", str(tmp_path))
            )
            return listed

        await wait_for(lambda: len(dead()) == 1, "a dead letter")
        (letter,) = dead()
        assert letter["type"] == "map_created"
        assert letter["error"] == "127.0.0.1 is in a private network (127.0.0.1)"
        assert letter["attempts"] == 1
        assert "is in a private network" in starlings("webhooks", "list", "--data", str(tmp_path))
        assert starlings("webhooks", "drop", "--all", "--data", str(tmp_path)) == "Dropped: 1\n"
        assert dead() == []
        assert receiver.received("ok/private") == []


async def test_a_dead_letter_is_delivered_after_the_operators_retry(
    server: ServerProcess, receiver: Receiver, tmp_path: Path
) -> None:
    await set_up(server, receiver.url("500/retry"))
    async with rest_client(server) as client:
        assert (await client.post("/Maps", data={"UniqueName": "m"})).status_code == 201

        def is_dead() -> bool:
            return "dead" in starlings("webhooks", "list", "--data", str(tmp_path))

        await wait_for(is_dead, "a dead letter")
        assert (await client.post("", data={"WebhookUrl": receiver.url("ok/retry")})).is_success
    assert starlings("webhooks", "retry", "--all", "--data", str(tmp_path)).endswith(": 1\n")
    await wait_for(lambda: len(receiver.received("ok/retry")) == 1, "the delivery")
    tokens = {one.token for one in receiver.received("500/retry") + receiver.received("ok/retry")}
    assert len(tokens) == 1


@pytest.mark.parametrize("arguments", [["retry"], ["drop"], ["drop", "--all", "3"]])
def test_what_is_meant_must_be_said(tmp_path: Path, arguments: list[str]) -> None:
    run = subprocess.run(
        [str(COMMAND), "webhooks", *arguments, "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 2
    assert "--all" in run.stderr


async def test_a_target_that_hangs_slows_no_write_and_figures_tell_of_it(
    server: ServerProcess, receiver: Receiver
) -> None:
    async with rest_client(server) as client:
        assert (await client.post("/Maps", data={"UniqueName": "m"})).status_code == 201

        async def write(run: int) -> float:
            started = time.monotonic()
            for number in range(100):
                form = {"Key": f"{run}-{number}", "Data": "{}"}
                assert (await client.post("/Maps/m/Items", data=form)).status_code == 201
            return time.monotonic() - started

        await write(0)
        before = await write(1)
        await set_up(server, receiver.url("hang/figures"))
        after = await write(2)
        print(f"\n100 writes: {before:.3f} s without a webhook, {after:.3f} s with one that hangs")
        assert after < 5 * before + 1.0
        await wait_for(lambda: len(receiver.received("hang/figures")) == 1, "the first attempt")
        page = (await client.get(f"{server.base_url}/metrics")).text
    assert "\nstarlings_webhooks_in_flight 1.0" in page
    assert "\nstarlings_webhooks_delivered_total 0.0" in page
