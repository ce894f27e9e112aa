"""Reads of committed state.

Single rows are read at once on the event loop's own connection: a look-up by primary key takes some
microseconds, less than handing it to a thread. Pages, replays and scans go to a few threads with a
connection each; more than ``_MOST_WAITING`` of them at a time are refused. Readers never wait for
the writer, nor it for them.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from starlings.core.errors import Fault, Reason
from starlings.storage.sqlite.database import open_reader

__all__ = ["Reader"]

_T = TypeVar("_T")
_THREADS = 2
_MOST_WAITING = 1_000


class Reader:
    """Connections that only read. Belongs to the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_reader(path)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="starlings-reader")
        self._waiting = 0

    def find(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """One row, now. For look-ups by primary key or unique index only.

        Raises:
            Fault: UNAVAILABLE: the file can't be read.
        """
        try:
            row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        except (OverflowError, UnicodeEncodeError):  # a value that no row can have
            return None
        except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:
            raise Fault(Reason.UNAVAILABLE, "The store can't be read at the moment") from error
        return row

    def find_all(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """The same for a handful of rows of one index."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except (OverflowError, UnicodeEncodeError):
            return []
        except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:
            raise Fault(Reason.UNAVAILABLE, "The store can't be read at the moment") from error

    async def run(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """The answer of a longer query, run in a thread within one read transaction.

        Raises:
            Fault: UNAVAILABLE: too many wait, or the file can't be read.
        """
        if self._waiting >= _MOST_WAITING:
            raise Fault(Reason.UNAVAILABLE, "Too many reads are waiting; try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._query, query
            )
        except (sqlite3.OperationalError, RuntimeError) as error:
            raise Fault(Reason.UNAVAILABLE, "The store can't be read at the moment") from error
        finally:
            self._waiting -= 1

    def _query(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._opened.append(connection)
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            connection.execute("ROLLBACK")

    async def close(self) -> None:
        """Finish the queries that were asked for, then close."""
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._opened:
            connection.close()
        self._connection.close()
