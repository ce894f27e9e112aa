"""How commands end: exit statuses, and one line on stderr for what an operator can mend."""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from starlings.app import OperatorError
from starlings.cli.ending import CANNOT, DEFECT, run_to_end
from starlings.settings import SettingsError
from tests.ops.commands import starlings, start


def end_with(error: BaseException) -> int:
    def run(_: Sequence[str]) -> None:
        raise error

    return run_to_end(run, [])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OperatorError("No room"), "No room"),
        (SettingsError("No port"), "No port"),
        (PermissionError(errno.EACCES, "Permission denied", "a.db"), "a.db: Permission denied"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "The answer can't be written: No space left on device",
        ),
    ],
)
def test_what_an_operator_can_mend_is_one_line_and_status_2(
    capfd: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert end_with(error) == CANNOT == 2
    assert capfd.readouterr().err == f"starlings: {line}\n"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("unforeseen"),
        ExceptionGroup("tasks", [KeyError("unforeseen")]),
        OSError(errno.EMFILE, "unforeseen"),
    ],
)
def test_what_nobody_foresaw_shows_its_traceback_and_is_no_damage(
    capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert end_with(error) == DEFECT == 70
    told = capfd.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert "unforeseen" in told


def test_a_status_is_handed_on_and_an_interrupt_has_its_own() -> None:
    assert run_to_end(lambda _: 1, []) == 1
    assert run_to_end(lambda _: None, []) == 0
    assert end_with(KeyboardInterrupt()) == 130


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nosuch"], 'Unknown command "nosuch". Available commands: serve, token, keys, '),
        (["serve", "--nosuch"], "Unknown option: --nosuch\n"),
        (["check", "extra"], "Unknown argument: extra\n"),
        (["token"], 'Command "token" parameter --identity requires an argument\n'),
        (["webhooks", "list", "--limit", "0"], 'Invalid value "0" for --limit. Must be >= 1\n'),
        (["history", "map", b"\xff"], "b'\\xff' isn't UTF-8\n"),
    ],
)
def test_arguments_that_are_wrong_are_told_in_one_line(
    arguments: list[str | bytes], line: str
) -> None:
    refused = starlings(*map(os.fsdecode, arguments))
    assert (refused.returncode, refused.stdout) == (CANNOT, "")
    assert refused.stderr.startswith(f"starlings: {line}")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["version"], ["--help"]])
def test_an_answer_that_cannot_be_written_is_told(command: list[str]) -> None:
    program = [sys.executable, "-m", "starlings", *command]
    with Path("/dev/full").open("w") as full:
        refused = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
        unheard = subprocess.run(program, stdout=full, stderr=full)
    assert refused.returncode == unheard.returncode == CANNOT
    assert refused.stderr == "starlings: The answer can't be written: No space left on device\n"


@pytest.mark.parametrize("command", ["version", "--help"])
def test_a_reader_who_is_gone_is_no_damage(command: str) -> None:
    process = start(command)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=10) == CANNOT
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""


def test_streams_that_are_closed_are_nobodys_answer(tmp_path: Path) -> None:
    script = '"$0" -m starlings check --data "$1" <&- >&- 2>&-'
    closed = subprocess.run(["sh", "-c", script, sys.executable, tmp_path], timeout=30)
    assert closed.returncode == CANNOT
    assert os.listdir(tmp_path) == []
