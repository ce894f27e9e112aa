"""Group commit: what queued while the last commit was syncing is the next batch.

One thread owns the database connection that writes. The event loop hands it commands; the thread
takes all that wait, up to a bound, commits them together, and hands the results back in one call.
So a commit's sync to disk is shared by as many writers as happen to wait for it, and no writer
waits longer than for the commit before and its own.

The loop hands over what was asked for in one of its turns as a whole, in the next turn. Callers who
go on because of the same commit ask again in the same turn: without this, the first one's command
would be committed alone, and all others would wait for a second sync.

Results are set before listeners are told, and listeners run in the next step of the loop: whoever
waits for a result goes on before the event it caused is delivered. Batches are told in the order of
their commits, empty ones too: who waits for more may rely on it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
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
_IDLE_SECONDS = 0.02
"""Nothing to do for so long is a rest. Callers who only just got their answers ask again sooner:
they would wait for the housekeeping."""
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
    """Counts since the start; ``waiting`` is the present number of commands."""

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


_Task = _Order | _Job | None
"""None: the end."""


class Batcher:
    """Queues commands for one ``Committer``. Belongs to the event loop that started it."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._fresh: list[_Task] = []
        """Asked for in this turn of the loop, not handed over yet."""
        self._queue: SimpleQueue[list[_Task]] = SimpleQueue()
        self._backlog: deque[_Task] = deque()
        """The writing thread's: handed over, not carried out yet."""
        self._listeners: list[CommitListener] = []
        self._waiting = 0
        self._untold = 0
        """Orders whose batch no listener has heard of yet."""
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
        if self._waiting >= MOST_WAITING:
            raise Fault(Reason.UNAVAILABLE, "Too many writes are waiting; try again")
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._ask(_Order(command, future, size_bytes))
        self._waiting += 1
        self._untold += 1
        return future

    @property
    def has_untold(self) -> bool:
        """Whether listeners will hear of another batch without anything being asked for anew."""
        return self._untold > 0

    async def run(self, job: Callable[[], Any]) -> Any:
        """Run a function in the writing thread, between two batches; it has a transaction of its
        own.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        self._ask(_Job(job, future))
        return await future

    def statistics(self) -> BatcherStatistics:
        return BatcherStatistics(self._commits, self._commands, self._waiting, self._largest_batch)

    async def close(self) -> None:
        """Carry out what is queued, then end the thread."""
        if self._thread is None:
            return
        if not self._is_closing and not self._ended.done():
            self._ask(None)
        self._is_closing = True
        await asyncio.shield(self._ended)

    def _ask(self, task: _Task) -> None:
        if self._is_closing or self._ended.done():
            raise Fault(Reason.UNAVAILABLE, "The store is closed")
        if not self._fresh:
            self._loop.call_soon(self._hand_over)
        self._fresh.append(task)

    def _hand_over(self) -> None:
        fresh, self._fresh = self._fresh, []
        self._queue.put(fresh)

    # In the writing thread

    def _work(self, opened: asyncio.Future[None]) -> None:
        try:
            self._committer.open()
        except Exception as error:
            self._tell(_set_exception, opened, error)
            self._tell(_set_result, self._ended, None)
            return
        self._tell(_set_result, opened, None)
        try:
            while self._work_once():
                pass
        except Exception:
            logger.exception("The writing thread ends after an error")
        try:
            self._committer.close()
        except Exception:
            logger.exception("The store was not closed in order")
        self._tell(self._end)

    def _work_once(self) -> bool:
        """Carry out the next batch or job, after waiting for one; False: this was the end."""
        self._fetch()
        first = self._backlog[0]
        if first is None:
            return False
        if isinstance(first, _Job):
            self._backlog.popleft()
            self._run_job(first)
        else:
            self._commit(self._take_batch())
        return True

    def _fetch(self) -> None:
        """Move what was handed over to the backlog; wait as long as that is empty."""
        backlog = self._backlog
        if not backlog:
            try:
                backlog += self._queue.get(timeout=_IDLE_SECONDS)
            except Empty:
                self._rest()
                backlog += self._queue.get()
        while True:
            try:
                backlog += self._queue.get_nowait()
            except Empty:
                return

    def _rest(self) -> None:
        try:
            self._committer.rest()
        except Exception:
            logger.exception("Housekeeping failed")

    def _take_batch(self) -> list[_Order]:
        """The orders at the front of the backlog, within the bounds of a batch."""
        backlog = self._backlog
        orders: list[_Order] = []
        size_bytes = 0
        while backlog and len(orders) < BATCH_COMMANDS and size_bytes < BATCH_BYTES:
            following = backlog[0]
            if not isinstance(following, _Order):
                break
            orders.append(following)
            size_bytes += following.size_bytes
            backlog.popleft()
        return orders

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
        self._tell(self._announce, orders, results)

    def _run_job(self, job: _Job) -> None:
        try:
            answer = job.run()
        except Exception as error:
            self._tell(_set_exception, job.future, error)
        else:
            self._tell(_set_result, job.future, answer)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back on the event loop, unless it was closed without closing the store."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    # Back on the event loop

    def _end(self) -> None:
        """The thread has ended: what it left, after an error, will never be carried out."""
        while not self._queue.empty():
            self._backlog += self._queue.get_nowait()
        for task in (*self._backlog, *self._fresh):
            if task is not None:
                _set_exception(task.future, Fault(Reason.UNAVAILABLE, "The store is closed"))
        self._tell_listeners(self._untold, Batch((), ()))
        _set_result(self._ended, None)

    def _announce(self, orders: list[_Order], results: Results) -> None:
        self._waiting -= len(orders)
        for order, outcome in zip(orders, results.outcomes, strict=True):
            if isinstance(outcome, Exception):
                _set_exception(order.future, outcome)
            else:
                _set_result(order.future, outcome)
        self._tell_listeners(len(orders), results.batch)

    def _tell_listeners(self, orders: int, batch: Batch) -> None:
        self._loop.call_soon(self._count_told, orders)
        for listener in self._listeners:
            self._loop.call_soon(listener, batch)

    def _count_told(self, orders: int) -> None:
        self._untold -= orders


def _set_result(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    """A waiter that was cancelled has lost interest; its command was carried out all the same."""
    if not future.done():
        future.set_exception(error)
