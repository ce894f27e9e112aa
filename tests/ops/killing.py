"""A process that is killed at one line of some functions after the other.

``kill_at_every_line`` runs a story, a function of a directory, over and over, each time in a
process of its own and in a directory of its own, and kills that process (SIGKILL) one line further
on, until the story comes to its end. What is left in the directories is then looked at.

The processes are forked by one that has a single thread, so not by the one that runs the tests.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["kill_at_every_line"]

_MOST_LINES = 1_000
_SECONDS = 120


def kill_at_every_line(
    story: Callable[[Path], None], functions: Iterable[Callable[..., object]], directory: Path
) -> list[Path]:
    """Where each of the killed processes worked, in order; and, last, the one that came to its end.

    Args:
        story: A function of a test module, found there by its name.
        functions: Whose lines count: those that change something.
    """
    codes = [inspect.unwrap(function).__code__ for function in functions]
    lines_of = [f"{code.co_filename}:{code.co_qualname}" for code in codes]
    where = [story.__module__, story.__name__, str(directory), *lines_of]
    run = subprocess.run(
        [sys.executable, "-m", "tests.ops.killing", *where],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return sorted(directory.iterdir())


class _Killer:
    """Ends the process before a line of these functions is run: the one with this number."""

    def __init__(self, number: int, functions: set[str]) -> None:
        self._left = number
        self._functions = functions

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if f"{code.co_filename}:{code.co_qualname}" not in self._functions:
            return None
        if event == "line":
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
        return self.trace


def _main(module: str, name: str, root: str, *functions: str) -> None:
    story = getattr(importlib.import_module(module), name)
    for number in range(_MOST_LINES):
        directory = Path(root, f"{number:04}")
        directory.mkdir(parents=True)
        process = os.fork()
        if process == 0:
            killer = _Killer(number, set(functions))
            threading.settrace(killer.trace)
            sys.settrace(killer.trace)
            story(directory)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.WEXITSTATUS(status))
    sys.exit("The story has no end")


if __name__ == "__main__":
    _main(*sys.argv[1:])
