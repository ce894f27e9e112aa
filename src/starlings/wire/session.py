"""The server's side of one connection: what may come when, and what is answered.

Theory of operation
===================

A session has no socket, no clock and no task. Its owner tells it what happened, with the time, and
does what comes back, in order::

    session = ServerSession(next_id, now_ms)
    for output in session.handle(FrameReceived(data), now_ms):
        ...                                  # send, check a token, run a request, close
    timer.set(session.deadline_ms)           # then: session.handle(Tick(), now_ms)

Tokens are checked by the owner: ``init`` and ``update`` come out as requests and go on when the
decision comes in, which may be later and after other frames. Tunnelled requests come out, too;
their replies and the pushed events do not pass through here, but should be sent only while
``is_ready``.

::

    ACCEPTED --InitAccepted--> READY --CloseRequested--> CLOSING --reply, time--> CLOSED
        |--InitRefused, bytes that are no frame--------> CLOSING
        '--anything that ends it-----> CLOSED  <---- READY: close, expiry, silence, drop, loss

``TRANSITIONS`` is the full table. A decision of the owner that comes too late, because the session
has ended meanwhile, is not a mistake and does nothing. A decision nobody asked for is one, and
raises :class:`SessionMisuse`.

Three rules are kept in every state. Each ``update`` is answered before the session closes, because
an unanswered one crashes Node clients [wire-protocol 12, trap 2]. ``close`` always has a status
[trap 3]. An expired token ends the session without a ``close`` [trap 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from msgspec.json import encode as encode_json

from starlings.wire.close_codes import (
    NOT_INITIALISED,
    PROTOCOL_ERROR,
    THROTTLED,
    UNAVAILABLE,
    CloseCode,
)
from starlings.wire.codec import FrameError, decode_upstream, encode_downstream
from starlings.wire.messages import (
    TOKEN_ABOUT_TO_EXPIRE,
    ClientClose,
    ClientUpdate,
    DeleteNotificationContext,
    Init,
    OfflineStorage,
    Ping,
    PutNotificationContext,
    Reply,
    Request,
    ServerClose,
    Status,
    Telemetry,
    Unknown,
    Update,
    Upstream,
)
from starlings.wire.session_events import (
    Accepted,
    Closed,
    CloseRequested,
    Closing,
    DropRequested,
    FrameReceived,
    FrameRejected,
    InitAccepted,
    InitRefused,
    InitRequested,
    Input,
    Output,
    Ready,
    Reason,
    RequestReceived,
    Send,
    SessionClosed,
    State,
    TelemetryReceived,
    Tick,
    Timing,
    TransportLost,
    UpdateAccepted,
    UpdateRefused,
    UpdateRequested,
)

__all__ = ["MAX_PENDING_UPDATES", "TRANSITIONS", "ServerSession", "SessionMisuse"]

MAX_PENDING_UPDATES = 4
"""Undecided updates of one session; more are throttled, as each costs the owner a check."""

_END: frozenset[type[State]] = frozenset({Closed})

TRANSITIONS: Mapping[type[State], Mapping[type[Input], frozenset[type[State]]]] = {
    # state and input -> the states it may lead to. What is missing is the owner's mistake.
    Accepted: {
        FrameReceived: frozenset({Accepted, Closing, Closed}),
        InitAccepted: frozenset({Ready}),
        InitRefused: frozenset({Closing}),
        CloseRequested: frozenset({Closing}),
        DropRequested: _END,
        Tick: frozenset({Accepted, Closed}),
        TransportLost: _END,
    },
    Ready: {
        FrameReceived: frozenset({Ready, Closed}),
        UpdateAccepted: frozenset({Ready}),
        UpdateRefused: frozenset({Ready}),
        CloseRequested: frozenset({Closing}),
        DropRequested: _END,
        Tick: frozenset({Ready, Closed}),
        TransportLost: _END,
    },
    Closing: {
        FrameReceived: frozenset({Closing, Closed}),
        # Decided while the session was ending.
        InitAccepted: frozenset({Closing}),
        InitRefused: frozenset({Closing}),
        UpdateAccepted: frozenset({Closing}),
        UpdateRefused: frozenset({Closing}),
        CloseRequested: frozenset({Closing}),
        DropRequested: _END,
        Tick: frozenset({Closing, Closed}),
        TransportLost: _END,
    },
    Closed: {
        FrameReceived: _END,
        InitAccepted: _END,
        InitRefused: _END,
        UpdateAccepted: _END,
        UpdateRefused: _END,
        CloseRequested: _END,
        DropRequested: _END,
        Tick: _END,
        TransportLost: _END,
    },
}


class SessionMisuse(RuntimeError):
    """The owner said something that cannot be: our own mistake, never the client's."""


