"""The installed command in a process of its own, without settings of the developer's own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

__all__ = ["starlings", "start"]

_COMMAND = Path(sys.executable).with_name("starlings")


def starlings(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``starlings`` to its end."""
    return subprocess.run(
        [str(_COMMAND), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=_environment(),
    )


def start(
    *arguments: str | Path,
    stdout: int = subprocess.PIPE,
    is_stdout_closed: bool = False,
    most_file_bytes: int | None = None,
) -> subprocess.Popen[str]:
    """Start ``starlings``; the caller ends it and reads what it prints.

    Args:
        most_file_bytes: What no file may outgrow, as on a full disk.
    """
    command = [str(_COMMAND), *map(str, arguments)]

    def limit() -> None:
        if most_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))

    return subprocess.Popen(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command] if is_stdout_closed else command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
        preexec_fn=limit,
    )


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STARLINGS_")}
    return kept | {"COLUMNS": "200"}
