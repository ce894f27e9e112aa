"""Is the process there, and should it get requests?

``/healthz`` answers 200 as long as the event loop turns. ``/readyz`` answers 503 while the server
drains, and while it can't write: once the disk has refused a batch, a file is written to try the
disk, so that a server that a balancer has taken out is put back when there is room again, without a
caller's request having to be the one that finds out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path

__all__ = ["Health", "Readiness"]

_PROBE_BYTES = 64 * 1024


class Readiness(Enum):
    """The answer to ``/readyz``."""

    READY = "ready"
    DRAINING = "draining"
    NOT_WRITABLE = "not_writable"


class Health:
    """Knows whether requests are welcome.

    Args:
        directory: Where the probe is written: the data directory.
        is_store_writable: False after the store failed to write, until it succeeds.
    """

    def __init__(self, directory: Path, is_store_writable: Callable[[], bool]) -> None:
        self._probe = directory / ".probe"
        self._is_store_writable = is_store_writable
        self.is_draining = False

    async def check(self) -> Readiness:
        if self.is_draining:
            return Readiness.DRAINING
        if self._is_store_writable() or await asyncio.to_thread(self._try_to_write):
            return Readiness.READY
        return Readiness.NOT_WRITABLE

    def _try_to_write(self) -> bool:
        """Whether a small file can be written through to the disk."""
        try:
            file = os.open(self._probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(file, b"\0" * _PROBE_BYTES, 0)
                os.fsync(file)
            finally:
                os.close(file)
                self._probe.unlink(missing_ok=True)
        except OSError:
            return False
        return True
