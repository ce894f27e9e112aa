"""The port to durable state: what every store must guarantee, and what the node may ask.

A store owns the rows of services, objects, items and permissions, and the log of events. Adapters:
``memory`` (the model that tests compare with) and ``sqlite`` (the embedded default).

Invariants, tested by number in ``tests/contracts``:

1. ``execute`` answers only when the outcome is durable. A refused command has changed nothing.
2. The rows, the events and the counters of a command change together or not at all.
3. Commands may share a transaction (a batch), yet each succeeds or fails alone, and each sees what
   those before it changed.
4. The log of an object is gap-free: sequences 1, 2, 3 …; visible events take consecutive event ids.
5. Listeners hear every event exactly once in this process, after it is durable, per object in the
   order of its log, and never before the ``execute`` that caused it has its outcome set.
6. Reads show committed state only, and all that was committed before the read began. Rows of
   removed objects are not shown. Expired ones are: who reads compares with the clock.
7. Pages are by key set: rows added or removed between two pages shift no others.
8. A fault leaves the store as it was before the batch: nothing is half applied, nothing
   acknowledged is lost.
9. Dates and times to live are those of the clock at the commit, also after it was set back: no date
   in the store moves them, and none has a write refused. Order is told by sequences, never by
   dates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from starlings.core.commands import Command
from starlings.core.events import Committed, Event, ServiceChanged
from starlings.core.objects import (
    Item,
    ItemKey,
    Kind,
    Permission,
    Service,
    SyncObject,
    Tombstone,
)
from starlings.core.state import Outcome

__all__ = [
    "Batch",
    "CommitListener",
    "Due",
    "GrantPlace",
    "Place",
    "Snapshot",
    "Store",
    "StoreStatistics",
]

Place = tuple[int, int]
"""Where a service or object stands among its like: created_at, oid."""

GrantPlace = tuple[str, int]
"""Where a permission stands among those of its object: identity, match."""


class Batch(NamedTuple):
    """What one commit made durable, in order."""

    events: Sequence[Committed]
    services: Sequence[ServiceChanged]


CommitListener = Callable[[Batch], None]


class Due(NamedTuple):
    """Something whose time is up: an object (``key`` None) or an item."""

    oid: int
    key: ItemKey | None
    expires_at: int


class Snapshot(NamedTuple):
    """The present, as of one moment: what a replay from event N needs once the log no longer
    reaches back so far.
    """

    object: SyncObject
    items: Sequence[Item]
    """Those changed after N, by ascending event id."""
    tombstones: Sequence[Tombstone]
    """Of items removed after N, as far as they are kept, by ascending event id."""
    is_complete: bool
    """False: there are more changes above the highest event id given here."""


class StoreStatistics(NamedTuple):
    """Counts since the start, and sizes now."""

    commits: int
    commands: int
    refusals: int
    faults: int
    waiting: int
    """Commands that wait for a transaction."""
    largest_batch: int
    commit_seconds: float
    """Sum over all commits, including the sync to disk."""
    database_bytes: int
    log_bytes: int
    """Bytes in the write-ahead log, where there is one."""
    clock_behind_seconds: float
    """How far the clock is behind the newest date that was written; 0 unless it was set back."""


class Store(Protocol):
    """Durable state. All methods belong to the thread of the event loop that opened it."""

    @property
    def epoch(self) -> str:
        """Another one after a restore from a backup, which cuts the history. Event ids of two
        epochs don't compare.
        """
        ...

    @property
    def cut_id(self) -> int:
        """Of the newest restore, 0 without one: see ``storage.cuts``."""
        ...

    async def execute(self, command: Command) -> Outcome:
        """Carry out one command, durably.

        Raises:
            Refusal, IdTaken: As ``core.decide`` says.
            Fault: UNAVAILABLE: the store can't write now (disk full, too many waiting, closed).
                Nothing was applied.
        """
        ...

    def listen(self, listener: CommitListener) -> None:
        """Have ``listener`` called with every batch, on the event loop, with empty ones too. [5]"""
        ...

    @property
    def has_untold(self) -> bool:
        """Whether listeners will hear of another batch without anything being asked for anew."""
        ...

    async def find_service(self, oid: int) -> Service | None: ...

    async def find_default_service(self, account_sid: str) -> Service | None: ...

    async def list_services(
        self,
        start: Place | None,
        is_descending: bool,
        limit: int,
        account_sid: str | None = None,
    ) -> list[Service]:
        """Services by creation, after ``start`` (exclusive) in the given direction.

        Of one account, or of all.
        """
        ...

    async def find_object(self, oid: int) -> SyncObject | None: ...

    async def find_object_named(
        self, service_oid: int, kind: Kind, name: str
    ) -> SyncObject | None: ...

    async def list_objects(
        self,
        service_oid: int,
        kind: Kind,
        start: Place | None,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[SyncObject]:
        """Objects by creation, after ``start`` (exclusive) in the given direction; none that
        expired by ``now``.
        """
        ...

    async def find_item(self, oid: int, key: ItemKey) -> Item | None: ...

    async def list_items(
        self,
        oid: int,
        start: ItemKey | None,
        is_inclusive: bool,
        is_descending: bool,
        limit: int,
        now: int,
    ) -> list[Item]:
        """Items by index or by key (UTF-8 bytes), from ``start`` in the given direction; none that
        expired by ``now``.
        """
        ...

    async def list_grants(self, oid: int, identity: str) -> list[Permission]:
        """What may decide for an identity: its exact permission, if any, and all patterns of the
        object, in no particular order, expired ones too.
        """
        ...

    async def list_permissions(
        self,
        oid: int,
        start: GrantPlace | None,
        is_descending: bool,
        limit: int,
        now: int = 0,
    ) -> list[Permission]:
        """Permissions by identity (UTF-8 bytes) and match, after ``start`` (exclusive) in the given
        direction; none that expired by ``now``.
        """
        ...

    async def read_log(
        self, oid: int, start: int, limit: int, is_descending: bool = False
    ) -> list[Event]:
        """An object's events by sequence, beyond ``start`` (exclusive) in the given direction.

        Visible or not, as far as they are kept; those of removed objects too.
        """
        ...

    async def replay(self, oid: int, after_id: int, limit: int) -> list[Event] | None:
        """An object's visible events after event ``after_id``, in order, at most ``limit``.

        None if the log no longer reaches back so far: then take a ``snapshot``. Empty: there is
        nothing newer.
        """
        ...

    async def snapshot(self, oid: int, after_id: int, limit: int) -> Snapshot | None:
        """An object with its items changed after ``after_id``, those of the lowest ids, at most
        ``limit`` in all.

        None if the object doesn't exist.
        """
        ...

    async def list_due(self, now: int, limit: int) -> list[Due]:
        """Objects and items whose time is up."""
        ...

    async def list_due_permissions(self, now: int, limit: int) -> list[Permission]:
        """Permissions whose time is up, of objects that are not removed."""
        ...

    async def list_orphans(self, limit: int) -> list[SyncObject]:
        """Objects that are not removed though their service is."""
        ...

    async def purge(self, limit: int) -> int:
        """Delete up to ``limit`` rows of removed objects, in a transaction of its own; the number
        deleted.
        """
        ...

    async def trim_log(self, before: int, tombstones_before: int, limit: int) -> int:
        """Forget up to ``limit`` events from before ``before``, in the order of their commits.

        Removals of items leave tombstones, kept until they are from before ``tombstones_before``.
        Both are milliseconds since 1970. Answers with the number of rows forgotten.

        What was committed while the clock was ahead, and so has a date to come, goes with the first
        event behind it that is old; its tombstones age from then on.
        """
        ...

    async def shrink(self) -> int:
        """Give a chunk of space on the disk back that nothing uses, in a transaction of its own; 0
        if there is none, or not enough to be worth it.
        """
        ...

    def statistics(self) -> StoreStatistics: ...

    async def close(self) -> None:
        """Finish what was asked for, then close. Later calls are faults."""
        ...
