"""One server process for one data directory.

An advisory lock (``flock``) on DIR/lock, given back by the kernel when the process ends, however it
ends. The file stays; what is written in it only tells a human who holds the lock.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["LOCK_NAME", "DirectoryInUse", "DirectoryLock"]

LOCK_NAME = "lock"


class DirectoryInUse(Exception):
    """Another process holds the lock; the sentence says which."""


class DirectoryLock:
    """Held from entering the context until leaving it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Take the lock at once.

        Raises:
            DirectoryInUse: It is taken.
            OSError: The lock file can't be opened for writing.
        """
        file = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 200, 0).decode(errors="replace").strip()
            os.close(file)
            raise DirectoryInUse(
                f"{self._directory} is in use by another process ({holder or 'unknown'})"
            ) from error
        self._file = file
        self._leave_note(file)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        os.close(self._file)
        self._file = None

    @staticmethod
    def _leave_note(file: int) -> None:
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"pid {os.getpid()}\n".encode(), 0)
        except OSError:
            # On a full disk the lock still holds; only the note about its holder is missing.
            return
