"""From the outbox to the targets: who is tried when.

A *target* is a service's webhook. What waits for it stands in *lanes*, one for each object, and is
delivered in order within a lane: the next one goes out when the one before was answered with 2xx,
or was given up. A few lanes of a target are worked on at a time, so that an object with a long
queue doesn't hold up its neighbours; which ones goes round in turn.

A lane whose first delivery fails waits, longer after each failure, up to ``LONGEST_SECONDS``. A
target that fails several times in a row is *down*: it gets one probe at a time, with growing pauses
of at most ``_LONGEST_PAUSE_SECONDS``, until one succeeds. So dead targets hold next to none of the
connections that all targets share.

A failure makes a dead letter of a webhook that is older than the maximal age. Those of that age
which were never tried become dead letters too, once their target has been down for as long.

Nothing is kept in memory but what is being worked on. Delivered webhooks are deleted while the next
ones of their lane are under way; a crash in between repeats them, under the same token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from starlings.core.errors import Fault
from starlings.core.objects import Service
from starlings.core.webhook_rules import Webhook, fires
from starlings.node.clock import Sources
from starlings.storage.outbox import (
    FIRST_LANE,
    Entry,
    FailedAttempt,
    Outbox,
    OutboxCounts,
)
from starlings.storage.store import Batch, Place, Store
from starlings.webhooks.backoff import backoff_seconds
from starlings.webhooks.delivery import Deliverer, Outcome
from starlings.webhooks.parameters import parameters_of

__all__ = ["MOST_IN_FLIGHT", "Dispatcher", "DispatcherStatistics", "Policy"]

logger = logging.getLogger("starlings.webhooks")

MOST_IN_FLIGHT = 128
"""Lanes worked on at a time, over all targets."""
_LANES_OF_A_TARGET = 4
_LANE_BATCH = 16
"""Deliveries of one lane before it is another's turn."""
_SCAN_LANES = 64
_MOST_SCANS = 20
_DOWN_AFTER = 5
"""Failures in a row."""
_LONGEST_PAUSE_SECONDS = 60.0
_STORE_PAUSE_SECONDS = 1.0
_STOP_SECONDS = 3.0
"""What is under way at the end of the server may take so long to finish."""
_LOOK_SECONDS = 1.0
_CARE_SECONDS = 10.0
_CARE_ROWS = 1_000


class Policy(NamedTuple):
    """What the operator has set."""

    max_age_seconds: float
    """For how long deliveries are tried."""
    dead_seconds: float
    """For how long dead letters are kept."""


class DispatcherStatistics(NamedTuple):
    """``delivered``, ``failed``, ``given_up`` and ``dropped`` count since the start; the rest is
    now.
    """

    delivered: int
    failed: int
    """Attempts, not webhooks."""
    given_up: int
    dropped: int
    """Because too many waited for their service."""
    in_flight: int
    """Lanes that are being worked on."""
    targets_down: int
    waiting: int
    """As of the last look, some seconds ago; so is ``dead``."""
    dead: int


class _Target:
    """What is known of one service's webhook while there is something to do for it."""

    __slots__ = ("cursor", "down_since", "failures", "lanes", "oid", "paused_until", "timer")

    def __init__(self, oid: int) -> None:
        self.oid = oid
        self.lanes: set[int] = set()
        """Being worked on."""
        self.cursor = FIRST_LANE
        self.failures = 0
        """In a row."""
        self.down_since: int | None = None
        self.paused_until = 0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_down(self) -> bool:
        return self.failures >= _DOWN_AFTER

    def revive(self) -> None:
        """Forget its failures."""
        self.failures = 0
        self.down_since = None
        self.paused_until = 0


