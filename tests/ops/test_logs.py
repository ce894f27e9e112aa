"""Log lines: one JSON object a line for machines, plain lines for people."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from starlings.app.logs import configure_logging
from starlings.webhooks.delivery import Deliverer
from tests.webhooks.receiver import run_receiver

logger = logging.getLogger("starlings.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    libraries = ("uvicorn", "asyncio", "httpx", "httpcore")
    levels = {name: logging.getLogger(name).level for name in libraries}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_json_line_is_an_object_with_the_sentence_and_its_values() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    logger.info("Key added sid=%s", 'SK1\n"é')
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {
        "level": "info",
        "logger": "starlings.test",
        "message": 'Key added sid=SK1\n"é',
    }


def test_an_exception_is_in_the_same_line() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    try:
        raise ValueError("bad")
    except ValueError:
        logger.exception("Failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad" in json.loads(line)["exception"]


def test_auto_is_json_elsewhere_and_human_on_a_terminal() -> None:
    stream, terminal = io.StringIO(), Terminal()
    configure_logging("auto", "info", stream)
    logger.info("Here")
    configure_logging("auto", "info", terminal)
    logger.info("There")
    assert json.loads(stream.getvalue())["message"] == "Here"
    assert "There" in terminal.getvalue()
    assert "{" not in terminal.getvalue()


def test_human_lines_without_a_terminal_are_plain_text() -> None:
    stream = io.StringIO()
    configure_logging("human", "info", stream)
    logger.warning("Here sid=%s", "[SK1]")
    assert stream.getvalue().endswith(" WARNING starlings.test: Here sid=[SK1]\n")


def test_square_brackets_are_no_markup_on_a_terminal() -> None:
    terminal = Terminal()
    configure_logging("human", "info", terminal)
    logger.info("Here key=%s", "[red]x")
    assert "[red]x" in re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())


def test_less_severe_lines_are_left_out_also_those_of_the_libraries() -> None:
    stream = io.StringIO()
    configure_logging("json", "warning", stream)
    logger.info("Quiet")
    configure_logging("json", "debug", stream)
    logging.getLogger("uvicorn.error").info("Quiet")
    assert stream.getvalue() == ""
    logging.getLogger("uvicorn.error").warning("Loud")
    assert json.loads(stream.getvalue())["logger"] == "uvicorn.error"


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_passwords_in_the_urls_of_webhooks_are_not_logged(level: str, tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logging("json", level, stream)
    deliverer = Deliverer(may_be_private=True, connections=1)
    with run_receiver(tmp_path) as receiver:
        url = receiver.url("ok/x?key=hunter3").replace("//", "//me:hunter2@")
        assert await deliverer.deliver(url, {"EventType": "x"}, "token", "f" * 32) == (
            True,
            "status 200",
        )
    await deliverer.close()
    assert "hunter" not in stream.getvalue()
    assert "http" not in stream.getvalue()


def test_every_message_is_a_sentence_without_a_full_stop_before_its_values() -> None:
    source = Path(__file__).parents[2] / "src"
    written = [file.read_text(encoding="utf-8") for file in source.rglob("*.py")]
    messages = [
        found for text in written for found in re.findall(r'"([^"\n]* \w+=%[^"\n]*)"', text)
    ]
    assert len(messages) > 20
    assert [message for message in messages if re.search(r"[.:] \w+=%", message)] == []
