"""Lines about refusals: bounded, and nobody can forge one."""

import json
import logging

import pytest

from starlings.app.logs import JsonFormatter
from starlings.auth.refusal_log import ADDRESS_BURST, ADDRESS_SECONDS, BURST, SECONDS, RefusalLog
from tests.auth.test_failures import Clock

logger = logging.getLogger("starlings.test_refusals")
KEY = "SK" + "1" * 32


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock, caplog: pytest.LogCaptureFixture) -> RefusalLog:
    caplog.set_level(logging.INFO, logger.name)
    return RefusalLog(logger, clock)


def test_a_line_has_the_address_and_values_in_order(
    log: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.tell("An init was refused", "192.0.2.1", code=20104, key=KEY, identity="zoe")
    log.tell("An init was refused", "2001:db8::1", code=20101, key=None, identity=None)
    log.tell("An init was refused", "")
    assert caplog.messages == [
        f"An init was refused address=192.0.2.1 code=20104 key={KEY} identity='zoe'",
        "An init was refused address=2001:db8::1 code=20101 key=- identity=-",
        "An init was refused address=-",
    ]


@pytest.mark.parametrize(
    "nasty",
    [
        "zoe\nA log-in failed address=192.0.2.9",
        "zoe' reason='none",
        'zoe" code=1',
        "\x1b[31mred\r",
        "\u2028\u202e\x85\udc80",
        "SK" + "1" * 32 + "\n",
    ],
)
def test_no_value_ends_a_line_or_begins_another(
    log: RefusalLog, caplog: pytest.LogCaptureFixture, nasty: str
) -> None:
    log.tell("An init was refused", nasty, identity=nasty)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.isprintable()
    assert message == f"An init was refused address={nasty!r} identity={nasty!r}"
    assert json.loads(JsonFormatter().format(record).encode())["message"] == message


def test_a_long_value_is_cut(log: RefusalLog, caplog: pytest.LogCaptureFixture) -> None:
    log.tell("An origin was refused", "192.0.2.1", origin="x" * 100_000)
    assert len(caplog.messages[0]) < 200


def test_one_address_has_a_few_lines_then_one_a_minute_with_a_count(
    log: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1_000):
        log.tell("Refused", "192.0.2.1")
    assert len(caplog.messages) == ADDRESS_BURST
    log.tell("Refused", "192.0.2.2")
    assert caplog.messages[-1] == f"Refused address=192.0.2.2 left_out={1_000 - ADDRESS_BURST}"
    clock.seconds += ADDRESS_SECONDS
    log.tell("Refused", "192.0.2.1")
    log.tell("Refused", "192.0.2.1")
    assert caplog.messages[-1] == "Refused address=192.0.2.1"
    assert len(caplog.messages) == ADDRESS_BURST + 2


def test_many_addresses_together_have_a_bound_too(
    log: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20_000):
        log.tell("Refused", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(caplog.messages) == BURST
    assert len(log._of_address) <= 10_000
    clock.seconds += 10 * SECONDS
    for number in range(100):
        log.tell("Refused", f"192.0.2.{number}")
    assert len(caplog.messages) == BURST + 10
