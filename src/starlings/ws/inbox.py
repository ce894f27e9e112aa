"""The requests of one session: taken within bounds, each carried out once, each answered.

Theory of operation. ``take`` refuses what is too much (429); everything else runs in a task of the
face, and its reply leaves when its result is there, so replies come in the order of results. The
reply is sent in the very step in which the result is known. The events of a change are told in a
later one, so a client has the reply before them. [wire-protocol 8.4]

No reply ever waits for the connection, or it could come behind its own event. Instead requests
wait before they are carried out, in order: each promises a reply of some size at most, a change its
event too, and what is promised must fit with what the connection has not taken. So a client may ask
for as much as it likes at once, and is sent as much as its link carries. Changes pass by the reads
that wait, whose replies are large, and one that came is carried out also if its client leaves.

1. A change with a request id is carried out once, however often it comes: a repetition gets the
   answer of the first, also on another connection (see ``starlings.node.repeats``).
2. A client tells its application of an item that it removes when the reply comes. Told again by the
   event, that would seem somebody else's removal. So the inbox notes the removals whose replies are
   leaving, with what the client had of the object when it asked. If repetitions of one request
   are under way on this connection, the last answer counts: the earlier ones may cross it.
3. Requests to subscribe are only queued here (``CatchUp``); searches are answered by the session's
   ``SessionQueries``; all others by ``RequestHandler``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from starlings.core.errors import Fault, Reason, Refusal, StarlingsError
from starlings.core.objects import SyncObject
from starlings.node.repeats import Answer, Repeats
from starlings.wire.messages import Request
from starlings.wire.paths import Operation
from starlings.wire.subscriptions import (
    SubscriptionsError,
    decode_subscriptions,
    encode_subscription_response,
)
from starlings.ws.catchup import CatchUp
from starlings.ws.holds import Hold
from starlings.ws.queries import BATCH_ENTRIES
from starlings.ws.render import render_error
from starlings.ws.requests import Caller, RequestHandler, is_change

__all__ = [
    "MOST_CHANGE_BYTES",
    "MOST_REPLY_BYTES",
    "MOST_REQUESTS",
    "MOST_REQUEST_BYTES",
    "REQUEST_ID_CHARACTERS",
    "Asker",
    "Inbox",
]

logger = logging.getLogger("starlings.ws")

MOST_REQUESTS = 1_000
"""Requests of one connection under way; more are answered 429."""
MOST_REQUEST_BYTES = 4 * 1024 * 1024
"""Of the frames of those requests, 256 changes of the largest data; one is always taken."""
MOST_REPLY_BYTES = 448 * 1024
"""Of replies to come and of what the connection has not taken; reads beyond wait. A search and a
page of catching up may come on top of it, and ``OutboxLimits.queued_bytes`` are enough for all."""
MOST_CHANGE_BYTES = 512 * 1024
"""The same for changes and their events, so that who sends without reading is stalled, not cut off.
An event comes a little after its reply, when the next changes may have begun: so it may be twice as
much for a moment, and ``OutboxLimits.queued_bytes`` are enough for that too."""
REQUEST_ID_CHARACTERS = 128
"""Of a request's id, which goes into the log and is remembered for a while; the SDKs send 34."""
_SUBSCRIBED = encode_subscription_response(BATCH_ENTRIES, 30_000)


class Asker(Protocol):
    """The session, as its inbox needs it."""

    @property
    def caller(self) -> Caller | None: ...

    @property
    def catch_up(self) -> CatchUp | None:
        """None once the session is over."""

    def has_room(self, size_bytes: int, most_bytes: int) -> bool:
        """Whether ``most_bytes`` are enough for so many bytes and for what the connection has not
        taken."""


class _Job(NamedTuple):
    """A request that was taken."""

    request: Request
    size_bytes: int
    reply_bytes: int
    """How large the reply may become, and a change's event."""


