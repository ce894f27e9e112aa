"""Establishing subscriptions: replay what a client missed, then let it go live. [wire-protocol 8.1,
8.2, 8.5]

One ``CatchUp`` per session works off its entries in order, one after the other. A long replay is
paged: after ``PAGE_EVENTS`` events or ``PAGE_BYTES`` the client is told ``interrupted`` and comes
back from where it is, so a session that was away for long takes no more memory than one that
wasn't. Between entries it waits until the connection has room, and for its turn among all sessions.

What is sent for an entry: replayed events, then its confirmation; and only then, by
``Subscription.go_live``, events that happened meanwhile. Confirmations of entries without replay
are gathered, up to ``CONFIRM_ENTRIES`` in one notification.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import NamedTuple

from starlings.core.access import Right
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.objects import Actor, Item, Kind, ObjectRef, Service, SyncObject, Tombstone
from starlings.core.sids import is_sid
from starlings.node.hub import Hub
from starlings.node.node import Node
from starlings.node.queries import Queries
from starlings.node.subscription import Mode, Owner, Subscription
from starlings.storage.cuts import is_of_lost_history
from starlings.wire.subscriptions import (
    CorrelationId,
    Established,
    Failed,
    SubscriptionEntry,
    encode_canceled,
    encode_established,
    encode_failed,
)
from starlings.ws.holds import Holds
from starlings.ws.queries import LIVE_QUERY, Peer, SessionQueries
from starlings.ws.render import EventEncoder, encode_event_payload

__all__ = ["CatchUp"]

logger = logging.getLogger("starlings.ws")

PAGE_EVENTS = 500
PAGE_BYTES = 256 * 1024
CONFIRM_ENTRIES = 50
MOST_WAITING = 32
"""Requests to subscribe or cancel that may wait for their turn; clients send one after another."""
REPAIR_PAUSE_SECONDS = 0.5
"""Before a repair that failed for passing trouble is tried again."""
_KINDS = {kind.word: kind for kind in Kind}


class _Job(NamedTuple):
    entry: SubscriptionEntry
    correlation_id: CorrelationId
    is_last: bool
    """Of its batch: gathered confirmations go out after it."""


class _Cancel(NamedTuple):
    entries: list[SubscriptionEntry]
    correlation_id: CorrelationId


class _Gap(NamedTuple):
    subscription: Subscription


class _Replayed(NamedTuple):
    """What a page of replay came to."""

    last_id: int
    is_complete: bool


class CatchUp:
    """The subscriptions of one session."""

    def __init__(
        self,
        node: Node,
        hub: Hub,
        queries: Queries,
        encoder: EventEncoder,
        base: str,
        service: Service,
        actor: Actor,
        owner: Owner,
        peer: Peer,
    ) -> None:
        self._node = node
        self._hub = hub
        self._encoder = encoder
        self._base = base
        self._service = service
        self._actor = actor
        self._owner = owner
        self._peer = peer
        self.subscriptions: dict[str, Subscription] = {}
        """By SID of the object."""
        self.queries = SessionQueries(
            queries, encoder, service, actor, peer, self.subscriptions.__len__
        )
        self.holds = Holds(self.subscriptions, node.limits.subscriptions)
        self._jobs: deque[_Job | _Cancel | _Gap] = deque()
        self._waiting = 0
        self._confirmed: list[tuple[Subscription, Established]] = []
        self._failed: list[Failed] = []
        self._correlation_id: CorrelationId = 0
        self._is_working = False
        self._is_ended = False

    # What the session asks for

    @property
    def is_full(self) -> bool:
        """True: take no more requests for now, or a client could fill the memory with them."""
        return self._waiting >= MOST_WAITING

    def establish(self, entries: list[SubscriptionEntry], correlation_id: CorrelationId) -> bool:
        """Queue entries; True: somebody has to ``work`` now."""
        for place, entry in enumerate(entries, 1):
            self._jobs.append(_Job(entry, correlation_id, place == len(entries)))
        self._waiting += bool(entries)
        return self._take_work()

    def repair(self, subscription: Subscription) -> bool:
        """Queue a catch-up of a live subscription that missed something; True as above."""
        self._jobs.append(_Gap(subscription))
        return self._take_work()

    def cancel(self, entries: list[SubscriptionEntry], correlation_id: CorrelationId) -> bool:
        """Queue the end of subscriptions, behind what was asked for before; True as above."""
        self._jobs.append(_Cancel(entries, correlation_id))
        self._waiting += 1
        return self._take_work()

    def _cancel(self, entries: list[SubscriptionEntry], correlation_id: CorrelationId) -> None:
        """End subscriptions; those that don't exist are confirmed all the same. [trap 14]"""
        for entry in entries:
            self.drop(entry.object_sid)
        payload = encode_canceled(
            correlation_id, [(entry.object_sid, entry.object_type) for entry in entries]
        )
        self._peer.send(self._encoder.frame(payload))

    def drop(self, sid: str) -> None:
        """End a subscription without a word."""
        subscription = self.subscriptions.pop(sid, None)
        if subscription is not None:
            subscription.end()
            self._hub.unwatch(subscription.oid, subscription)
        self.queries.drop(sid)

    def fail(self, subscription: Subscription, refusal: Refusal) -> None:
        """End a subscription and say why, which must not be followed by its confirmation.
        [rest-api 6]
        """
        self.drop(subscription.sid)
        self._confirmed = [pair for pair in self._confirmed if pair[0] is not subscription]
        failed = Failed(
            subscription.sid,
            subscription.kind.word,
            refusal.status,
            refusal.code,
            refusal.message,
        )
        # Clients take a refusal of a pending request by its number only, and one of an established
        # subscription only without; Kotlin clients not even then, but as a cancellation by the
        # server, of which JavaScript clients take no notice. [11]
        number = None if subscription.is_confirmed else self._correlation_id
        self._peer.send(self._encoder.frame(encode_failed(number, [failed])))
        if number is None:
            ended = [(subscription.sid, subscription.kind.word)]
            self._peer.send(self._encoder.frame(encode_canceled(None, ended)))

    def end(self) -> None:
        """The session is over."""
        self._is_ended = True
        self._jobs.clear()
        for sid in list(self.subscriptions):
            self.drop(sid)
        self.queries.end()

    # The work

    def _take_work(self) -> bool:
        if self._is_working or not self._jobs:
            return False
        self._is_working = True
        return True

    async def work(self) -> None:
        """Work off what is queued. Run by one task at a time.

        After a mistake of ours the client is sent away, and asks anew when it comes back: it would
        wait for what is queued for ever.
        """
        try:
            while self._jobs:
                await self._peer.wait_for_room()
                await self._peer.wait_for_turn()
                if not self._jobs:
                    break
                job = self._jobs.popleft()
                match job:
                    case _Gap():
                        await self._repair_or_retry(job)
                    case _Cancel():
                        self._waiting -= 1
                        self._cancel(job.entries, job.correlation_id)
                    case _Job():
                        self._waiting -= job.is_last
                        await self._establish(job)
        except Exception:
            logger.exception("Catching up failed")
            self._peer.send_away()
        finally:
            self._is_working = False

    async def _establish(self, job: _Job) -> None:
        if job.correlation_id != self._correlation_id:
            self._confirm()
            self._correlation_id = job.correlation_id
        entry = job.entry
        try:
            if entry.object_type == LIVE_QUERY:
                await self.queries.establish(entry, job.correlation_id)
            else:
                await self._establish_object(entry, job.correlation_id)
        except Refusal as refusal:
            self.drop(entry.object_sid)
            self._failed.append(
                Failed(
                    entry.object_sid,
                    entry.object_type,
                    refusal.status,
                    refusal.code,
                    refusal.message,
                )
            )
        except Fault as fault:
            # Passing trouble: without a confirmation the client asks again by itself. [8.2]
            logger.warning("A subscription will be asked for again error=%s", fault.message)
            self.drop(entry.object_sid)
        if job.is_last or len(self._confirmed) >= CONFIRM_ENTRIES:
            self._confirm()

    async def _establish_object(
        self, entry: SubscriptionEntry, correlation_id: CorrelationId
    ) -> None:
        subscription, target = await self._open(entry)
        replayed = await self._replay_until_live(
            subscription, target, entry.last_event_id, correlation_id
        )
        if subscription.mode is Mode.ENDED:
            return  # the permission was taken away meanwhile, and the client was told
        status: Established
        if replayed.is_complete:
            last_id = None if subscription.kind is Kind.STREAM else replayed.last_id
            status = Established(entry.object_sid, entry.object_type, last_id)
        else:
            self.drop(entry.object_sid)
            status = Established(
                entry.object_sid, entry.object_type, replayed.last_id, "interrupted"
            )
        subscription.last_id = replayed.last_id
        self._confirmed.append((subscription, status))

    def _confirm(self) -> None:
        """Send what was gathered; each subscription goes live right behind its confirmation."""
        failed, self._failed = self._failed, []
        confirmed, self._confirmed = self._confirmed, []
        if failed:
            self._peer.send(self._encoder.frame(encode_failed(self._correlation_id, failed)))
        if not confirmed:
            return
        entries = [status for _, status in confirmed]
        self._peer.send(self._encoder.frame(encode_established(self._correlation_id, entries)))
        for subscription, _ in confirmed:
            subscription.is_confirmed = True
            if subscription.mode is Mode.HOLDING and not subscription.go_live(subscription.last_id):
                self._jobs.append(_Gap(subscription))

    async def _open(self, entry: SubscriptionEntry) -> tuple[Subscription, SyncObject]:
        """Begin to listen to an object. Raises Refusal: it doesn't exist, or is not to be read."""
        kind = _KINDS.get(entry.object_type)
        if kind is None:
            raise Refusal(Reason.BAD_PARAMETER, f"Invalid object_type: {entry.object_type[:64]!r}")
        if not is_sid(entry.object_sid):
            raise Refusal(kind.not_found)
        self.drop(entry.object_sid)
        if len(self.subscriptions) + len(self.queries) >= self._node.limits.subscriptions:
            raise Refusal(
                Reason.TOO_MANY_SUBSCRIPTIONS,
                f"Too many subscriptions: a connection may have {self._node.limits.subscriptions}",
            )
        ref = ObjectRef(self._service.oid, kind, entry.object_sid)
        target = await self._node.get_object(ref, self._actor, Right.READ)
        if self._is_ended:
            # The hub would keep it, and the whole session with it, for ever.
            raise Refusal(kind.not_found)
        subscription = Subscription(target.oid, target.sid, kind, self._owner)
        self.subscriptions[target.sid] = subscription
        self._hub.watch(target.oid, self._service.sid, subscription)
        # Again, now that nothing can be missed: it may have been removed in between.
        target = await self._node.get_object(ref, self._actor, Right.READ)
        return subscription, target

    async def _replay_until_live(
        self,
        subscription: Subscription,
        target: SyncObject,
        after_id: int | None,
        correlation_id: CorrelationId,
    ) -> _Replayed:
        """Send what happened after ``after_id``, a page at most. None: after what was read."""
        read_id = self.holds.take_read(target.sid)
        if after_id is None:
            after_id = read_id
        if after_id is None or target.kind is Kind.STREAM:
            return _Replayed(target.event_id, is_complete=True)
        if is_of_lost_history(after_id, target.event_id, self._node.store.cut_id):
            # What the client has is not what the store had then, and nothing could set it right:
            # it must open the object anew. [8.5]
            raise Refusal(target.kind.not_found, f"{target.kind.not_found.title}: history was cut")
        if after_id == target.event_id:
            return _Replayed(target.event_id, is_complete=True)
        if target.kind is Kind.DOCUMENT:
            self._send(target, _latest(target), correlation_id)
            return _Replayed(target.event_id, is_complete=True)
        events = await self._node.store.replay(target.oid, max(after_id, -1), PAGE_EVENTS + 1)
        if await self._has_ended(subscription, target):
            return _Replayed(after_id, is_complete=True)
        if events is not None:
            return self._send_page(target, events, after_id, correlation_id)
        return await self._send_snapshot(subscription, target, after_id, correlation_id)

    def _send_page(
        self,
        target: SyncObject,
        events: list[Event],
        after_id: int,
        correlation_id: CorrelationId | None,
    ) -> _Replayed:
        last_id, size_bytes = after_id, 0
        for event in events[:PAGE_EVENTS]:
            if size_bytes > PAGE_BYTES:
                return _Replayed(last_id, is_complete=False)
            size_bytes += self._send(target, event, correlation_id)
            last_id = event.event_id
        return _Replayed(last_id, is_complete=len(events) <= PAGE_EVENTS)

    async def _send_snapshot(
        self,
        subscription: Subscription,
        target: SyncObject,
        after_id: int,
        correlation_id: CorrelationId | None,
    ) -> _Replayed:
        """The log is too young: send every item changed since, and the removals still known."""
        snapshot = await self._node.store.snapshot(target.oid, after_id, PAGE_EVENTS)
        if await self._has_ended(subscription, target) or snapshot is None:
            return _Replayed(target.event_id, is_complete=True)  # its removal is being held
        changed: list[Item | Tombstone] = [*snapshot.items, *snapshot.tombstones]
        changed.sort(key=lambda one: one.event_id)
        last_id, size_bytes = after_id, 0
        for one in changed:
            if size_bytes > PAGE_BYTES:
                return _Replayed(last_id, is_complete=False)
            # Those whose time is up, too, as the log has them: a page without an event would make
            # the client ask for the same page again, and their removal is about to come. [8.5]
            event = _as_event(one, after_id)
            size_bytes += self._send(snapshot.object, event, correlation_id)
            last_id = one.event_id
        if not snapshot.is_complete:
            return _Replayed(last_id, is_complete=False)
        return _Replayed(snapshot.object.event_id, is_complete=True)

    async def _has_ended(self, subscription: Subscription, target: SyncObject) -> bool:
        """Whether nothing may be sent of what was just read: it was cancelled meanwhile, or fails
        here, for the right to read has gone.
        """
        try:
            await self._node.check_still(target, self._actor)
        except Refusal as refusal:
            if subscription.mode is not Mode.ENDED:
                self.fail(subscription, refusal)
        return subscription.mode is Mode.ENDED

    async def _repair_or_retry(self, gap: _Gap) -> None:
        try:
            await self._repair(gap.subscription)
        except Fault as fault:
            # The client knows of nothing and won't ask again; others may have their turn first.
            logger.warning("A subscription will be repaired again error=%s", fault.message)
            self._jobs.append(gap)
            await asyncio.sleep(REPAIR_PAUSE_SECONDS)

    async def _repair(self, subscription: Subscription) -> None:
        """Catch a live subscription up from where it is, page after page."""
        while subscription.mode is Mode.HOLDING:
            await self._peer.wait_for_room()
            target = await self._node.store.find_object(subscription.oid)
            after_id = subscription.last_id
            events: list[Event] | None = []
            if target is not None and target.kind in (Kind.LIST, Kind.MAP):
                events = await self._node.store.replay(target.oid, after_id, PAGE_EVENTS + 1)
            if target is not None:
                await self._has_ended(subscription, target)
            if subscription.mode is not Mode.HOLDING:
                return  # cancelled meanwhile
            if target is None or target.kind is Kind.STREAM or target.event_id <= after_id:
                # Of an object that is gone the removal is held, or is about to be heard.
                replayed = _Replayed(after_id, is_complete=True)
            elif target.kind is Kind.DOCUMENT:
                self._send(target, _latest(target), None)
                replayed = _Replayed(target.event_id, is_complete=True)
            elif events is None:
                replayed = await self._send_snapshot(subscription, target, after_id, None)
            else:
                replayed = self._send_page(target, events, after_id, None)
            subscription.last_id = replayed.last_id
            if replayed.is_complete and subscription.go_live(replayed.last_id):
                return

    def _send(self, target: SyncObject, event: Event, correlation_id: CorrelationId | None) -> int:
        payload = encode_event_payload(self._base, target, event, self._service.sid, correlation_id)
        assert payload is not None
        frame = self._encoder.frame(payload)
        subscription = self.subscriptions.get(target.sid)
        if (
            event.type is EventType.ITEM_REMOVED
            and subscription is not None
            and self._owner.is_told_by_reply(subscription, event)
        ):
            frame = self._encoder.mute_removal(frame)
        self._peer.send(frame)
        return len(payload)


def _latest(document: SyncObject) -> Event:
    """A document's present state as the event that leads to it."""
    return Event(
        document.oid,
        document.seq,
        document.event_id,
        EventType.DOCUMENT_UPDATED,
        document.updated_at,
        None,
        document.data,
        document.expires_at,
        document.created_by,
        None,
        None,
    )


def _as_event(one: Item | Tombstone, after_id: int) -> Event:
    """An item's present state, or its removal, as the event that leads to it."""
    if isinstance(one, Tombstone):
        return Event(
            one.oid, 0, one.event_id, EventType.ITEM_REMOVED, one.at, one.key, one.data, None, "",
            one.endpoint, None,
        )  # fmt: skip
    kind = EventType.ITEM_ADDED if one.added_id > after_id else EventType.ITEM_UPDATED
    return Event(
        one.oid, 0, one.event_id, kind, one.updated_at, one.key, one.data, one.expires_at,
        one.created_by, None, None,
    )  # fmt: skip
