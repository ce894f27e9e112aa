"""One client connection: pumps bytes between the transport and the protocol, and requests to the
node.

Theory of operation. The transport hands in whole messages; ``wire.session`` says what each means,
and its outputs are carried out here. Three things come of it that take time, and run in tasks of
the face: checking a token (what follows from it is in ``admission``), tunnelled requests
(``inbox``), and catching up (``catchup``). The last two exist from the answer to ``init`` to the
session's end. Everything sent passes the connection's one bounded outbox; a client that doesn't
read is cut off there, and repairs itself by its own replay.

Acknowledgements of events are by far the most frequent frames: they are recognised by their first
bytes and only count as a sign of life.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from starlings.auth.tokens import read_claimed
from starlings.core.access import may_concern
from starlings.core.errors import Fault, Reason, Refusal, StarlingsError
from starlings.core.events import Event
from starlings.core.objects import Service
from starlings.node.hub import Delivery
from starlings.node.repeats import Answer
from starlings.node.subscription import Owner as SubscriptionOwner
from starlings.node.subscription import Subscription
from starlings.wire import close_codes
from starlings.wire import session_events as e
from starlings.wire.codec import encode_http_reply
from starlings.wire.messages import Init, Request
from starlings.wire.session import ServerSession
from starlings.ws.access_checks import Check
from starlings.ws.admission import Token, admit, check_renewal, refusal_of
from starlings.ws.catchup import CatchUp
from starlings.ws.connection import Connection, ConnectionStatistics
from starlings.ws.inbox import Inbox
from starlings.ws.outbox import Outbox
from starlings.ws.requests import Caller

if TYPE_CHECKING:
    from starlings.ws.face import SyncFace

__all__ = ["SyncSession"]

logger = logging.getLogger("starlings.ws")

_ROOM_BYTES = 128 * 1024
_LONGEST_TIMER_SECONDS = 60.0
_ACKNOWLEDGEMENT = re.compile(
    rb'TWILSOCK V3\.0 \d{1,6}\r\n\{"id":"[^"\\]{1,80}","method":"reply"'
).match
# Where that is with an id of 34 characters, as ours are, and a header of 100 to 999 bytes.
_REPLY, _REPLY_AT = b'","method":"reply"', 60


class SyncSession(SubscriptionOwner):
    """Implements ``connection.Listener`` and ``subscription.Owner``."""

    __slots__ = (
        "_connection",
        "_face",
        "_has_acknowledged",
        "_inbox",
        "_is_closing",
        "_opened_at",
        "_protocol",
        "_renewals",
        "_room",
        "_services",
        "_timer",
        "caller",
        "catch_up",
        "client_endpoint",
        "endpoint",
        "token",
    )

    def __init__(self, face: SyncFace) -> None:
        self._face = face
        self.token: Token | None = None
        """That it lives by."""
        self._renewals: tuple[Token, ...] = ()
        """Those that are about to replace it."""
        self.caller: Caller | None = None
        self.endpoint = ""
        self.client_endpoint = ""
        self.catch_up: CatchUp | None = None
        self._inbox: Inbox | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._services: dict[int, Service | None] | None = None
        """Those that changed while ``init`` waits for its own, by oid."""
        self._has_acknowledged = False
        self._is_closing = False

    # From the transport

    def on_open(self, connection: Connection) -> None:
        self._connection = connection
        self._opened_at = self._face.monotonic()
        self._protocol = ServerSession(
            self._face.encoder.next_id, self._face.time(), self._face.timing
        )
        self._face.add(self)
        self._set_timer()
        if self._face.is_draining:
            self.drop(e.Reason.SHUTDOWN)

    def on_message(self, data: bytes) -> bool:
        # The reply to a ``close`` looks the same, and ends the session.
        if not self._is_closing and (
            data.startswith(_REPLY, _REPLY_AT) or _ACKNOWLEDGEMENT(data) is not None
        ):
            self._has_acknowledged = True  # told to the protocol at its next tick
            return True
        self._handle(e.FrameReceived(data))
        return False

    def on_text(self) -> None:
        """Clients send binary messages only. [wire-protocol 3]"""
        logger.debug("A text message was dropped")

    def on_drained(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self._inbox is not None:
            self._inbox.go_on()

    def on_close(self, code: int | None, reason: str) -> None:
        if not isinstance(self._protocol.state, e.Closed):
            self._protocol.handle(e.TransportLost(), self._face.time())
        self._end(f"{reason}/{code}")

    # From subscriptions

    @property
    def send_framed(self) -> Callable[[bytes], None]:
        return self._connection.send_framed

    @property
    def sink(self) -> Outbox | None:
        return self._connection.sink

    def send(self, frame: bytes) -> None:
        if self._protocol.is_ready:
            self._connection.send_framed(frame)

    def is_told_by_reply(self, subscription: Subscription, event: Event) -> bool:
        # Not before the reply was sent, which may get lost. And if the client has opened the object
        # anew since, it would not connect the reply with it. In both cases the event must tell it.
        if event.endpoint != self.endpoint or event.request_id is None:
            return False
        inbox, catch_up = self._inbox, self.catch_up
        if inbox is None or catch_up is None:
            return False
        asked_under = inbox.take_removal(event.request_id)
        held = catch_up.holds.hold_of(subscription.sid)._replace(subscription=subscription)
        return asked_under is not None and asked_under.is_of(held)

    def on_gap(self, subscription: Subscription) -> None:
        if self.catch_up is not None and self.catch_up.repair(subscription):
            self._face.spawn(self.catch_up.work())

    def on_removed(self, subscription: Subscription) -> None:
        if self.catch_up is not None:
            self.catch_up.drop(subscription.sid)

    def on_permission(self, subscription: Subscription, delivery: Delivery) -> None:
        """A grant changed: if it is ours and takes away reading, this ends. [rest-api 6]"""
        caller = self.caller
        if caller is None or not may_concern(str(delivery.event.key), caller.actor.identity):
            return
        self._check_soon(subscription)

    def _check_soon(self, subscription: Subscription) -> None:
        # One look that has not begun stands for several doubts.
        if self.check(subscription, lambda: self._settle_doubt(subscription)):
            subscription.begin_doubt()

    async def _settle_doubt(self, subscription: Subscription) -> None:
        try:
            await self.check_access(subscription)
        finally:
            subscription.end_doubt()

    def check(self, key: Hashable, check: Check) -> bool:
        return self._face.checks.add(key, check)

    async def check_access(self, subscription: Subscription) -> None:
        """End a subscription whose object may not be read any more."""
        caller, catch_up = self.caller, self.catch_up
        if caller is None or catch_up is None:
            return
        try:
            may_read = await self._face.node.may_read(
                caller.service.oid, subscription.oid, caller.actor.identity
            )
        except BaseException as error:
            self.send_away()  # not known is not allowed, nor what is cut short
            if not isinstance(error, Fault):
                raise
            return
        if not may_read and catch_up.subscriptions.get(subscription.sid) is subscription:
            catch_up.fail(subscription, Refusal(Reason.ACCESS_DENIED))

    def send_away(self) -> None:
        self.drop(e.Reason.REVOKED)

    def summary(self) -> tuple[float, ConnectionStatistics]:
        """How many seconds it has lasted, and what went over its connection."""
        return self._face.monotonic() - self._opened_at, self._connection.statistics()

    def subscriptions(self) -> list[Subscription]:
        """What is subscribed to now."""
        return [] if self.catch_up is None else list(self.catch_up.subscriptions.values())

    # From the face

    @property
    def has_requests(self) -> bool:
        """Whether the client waits for replies."""
        return self._inbox is not None and len(self._inbox) > 0

    def hear_service(self, oid: int, service: Service | None) -> None:
        """A service has changed; None: it was removed."""
        if self._services is not None:
            self._services[oid] = service
        caller = self.caller
        if caller is None or caller.service.oid != oid:
            return
        if service is None:
            self.drop(e.Reason.REVOKED)
            return
        self.caller = caller._replace(service=service)
        if service.has_acl and not caller.service.has_acl:
            for subscription in self.subscriptions():
                self._check_soon(subscription)
            if self.catch_up is not None:
                self.catch_up.queries.check_soon()

    def offload(self, reconnect_min_ms: int) -> None:
        """Ask a client that waits for no reply to come back later, or elsewhere."""
        self._handle(e.CloseRequested(close_codes.OFFLOAD, reconnect_min_ms))

    def drop(self, reason: e.Reason) -> None:
        """End the session without a word; the client comes back at once. [4.6]"""
        self._handle(e.DropRequested(reason))

    def tokens(self) -> tuple[Token, ...]:
        """All that it lives by, or is about to."""
        return self._renewals if self.token is None else (self.token, *self._renewals)

    def revoke(self) -> None:
        """Its key or identity is not good any more."""
        self._handle(e.DropRequested(e.Reason.REVOKED))

    def has_room(self, size_bytes: int, most_bytes: int) -> bool:
        room_bytes = most_bytes - size_bytes
        if self._connection.queued_bytes <= room_bytes:
            return True
        if room_bytes < 0:
            return False
        # Most of it may only be this turn's, which the kernel takes at once: then nothing would
        # ever be drained.
        self._connection.flush()
        return self._connection.queued_bytes <= room_bytes

    async def wait_for_room(self) -> None:
        while not self.has_room(0, _ROOM_BYTES):
            if isinstance(self._protocol.state, e.Closed):
                return
            # Catching up and a search may both wait: they share the future.
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    async def wait_for_turn(self) -> None:
        await self._face.turns.wait()

    # The protocol

    def _handle(self, event: e.Input) -> None:
        before = type(self._protocol.state)
        for output in self._protocol.handle(event, self._face.time()):
            match output:
                case e.Send(frame=frame):
                    self._connection.send(frame)
                case e.RequestReceived(request=request):
                    inbox = self._inbox
                    # Requests come out of READY only, and of frames.
                    assert inbox is not None
                    assert isinstance(event, e.FrameReceived)
                    inbox.take(request, len(event.data))
                case e.InitRequested(init=init):
                    self._face.spawn(self._decide_init(init))
                case e.UpdateRequested(request_id=request_id, token=token):
                    self._face.spawn(self._decide_update(request_id, token))
                case e.SessionClosed(reason=reason):
                    self._end(reason.value)
                    self._connection.close(1000, reason.value)
                case e.FrameRejected(reason=reason_text):
                    logger.debug("A frame was rejected reason=%s", reason_text)
                case e.TelemetryReceived():
                    self._face.telemetry_events += len(output.events)
        state = self._protocol.state
        if type(state) is not before:
            self._is_closing = isinstance(state, e.Closing)
            self._reset_timer()
        elif self._timer is None:
            self._set_timer()

    def _set_timer(self) -> None:
        deadline = self._protocol.deadline_ms
        if deadline is None:
            return
        delay = min(max(0.0, (deadline - self._face.time()) / 1000), _LONGEST_TIMER_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._has_acknowledged:
            self._has_acknowledged = False
            self._protocol.hear_acknowledgement(self._face.time())
        self._handle(e.Tick())

    def _reset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._set_timer()

    def _end(self, reason: str) -> None:
        """Whatever ended it: stop listening, let waiters go. May come twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.catch_up is not None:
            self.catch_up.end()
            self.catch_up = None
        if self._inbox is not None:
            self._inbox.end()
            self._inbox = None
        self.on_drained()
        self._face.remove(self, reason)

    # Tokens

    async def _decide_init(self, init: Init) -> None:
        face = self._face
        try:
            # Noted before anything is waited for, so that a revocation finds it.
            self.token = token = face.verify(init.token)
            # Counted when it is known that it is one of ours: strangers must not use up the rate.
            face.take_connection()
            service = await self._get_service(token)
        except StarlingsError as error:
            self._tell_refusal("An init was refused", init.token, error)
            delay_ms = 1_000 if error.status == 429 else None
            self._handle(e.InitRefused(refusal_of(error), delay_ms))
            return
        expires_at = face.time_of(token.expires_at)
        admission = admit(token, expires_at, service, init, face.endpoints, face.encoder.next_id)
        self.caller = admission.caller
        face.enter_service(self, service.oid)
        self.endpoint = admission.endpoint
        self.client_endpoint = admission.client_endpoint
        actor = admission.caller.actor
        self.catch_up = CatchUp(
            face.node, face.hub, face.queries, face.encoder, face.base, service, actor, self, self
        )
        self._inbox = Inbox(
            face.handler,
            face.repeats,
            face.monotonic,
            face.node.limits.connection_requests,
            face.spawn,
            self,
            self._reply,
        )
        self._handle(admission.accepted)
        if self._protocol.is_ready:
            face.on_ready(self)
        else:
            self.catch_up = self._inbox = None  # it left meanwhile, or is being closed

    async def _get_service(self, token: Token) -> Service:
        """The token's, as it is when this returns: from then on ``hear_service`` finds it. Raises
        Refusal, Fault as ``Node.get_service`` does.
        """
        self._services = {}
        self._face.begin_entering(self)
        try:
            service = await self._face.node.get_service(token.account_sid, token.service)
            latest = self._services.get(service.oid, service)
        finally:
            self._services = None
            self._face.end_entering(self)
        if latest is None:
            raise Refusal(Reason.SERVICE_NOT_FOUND)
        return latest

    async def _decide_update(self, request_id: str, text: str) -> None:
        caller, before = self.caller, self.token
        if caller is None or before is None:
            return
        try:
            token = self._face.verify(text)
            # Noted before anything is waited for, so that a revocation finds it.
            self._renewals += (token,)
            try:
                service = await self._face.node.get_service(token.account_sid, token.service)
            finally:
                self._renewals = tuple(one for one in self._renewals if one is not token)
            check_renewal(before, caller.service, token, service)
        except StarlingsError as error:
            self._tell_refusal("A new token was refused", text, error)
            self._handle(e.UpdateRefused(request_id, refusal_of(error)))
        else:
            self.token = token
            self._handle(e.UpdateAccepted(request_id, self._face.time_of(token.expires_at)))
        self._reset_timer()

    def _tell_refusal(self, sentence: str, token: str, error: StarlingsError) -> None:
        """In the log: which code, and whose token, as it says itself."""
        claimed = read_claimed(token)
        self._face.server.refusals.tell(
            sentence,
            self._connection.address,
            code=error.code,
            key=claimed.key_sid,
            identity=claimed.identity,
        )

    # Replies

    def _reply(self, request: Request, answer: Answer) -> None:
        if self._protocol.is_ready:
            self._connection.send(encode_http_reply(request.id, answer.status, answer.body))