class Inbox:
    """Belongs to a session that is ready. Implements ``requests.Reader``.

    Args:
        most_per_second: Requests; None: any number.
        spawn: Runs work in a task.
        reply: Sends an answer, if there is still somebody to hear it.
    """

    __slots__ = (
        "_asker",
        "_asking",
        "_handler",
        "_monotonic",
        "_most_per_second",
        "_promised_bytes",
        "_removals",
        "_repeats",
        "_reply",
        "_request_bytes",
        "_requests",
        "_spawn",
        "_tokens",
        "_tokens_at",
        "_waiting_changes",
        "_waiting_reads",
    )

    def __init__(
        self,
        handler: RequestHandler,
        repeats: Repeats,
        monotonic: Callable[[], float],
        most_per_second: float | None,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        asker: Asker,
        reply: Callable[[Request, Answer], None],
    ) -> None:
        self._handler = handler
        self._repeats = repeats
        self._monotonic = monotonic
        self._most_per_second = most_per_second
        self._spawn = spawn
        self._asker = asker
        self._reply = reply
        self._asking: dict[str, int] = {}
        """How often each request id is under way: a repetition may cross the answer."""
        self._removals: dict[str, Hold] = {}
        """Of items, told by their replies: by id of the request, what the client had of the object
        when it asked."""
        self._requests = 0
        self._request_bytes = 0
        self._promised_bytes = 0
        """Of replies to requests that are being carried out."""
        # Those for whose replies there is no room. Lists: they are short, and an empty deque takes
        # 760 bytes, which each of many idle connections would have twice.
        self._waiting_changes: list[_Job] = []
        self._waiting_reads: list[_Job] = []
        self._tokens = 0.0
        self._tokens_at = -math.inf  # a full bucket at first

    def __len__(self) -> int:
        """Requests under way."""
        return self._requests

    def take(self, request: Request, size_bytes: int) -> None:
        """Carry out a request and answer it, now or later.

        Args:
            size_bytes: Of its frame.
        """
        refused = None
        if self._requests >= MOST_REQUESTS:
            refused = f"at most {MOST_REQUESTS} may be under way"
        elif self._requests and self._request_bytes + size_bytes > MOST_REQUEST_BYTES:
            refused = f"at most {MOST_REQUEST_BYTES} bytes of them may be under way"
        elif not self._take_rate():
            refused = f"at most {self._most_per_second:g} a second"
        if refused is not None:
            message = f"Too many requests on this connection: {refused}"
            self._reply_error(request, Refusal(Reason.TOO_MANY_REQUESTS, message))
            return
        self._requests += 1
        self._request_bytes += size_bytes
        reply_bytes = self._handler.most_reply_bytes(request)
        if is_change(request):
            job = _Job(request, size_bytes, reply_bytes + size_bytes)
            waiting, most_bytes = self._waiting_changes, MOST_CHANGE_BYTES
        else:
            job = _Job(request, size_bytes, reply_bytes)
            waiting, most_bytes = self._waiting_reads, MOST_REPLY_BYTES
        if not waiting and self._has_room(job, most_bytes):
            self._start(job)
        else:
            waiting.append(job)

    def go_on(self) -> None:
        """There may be room again: begin with what waits for it."""
        for waiting, most_bytes in (
            (self._waiting_changes, MOST_CHANGE_BYTES),
            (self._waiting_reads, MOST_REPLY_BYTES),
        ):
            while waiting and self._has_room(waiting[0], most_bytes):
                self._start(waiting.pop(0))

    def end(self) -> None:
        """The session is over: nobody hears the replies to what waits."""
        self._waiting_reads.clear()
        while self._waiting_changes:
            self._start(self._waiting_changes.pop(0))

    def take_removal(self, request_id: str) -> Hold | None:
        """Holding what the client asked for this removal of an item, if its reply tells it.

        Only once. None while the reply has not left: it may get lost.
        """
        return self._removals.pop(request_id, None)

    def _take_rate(self) -> bool:
        """One token of the connection's bucket, which holds one second's worth."""
        rate = self._most_per_second
        if rate is None:
            return True
        now = self._monotonic()
        self._tokens = min(rate, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _has_room(self, job: _Job, most_bytes: int) -> bool:
        return self._asker.has_room(self._promised_bytes + job.reply_bytes, most_bytes)

    def _start(self, job: _Job) -> None:
        self._promised_bytes += job.reply_bytes
        self._spawn(self._answer(job))

    async def _answer(self, job: _Job) -> None:
        request = job.request
        try:
            answer = await self._carry_out(request)
        except StarlingsError as error:
            self._reply_error(request, error)
        except Exception:
            logger.exception(
                "A request failed method=%s path=%r",
                request.http_request.method,
                request.http_request.path[:200],
            )
            self._reply_error(request, Fault(Reason.INTERNAL_FAULT))
        else:
            self._reply(request, answer)
        finally:
            self._requests -= 1
            self._request_bytes -= job.size_bytes
            self._promised_bytes -= job.reply_bytes
            self.go_on()

    async def _carry_out(self, request: Request) -> Answer:
        asker, handler = self._asker, self._handler
        caller = asker.caller
        assert caller is not None  # known before the session is ready
        route = handler.route(request, caller)
        match route.operation:
            case Operation.SUBSCRIBE:
                return self._subscribe(request)
            case Operation.SEARCH:
                if asker.catch_up is None:
                    raise Fault(Reason.UNAVAILABLE)
                return await asker.catch_up.queries.search(request, route.object_ref or "")
            case _:
                pass
        request_id = request.http_request.find_header("Twilio-Request-Id")
        if request_id is not None and len(request_id) > REQUEST_ID_CHARACTERS:
            raise Refusal(
                Reason.BAD_PARAMETER,
                f"Twilio-Request-Id has more than {REQUEST_ID_CHARACTERS} characters",
            )
        asked_under: Hold | None = None
        if asker.catch_up is not None and route.operation is Operation.REMOVE_ITEM:
            asked_under = asker.catch_up.holds.hold_of(route.object_ref or "")
        if request_id is None or not is_change(request):
            answer = await handler.answer(request, route, caller, request_id, self)
        else:
            key = (caller.service.oid, caller.actor.identity, request_id, route)
            self._asking[request_id] = self._asking.get(request_id, 0) + 1
            try:
                answer = await self._repeats.answer(
                    key, lambda: handler.answer(request, route, caller, request_id, self)
                )
            finally:
                still_asking = self._asking.pop(request_id) - 1
                if still_asking:
                    self._asking[request_id] = still_asking
            if asked_under is not None and not still_asking:
                self._note_removal(request_id, asked_under)
        return answer

    def note_open(self, target: SyncObject) -> None:
        if self._asker.catch_up is not None:
            self._asker.catch_up.holds.note_open(target)

    def note_read(self, target: SyncObject) -> None:
        if self._asker.catch_up is not None:
            self._asker.catch_up.holds.note_read(target)

    def _note_removal(self, request_id: str, asked_under: Hold) -> None:
        """The removal of an item is about to be told by its reply, in this very step."""
        while len(self._removals) >= MOST_REQUESTS:
            del self._removals[next(iter(self._removals))]
        self._removals[request_id] = asked_under

    def _subscribe(self, request: Request) -> Answer:
        catch_up = self._asker.catch_up
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
            self._spawn(catch_up.work())
        # The reply goes first: it is sent in this very step, the work begins in a later one. [8.4]
        return Answer(200, _SUBSCRIBED)

    def _reply_error(self, request: Request, error: StarlingsError) -> None:
        self._reply(request, Answer(error.status, render_error(error)))
