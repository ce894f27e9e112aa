"""How many webhooks may wait for one service, and what becomes of more.

A target that is dead takes nothing, and its events go on. So that they can't fill the disk, a
transaction that inserts webhooks drops the oldest of the same service once too many wait. The
oldest, because each update tells the whole data: a receiver that comes back and hears the newest
ends up right. Dropped, and not kept as dead letters, because those take the same room for a week.

What an operator retried is neither counted nor dropped: it was asked for by name, and there can't
be more of it than there were rows before.

Nobody counts rows for each event. ``Backlog`` knows for each service a number that at most wait:
inserts raise it, deliveries don't lower it. Only when it passes the bound (or isn't known, after a
start) are the rows counted, in the index ``webhook_bounded``; and if they are within a hundredth of
the bound, that hundredth is made free. So a count is followed by that many inserts without one.

A transaction: ``insert``, commit, ``keep``. If it failed: ``forget``, and what waits is counted
anew.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from starlings.core.webhook_rules import Webhook
from starlings.storage.sqlite.rows import Insert

__all__ = ["MOST_WAITING", "WEBHOOK_COLUMNS", "Backlog"]

logger = logging.getLogger("starlings.storage")

WEBHOOK_COLUMNS: Final = (
    "service_oid, lane, type, at, sid, unique_name, event_id, key, data, identity, endpoint"
)
_insert = Insert("webhook", WEBHOOK_COLUMNS)

MOST_WAITING: Final = 100_000
"""Webhooks of one service, unless an operator wants another bound."""

_DROPPED_AT_ONCE = 10_000
"""Rows in one transaction, or as many as it adds: a bound that was lowered is reached in steps."""

_BOUNDED = (
    "FROM webhook INDEXED BY webhook_bounded"
    " WHERE service_oid = ?1 AND is_dead = 0 AND retried_at IS NULL"
)
_COUNT = f"SELECT count(*), (SELECT sid FROM service WHERE oid = ?1) {_BOUNDED}"
_DROP_OLDEST = f"DELETE FROM webhook WHERE id IN (SELECT id {_BOUNDED} ORDER BY id LIMIT ?2)"


class _Counted(NamedTuple):
    """What one transaction found of one service."""

    service_oid: int
    service_sid: str | None
    """None if it was removed."""
    waiting: int
    """Afterwards."""
    dropped: int


class Backlog:
    """Inserts webhooks and keeps their bound. Lives in the writing thread.

    Args:
        most: Webhooks that may wait for one service, 1 or more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = most - most // 100
        """What may wait after a count."""
        self._at_most: dict[int, int] = {}
        """By service: more than these don't wait."""
        self._counted: list[_Counted] = []
        """In the transaction that runs."""
        self._full: Counter[int] = Counter()
        """By service that is in a spell of dropping: those dropped in it."""
        self.dropped = 0
        """Since the start, over all services."""

    def insert(self, connection: sqlite3.Connection, webhooks: Sequence[Webhook]) -> None:
        """Insert rows, in order, in the caller's transaction, and drop what is too much."""
        _insert.run(connection, webhooks)
        for oid, added in Counter(webhook.service_oid for webhook in webhooks).items():
            at_most = self._at_most.get(oid)
            if at_most is None or at_most + added > self._most:
                at_most = self._make_room(connection, oid, added)
            else:
                at_most += added
            self._at_most[oid] = at_most

    def keep(self) -> None:
        """The transaction was committed."""
        for oid, sid, waiting, dropped in self._counted:
            self.dropped += dropped
            if dropped:
                if oid not in self._full:
                    logger.warning(
                        "Webhooks are dropped: too many wait service=%s waiting=%d", sid, waiting
                    )
                self._full[oid] += dropped
            elif oid in self._full and waiting <= self._most // 2:
                # Not before, or a target that is slow would begin a spell every few minutes.
                logger.info(
                    "Webhooks are not dropped any more service=%s dropped=%d",
                    sid,
                    self._full.pop(oid),
                )
        self._counted.clear()

    def forget(self) -> None:
        """The transaction was rolled back, and what it dropped is there again."""
        self._counted.clear()
        self._at_most.clear()

    def forget_service(self, oid: int) -> None:
        """A service was removed. If more is to be inserted for it, what waits is counted anew."""
        self._at_most.pop(oid, None)
        self._full.pop(oid, None)

    def _make_room(self, connection: sqlite3.Connection, oid: int, added: int) -> int:
        """Count what waits for a service, the rows just added too, and drop what is too much; how
        many are left.
        """
        waiting, sid = connection.execute(_COUNT, (oid,)).fetchone()
        dropped = 0
        if waiting > (self._room if oid in self._at_most else self._most):
            dropped = min(waiting - self._room, max(added, _DROPPED_AT_ONCE))
            connection.execute(_DROP_OLDEST, (oid, dropped))
        left: int = waiting - dropped
        self._counted.append(_Counted(oid, sid, left, dropped))
        return left
