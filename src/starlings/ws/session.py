"""One client connection: pumps bytes between the transport and the protocol, and requests to the
node.

Theory of operation. The transport hands in whole messages; ``wire.session`` says what each means.
Three things come out of it that take time: checking a token, tunnelled requests, catching up. They
run in tasks of the face; replies go out in the order in which their results come, each before the
event it caused. Everything sent passes the connection's one bounded outbox; a client that doesn't
read is cut off there, and repairs itself by its own replay.

Acknowledgements of events are by far the most frequent frames: they are recognised by their first
bytes and only count as a sign of life.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from starlings.core.access import may_concern
from starlings.core.errors import Fault, Reason, Refusal, StarlingsError
from starlings.core.events import Event
from starlings.core.objects import Actor, Service
from starlings.node.hub import Delivery
from starlings.node.repeats import Answer
from starlings.node.subscription import Owner as SubscriptionOwner
from starlings.node.subscription import Subscription
from starlings.wire import close_codes
from starlings.wire import session_events as e
from starlings.wire.codec import encode_http_reply
from starlings.wire.messages import (
    AccountDescriptor,
    ContinuationTokenStatus,
    Init,
    InitRegistration,
    Request,
    Status,
)
from starlings.wire.paths import Operation
from starlings.wire.session import ServerSession
from starlings.wire.subscriptions import (
    SubscriptionsError,
    decode_subscriptions,
    encode_subscription_response,
)
from starlings.ws.catchup import CatchUp
from starlings.ws.connection import Connection, ConnectionStatistics
from starlings.ws.endpoints import Owner
from starlings.ws.outbox import Outbox
from starlings.ws.render import render_error
from starlings.ws.requests import Caller, is_change

if TYPE_CHECKING:
    from starlings.ws.face import SyncFace

__all__ = ["MOST_REQUESTS", "SyncSession", "Token"]

logger = logging.getLogger("starlings.ws")

MOST_REQUESTS = 1_000
"""Requests of one connection under way; more are answered 429."""
_ROOM_BYTES = 128 * 1024
_LONGEST_TIMER_SECONDS = 60.0
_ACKNOWLEDGEMENT = re.compile(
    rb'TWILSOCK V3\.0 \d{1,6}\r\n\{"id":"[^"\\]{1,80}","method":"reply"'
).match
# Where that is with an id of 34 characters, as ours are, and a header of 100 to 999 bytes.
_REPLY, _REPLY_AT = b'","method":"reply"', 60
_SUBSCRIBED = encode_subscription_response(100, 30_000)


class Token(Protocol):
    """What a good access token says; ``auth.tokens.AccessToken`` is one."""

    @property
    def identity(self) -> str: ...

    @property
    def account_sid(self) -> str: ...

    @property
    def key_sid(self) -> str: ...

    @property
    def service(self) -> str: ...

    @property
    def expires_at(self) -> int: ...


class SyncSession(SubscriptionOwner):
    """Implements ``connection.Listener`` and ``subscription.Owner``."""

    __slots__ = (
        "_asking",
        "_catch_up",
        "_connection",
        "_face",
        "_has_acknowledged",
        "_is_closing",
        "_opened_at",
        "_protocol",
        "_removals",
        "_requests",
        "_room",
        "_timer",
        "_tokens",
        "_tokens_at",
        "caller",
        "client_endpoint",
        "endpoint",
        "token",
    )

    def __init__(self, face: SyncFace) -> None:
        self._face = face
        self.token: Token | None = None
        self.caller: Caller | None = None
        self.endpoint = ""
        self.client_endpoint = ""
        self._catch_up: CatchUp | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._has_acknowledged = False
        self._is_closing = False
        self._asking: dict[str, int] = {}
        """How often each request id is under way: a repetition may cross the answer."""
        self._removals: dict[str, Subscription] = {}
        """Of items, told by their replies: by id of the request, the subscription that the client
        had when it asked."""
        self._requests = 0
        self._tokens = 0.0
        self._tokens_at = -math.inf  # a full bucket at first

    # From the transport

    def on_open(self, connection: Connection) -> None:
        self._connection = connection
        self._opened_at = self._face.monotonic()
        self._protocol = ServerSession(
            self._face.encoder.next_id, self._face.now(), self._face.timing
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

    def on_close(self, code: int | None, reason: str) -> None:
        if not isinstance(self._protocol.state, e.Closed):
            self._protocol.handle(e.TransportLost(), self._face.now())
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

    def on_gap(self, subscription: Subscription) -> None:
        if self._catch_up is not None and self._catch_up.repair(subscription):
            self._face.spawn(self._catch_up.work())

    def on_removed(self, subscription: Subscription) -> None:
        if self._catch_up is not None:
            self._catch_up.drop(subscription.sid)

    def on_permission(self, subscription: Subscription, delivery: Delivery) -> None:
        """A grant changed: if it is ours and takes away reading, this ends. [rest-api 6]"""
        caller = self.caller
        if caller is None or not may_concern(str(delivery.event.key), caller.actor.identity):
            return
        self._face.spawn(self.check_access(subscription))

    async def check_access(self, subscription: Subscription) -> None:
        """End a subscription whose object may not be read any more."""
        caller, catch_up = self.caller, self._catch_up
        if caller is None or catch_up is None:
            return
        try:
            may_read = await self._face.node.may_read(
                caller.service.oid, subscription.oid, caller.actor.identity
            )
        except Fault:
            self.send_away()  # not known is not allowed
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
        return [] if self._catch_up is None else list(self._catch_up.subscriptions.values())

    async def check_queries(self) -> None:
        """End the live queries whose Maps may not be read any more."""
        if self._catch_up is not None:
            await self._catch_up.queries.check_access()

    # From the face

    @property
    def has_requests(self) -> bool:
        """Whether the client waits for replies."""
        return self._requests > 0

    def offload(self, reconnect_min_ms: int) -> None:
        """Ask a client that waits for no reply to come back later, or elsewhere."""
        self._handle(e.CloseRequested(close_codes.OFFLOAD, reconnect_min_ms))

    def drop(self, reason: e.Reason) -> None:
        """End the session without a word; the client comes back at once. [4.6]"""
        self._handle(e.DropRequested(reason))

    def revoke(self) -> None:
        """Its key or identity is not good any more."""
        self._handle(e.DropRequested(e.Reason.REVOKED))

    async def wait_for_room(self) -> None:
        while self._connection.queued_bytes > _ROOM_BYTES:
            # Most of it may only be this turn's, which the kernel takes at once: then nothing would
            # ever be drained.
            self._connection.flush()
            if self._connection.queued_bytes <= _ROOM_BYTES:
                return
            if isinstance(self._protocol.state, e.Closed):
                return
            # Catching up and a search may both wait: they share the future.
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    # The protocol

    def _handle(self, event: e.Input) -> None:
        before = type(self._protocol.state)
        for output in self._protocol.handle(event, self._face.now()):
            match output:
                case e.Send(frame=frame):
                    self._connection.send(frame)
                case e.RequestReceived(request=request):
                    self._take_request(request)
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
        delay = min(max(0.0, (deadline - self._face.now()) / 1000), _LONGEST_TIMER_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._has_acknowledged:
            self._has_acknowledged = False
            self._protocol.hear_acknowledgement(self._face.now())
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
        if self._catch_up is not None:
            self._catch_up.end()
            self._catch_up = None
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
            service = await face.node.get_service(token.account_sid, token.service)
        except StarlingsError as error:
            delay_ms = 1_000 if error.status == 429 else None
            self._handle(e.InitRefused(_refusal_of(error), delay_ms))
            return
        owner = Owner(token.account_sid, service.sid, token.identity)
        continuation = face.endpoints.continue_or_start(owner, init.continuation_token)
        # Of this connection, not of the client: what an earlier one began may be committed only
        # now, and its reply will never come. Here it must be told like anybody's. [8.4]
        self.endpoint = face.encoder.next_id().replace("TM", "EP", 1)
        actor = Actor(token.identity, self.endpoint, is_unrestricted=False)
        self.caller = Caller(service, actor)
        self._catch_up = CatchUp(
            face.node, face.hub, face.queries, face.encoder, face.base, service, actor, self, self
        )
        self._catch_up.known_sids = continuation.known_sids
        registrations = tuple(
            InitRegistration(
                notification_ctx_id=face.encoder.next_id().replace("TM", "EP", 1),
                type=registration.type,
                product=registration.product,
                message_types=registration.message_types,
            )
            for registration in (init.registrations or [])[:16]
        )
        accepted = e.InitAccepted(
            expires_at_ms=token.expires_at,
            continuation_token=continuation.token,
            continuation_token_status=ContinuationTokenStatus(
                reissued=continuation.is_reissued,
                reissue_reason="NOT_USABLE" if continuation.is_reissued else None,
                reissue_message=(
                    "The token is of another client or history"
                    if continuation.is_reissued
                    else None
                ),
            ),
            registrations=registrations,
            account=AccountDescriptor(
                token.account_sid, {"data_sync": service.sid}, token.identity
            ),
            storage_id=face.endpoints.storage_id(owner),
        )
        # Of the client: the same when it comes back by another connection.
        self.client_endpoint = accepted.continuation_token.partition(".")[0]
        self._handle(accepted)
        if self._protocol.is_ready:
            face.on_ready(self)
        else:
            self._catch_up = None  # it left meanwhile, or is being closed

    async def _decide_update(self, request_id: str, text: str) -> None:
        caller, before = self.caller, self.token
        if caller is None or before is None:
            return
        try:
            token, service = await self._check_token(text)
            if (token.account_sid, service.oid, token.identity) != (
                before.account_sid,
                caller.service.oid,
                before.identity,
            ):
                raise Refusal(
                    Reason.TOKEN_BAD_GRANTS,
                    "The new token must be for the same account, service and identity",
                )
        except StarlingsError as error:
            self._handle(e.UpdateRefused(request_id, _refusal_of(error)))
        else:
            self.token = token
            self._handle(e.UpdateAccepted(request_id, token.expires_at))
        self._reset_timer()

    async def _check_token(self, text: str) -> tuple[Token, Service]:
        token = self._face.verify(text)
        service = await self._face.node.get_service(token.account_sid, token.service)
        return token, service

    # Requests

    def _take_request(self, request: Request) -> None:
        refused = None
        if self._requests >= MOST_REQUESTS:
            refused = f"at most {MOST_REQUESTS} may be under way"
        elif not self._take_rate():
            refused = f"at most {self._face.node.limits.connection_requests:g} a second"
        if refused is not None:
            message = f"Too many requests on this connection: {refused}"
            self._reply_error(request, Refusal(Reason.TOO_MANY_REQUESTS, message))
            return
        self._requests += 1
        self._face.spawn(self._answer(request))

    def _take_rate(self) -> bool:
        """One token of the connection's bucket, which holds one second's worth."""
        rate = self._face.node.limits.connection_requests
        if rate is None:
            return True
        now = self._face.monotonic()
        self._tokens = min(rate, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._carry_out(request)
        except StarlingsError as error:
            self._reply_error(request, error)
        except Exception:
            logger.exception(
                "A request failed method=%s path=%s",
                request.http_request.method,
                request.http_request.path[:200],
            )
            self._reply_error(request, Fault(Reason.INTERNAL_FAULT))
        else:
            self._reply(request, answer)
        finally:
            self._requests -= 1

    async def _carry_out(self, request: Request) -> Answer:
        caller = self.caller
        assert caller is not None  # requests come out of READY only
        handler = self._face.handler
        route = handler.route(request, caller)
        match route.operation:
            case Operation.SUBSCRIBE:
                return self._subscribe(request)
            case Operation.SEARCH:
                if self._catch_up is None:
                    raise Fault(Reason.UNAVAILABLE)
                return await self._catch_up.queries.search(request, route.object_ref or "")
            case _:
                pass
        request_id = request.http_request.find_header("Twilio-Request-Id")
        asked_under: Subscription | None = None
        if self._catch_up is not None and route.operation is Operation.REMOVE_ITEM:
            asked_under = self._catch_up.subscriptions.get(route.object_ref or "")
        if request_id is None or not is_change(request):
            answer = await handler.answer(request, route, caller)
        else:
            key = (caller.service.oid, caller.actor.identity, request_id, route)
            self._asking[request_id] = self._asking.get(request_id, 0) + 1
            try:
                answer = await self._face.repeats.answer(
                    key, lambda: handler.answer(request, route, caller)
                )
            finally:
                still_asking = self._asking.pop(request_id) - 1
                if still_asking:
                    self._asking[request_id] = still_asking
            if asked_under is not None and not still_asking:
                self._note_removal(request_id, asked_under)
        if self._catch_up is not None and route.operation in (Operation.READ, Operation.CREATE):
            self._catch_up.note_opened(answer)
        return answer

    def _note_removal(self, request_id: str, asked_under: Subscription) -> None:
        """The removal of an item is about to be told by its reply, in this very step."""
        while len(self._removals) >= MOST_REQUESTS:
            del self._removals[next(iter(self._removals))]
        self._removals[request_id] = asked_under

    def is_told_by_reply(self, subscription: Subscription, event: Event) -> bool:
        # Not before the reply was sent, which may get lost. And asked for under another
        # subscription, the client may have opened the object anew since, and would not connect the
        # reply with it. In both cases the event must tell it.
        if event.endpoint != self.endpoint or event.request_id is None:
            return False
        return self._removals.pop(event.request_id, None) is subscription

    def _subscribe(self, request: Request) -> Answer:
        catch_up = self._catch_up
        if catch_up is None:
            raise Fault(Reason.UNAVAILABLE)
        try:
            wanted = decode_subscriptions(request.payload)
        except SubscriptionsError as error:
            raise Refusal(Reason.BAD_PARAMETER, error.reason) from error
        if catch_up.is_full:
            raise Refusal(Reason.TOO_MANY_REQUESTS, "Too many requests to subscribe are waiting")
        queue = catch_up.cancel if wanted.action == "cancel" else catch_up.establish
        if queue(wanted.requests, wanted.correlation_id):
            self._face.spawn(catch_up.work())
        # The reply goes first: it is sent in this very step, the work begins in a later one. [8.4]
        return Answer(200, _SUBSCRIBED)

    def _reply(self, request: Request, answer: Answer) -> None:
        if self._protocol.is_ready:
            self._connection.send(encode_http_reply(request.id, answer.status, answer.body))

    def _reply_error(self, request: Request, error: StarlingsError) -> None:
        self._reply(request, Answer(error.status, render_error(error)))


def _refusal_of(error: StarlingsError) -> close_codes.Refusal:
    """How a token's refusal is told: clients look at 401, 403, 429 and at code 20104. [4.2]"""
    match error.status:
        case 429:
            return close_codes.THROTTLED
        case 401 | 403 | 404:
            status = 403 if error.status != 401 else 401
            word = "UNAUTHORIZED" if status == 401 else "FORBIDDEN"
            return close_codes.Refusal(
                Status(status, word, error.code, description=error.message),
                close_codes.ComesBack.WITH_NEW_TOKEN,
            )
        case _:
            return close_codes.FAULT