class Dispatcher:
    """Delivers what waits. One per outbox; belongs to one event loop.

    Args:
        find_auth_token: The token of an account, which signs; None if it isn't known.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        deliverer: Deliverer,
        find_auth_token: Callable[[str], str | None],
        sources: Sources,
        policy: Policy,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._deliverer = deliverer
        self._find_auth_token = find_auth_token
        self._sources = sources
        self._policy = policy
        self._services: dict[int, Service] = {}
        """Those with a webhook."""
        self._targets: dict[int, _Target] = {}
        self._stale: dict[int, None] = {}
        """Targets for which there may be something to do, in turn."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._is_closing = False
        self._version = 0
        self._delivered = self._failed = self._given_up = 0
        self._counts = OutboxCounts(0, 0)

    async def start(self) -> None:
        """Take up what waits. Before anything changes services.

        Raises:
            Fault: The store can't be read.
        """
        start: Place | None = None
        while services := await self._store.list_services(start, False, 500):
            for service in services:
                if service.webhook_url is not None:
                    self._services[service.oid] = service
            start = (services[-1].created_at, services[-1].oid)
        self._version = await self._outbox.read_version()
        self._store.listen(self._on_commit)
        self._outbox.listen(self._on_added)
        for oid in await self._outbox.list_services():
            self._mark(oid)

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed(), name="webhooks")
                group.create_task(self._care(), name="webhooks-care")
        finally:
            await self._stop()

    def statistics(self) -> DispatcherStatistics:
        return DispatcherStatistics(
            self._delivered,
            self._failed,
            self._given_up,
            self._outbox.dropped,
            len(self._tasks),
            sum(target.is_down for target in self._targets.values()),
            *self._counts,
        )

    # What there is to do

    def _on_commit(self, batch: Batch) -> None:
        for oid, changed in batch.services:
            if changed is not None and changed.webhook_url is not None:
                self._services[oid] = changed
            else:
                self._services.pop(oid, None)
            if oid in self._targets:
                self._targets[oid].revive()  # perhaps it has another URL now
                self._mark(oid)
        if not self._services:
            return
        for object_, event in batch.events:
            service = self._services.get(object_.service_oid)
            if service is not None and fires(service, event.endpoint):
                self._mark(service.oid)

    def _on_added(self, webhooks: Sequence[Webhook]) -> None:
        for webhook in webhooks:
            self._mark(webhook.service_oid)

    def _mark(self, oid: int) -> None:
        if oid not in self._targets:
            self._targets[oid] = _Target(oid)
        self._stale[oid] = None
        self._wake.set()

    def _mark_later(self, target: _Target, at: float) -> None:
        """Look again at a target at a time, in milliseconds since 1970."""
        if target.timer is not None:
            target.timer.cancel()
        seconds = max(0.0, (at - self._sources.now()) / 1000)
        loop = asyncio.get_running_loop()
        target.timer = loop.call_later(seconds, self._mark, target.oid)

    # Feeding

    async def _feed(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._stale and len(self._tasks) < MOST_IN_FLIGHT:
                oid = next(iter(self._stale))
                del self._stale[oid]
                target = self._targets[oid]
                try:
                    await self._fill(target)
                except Fault as error:
                    logger.warning("The outbox can't be read, trying again error=%s", error)
                    self._mark_later(target, self._sources.now() + _STORE_PAUSE_SECONDS * 1000)

    async def _fill(self, target: _Target) -> None:
        """Start work on lanes of a target that are due, as far as there is room."""
        if target.paused_until > self._sources.now():
            self._mark_later(target, target.paused_until)
            return
        due_at: int | None = None
        # How often the lanes may end: who begins in the middle goes on from the first one.
        ends = 2 if target.cursor != FIRST_LANE else 1
        for _ in range(_MOST_SCANS):
            if not self._has_room(target):
                return  # the end of a lane's work marks the target again
            lanes = await self._outbox.list_lanes(target.oid, target.cursor, _SCAN_LANES)
            now = self._sources.now()
            for lane, lane_due_at in lanes:
                if not self._has_room(target):
                    return
                target.cursor = lane
                if lane in target.lanes:
                    continue
                if lane_due_at > now:
                    due_at = lane_due_at if due_at is None else min(due_at, lane_due_at)
                else:
                    self._start(target, lane)
            if len(lanes) < _SCAN_LANES:
                target.cursor = FIRST_LANE
                ends -= 1
                if ends == 0:
                    break
        else:
            self._mark_later(target, self._sources.now() + 100)  # others first, then the rest
            return
        if due_at is not None:
            self._mark_later(target, due_at)
        elif not target.lanes and target.oid not in self._stale and not self._remembers(target):
            self._targets.pop(target.oid, None)

    def _remembers(self, target: _Target) -> bool:
        """Whether what is known of a target's failures will be of use; services come and go."""
        return target.failures > 0 and target.oid in self._services

    def _has_room(self, target: _Target) -> bool:
        most = 1 if target.is_down else _LANES_OF_A_TARGET
        return len(target.lanes) < most and len(self._tasks) < MOST_IN_FLIGHT

    def _start(self, target: _Target, lane: int) -> None:
        target.lanes.add(lane)
        task = asyncio.get_running_loop().create_task(self._work(target, lane), name="webhook")
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            target.lanes.discard(lane)
            if not self._is_closing:
                self._mark(target.oid)
            if not task.cancelled() and task.exception() is not None:
                logger.error("Work on a webhook failed", exc_info=task.exception())

        task.add_done_callback(end)

    # One lane

    async def _work(self, target: _Target, lane: int) -> None:
        """Deliver what comes first in a lane, until something fails or it is another's turn."""
        try:
            entries = await self._outbox.read_lane(target.oid, lane, _LANE_BATCH)
        except Fault as error:
            logger.warning("The outbox can't be read, trying again error=%s", error)
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
            return
        async with asyncio.TaskGroup() as settling:
            for entry in entries:
                now = self._sources.now()
                if entry.due_at > now or target.paused_until > now or self._is_closing:
                    break
                failure = await self._attempt(target, entry)
                if failure is None:
                    settling.create_task(self._settle([entry.id], []))
                else:
                    settling.create_task(self._settle([], [failure]))
                    break

    async def _attempt(self, target: _Target, entry: Entry) -> FailedAttempt | None:
        """Try one delivery; None if the webhook is settled."""
        service = self._services.get(target.oid)
        if service is None:
            if await self._find_service(target.oid) is None:
                return None  # with its service, its URL and its account are gone
            self._given_up += 1
            return FailedAttempt(entry.id, 0, "the service has no webhook URL", True)
        outcome = await self._deliver(service, entry)
        if outcome.is_delivered:
            if target.is_down:
                logger.info("A webhook target is back service=%s", service.sid)
            target.revive()
            self._delivered += 1
            return None
        return self._note_failure(target, service, entry, outcome.detail)

    async def _find_service(self, oid: int) -> Service | None:
        while True:
            try:
                return await self._store.find_service(oid)
            except Fault:
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    async def _deliver(self, service: Service, entry: Entry) -> Outcome:
        assert service.webhook_url is not None
        auth_token = self._find_auth_token(service.account_sid)
        if auth_token is None:
            return Outcome(False, "the account's auth token is not known")
        try:
            return await self._deliverer.deliver(
                service.webhook_url, parameters_of(entry.webhook, service), auth_token, entry.token
            )
        except Exception:
            logger.exception("A webhook could not be sent id=%d", entry.id)
            return Outcome(False, "internal error, see the server's log")

    def _note_failure(
        self, target: _Target, service: Service, entry: Entry, detail: str
    ) -> FailedAttempt:
        now = self._sources.now()
        self._failed += 1
        target.failures += 1
        if target.is_down:
            pause = backoff_seconds(target.failures - _DOWN_AFTER + 1, self._chance())
            target.paused_until = now + int(min(pause, _LONGEST_PAUSE_SECONDS) * 1000)
            if target.down_since is None:
                target.down_since = now
                logger.warning("A webhook target is down service=%s error=%s", service.sid, detail)
        is_dead = now - entry.since >= self._policy.max_age_seconds * 1000
        if is_dead:
            self._given_up += 1
        logger.info(
            "A webhook was not delivered service=%s type=%s id=%d attempt=%d is_given_up=%s"
            " error=%s",
            service.sid,
            entry.webhook.type,
            entry.id,
            entry.attempts + 1,
            is_dead,
            detail,
        )
        due_at = now + int(backoff_seconds(entry.attempts + 1, self._chance()) * 1000)
        return FailedAttempt(entry.id, due_at, detail, is_dead)

    def _chance(self) -> float:
        return self._sources.random_bits(16) / 65535

    async def _settle(self, delivered: list[int], failed: list[FailedAttempt]) -> None:
        """Note what became of attempts. While the store can't write, the lane waits: it would
        otherwise be delivered again and again.
        """
        while True:
            try:
                await self._outbox.settle(delivered, failed)
            except Fault as error:
                if self._is_closing:
                    return
                logger.warning("A webhook can't be settled, trying again error=%s", error)
                await asyncio.sleep(_STORE_PAUSE_SECONDS)
            else:
                return

    # Care

    async def _care(self) -> None:
        """Hear of an operator's retries; now and then, count and clean."""
        looks = 0
        while True:
            try:
                await self._look()
                if looks % int(_CARE_SECONDS / _LOOK_SECONDS) == 0:
                    await self.clean()
            except Fault as error:
                logger.warning("The outbox can't be cared for error=%s", error)
            looks += 1
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        version = await self._outbox.read_version()
        if version == self._version:
            return
        self._version = version
        for target in self._targets.values():
            target.revive()
        for oid in await self._outbox.list_services():
            self._mark(oid)

    async def clean(self) -> None:
        """Bury what waits for targets that are down for too long; forget old dead letters."""
        now = self._sources.now()
        before = now - int(self._policy.max_age_seconds * 1000)
        for target in list(self._targets.values()):
            if target.down_since is not None and target.down_since < before:
                self._given_up += await self._outbox.bury(
                    target.oid, before, "the target was down", _CARE_ROWS
                )
        await self._outbox.forget_dead(now - int(self._policy.dead_seconds * 1000), _CARE_ROWS)
        self._counts = await self._outbox.count()

    async def _stop(self) -> None:
        self._is_closing = True
        for target in self._targets.values():
            if target.timer is not None:
                target.timer.cancel()
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
        await self._deliverer.close()
