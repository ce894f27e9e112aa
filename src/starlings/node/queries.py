"""Instant and live queries: which items of a Map match a text, once or from now on.

An *index* is a Map, named by its unique name or SID. An instant query reads the Map's items in
pages and keeps those that match. A live query does the same once for all who ask it, then follows
the Map's events: ``live_query.py`` tells how. Both are for whoever may read the Map.

Reading is bounded in what it looks at and in what it keeps, gives way to others after every few
milliseconds of work, and only ``QueryBounds.readings`` of them go on at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from starlings.core.errors import Fault, Reason, Refusal, StarlingsError
from starlings.core.objects import Actor, Item, Kind, ObjectRef, Service, SyncObject
from starlings.core.query import Query, QueryError, format_query, parse_query
from starlings.node.hub import Hub
from starlings.node.live_query import (
    STEP_WORK,
    Allowance,
    Index,
    LiveQuery,
    Phase,
    QueryEncoder,
    QueryHolder,
    cost_of,
    decode_data,
    too_large,
    work_of,
)
from starlings.node.node import Node
from starlings.node.throttle import Throttle

__all__ = ["Queries", "QueryBounds", "QueryStatistics", "parse_query_text", "query_id_of"]

logger = logging.getLogger("starlings.node")

_PAGE_ITEMS = 500
_ATTEMPTS = 3
RELOAD_PAUSE_SECONDS = 0.5
"""Before a live query whose reading failed for passing trouble is read again."""
_BEFORE_ALL = 0
"""A time at which nothing had expired."""
_REASONS = {
    reason.code: reason
    for reason in (Reason.BAD_QUERY, Reason.TOO_MANY_OPERATORS, Reason.QUERY_ARRAY_TOO_LONG)
}


class QueryBounds(NamedTuple):
    """What queries may cost one node."""

    scanned_items: int = 200_000
    """Items of a Map that can be searched at all; a larger one is refused."""
    result_bytes: int = 512 * 1024
    """Keys and data of one result. It must fit a connection's outbox."""
    live_bytes: int = 256 * 1024 * 1024
    """Keys and data of all live results together."""
    live_queries: int = 1_000
    """Different live queries on one Map: each is evaluated at each of its events."""
    readings: int = 2
    """Maps that are read at the same time."""
    waiting: int = 100
    """Queries that wait for their reading; more are refused."""


class QueryStatistics(NamedTuple):
    """The present numbers, then counts since the start."""

    indexes: int
    live_queries: int
    live_bytes: int
    waiting: int
    readings: int
    items_read: int


class _Reading(NamedTuple):
    """The matching items of a Map."""

    items: list[Item]
    has_expired: bool
    """Some are left out whose time is up, and whose removal is still to come."""


