"""One attempt, against targets that behave and targets that don't: webhooks/delivery.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from starlings.webhooks.delivery import Deliverer
from tests.webhooks.receiver import Receiver, run_receiver
from tests.webhooks.samples import AUTH_TOKEN

PARAMETERS = {
    "EventType": "map_item_added",
    "ItemKey": "a&b=c/ü \U0001f600",
    "ItemData": '{"text":"100 % + more"}',
}

PATIENCE_SECONDS = 60.0
"""Longer than what doesn't wait can take on a busy machine."""


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with run_receiver(tmp_path_factory.mktemp("receiver")) as receiver:
        yield receiver


@pytest.fixture
async def deliverer() -> AsyncIterator[Deliverer]:
    deliverer = Deliverer(may_be_private=True, connections=20, timeout_seconds=1.0)
    yield deliverer
    await deliverer.close()


@pytest.fixture
async def patient_deliverer() -> AsyncIterator[Deliverer]:
    deliverer = Deliverer(may_be_private=True, connections=20, timeout_seconds=PATIENCE_SECONDS)
    yield deliverer
    await deliverer.close()


async def deliver(deliverer: Deliverer, url: str) -> tuple[bool, str]:
    return await deliverer.deliver(url, PARAMETERS, AUTH_TOKEN, "f" * 32)


async def test_a_request_has_the_parameters_a_signature_and_its_token(
    receiver: Receiver, deliverer: Deliverer
) -> None:
    url = receiver.url("ok/whole?b=2&a=%20x")
    assert await deliver(deliverer, url) == (True, "status 200")
    (one,) = receiver.received("ok/whole")
    assert one.path == "/ok/whole?b=2&a=%20x"
    assert one.parameters == PARAMETERS
    assert one.headers["content-type"] == "application/x-www-form-urlencoded"
    assert one.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert one.headers["user-agent"].startswith("starlings/")
    assert one.token == "f" * 32
    assert RequestValidator(AUTH_TOKEN).validate(url, one.parameters, one.signature)


async def test_credentials_in_the_url_are_sent_as_basic(
    receiver: Receiver, deliverer: Deliverer
) -> None:
    url = receiver.url("ok/basic").replace("//", "//user:pass@")
    assert (await deliver(deliverer, url))[0]
    (one,) = receiver.received("ok/basic")
    assert one.headers["authorization"] == "Basic dXNlcjpwYXNz"


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("500", "status 500"),
        ("404", "status 404"),
        ("cut", "RemoteProtocolError: Server disconnected"),
        ("garbage", "RemoteProtocolError: "),
        ("hang", "no answer within 1 s"),
        ("endless-head", "RemoteProtocolError: "),
    ],
)
async def test_a_target_that_fails_is_told_apart(
    receiver: Receiver, deliverer: Deliverer, path: str, detail: str
) -> None:
    is_delivered, told = await deliver(deliverer, receiver.url(path))
    assert not is_delivered
    assert told.startswith(detail)
    assert "\n" not in told


async def test_a_redirect_is_not_followed(receiver: Receiver, deliverer: Deliverer) -> None:
    url = receiver.url("redirect/x?" + receiver.url("ok/redirected"))
    assert await deliver(deliverer, url) == (False, "status 307: redirects are not followed")
    assert receiver.received("ok/redirected") == []


async def test_a_body_without_end_is_cut_off_and_the_webhook_counts_as_delivered(
    receiver: Receiver, patient_deliverer: Deliverer
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        outcome = await deliver(patient_deliverer, receiver.url("endless"))
    assert outcome == (True, "status 200")


async def test_a_private_address_is_refused_by_default(receiver: Receiver) -> None:
    deliverer = Deliverer(may_be_private=False, connections=2)
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
        url = f"http://{host}:{receiver.port}/ok/private"
        is_delivered, detail = await deliver(deliverer, url)
        assert not is_delivered
        assert "is in a private network" in detail
    assert receiver.received("ok/private") == []
    await deliverer.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://no-such-host.invalid/"])
async def test_a_target_that_is_not_there_fails(deliverer: Deliverer, url: str) -> None:
    is_delivered, detail = await deliver(deliverer, url)
    assert not is_delivered
    assert detail.startswith("ConnectError: ")


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999/", "http://a b/"])
async def test_a_url_that_can_not_be_used_fails(deliverer: Deliverer, url: str) -> None:
    is_delivered, _ = await deliver(deliverer, url)
    assert not is_delivered


async def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    deliverer = Deliverer(may_be_private=True, connections=2)
    assert (await deliver(deliverer, receiver.url("ok/proxy")))[0]
    await deliverer.close()


async def test_targets_that_hang_do_not_hold_up_others(
    receiver: Receiver, patient_deliverer: Deliverer
) -> None:
    hanging = [
        asyncio.create_task(deliver(patient_deliverer, receiver.url(f"hang/{number}")))
        for number in range(10)
    ]
    await asyncio.sleep(0)
    for _ in range(10):
        assert (await deliver(patient_deliverer, receiver.url("ok/beside")))[0]
    assert not any(one.done() for one in hanging)
    for one in hanging:
        one.cancel()
    await asyncio.wait(hanging)
