"""The writing thread's side of the SQLite store: batches of commands as transactions.

A batch: load ahead what its commands name, decide each in order on the working set, write the
changed rows, commit. The commit syncs the write-ahead log to disk (``synchronous=FULL``) before it
returns; only then are outcomes handed out.

What can go wrong, and what is done: the disk is full or read-only, or another process holds the
lock: the transaction is rolled back, every command of the batch gets a fault, the next batch tries
anew. A row that can't be written for another reason: the batch is rolled back and each command is
tried alone, so that one can't harm its neighbours.

Whether the disk takes writes is what the last one showed. While it doesn't, and somebody asks, a
transaction of our own tries anew, so that no caller's has to be the one that finds out.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from starlings.core.commands import Command
from starlings.core.decide import decide
from starlings.core.errors import Fault, IdTaken, Reason, Refusal
from starlings.core.limits import Limits
from starlings.core.state import Outcome
from starlings.core.webhook_rules import webhooks_of
from starlings.storage.batcher import Results
from starlings.storage.clock_watch import ClockWatch
from starlings.storage.sqlite import rows as r
from starlings.storage.sqlite.backlog import MOST_WAITING, Backlog
from starlings.storage.sqlite.cuts import newest_cut_id
from starlings.storage.sqlite.database import migrate, open_writer
from starlings.storage.sqlite.housekeeping import Retained, trim_log
from starlings.storage.sqlite.loader import Loader
from starlings.storage.sqlite.shrinking import Shrinker
from starlings.storage.store import Batch
from starlings.storage.working_set import Changes, WorkingSet

__all__ = ["Writer"]

logger = logging.getLogger("starlings.storage")

_MEMORY_BYTES = 64 * 1024 * 1024
_CHECKPOINT_CHANGES = 1_000
"""Rows changed since the last checkpoint, after which the next rest is used for one …"""
_CHECKPOINT_AT_ONCE_CHANGES = 20_000
"""… and after which writers wait for one, so that the log stays bounded under a steady load.

