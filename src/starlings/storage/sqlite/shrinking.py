"""Giving file space back that nothing uses any more.

SQLite uses free pages again before it lets the file grow, so in the long run a file is as large as
its content ever was. Where that was much more than it is now, free pages are cut off the end of the
file, a chunk at a time: what is used there moves to free places further in front
(``auto_vacuum = INCREMENTAL``, which every file has from its making). Each chunk is a transaction
of some milliseconds like any other, so a crash at any moment leaves a sound file. The file itself
gets smaller with the next checkpoint.
"""

from __future__ import annotations

import sqlite3

__all__ = ["STEP_PAGES", "Shrinker"]

STEP_PAGES = 64
"""Given back at once, 256 KiB: 1.5 ms in which writers wait."""
_KEPT_PAGES = 4_096
"""Free pages that stay to be used again, 16 MiB or …"""
_KEPT_PART = 10
"""… a tenth of the file. It begins with twice as many: what comes and goes shall not be given back
and taken again all the time."""


class Shrinker:
    """Remembers whether it is at it."""

    def __init__(self) -> None:
        self._is_shrinking = False

    def step(self, connection: sqlite3.Connection) -> int:
        """Give back ``STEP_PAGES`` pages at most, within the caller's transaction; how many.

        0: there is nothing to give back, or not enough to be worth it.
        """
        free = _read(connection, "freelist_count")
        kept = max(_KEPT_PAGES, _read(connection, "page_count") // _KEPT_PART)
        if free <= (kept if self._is_shrinking else 2 * kept):
            self._is_shrinking = False
            return 0
        self._is_shrinking = True
        for _ in range(min(STEP_PAGES, free - kept)):
            # One by one: Python takes a single step of a statement that yields no rows, and of this
            # one a step is a page.
            connection.execute("PRAGMA incremental_vacuum(1)")
        return free - _read(connection, "freelist_count")


def _read(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