class ServerSession:
    """One connection, from its acceptance to its end.

    Args:
        next_id: Makes the id of a message of ours, unique within the connection.
        now_ms: When the WebSocket was accepted.
        timing: The waits; the defaults suit all known clients.
    """

    def __init__(
        self, next_id: Callable[[], str], now_ms: int, timing: Timing | None = None
    ) -> None:
        self._next_id = next_id
        self._timing = timing or Timing()
        self._heard_at_ms = now_ms
        self._state: State = Accepted(now_ms + self._timing.init_timeout_ms)

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_ready(self) -> bool:
        """Whether replies to requests and events may be sent."""
        return isinstance(self._state, Ready)

    @property
    def deadline_ms(self) -> int | None:
        """When the next :class:`Tick` is due; None when the session is closed.

        In READY each frame moves it later. So an owner may leave its timer alone after a frame
        and look again when the timer fires; after every other input it must look at once.
        """
        match self._state:
            case Accepted(deadline_ms=deadline_ms) | Closing(deadline_ms=deadline_ms):
                return deadline_ms
            case Ready() as state:
                due = min(state.ping_at_ms, state.expires_at_ms, self._silent_at_ms)
                return due if state.warn_at_ms is None else min(due, state.warn_at_ms)
            case Closed():
                return None
            case _ as never:
                assert_never(never)

    def hear_acknowledgement(self, now_ms: int) -> None:
        """Take note of a ``reply`` without reading it: by far the most frequent frame.

        The same as handling it as a :class:`FrameReceived`, for owners who know it by its look.
        """
        self._heard_at_ms = now_ms

    def handle(self, event: Input, now_ms: int) -> list[Output]:
        """Take in what happened and say what to do about it, in this order.

        Raises:
            SessionMisuse: The owner decided what nobody asked for.
        """
        before = self._state
        may_lead_to = TRANSITIONS[type(before)].get(type(event))
        if may_lead_to is None:
            raise SessionMisuse(f"{type(event).__name__} in state {type(before).__name__}")
        match before:
            case Ready():
                outputs = self._in_ready(before, event, now_ms)
            case Accepted():
                outputs = self._in_accepted(before, event, now_ms)
            case Closing():
                outputs = self._in_closing(before, event, now_ms)
            case Closed():
                outputs = []
            case _ as never:
                assert_never(never)
        assert type(self._state) in may_lead_to
        return outputs

    # ACCEPTED: who is it?

    def _in_accepted(self, state: Accepted, event: Input, now_ms: int) -> list[Output]:
        match event:
            case FrameReceived(data=data):
                return self._frame_in_accepted(state, data, now_ms)
            case InitAccepted():
                return self._start(self._init_id(state), event, now_ms)
            case InitRefused(refusal=refusal, reconnect_min_ms=delay_ms):
                reply = _reply(self._init_id(state), refusal.status, delay_ms)
                # The client closes the connection when it has read this.
                self._close_later(Reason.INIT_REFUSED, None, now_ms)
                return [reply]
            case CloseRequested(close_code=close_code, reconnect_min_ms=delay_ms):
                return self._say_close(close_code, delay_ms, Reason.DRAINED, now_ms)
            case DropRequested(reason=reason):
                return self._close(reason)
            case Tick() if now_ms < state.deadline_ms:
                return []
            case Tick() if state.init_id is not None:
                # The owner is stuck; this answer sends the client into its usual retry.
                reply = _reply(state.init_id, UNAVAILABLE.status)
                return [reply, *self._close(Reason.INIT_UNANSWERED)]
            case Tick():
                return self._close(Reason.NO_INIT)
            case _:
                return self._close(Reason.TRANSPORT_LOST)

    def _frame_in_accepted(
        self, state: Accepted, data: bytes | bytearray | memoryview, now_ms: int
    ) -> list[Output]:
        try:
            message = decode_upstream(data)
        except FrameError as error:
            if error.message_id is not None:
                return _reject(error)  # a close with 417 would be the end for the client [4.6]
            return [
                FrameRejected(error.reason),
                *self._say_close(PROTOCOL_ERROR, None, Reason.PROTOCOL_ERROR, now_ms),
            ]
        match message:
            case Init() if state.init_id is None:
                self._state = replace(state, init_id=message.id)
                return [InitRequested(message)]
            case Init():
                return [_reply(message.id, _BAD_REQUEST)]
            case Reply() | Telemetry():
                return []
            case ClientClose():
                return [_reply(message.id, _OK), *self._close(Reason.CLIENT_LEFT)]
            case _:
                return [_reply(message.id, NOT_INITIALISED.status)]

    def _init_id(self, state: Accepted) -> str:
        if state.init_id is None:
            raise SessionMisuse("init was decided before it came")
        return state.init_id

    def _start(self, init_id: str, accepted: InitAccepted, now_ms: int) -> list[Output]:
        storage = None
        if accepted.storage_id is not None:
            storage = {accepted.product: OfflineStorage(accepted.storage_id)}
        reply = Reply(
            init_id,
            _OK,
            capabilities=list(accepted.capabilities),
            continuation_token=accepted.continuation_token,
            continuation_token_status=accepted.continuation_token_status,
            init_registrations=list(accepted.registrations),
            offline_storage=storage,
            account_descriptor=accepted.account,
        )
        self._heard_at_ms = now_ms
        expires_at_ms = accepted.expires_at_ms
        ready = Ready(
            now_ms + self._timing.ping_interval_ms, expires_at_ms, self._warn_at_ms(expires_at_ms)
        )
        return [Send(encode_downstream(reply)), *self._warn_if_due(ready, now_ms)]

    # READY: the session proper.

    def _in_ready(self, state: Ready, event: Input, now_ms: int) -> list[Output]:
        match event:
            case FrameReceived(data=data):
                # Whatever it is, it is a sign of life.
                self._heard_at_ms = now_ms
                try:
                    message = decode_upstream(data)
                except FrameError as error:
                    return _reject(error)
                return self._message_in_ready(state, message)
            case UpdateAccepted(request_id=request_id, expires_at_ms=expires_at_ms):
                remaining = self._without_update(state, request_id)
                warn_at_ms = self._warn_at_ms(expires_at_ms)
                ready = replace(remaining, expires_at_ms=expires_at_ms, warn_at_ms=warn_at_ms)
                return [_reply(request_id, _OK), *self._warn_if_due(ready, now_ms)]
            case UpdateRefused(request_id=request_id, refusal=refusal, reconnect_min_ms=delay_ms):
                self._state = self._without_update(state, request_id)
                return [_reply(request_id, refusal.status, delay_ms)]
            case CloseRequested(close_code=close_code, reconnect_min_ms=delay_ms):
                unanswered = self._answer_updates(state)
                close = self._say_close(close_code, delay_ms, Reason.DRAINED, now_ms)
                return [*unanswered, *close]
            case DropRequested(reason=reason):
                return [*self._answer_updates(state), *self._close(reason)]
            case Tick():
                return self._tick_in_ready(state, now_ms)
            case _:
                return self._close(Reason.TRANSPORT_LOST)

    def _message_in_ready(self, state: Ready, message: Upstream) -> list[Output]:
        match message:
            case Reply():
                return []
            case Request():
                return [RequestReceived(message)]
            case Update(id=request_id, token=token):
                if request_id in state.update_ids:
                    # One reply per id: this one would otherwise settle both.
                    return [FrameRejected("an update repeats the id of one under way")]
                if len(state.update_ids) >= MAX_PENDING_UPDATES:
                    return [_reply(request_id, THROTTLED.status)]
                self._state = replace(state, update_ids=(*state.update_ids, request_id))
                return [UpdateRequested(request_id, token)]
            case Telemetry(events=events):
                return [TelemetryReceived(events)] if events else []
            case PutNotificationContext() | DeleteNotificationContext():
                return [_reply(message.id, _OK)]
            case ClientClose():
                return [
                    *self._answer_updates(state),
                    _reply(message.id, _OK),
                    *self._close(Reason.CLIENT_LEFT),
                ]
            case Init() | Unknown():
                return [_reply(message.id, _BAD_REQUEST)]
            case _ as never:
                assert_never(never)

    def _tick_in_ready(self, state: Ready, now_ms: int) -> list[Output]:
        if now_ms >= state.expires_at_ms:
            return [*self._answer_updates(state), *self._close(Reason.TOKEN_EXPIRED)]
        if now_ms >= self._silent_at_ms:
            return [*self._answer_updates(state), *self._close(Reason.SILENT)]
        outputs: list[Output] = []
        if now_ms >= state.ping_at_ms:
            # From now on, not from when it was due: a late tick must not be followed by a burst.
            state = replace(state, ping_at_ms=now_ms + self._timing.ping_interval_ms)
            outputs.append(Send(encode_downstream(Ping(self._next_id()))))
        return [*outputs, *self._warn_if_due(state, now_ms)]

    @property
    def _silent_at_ms(self) -> int:
        return self._heard_at_ms + self._timing.silence_timeout_ms

    def _warn_at_ms(self, expires_at_ms: int) -> int:
        return expires_at_ms - self._timing.expiry_warning_ms

    def _warn_if_due(self, state: Ready, now_ms: int) -> list[Output]:
        """Enter ``state``, with the announcement of expiry if its time has come."""
        self._state = state
        if state.warn_at_ms is None or now_ms < state.warn_at_ms:
            return []
        self._state = replace(state, warn_at_ms=None)
        return [Send(encode_downstream(ClientUpdate(self._next_id(), TOKEN_ABOUT_TO_EXPIRE)))]

    def _without_update(self, state: Ready, request_id: str) -> Ready:
        if request_id not in state.update_ids:
            raise SessionMisuse("an update was decided that is not under way")
        return replace(state, update_ids=tuple(i for i in state.update_ids if i != request_id))

    def _answer_updates(self, state: Ready) -> list[Output]:
        """Clients retry with the new token after 503; unanswered they would crash. [trap 2]"""
        return [_reply(request_id, UNAVAILABLE.status) for request_id in state.update_ids]

    # CLOSING: the last second.

    def _in_closing(self, state: Closing, event: Input, now_ms: int) -> list[Output]:
        match event:
            case FrameReceived(data=data):
                return self._frame_in_closing(state, data)
            case DropRequested() | TransportLost():
                return self._close(state.reason)
            case Tick() if now_ms >= state.deadline_ms:
                return self._close(state.reason)
            case _:
                return []

    def _frame_in_closing(
        self, state: Closing, data: bytes | bytearray | memoryview
    ) -> list[Output]:
        try:
            message = decode_upstream(data)
        except FrameError as error:
            return [FrameRejected(error.reason)]
        match message:
            case Reply() if message.id == state.close_id:
                return self._close(state.reason)
            case ClientClose():
                return [_reply(message.id, _OK), *self._close(state.reason)]
            case Update():
                return [_reply(message.id, UNAVAILABLE.status)]
            case _:
                # Not carried out any more. A JavaScript client that has sent one waits 30 s for
                # its reply: the owner must not `close` while requests are under way.
                return []

    def _say_close(
        self, close_code: CloseCode, delay_ms: int | None, reason: Reason, now_ms: int
    ) -> list[Output]:
        close_id = self._next_id()
        self._close_later(reason, close_id, now_ms)
        close = ServerClose(close_id, close_code.status, _backoff(delay_ms))
        return [Send(encode_downstream(close))]

    def _close_later(self, reason: Reason, close_id: str | None, now_ms: int) -> None:
        self._state = Closing(now_ms + self._timing.close_timeout_ms, reason, close_id)

    # CLOSED.

    def _close(self, reason: Reason) -> list[Output]:
        self._state = Closed(reason)
        return [SessionClosed(reason)]


_OK = Status(200, "OK")
_BAD_REQUEST = Status(400, "BAD_REQUEST")


def _reply(request_id: str, status: Status, delay_ms: int | None = None) -> Send:
    return Send(encode_downstream(Reply(request_id, status, payload=_backoff(delay_ms))))


def _reject(error: FrameError) -> list[Output]:
    """A client that is told need not wait for its timeout; without an id it cannot be told."""
    rejected = FrameRejected(error.reason)
    if error.message_id is None:
        return [rejected]
    return [rejected, _reply(error.message_id, _BAD_REQUEST)]


def _backoff(reconnect_min_ms: int | None) -> bytes:
    if reconnect_min_ms is None:
        return b""
    # Kotlin needs a greatest delay, greater than the least. [11]
    policy = {"reconnect_min_ms": reconnect_min_ms, "reconnect_max_ms": 2 * reconnect_min_ms + 1}
    return encode_json({"backoff_policy": policy})
