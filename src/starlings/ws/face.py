"""The socket face as a whole: what all sessions share, and the list of them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any, NamedTuple, cast

from starlings.core.errors import Reason
from starlings.node.hub import Hub, Sink
from starlings.node.node import Node
from starlings.node.presence_keeper import PresenceKeeper
from starlings.node.queries import Queries, QueryBounds
from starlings.node.reachability import Reachability
from starlings.node.repeats import Repeats
from starlings.node.throttle import Throttle
from starlings.storage.store import Batch
from starlings.wire.session_events import Reason as EndReason
from starlings.wire.session_events import Timing
from starlings.ws.access_checks import AccessChecks
from starlings.ws.admission import Token
from starlings.ws.endpoints import Endpoints
from starlings.ws.options import WebSocketOptions
from starlings.ws.outbox import Outbox
from starlings.ws.queries import QueryFrames
from starlings.ws.render import EventEncoder
from starlings.ws.requests import RequestHandler
from starlings.ws.session import SyncSession
from starlings.ws.transport import WebSocketServer
from starlings.ws.turns import Turns

__all__ = ["FaceStatistics", "SyncFace"]

logger = logging.getLogger("starlings.ws")

_RETURN_PACE_SECONDS = 0.002
"""From one client's return to the next one's, when all are sent away: 500 a second."""
_LAST_TURNS = 22
_LAST_TURN_SECONDS = 0.05
"""A bit more than a second in all: what clients may take to answer ``close``."""


class FaceStatistics(NamedTuple):
    """``sessions`` is the present number; the rest counts since the start."""

    sessions: int
    opened: int
    telemetry_events: int
    ended: dict[str, int]
    """By reason."""


class SyncFace:
    """Makes and knows the sessions. ``server`` is what uvicorn takes as ``ws``.

    Args:
        verify: Checks an access token; raises Refusal.
        endpoint_secret: Signs continuation tokens; of this installation.
        base: ``scheme://host`` in front of the URLs in bodies and events; only a label.
        reachability: Is told of sessions that begin and end.
        presence: Is told the same.
    """

    def __init__(
        self,
        node: Node,
        verify: Callable[[str], Token],
        endpoint_secret: bytes,
        base: str = "https://starlings",
        options: WebSocketOptions | None = None,
        timing: Timing | None = None,
        query_bounds: QueryBounds | None = None,
        reachability: Reachability | None = None,
        presence: PresenceKeeper | None = None,
    ) -> None:
        self.node = node
        self._reachability = reachability
        self._presence = presence
        self.verify = verify
        self.base = base
        self.timing = timing or Timing()
        self.monotonic = node.sources.monotonic
        self.encoder = EventEncoder(base, node.sources.random_bits(64))
        self.hub = Hub(
            self.encoder,
            self._broadcast,
            lambda: node.store.has_untold,
            lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call),
        )
        self.queries = Queries(node, self.hub, QueryFrames(self.encoder), self.spawn, query_bounds)
        self.handler = RequestHandler(node, base)
        self.repeats = Repeats(node.sources.monotonic)
        self.endpoints = Endpoints(endpoint_secret, node.store.epoch, node.sources.random_bits)
        self.server = WebSocketServer(lambda: SyncSession(self), options)
        self.telemetry_events = 0
        self.checks = AccessChecks(self.spawn)
        self.turns = Turns()
        self._sessions: set[SyncSession] = set()
        self._entering: dict[SyncSession, None] = {}
        """Those that wait for their service: they hear of all."""
        self._of_service: dict[int, dict[SyncSession, None]] = {}
        """By oid, the others that are in a service: only they hear of its changes, which would
        otherwise cost each time as much as there are sessions."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._opened = 0
        self._ended: Counter[str] = Counter()
        self._throttle = Throttle(node.sources.monotonic)
        node.store.listen(self.hub.publish)
        node.store.listen(self._check_changed_services)
        node.listen_to_messages(self.hub.publish_message)

    # For sessions

    def time(self) -> int:
        """Milliseconds by a clock that never goes back: what sessions count by. Were it the one of
        the day, a correction of that would look like silence, or hide it.
        """
        return int(self.monotonic() * 1000)

    def time_of(self, at: int) -> int:
        """What ``time`` will be at ``at``, milliseconds since 1970, by the clock as it is now."""
        return self.time() + at - self.node.sources.now()

    @property
    def is_draining(self) -> bool:
        """True when no more sessions shall begin."""
        return self._is_draining

    def add(self, session: SyncSession) -> None:
        self._sessions.add(session)
        self._opened += 1

    def remove(self, session: SyncSession, reason: str) -> None:
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        self._ended[reason] += 1
        if session.caller is not None:
            self._leave_service(session, session.caller.service.oid)
        if self._reachability is not None and session.caller is not None:
            self._reachability.disconnected(session, session.caller.service)
        if self._presence is not None and session.caller is not None:
            self._presence.disconnected(session, session.caller.service)
        identity = "-" if session.token is None else session.token.identity
        seconds, counted = session.summary()
        logger.info(
            "A session ended reason=%s identity=%r seconds=%.1f received=%d",
            reason,
            identity,
            seconds,
            counted.messages_received,
        )

    def begin_entering(self, session: SyncSession) -> None:
        """A session waits for its service; from now on it hears of changes."""
        self._entering[session] = None

    def end_entering(self, session: SyncSession) -> None:
        del self._entering[session]

    def enter_service(self, session: SyncSession, oid: int) -> None:
        """A session knows its service; nothing happens if it has ended meanwhile."""
        if session in self._sessions:
            self._of_service.setdefault(oid, {})[session] = None

    def _leave_service(self, session: SyncSession, oid: int) -> None:
        inside = self._of_service.get(oid)
        if inside is not None:
            inside.pop(session, None)
            if not inside:
                del self._of_service[oid]

    def on_ready(self, session: SyncSession) -> None:
        caller = session.caller
        assert caller is not None
        service, identity, endpoint = caller.service, caller.actor.identity, session.endpoint
        if self._reachability is not None:
            self._reachability.connected(session, service, identity, endpoint)
        if self._presence is not None:
            self._presence.connected(session, service, identity, session.client_endpoint, endpoint)
        logger.info(
            "A session began service=%s identity=%r endpoint=%s", service.sid, identity, endpoint
        )

    def _broadcast(self, sinks: Collection[Sink], frames: list[bytes]) -> None:
        # All sinks are those of sessions.
        self.server.flusher.broadcast(cast(Collection[Outbox], sinks), frames)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work of a session in a task that ``close`` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def take_connection(self) -> None:
        """Count a new connection. Raises Refusal TOO_MANY_REQUESTS. [rest-api 10]"""
        rates = self.node.limits.rates
        if rates.connections is None:
            return
        self._throttle.take(
            "connect",
            rates.connections,
            rates.connections * rates.burst_seconds,
            lambda: "Too many connections in a short time",
            reason=Reason.TOO_MANY_REQUESTS,
        )

    # For the assembly

    def revoke_key(self, key_sid: str) -> None:
        """End the sessions whose token was signed with a key."""
        self._revoke(lambda token: token.key_sid == key_sid)

    def revoke_identity(self, account_sid: str, identity: str) -> int:
        """End the sessions of an identity; how many."""
        return self._revoke(
            lambda token: token.account_sid == account_sid and token.identity == identity
        )

    async def drain(self, spread_seconds: float) -> None:
        """End all sessions so that no call is left hanging and clients don't come back all at once.

        A session that has requests under way is given a second to finish them. Then it is dropped:
        after ``close`` a JavaScript client would wait 30 s for replies that never come. Clients
        come back about a second after they were dropped; where that would be too many in a short
        time, those that wait for nothing are told to come back later, over ``spread_seconds``.
        [wire-protocol 4.6]
        """
        self._is_draining = True
        sessions = list(self._sessions)
        pace_seconds = min(_RETURN_PACE_SECONDS, spread_seconds / max(1, len(sessions)))
        to_drop = []
        for place, session in enumerate(sessions):
            delay_ms = int(1000 * pace_seconds * place)
            if delay_ms < 1000 or session.has_requests or session.token is None:
                to_drop.append(session)
            else:
                session.offload(delay_ms)
        for turn in range(_LAST_TURNS):
            busy = []
            for session in to_drop:
                if session.has_requests and turn < _LAST_TURNS - 1:
                    busy.append(session)
                else:
                    session.drop(EndReason.SHUTDOWN)
            to_drop = busy
            if not self._sessions:
                break
            await asyncio.sleep(_LAST_TURN_SECONDS)
        for session in list(self._sessions):
            session.drop(EndReason.SHUTDOWN)

    async def close(self) -> None:
        """Wait for the work that sessions have begun."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5.0)
        for task in list(self._tasks):
            task.cancel()

    def statistics(self) -> FaceStatistics:
        return FaceStatistics(
            len(self._sessions), self._opened, self.telemetry_events, dict(self._ended)
        )

    # Within

    def _revoke(self, is_meant: Callable[[Token], bool]) -> int:
        meant = [
            session
            for session in self._sessions
            if any(is_meant(token) for token in session.tokens())
        ]
        for session in meant:
            session.revoke()
        return len(meant)

    def _check_changed_services(self, batch: Batch) -> None:
        """A service that is gone ends its sessions; access control is checked anew at once."""
        for oid, service in batch.services:
            for session in [*self._entering, *self._of_service.get(oid, ())]:
                session.hear_service(oid, service)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("Work of a session failed", exc_info=task.exception())
