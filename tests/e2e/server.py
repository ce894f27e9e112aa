"""A real server process for tests: started, stopped, killed and restarted like an operator would.

The process is the installed ``starlings`` command, on a free port and a data directory of its own.
Its output is read by threads all the time, so that a full pipe never blocks it. Whatever happens to
the test, the process is gone when the context is left, or at the latest when the interpreter ends.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self

__all__ = ["Credentials", "Limits", "ServerProcess", "check_data"]

Limits = Literal["documented", "off"]

START_SECONDS = 20.0
"""How long a server may take until it says that it listens; an idle machine needs about one."""

STOP_SECONDS = 10.0
"""How long a server may drain after SIGTERM."""

_LISTENING = re.compile(r"Listening on (http://\S+:(\d+))\s*$")
_COMMAND = Path(sys.executable).with_name("starlings")

_running: weakref.WeakSet[subprocess.Popen[str]] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller needs: the account's own token, or an API key and its secret."""

    account_sid: str
    auth_token: str = field(repr=False)
    api_key_sid: str
    api_key_secret: str = field(repr=False)


class ServerProcess:
    """One data directory and, while it runs, the server process that owns it.

    Use as a context manager. After `kill` or `stop` the same directory can be served again by
    `restart`; ``base_url`` then changes unless the port is kept.
    """

    def __init__(
        self, data: Path, *, limits: Limits = "off", environment: dict[str, str] | None = None
    ) -> None:
        self.data = data
        self.limits: Limits = limits
        self._environment = environment or {}
        self._process: subprocess.Popen[str] | None = None
        self._output = _Output()
        self._errors = _Output()
        self._port = 0
        self._base_url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def base_url(self) -> str:
        """``http://host:port`` without a trailing slash."""
        return self._base_url

    @property
    def ws_url(self) -> str:
        """The address that the clients' ``Twilsock.uri`` option takes."""
        return f"{self._base_url.replace('http', 'ws', 1)}/v3/wsconnect"

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int:
        return self._running_process().pid

    @property
    def credentials(self) -> Credentials:
        """As the server wrote them into its data directory."""
        stored = json.loads((self.data / "credentials.json").read_text(encoding="utf-8"))
        return Credentials(
            account_sid=stored["account_sid"],
            auth_token=stored["auth_token"],
            api_key_sid=stored["api_key_sid"],
            api_key_secret=stored["api_key_secret"],
        )

    @property
    def stdout(self) -> str:
        """Everything printed so far, over all restarts."""
        return self._output.text()

    @property
    def stderr(self) -> str:
        """Everything logged so far, over all restarts."""
        return self._errors.text()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, port: int = 0) -> None:
        """Start the process and wait until it listens.

        Raises:
            AssertionError: It ended, or did not say so within `START_SECONDS`.
        """
        assert not self.is_running, "the server is running already"
        seen = self._output.count()
        process = subprocess.Popen(
            [
                *(str(_COMMAND), "serve", "--host", "127.0.0.1", "--port", str(port)),
                *("--data", str(self.data), "--limits", self.limits),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=_clean_environment() | self._environment,
        )
        self._process = process
        _running.add(process)
        assert process.stdout is not None
        assert process.stderr is not None
        self._output.follow(process.stdout)
        self._errors.follow(process.stderr)
        match = self._output.wait_for(_LISTENING, after=seen, seconds=START_SECONDS)
        if match is None:
            self.kill()
            raise AssertionError(
                f"the server did not listen; it printed {self.stdout!r} and logged:\n{self.stderr}"
            )
        self._base_url, self._port = match[1], int(match[2])

    def stop(self) -> None:
        """Ask the server to end and see that it does so in time and without complaint.

        Raises:
            AssertionError: It did not exit with 0 within `STOP_SECONDS`.
        """
        process = self._running_process()
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no exit after SIGTERM; log:\n{self.stderr}") from None
        self._reap()
        assert status == 0, f"exit status {status} after SIGTERM; log:\n{self.stderr}"

    def kill(self) -> None:
        """End the process at once, as a crash would. Nothing happens if it has ended."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._reap()

    def restart(self, *, keep_port: bool = False) -> None:
        """Serve the same directory again; a process that still runs is stopped first."""
        if self.is_running:
            self.stop()
        self.start(port=self._port if keep_port else 0)

    def back_up(self, file: Path) -> None:
        """Copy the database to a file; a file of that name is replaced."""
        _run_command("backup", "--force", "--data", str(self.data), str(file))

    def put_back(self, file: Path) -> None:
        """Serve a backup instead of what is there, on the same port."""
        self.stop()
        _run_command("restore", "--force", "--data", str(self.data), str(file))
        self.start(port=self._port)

    def _running_process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the server is not running"
        assert self._process.poll() is None, f"the server has died; log:\n{self.stderr}"
        return self._process

    def _reap(self) -> None:
        assert self._process is not None
        self._output.join()
        self._errors.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        self._process = None


def check_data(data: Path, *, seconds: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run ``starlings check`` over a data directory that no server is using."""
    return subprocess.run(
        [str(_COMMAND), "check", "--data", str(data)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=_clean_environment(),
    )


def _run_command(*words: str) -> None:
    run = subprocess.run(
        [str(_COMMAND), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
        env=_clean_environment(),
    )
    assert run.returncode == 0, run.stdout + run.stderr


class _Output:
    """The lines of one output stream, collected by a thread."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False

    def follow(self, pipe: IO[str]) -> None:
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def count(self) -> int:
        with self._changed:
            return len(self._lines)

    def text(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def wait_for(
        self, pattern: re.Pattern[str], *, after: int, seconds: float
    ) -> re.Match[str] | None:
        """The first match in a line past the first ``after`` ones; None at the end or too late."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for line in self._lines[after:]:
                    if match := pattern.search(line):
                        return match
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _clean_environment() -> dict[str, str]:
    """The caller's environment without settings of a server that the developer may run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STARLINGS_")}
    return kept | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}


@atexit.register
def _kill_what_runs() -> None:
    for process in list(_running):
        if process.poll() is None:
            process.kill()
