"""Group commit: what queued while the last commit was syncing is the next batch.

One thread owns the database connection that writes. The event loop hands it commands; the thread
takes all that wait, up to a bound, commits them together, and hands the results back in one call.
So a commit's sync to disk is shared by as many writers as happen to wait for it, and no writer
waits longer than for the commit before and its own.

Results are set before listeners are told, and listeners run in the next step of the loop: whoever
waits for a result goes on before the event it caused is delivered. Batches are told in the order of
their commits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

from starlings.core.commands import Command
from starlings.core.errors import Fault, Reason
from starlings.core.state import Outcome
from starlings.storage.store import Batch, CommitListener

__all__ = ["Batcher", "BatcherStatistics", "Committer", "Results"]

logger = logging.getLogger("starlings.storage")

BATCH_COMMANDS = 512
BATCH_BYTES = 1024 * 1024
MOST_WAITING = 20_000
"""Commands that may wait; one more is refused with a fault rather than kept waiting for long."""


class Results(NamedTuple):
    """What became of a batch: one outcome or exception for each command, and what was committed."""

    outcomes: Sequence[Outcome | Exception]
    batch: Batch


class Committer(Protocol):
    """What the writing thread calls. None of it may be called from elsewhere."""

    def open(self) -> None: ...

    def commit(self, commands: Sequence[Command]) -> Results:
        """Carry out commands in one transaction. May raise only when nothing was applied."""
        ...

    def rest(self) -> None:
        """Nothing waits: a moment for housekeeping."""
        ...

    def close(self) -> None: ...


class BatcherStatistics(NamedTuple):
    commits: int
    commands: int
    waiting: int
    largest_batch: int


class _Order(NamedTuple):
    command: Command
    future: asyncio.Future[Outcome]
    size_bytes: int


class _Job(NamedTuple):
    """Something else to do in the writing thread, between two batches."""

    run: Callable[[], Any]
    future: asyncio.Future[Any]


class Batcher:
    """Queues commands for one ``Committer``. Belongs to the event loop that started it."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._queue: SimpleQueue[_Order | _Job | None] = SimpleQueue()
        self._listeners: list[CommitListener] = []
        self._waiting = 0
        self._commits = self._commands = self._largest_batch = 0
        self._is_closing = False
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the thread and open the committer in it. Raises what ``Committer.open`` raises."""
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._work, args=(opened,), name="starlings-writer", daemon=True
        )
        self._thread.start()
        await opened

    def listen(self, listener: CommitListener) -> None:
        self._listeners.append(listener)

    def submit(self, command: Command, size_bytes: int) -> asyncio.Future[Outcome]:
        """Queue a command. The future has its outcome once it is durable, or its exception.

        Raises:
            Fault: UNAVAILABLE: closing, or too many commands wait.
        """
        if self._is_closing:
            raise Fault(Reason.UNAVAILABLE, "The store is closing")
        if self._waiting >= MOST_WAITING:
            raise Fault(Reason.UNAVAILABLE, "Too many writes are waiting; try again")
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting += 1
        self._queue.put(_Order(command, future, size_bytes))
        return future

    async def run(self, job: Callable[[], Any]) -> Any:
        """Run a function in the writing thread, between two batches; it has a transaction of its
        own.
        """
        if self._is_closing:
            raise Fault(Reason.UNAVAILABLE, "The store is closing")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Job(job, future))
        return await future

    def statistics(self) -> BatcherStatistics:
        return BatcherStatistics(self._commits, self._commands, self._waiting, self._largest_batch)

    async def close(self) -> None:
        """Carry out what is queued, then end the thread."""
        if self._thread is None or self._is_closing:
            return
        self._is_closing = True
        self._queue.put(None)
        await self._ended

    # In the writing thread

    def _work(self, opened: asyncio.Future[None]) -> None:
        try:
            self._committer.open()
        except Exception as error:
            self._loop.call_soon_threadsafe(opened.set_exception, error)
            return
        self._loop.call_soon_threadsafe(opened.set_result, None)
        try:
            while self._work_once():
                pass
        finally:
            self._committer.close()
            self._loop.call_soon_threadsafe(self._ended.set_result, None)

    def _work_once(self) -> bool:
        """Take what waits and carry it out; False: this was the end."""
        try:
            first = self._queue.get_nowait()
        except Empty:
            self._committer.rest()
            first = self._queue.get()
        if first is None:
            return False
        if isinstance(first, _Job):
            self._run_job(first)
            return True
        orders = [first]
        size_bytes = first.size_bytes
        after: _Job | None = None
        is_last = False
        while len(orders) < BATCH_COMMANDS and size_bytes < BATCH_BYTES:
            try:
                following = self._queue.get_nowait()
            except Empty:
                break
            if following is None:
                is_last = True
                break
            if isinstance(following, _Job):
                after = following
                break
            orders.append(following)
            size_bytes += following.size_bytes
        self._commit(orders)
        if after is not None:
            self._run_job(after)
        return not is_last

    def _commit(self, orders: list[_Order]) -> None:
        try:
            results = self._committer.commit([order.command for order in orders])
        except Exception as error:
            failed = error if isinstance(error, Fault) else Fault(Reason.INTERNAL_FAULT)
            if failed is not error:
                logger.exception("A batch failed commands=%d", len(orders))
            results = Results([failed] * len(orders), Batch((), ()))
        self._commits += 1
        self._commands += len(orders)
        self._largest_batch = max(self._largest_batch, len(orders))
        self._loop.call_soon_threadsafe(self._announce, orders, results)

    def _run_job(self, job: _Job) -> None:
        try:
            answer = job.run()
        except Exception as error:
            self._loop.call_soon_threadsafe(_set_exception, job.future, error)
        else:
            self._loop.call_soon_threadsafe(_set_result, job.future, answer)

    # Back on the event loop

    def _announce(self, orders: list[_Order], results: Results) -> None:
        self._waiting -= len(orders)
        for order, outcome in zip(orders, results.outcomes, strict=True):
            if isinstance(outcome, Exception):
                _set_exception(order.future, outcome)
            else:
                _set_result(order.future, outcome)
        if results.batch.events or results.batch.services:
            for listener in self._listeners:
                self._loop.call_soon(listener, results.batch)


def _set_result(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    """A waiter that was cancelled has lost interest; its command was carried out all the same."""
    if not future.done():
        future.set_exception(error)
