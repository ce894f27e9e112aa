"""Instant and live queries of one session. [wire-protocol 6.2, 8.1, 8.3]

The client asks in two steps. The search answers with the result, for a live query also with its id
and the newest event of the Map that the result knows; from then on the session *holds* the live
query, so that it isn't read again. The subscription that follows says which event the client has.
If the result has changed since, the whole result goes out (``live_query_updated``), then the
confirmation, then changes; all in one step, so nothing gets lost or comes twice. After a reconnect
only the subscription comes, to a session that holds nothing yet; it goes the same way.

Clients compare revisions with ``>=``, so those of queries are numbers: the ids of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

import msgspec

from starlings.core.access import may_concern
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.objects import Actor, Service, SyncObject
from starlings.core.query import Query
from starlings.node.live_query import LiveQuery, Member
from starlings.node.queries import Queries, parse_query_text
from starlings.node.repeats import Answer
from starlings.wire import pushed_events as pushed
from starlings.wire.messages import Request
from starlings.wire.subscriptions import (
    CorrelationId,
    Established,
    Failed,
    SubscriptionEntry,
    encode_established,
    encode_failed,
)
from starlings.ws.access_checks import Check

__all__ = ["LIVE_QUERY", "FrameMaker", "Peer", "QueryFrames", "SessionQueries"]

LIVE_QUERY = "live_query"
"""The type of a search, and of a subscription, that goes on."""

ABANDONED_SECONDS = 120.0
"""How long a live query is held for a client that has not subscribed; the SDK does so at once."""

MOST_TEXT_BYTES = 160 * 1024
"""Of the ``BATCH_ENTRIES`` longest texts of a session's live queries: after a reconnect the client
sends so many in one message, and could never come back if that were too large."""
BATCH_ENTRIES = 100
"""Of one request to subscribe, as the reply to each says."""

_encode = msgspec.json.Encoder().encode


class FrameMaker(Protocol):
    """Makes a frame of a payload; ``render.EventEncoder`` does."""

    def frame(self, payload: bytes) -> bytes: ...


class QueryFrames:
    """Implements ``live_query.QueryEncoder``."""

    def __init__(self, maker: FrameMaker) -> None:
        self._maker = maker

    def encode_item_updated(self, query_id: str, key: str, member: Member) -> bytes:
        return self._maker.frame(
            pushed.encode_live_query_item_updated(
                query_id=query_id,
                key=key,
                item_revision=member.event_id,
                last_event_id=member.event_id,
                data=member.data,
            )
        )

    def encode_item_removed(self, query_id: str, key: str, event_id: int) -> bytes:
        return self._maker.frame(
            pushed.encode_live_query_item_removed(
                query_id=query_id, key=key, item_revision=event_id, last_event_id=event_id
            )
        )

    def encode_result(
        self, query_id: str, members: Iterable[tuple[str, Member]], event_id: int
    ) -> bytes:
        items = ((key, member.data, member.event_id) for key, member in members)
        return self._maker.frame(
            pushed.encode_live_query_updated(query_id=query_id, items=items, last_event_id=event_id)
        )


class Peer(Protocol):
    """The session, as its queries and its catching up need it."""

    def send(self, frame: bytes) -> None: ...

    async def wait_for_room(self) -> None:
        """Return once the connection has taken most of what was sent; at once if it has."""

    async def wait_for_turn(self) -> None:
        """Return when another step of work may be taken, of so many in one turn of the loop."""

    def send_away(self) -> None:
        """End the session; the client comes back at once, and is checked then."""

    def check(self, key: Hashable, check: Check) -> bool:
        """Have access checked when it is its turn; False: one of this ``key`` waits already."""


class _Body(msgspec.Struct):
    """The body of a search."""

    query_string: str | None = None
    type: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode


class SessionQueries:
    """What one session asks.

    Args:
        count_others: How many other subscriptions the session has: the limit is for all together.
    """

    def __init__(
        self,
        queries: Queries,
        maker: FrameMaker,
        service: Service,
        actor: Actor,
        peer: Peer,
        count_others: Callable[[], int],
    ) -> None:
        self._queries = queries
        self._maker = maker
        self._service = service
        self._actor = actor
        self._peer = peer
        self._count_others = count_others
        self._held: dict[str, _Held] = {}
        """By id of the live query."""
        self._searching = asyncio.Lock()
        self._holding = 0
        self._checks = 0
        """Moves whenever access may have changed."""
        self._doubts = 0
        """Looks at grants under way: until then no change goes out. Who lost the right to read gets
        nothing that was committed after that."""
        self._is_ended = False

    def __len__(self) -> int:
        return len(self._held)

    async def search(self, request: Request, index_name: str) -> Answer:
        """Answer an instant query, or begin a live one.

        Raises:
            Refusal: As ``Queries`` says, BAD_PARAMETER, and DATA_TOO_LARGE for its text.
            Fault: UNAVAILABLE.
        """
        body = _read_body(request)
        text = body.query_string
        # One after the other: a session has one result in memory, and each fits its outbox.
        async with self._searching:
            index = await self._queries.get_index(self._service, index_name, self._actor)
            query = parse_query_text(text)
            self._queries.take(index, self._actor.identity)
            if body.type == LIVE_QUERY:
                text_bytes = _text_bytes(index_name, text)
                self._check_texts(text_bytes)
                return await self._begin(index_name, query, text_bytes)
            return await self._search_once(index, index_name, query)

    async def establish(self, entry: SubscriptionEntry, correlation_id: CorrelationId) -> None:
        """Confirm a subscription, after the result if the client has an older one.

        Raises:
            Refusal, Fault: Nothing was sent.
        """
        held = self._held.get(entry.object_sid)
        if held is None:
            query = parse_query_text(entry.query_string)
            index_name = entry.index_name or ""
            text_bytes = _text_bytes(index_name, entry.query_string)
            held = await self._hold(index_name, query, text_bytes)
        live = held.live
        assert live is not None
        if live.id != entry.object_sid:
            if not held.is_established:
                self.drop(live.id)
            raise Refusal(
                Reason.QUERY_INDEX_NOT_FOUND, "The index is another one now: ask the query again"
            )
        await self._queries.wait_until_loaded(live)
        await self._settle_own_doubt(live)
        if self._held.get(live.id) is not held:
            raise Refusal(Reason.QUERY_INDEX_NOT_FOUND)
        # From here to the end nothing waits: the result, its confirmation and the first change
        # follow each other.
        if entry.last_event_id is None or not live.misses_nothing_since(entry.last_event_id):
            self._peer.send(live.result_frame)
        confirmed = Established(live.id, LIVE_QUERY, live.event_id)
        self._peer.send(self._maker.frame(encode_established(correlation_id, [confirmed])))
        held.is_established = True
        held.has_missed = False
        live.listen(held)

    def drop(self, query_id: str) -> None:
        """End a live query without a word, if there is one of this id."""
        held = self._held.pop(query_id, None)
        if held is not None and held.live is not None:
            self._queries.release(held.live, held)

    def end(self) -> None:
        """The session is over."""
        self._is_ended = True
        for query_id in list(self._held):
            self.drop(query_id)

    async def check_access(self) -> None:
        """End the live queries whose Maps may not be read any more."""
        self._checks += 1
        for held in list(self._held.values()):
            assert held.live is not None
            try:
                may_read = await self._queries.node.may_read(
                    self._service.oid, held.live.oid, self._actor.identity
                )
            except BaseException as error:
                # Not known is not allowed. After a failure clients never ask again. [8.2]
                self._peer.send_away()
                if not isinstance(error, Fault):
                    raise
                return
            if not may_read:
                self.fail(held, Refusal(Reason.ACCESS_DENIED))

    # From what is held

    def send(self, held: _Held, frame: bytes) -> None:
        if self._doubts:
            held.has_missed = True
        else:
            self._peer.send(frame)

    def on_permission(self, identity: str) -> None:
        if may_concern(identity, self._actor.identity):
            self.check_soon()

    def check_soon(self) -> None:
        """Access may have changed: nothing more goes out until that was looked at."""
        self._checks += 1
        if self._peer.check(self, self._settle_doubt):
            self._doubts += 1

    def fail(self, held: _Held, refusal: Refusal) -> None:
        """End a live query and say why."""
        query_id = "" if held.live is None else held.live.id
        if self._held.get(query_id) is not held:
            return
        self.drop(query_id)
        if held.is_established:
            failed = Failed(query_id, LIVE_QUERY, refusal.status, refusal.code, refusal.message)
            self._peer.send(self._maker.frame(encode_failed(None, [failed])))

    # Within

    async def _settle_doubt(self) -> None:
        try:
            await self.check_access()
        finally:
            self._doubts -= 1
        if self._doubts:
            return
        for held in self._held.values():
            # One that is being read anew tells all of it afterwards.
            if held.has_missed and held.live is not None and held.live.is_loaded:
                self._peer.send(held.live.result_frame)
            held.has_missed = False

    async def _settle_own_doubt(self, live: LiveQuery) -> None:
        """Return when there is no doubt that its Map may be read, or not any more. Others may have
        their turn first with ``check_soon``, and the result has changed by then.

        Raises:
            Refusal: ACCESS_DENIED: the live query has ended.
        """
        while self._doubts:
            checks = self._checks
            if not await self._queries.node.may_read(
                self._service.oid, live.oid, self._actor.identity
            ):
                self.drop(live.id)
                raise Refusal(Reason.ACCESS_DENIED)
            if checks == self._checks:
                return

    def _check_texts(self, text_bytes: int) -> None:
        known = sorted((held.text_bytes for held in self._held.values()), reverse=True)
        if sum(known[: BATCH_ENTRIES - 1]) + text_bytes > MOST_TEXT_BYTES:
            raise Refusal(
                Reason.DATA_TOO_LARGE,
                "The query expressions of this connection's live queries are too long together:"
                f" at most {MOST_TEXT_BYTES} bytes are allowed",
            )

    async def _begin(self, index_name: str, query: Query, text_bytes: int) -> Answer:
        held = await self._hold(index_name, query, text_bytes)
        await self._peer.wait_for_room()
        live = held.live
        assert live is not None
        await self._settle_own_doubt(live)
        if held not in live.holders:
            raise Refusal(Reason.QUERY_INDEX_NOT_FOUND)
        # The result as of now, since it is sent in this very step: the client may have the same
        # query open already, and must not be sent a change first that it doesn't have yet.
        rows = ((key, one.data, one.event_id) for key, one in live.members.items())
        return _answer(rows, {"query_id": live.id, "last_event_id": live.event_id})

    async def _search_once(self, index: SyncObject, index_name: str, query: Query) -> Answer:
        items = await self._queries.search(index, query)
        # Again: reading a large Map takes time, in which the permission may have gone.
        await self._queries.get_index(self._service, index_name, self._actor)
        answer = _answer(((str(item.key), item.data, item.event_id) for item in items), {})
        await self._peer.wait_for_room()
        return answer

    async def _hold(self, index_name: str, query: Query, text_bytes: int) -> _Held:
        """Raises Refusal and Fault as ``Queries.hold`` does; TOO_MANY_SUBSCRIPTIONS."""
        self._drop_abandoned()
        limit = self._queries.node.limits.subscriptions
        if len(self._held) + self._holding + self._count_others() >= limit:
            raise Refusal(
                Reason.TOO_MANY_SUBSCRIPTIONS,
                f"Too many subscriptions: a connection may have {limit}",
            )
        held = _Held(self, self._queries.node.sources.monotonic(), text_bytes)
        self._holding += 1
        try:
            live = await self._queries.hold(self._service, index_name, query, self._actor, held)
            await self._check_index(index_name, live, held)
        finally:
            self._holding -= 1
        known = self._held.get(live.id)
        if known is not None or self._is_ended:
            self._queries.release(live, held)
        if self._is_ended:
            raise Refusal(Reason.QUERY_INDEX_NOT_FOUND)
        if known is not None:
            return known
        held.live = live
        self._held[live.id] = held
        return held

    async def _check_index(self, index_name: str, live: LiveQuery, held: _Held) -> None:
        """Once more, after the reading, which may take long: ``check_access`` doesn't know of what
        is only being held. When this returns, nothing has changed since the last look.
        """
        try:
            while True:
                checks = self._checks
                await self._queries.get_index(self._service, index_name, self._actor)
                if held not in live.holders:
                    raise Refusal(Reason.QUERY_INDEX_NOT_FOUND)  # it has ended meanwhile
                if checks == self._checks:
                    return
        except BaseException:
            self._queries.release(live, held)
            raise

    def _drop_abandoned(self) -> None:
        before = self._queries.node.sources.monotonic() - ABANDONED_SECONDS
        for query_id, held in list(self._held.items()):
            if not held.is_established and held.since < before:
                self.drop(query_id)


class _Held:
    """Implements ``live_query.QueryHolder`` for one live query of a session."""

    __slots__ = ("_owner", "has_missed", "is_established", "live", "since", "text_bytes")

    def __init__(self, owner: SessionQueries, since: float, text_bytes: int) -> None:
        self._owner = owner
        self.since = since
        self.text_bytes = text_bytes
        """Of what the client asks again by, after a reconnect."""
        self.live: LiveQuery | None = None
        """None until it is loaded."""
        self.is_established = False
        self.has_missed = False
        """A change was held back."""

    def send(self, frame: bytes) -> None:
        self._owner.send(self, frame)

    def on_permission(self, identity: str) -> None:
        self._owner.on_permission(identity)

    def on_ended(self, refusal: Refusal) -> None:
        self._owner.fail(self, refusal)


def _answer(rows: Iterable[tuple[str, bytes, int]], fields: dict[str, Any]) -> Answer:
    """``rows``: key, data, revision."""
    items = [
        {"key": key, "data": msgspec.Raw(data), "revision": revision}
        for key, data, revision in rows
    ]
    return Answer(200, _encode({**fields, "items": items}))


def _text_bytes(index_name: str, text: str | None) -> int:
    """As JSON, in which the client sends it."""
    return len(_encode(index_name)) + len(_encode(text))


def _read_body(request: Request) -> _Body:
    try:
        body = _decode_body(request.payload)
    except msgspec.ValidationError as error:
        raise Refusal(Reason.BAD_PARAMETER, f"Invalid parameter: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(Reason.BAD_PARAMETER, "The body is not valid JSON") from error
    if body.type not in (None, LIVE_QUERY):
        raise Refusal(Reason.BAD_PARAMETER, f"Invalid type: {body.type[:64]!r}")
    return body