class Queries:
    """All queries of one node. Belongs to its event loop.

    Args:
        spawn: Runs work in a task of its owner.
    """

    def __init__(
        self,
        node: Node,
        hub: Hub,
        encoder: QueryEncoder,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        bounds: QueryBounds | None = None,
    ) -> None:
        self.node = node
        self.spawn = spawn
        self.bounds = bounds or QueryBounds()
        self._hub = hub
        self._encoder = encoder
        self._throttle = Throttle(node.sources.monotonic)
        self._allowance = Allowance(self.bounds.live_bytes)
        self._indexes: dict[int, Index] = {}
        self._loads: dict[LiveQuery, asyncio.Future[None]] = {}
        self._turns = asyncio.Semaphore(self.bounds.readings)
        self._waiting = self._readings = self._items_read = 0

    async def get_index(self, service: Service, name: str, actor: Actor) -> SyncObject:
        """The Map that an index name means, if the actor may read it.

        Raises:
            Refusal: QUERY_INDEX_NOT_FOUND, ACCESS_DENIED.
        """
        try:
            return await self.node.get_object(ObjectRef(service.oid, Kind.MAP, name), actor)
        except Refusal as refusal:
            if refusal.status == 404:
                raise Refusal(Reason.QUERY_INDEX_NOT_FOUND) from refusal
            raise

    def take(self, index: SyncObject, identity: str) -> None:
        """Count a query of somebody. [rest-api 10]

        Raises:
            Refusal: RATE_LIMITED; TOO_MANY_REQUESTS when too many wait already.
        """
        if self._waiting >= self.bounds.waiting:
            raise Refusal(Reason.TOO_MANY_REQUESTS, "Too many queries are waiting; try again")
        rates = self.node.limits.rates
        buckets = (
            (("query", index.oid, identity), rates.queries_per_identity),
            (("query", index.oid), rates.queries),
        )
        for key, rate in buckets:
            if rate is not None:
                self._throttle.take(
                    key,
                    rate,
                    rate * rates.burst_seconds,
                    lambda: f"Rate limit exceeded for query-map-{index.sid}",
                )

    async def search(self, index: SyncObject, query: Query) -> list[Item]:
        """The live items of a Map that match, by key.

        Raises:
            Refusal: DATA_TOO_LARGE (the Map, or the result).
            Fault: UNAVAILABLE.
        """
        return (await self._read_items(index, query)).items

    async def hold(
        self, service: Service, name: str, query: Query, actor: Actor, holder: QueryHolder
    ) -> LiveQuery:
        """The live query of a text, loaded, and kept up to date until ``release``.

        Raises:
            Refusal: As ``get_index`` and ``search``; TOO_MANY_SUBSCRIPTIONS. Nothing is held then.
            Fault: UNAVAILABLE.
        """
        index = await self.get_index(service, name, actor)
        live = self._hold(index, service.sid, query, holder)
        try:
            # Again, now that nothing can be missed: it may have been removed in between.
            again = await self.get_index(service, name, actor)
            if again.oid != index.oid:
                raise Refusal(Reason.QUERY_INDEX_NOT_FOUND)
            await self.wait_until_loaded(live)
            if holder not in live.holders:
                raise Refusal(Reason.QUERY_INDEX_NOT_FOUND)
        except BaseException:
            self.release(live, holder)
            raise
        return live

    async def wait_until_loaded(self, live: LiveQuery) -> None:
        """Return when a live query is loaded; many may wait for one reading.

        Raises:
            Refusal: It can't be: QUERY_INDEX_NOT_FOUND, DATA_TOO_LARGE.
            Fault: UNAVAILABLE.
        """
        if live.phase is not Phase.LOADING:
            return
        load = self._loads.get(live)
        if load is not None:
            await asyncio.shield(load)
            return
        load = self._loads[live] = asyncio.get_running_loop().create_future()
        try:
            await self._read_members(live)
        except BaseException as error:
            is_ours = isinstance(error, StarlingsError)
            load.set_exception(error if is_ours else Fault(Reason.UNAVAILABLE))
            load.exception()  # nobody may be waiting
            raise
        else:
            load.set_result(None)
        finally:
            del self._loads[live]

    def release(self, live: LiveQuery, holder: QueryHolder) -> None:
        """A holder goes; the last one ends the live query."""
        live.release(holder)
        if not live.holders:
            self._forget(live)

    def statistics(self) -> QueryStatistics:
        return QueryStatistics(
            len(self._indexes),
            sum(len(index.queries) for index in self._indexes.values()),
            self._allowance.used,
            self._waiting,
            self._readings,
            self._items_read,
        )

    # Live queries

    def _hold(
        self, target: SyncObject, service_sid: str, query: Query, holder: QueryHolder
    ) -> LiveQuery:
        index = self._indexes.get(target.oid)
        form = format_query(query)
        live = None if index is None else index.queries.get(form)
        if live is None or live.phase is Phase.ENDED:
            if index is None:
                index = self._indexes[target.oid] = Index(
                    target.oid, self._drop_index, lambda index: self.spawn(self._work_off(index))
                )
                self._hub.watch(target.oid, service_sid, index)
            if len(index.queries) >= self.bounds.live_queries:
                raise Refusal(
                    Reason.TOO_MANY_SUBSCRIPTIONS,
                    "Too many different live queries on this index: at most"
                    f" {self.bounds.live_queries} are allowed",
                )
            live = LiveQuery(
                query_id_of(self.node.store.epoch, target.sid, form),
                target.oid,
                query,
                self._encoder,
                self.bounds.result_bytes,
                self._allowance,
                lambda live: self.spawn(self._load_anew(live)),
            )
            index.queries[form] = live
        live.holders[holder] = None
        return live

    async def _load_anew(self, live: LiveQuery) -> None:
        """Read the members once more; who listens gets them all."""
        logger.warning("A live query missed events and is read anew")
        while live.phase is Phase.LOADING:
            try:
                await self.wait_until_loaded(live)
            except Refusal as refusal:
                # Whoever listened has an old result: it must not pass for the present one.
                live.end(refusal)
                self._forget(live)
            except Fault as fault:
                # Passing trouble. Clients know of nothing, and after a failure never ask again.
                logger.warning("A live query will be read again error=%s", fault.message)
                await asyncio.sleep(RELOAD_PAUSE_SECONDS)

    async def _read_members(self, live: LiveQuery) -> None:
        for _ in range(_ATTEMPTS):
            target = await self.node.store.find_object(live.oid)
            if target is None:
                raise Refusal(Reason.QUERY_INDEX_NOT_FOUND)
            reading = await self._read_items(target, live.query)
            after = await self.node.store.find_object(live.oid)
            seen_id = target.event_id if after is None else after.event_id
            if reading.has_expired:
                seen_id = max(seen_id, target.event_id + 1)  # of its removal, which is to come
            if live.phase is Phase.ENDED or live.load(target.event_id, reading.items, seen_id):
                return
        raise Fault(Reason.UNAVAILABLE, "The index changes too fast to be read; try again")

    def _forget(self, live: LiveQuery) -> None:
        live.end(_gone())
        index = self._indexes.get(live.oid)
        if index is not None and index.queries.get(live.form) is live:
            del index.queries[live.form]
            if not index.queries:
                self._drop_index(index)

    async def _work_off(self, index: Index) -> None:
        """Evaluate what waits in an index, in turns."""
        is_more = True
        while is_more:
            await asyncio.sleep(0)
            is_more = index.step()

    def _drop_index(self, index: Index) -> None:
        index.queries.clear()
        if self._indexes.get(index.oid) is index:
            del self._indexes[index.oid]
            self._hub.unwatch(index.oid, index)

    # Reading

    async def _read_items(self, target: SyncObject, query: Query) -> _Reading:
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        self._readings += 1
        try:
            return await self._read_pages(target, query)
        finally:
            self._turns.release()

    async def _read_pages(self, target: SyncObject, query: Query) -> _Reading:
        found: list[Item] = []
        has_expired = False
        size = work = count = 0
        comparisons = query.comparisons
        start: str | int | None = None
        now = self.node.sources.now()
        while True:
            # Expired ones, too: to leave one out is to be ahead of its removal.
            page = await self.node.store.list_items(
                target.oid, start, False, False, _PAGE_ITEMS, _BEFORE_ALL
            )
            count += len(page)
            if max(count, target.item_count) > self.bounds.scanned_items:
                raise Refusal(
                    Reason.DATA_TOO_LARGE,
                    "The index is too large to be searched: more than"
                    f" {self.bounds.scanned_items} items",
                )
            for item in page:
                if item.expires_at is not None and item.expires_at <= now:
                    has_expired = True
                elif query.matches(str(item.key), decode_data(item.data)):
                    size += cost_of(str(item.key), item.data)
                    if size > self.bounds.result_bytes:
                        raise too_large(self.bounds.result_bytes)
                    found.append(item)
                work += work_of(item.data, comparisons)
                if work > STEP_WORK:
                    work = 0
                    await asyncio.sleep(0)
            self._items_read += len(page)
            if len(page) < _PAGE_ITEMS:
                return _Reading(found, has_expired)
            start = page[-1].key


def parse_query_text(text: str | None) -> Query:
    """A query from what the client sent.

    Raises:
        Refusal: BAD_QUERY, TOO_MANY_OPERATORS, QUERY_ARRAY_TOO_LONG.
    """
    if text is None:
        raise Refusal(Reason.BAD_QUERY, "Invalid query expression: query_string is missing")
    try:
        return parse_query(text)
    except QueryError as error:
        reason = _REASONS[error.code]
        raise Refusal(reason, f"{reason.title}: {error}") from error


def query_id_of(epoch: str, index_sid: str, form: str) -> str:
    """The id of a live query: the same for the same query on the same Map, wherever it is asked.

    With the store's epoch in it, a client never takes its result up again over another history.
    """
    text = "\n".join((epoch, index_sid, form)).encode()
    return f"QR{hashlib.blake2b(text, digest_size=16).hexdigest()}"


def _gone() -> Refusal:
    return Refusal(Reason.QUERY_INDEX_NOT_FOUND, "The live query has ended; ask it again")