Counted in rows and not in bytes of the log's file, because that keeps its size when it is reused.
"""
_CHECKPOINT_GIVEN_PAGES = 2_048
"""Pages given back, 8 MiB, after which the file is cut by a checkpoint. They count as no rows."""

_PROBE_SECONDS = 1.0
"""From one attempt to find out whether the disk takes writes again to the next."""
_PROBE_BYTES = 64 * 1024
"""Written for it: a disk with room for less would refuse the next few writes."""
_PUT_PROBE = "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', ?)"
_PROBE = ("0" * _PROBE_BYTES,)
_DROP_PROBE = "DELETE FROM meta WHERE name = 'probe'"

_put_objects = r.Insert("object", r.OBJECT_COLUMNS)
_COUNT_OBJECT = (
    "UPDATE object SET data = ?, seq = ?, event_id = ?, next_index = ?, item_count = ?,"
    " updated_at = ? WHERE oid = ?"
)
# Apart, because setting a column that an index holds makes SQLite write the index too.
_CHANGE_OBJECT = (
    "UPDATE object SET data = ?, seq = ?, event_id = ?, next_index = ?, item_count = ?,"
    " updated_at = ?, expires_at = ?, is_removed = ? WHERE oid = ?"
)
_put_items = r.Insert(
    "item",
    r.ITEM_COLUMNS,
    " ON CONFLICT (oid, key) DO UPDATE SET data = excluded.data, event_id = excluded.event_id,"
    " added_id = excluded.added_id, created_at = excluded.created_at,"
    " updated_at = excluded.updated_at, expires_at = excluded.expires_at,"
    " created_by = excluded.created_by",
)
_put_events = r.Insert("event", r.EVENT_COLUMNS)
_PUT_PERMISSION = (
    f"INSERT OR REPLACE INTO permission ({r.PERMISSION_COLUMNS}) VALUES (?,?,?,?,?,?,?)"
)
_PUT_SERVICE = (
    f"INSERT OR REPLACE INTO service ({r.SERVICE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
)


class Writer:
    """Implements ``Committer``. Lives in the writing thread."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        now: Callable[[], int],
        new_epoch: str,
        most_webhooks: int = MOST_WAITING,
    ) -> None:
        self._path = path
        self._limits = limits
        self._now = now
        self._new_epoch = new_epoch
        self.backlog = Backlog(most_webhooks)
        self._loader = Loader()
        self._working_set = WorkingSet(self._loader, _MEMORY_BYTES)
        self._clock_watch = ClockWatch()
        self.epoch = ""
        self.cut_id = 0
        self.refusals = 0
        self.faults = 0
        self.commit_seconds = 0.0
        self._checkpointed_changes = 0
        self._shrinker = Shrinker()
        self._given_pages = 0
        self._failing_since = 0.0
        self._probed_at = -math.inf
        self.is_writable = True
        """False after a batch that the disk refused, until one succeeds."""

    # Committer

    def open(self) -> None:
        self._connection = self._loader.connection = open_writer(self._path)
        try:
            migrate(self._connection, self._new_epoch)
            epoch = self._loader.select_one("SELECT value FROM meta WHERE name = 'epoch'", ())
            assert epoch is not None  # the first migration wrote it
            self.epoch = str(epoch[0])
            self.cut_id = newest_cut_id(self._connection)
            newest = self._loader.select_one("SELECT at FROM event ORDER BY id DESC LIMIT 1", ())
            self._clock_watch.see(self._now(), newest[0] if newest else 0)
            self._has_webhooks = self._find_webhooks()
        except BaseException:
            self._connection.close()
            raise

    def commit(self, commands: Sequence[Command]) -> Results:
        try:
            return self._commit(commands)
        except sqlite3.OperationalError as error:
            self.faults += len(commands)
            raise self._unavailable(error) from error
        except Exception:
            if len(commands) == 1:
                self.faults += 1
                raise
            logger.warning("A batch is split after an error commands=%d", len(commands))
        alone: list[Results] = []
        unavailable: Fault | None = None
        for command in commands:
            if unavailable is None:
                try:
                    alone.append(self._commit_alone(command))
                    continue
                except sqlite3.OperationalError as error:
                    unavailable = self._unavailable(error)
            # The disk refuses all: to try each might wait for each.
            self.faults += 1
            alone.append(Results([unavailable], Batch((), ())))
        return Results(
            [results.outcomes[0] for results in alone],
            Batch(
                [committed for results in alone for committed in results.batch.events],
                [changed for results in alone for changed in results.batch.services],
            ),
        )

    def rest(self) -> None:
        """Give the log's pages back to the database while nobody waits."""
        if self._changes_in_log() >= _CHECKPOINT_CHANGES:
            self.checkpoint()

    def _changes_in_log(self) -> int:
        return self._connection.total_changes - self._checkpointed_changes

    def close(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            logger.warning("The log was not truncated at the end error=%s", error)
        self._connection.close()

    def clock_behind_seconds(self) -> float:
        """How far the clock is behind the newest date that was written."""
        return self._clock_watch.behind_seconds(self._now())

    # Jobs between batches

    def trim_log(self, before: int, tombstones_before: int, limit: int) -> int:
        """As ``Store.trim_log``. Raises Fault UNAVAILABLE."""
        return self.transact(
            lambda connection: trim_log(
                connection, Retained(before, tombstones_before, self._now()), limit
            )
        )

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database as far as no reader is in the way."""
        self._checkpointed_changes = self._connection.total_changes
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def checkpoint_if_long(self) -> bool:
        """The same, if the log has grown long because the writer never rested."""
        if self._changes_in_log() < _CHECKPOINT_AT_ONCE_CHANGES:
            return False
        self.checkpoint()
        return True

    def transact(self, job: Callable[[sqlite3.Connection], int]) -> int:
        """Run a job in a transaction of its own. Raises Fault UNAVAILABLE: not committed."""
        self._roll_back()  # as in ``_commit``
        changes = self._connection.total_changes
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answer = job(self._connection)
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            self.backlog.forget()
            if isinstance(error, sqlite3.OperationalError):
                raise self._unavailable(error) from error
            raise
        self.backlog.keep()
        if self._connection.total_changes != changes:
            self._note_written()
        return answer

    def shrink(self) -> int:
        """Give a chunk of the file's unused pages back; how many. Raises Fault UNAVAILABLE."""
        given = self.transact(self._shrinker.step)
        self._given_pages += given
        if self._given_pages >= _CHECKPOINT_GIVEN_PAGES or (self._given_pages and not given):
            self._given_pages = 0
            try:
                self.checkpoint()
            except sqlite3.OperationalError as error:
                raise self._unavailable(error) from error
        return given

    def check_writable(self) -> bool:
        """Whether the disk takes writes; while it doesn't, try, at most once a second."""
        if self.is_writable or time.monotonic() - self._probed_at < _PROBE_SECONDS:
            return self.is_writable
        try:
            self.transact(lambda connection: connection.execute(_PUT_PROBE, _PROBE).rowcount)
            self.transact(lambda connection: connection.execute(_DROP_PROBE).rowcount)
        except (Fault, sqlite3.Error) as error:
            logger.debug("The store was tried in vain error=%s", error)
        self._probed_at = time.monotonic()
        return self.is_writable

    def forget_object(self, oid: int) -> None:
        self._working_set.forget_object(oid)

    # One batch

    def _commit_alone(self, command: Command) -> Results:
        try:
            return self._commit((command,))
        except sqlite3.OperationalError:
            raise
        except Exception:
            logger.exception("A command failed type=%s", type(command).__name__)
        self.faults += 1
        return Results([Fault(Reason.INTERNAL_FAULT)], Batch((), ()))

    def _unavailable(self, error: sqlite3.OperationalError) -> Fault:
        """The fault of all that the disk refuses, told to the log once until it gives way."""
        if self.is_writable:
            self._failing_since = time.monotonic()
            logger.error("The store can't write error=%s", error)
        self.is_writable = False
        return Fault(Reason.UNAVAILABLE, "The store can't write at the moment")

    def _note_written(self) -> None:
        """A transaction that changed something was committed."""
        if not self.is_writable:
            seconds = time.monotonic() - self._failing_since
            logger.warning("The store writes again seconds=%.1f", seconds)
        self.is_writable = True

    def _commit(self, commands: Sequence[Command]) -> Results:
        started = time.perf_counter()
        working_set = self._working_set
        refusals = 0
        self._roll_back()  # a failed batch may have left its transaction open
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._loader.load_ahead(working_set, commands)
            now = self._now()
            outcomes: list[Outcome | Exception] = []
            for command in commands:
                try:
                    decision = decide(working_set, command, now, self._limits)
                except (Refusal, IdTaken) as refusal:
                    refusals += 1
                    outcomes.append(refusal)
                else:
                    working_set.apply(decision)
                    outcomes.append(decision.outcome)
            batch = Batch(working_set.committed, working_set.service_changes())
            if batch.events or batch.services:
                self._write(working_set.changes())
                if batch.services:
                    self._has_webhooks = self._find_webhooks()
                if self._has_webhooks:
                    fired = webhooks_of(batch.events, working_set.find_service)
                    self.backlog.insert(self._connection, fired)
                self._connection.execute("COMMIT")
                self._note_written()
                self._clock_watch.see(now, now)
            else:
                self._connection.execute("ROLLBACK")  # nothing was changed: nothing to sync
        except BaseException:
            self._roll_back()
            working_set.forget()
            self.backlog.forget()
            self._has_webhooks = True  # until a service changes: not known any more
            raise
        working_set.keep()
        self.backlog.keep()
        for oid, service in batch.services:
            if service is None:
                self.backlog.forget_service(oid)
        self.refusals += refusals
        self.commit_seconds += time.perf_counter() - started
        return Results(outcomes, batch)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                logger.error("A transaction could not be rolled back error=%s", error)

    def _write(self, changes: Changes) -> None:
        connection = self._connection
        new, counted, changed = [], [], []
        for before, after in changes.objects:
            counts = (*after[5:10], after.updated_at)
            if before is None:
                new.append(after)
            elif after.is_removed or before.expires_at != after.expires_at:
                changed.append((*counts, after.expires_at, after.is_removed, after.oid))
            else:
                counted.append((*counts, after.oid))
        # Removed ones first: a new object may take over the name.
        if changed:
            connection.executemany(_CHANGE_OBJECT, changed)
        if counted:
            connection.executemany(_COUNT_OBJECT, counted)
        _put_objects.run(connection, new)
        if changes.dropped_items:
            connection.executemany(
                "DELETE FROM item WHERE oid = ? AND key = ?", changes.dropped_items
            )
        _put_items.run(connection, changes.items)
        if changes.dropped_permissions:
            connection.executemany(
                "DELETE FROM permission WHERE oid = ? AND identity = ? AND match = ?",
                changes.dropped_permissions,
            )
        if changes.permissions:
            connection.executemany(_PUT_PERMISSION, changes.permissions)
        for oid in changes.dropped_services:
            connection.execute("DELETE FROM service WHERE oid = ?", (oid,))
        if changes.services:
            connection.executemany(_PUT_SERVICE, changes.services)
        _put_events.run(connection, changes.events)

    def _find_webhooks(self) -> bool:
        """True if any service has a webhook; while none has, batches don't look at events."""
        row = self._loader.select_one(
            "SELECT 1 FROM service WHERE webhook_url IS NOT NULL LIMIT 1", ()
        )
        return row is not None
