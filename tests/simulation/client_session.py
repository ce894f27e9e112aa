"""A client's end of its sessions: links, ``init``, tokens, requests and replies.

It does what the JavaScript SDK does at this level [wire-protocol 4, 6]: it comes back by itself
with the continuation token that it was given, acknowledges what it is sent, and repeats a request
under its request id as long as the answer is 503. What is said is the ``Audience``'s to judge.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from starlings.wire.codec import decode_downstream, encode_upstream
from starlings.wire.messages import (
    ClientUpdate,
    HttpRequest,
    Init,
    Notification,
    Ping,
    Reply,
    Request,
    ServerClose,
    Status,
    Update,
)
from tests.simulation.chance import Chance
from tests.simulation.history import History
from tests.simulation.network import Link

__all__ = ["Audience", "ClientSession", "Lost", "Response", "Taker"]

_REQUEST_TIMEOUT_SECONDS = 30.0

Taker = Callable[[dict[str, Any]], None]
"""Is given the body of a success before the next frame is read, as in JavaScript."""


class Lost(Exception):
    """The connection broke, or no reply came: whether the request was carried out is unknown."""


class Response(NamedTuple):
    status: int
    body: dict[str, Any]

    @property
    def is_success(self) -> bool:
        return self.status < 300


class Audience(Protocol):
    """Who is told what comes over a session."""

    def on_notification(self, payload: dict[str, Any]) -> None: ...

    def on_lost(self) -> None:
        """The session is over; ``keep_connected`` begins another."""


class ClientSession:
    """The present session of one client with one identity.

    Args:
        connect: A new link to the server; None while there is none.
        make_token: For an identity. Each session begins with a new one.
    """

    def __init__(
        self,
        name: str,
        identity: str,
        chance: Chance,
        history: History,
        connect: Callable[[ClientSession], Link | None],
        make_token: Callable[[str], str],
        audience: Audience,
    ) -> None:
        self.name = name
        self.identity = identity
        self.is_ready = False
        self.link: Link | None = None
        self.away_until = 0.0
        """Until then a broken connection stays broken."""
        self.own_requests: set[str] = set()
        """Request ids sent on this connection whose reply has not come."""
        self.own_answered: set[str] = set()
        """Request ids whose success was told on this connection."""
        self._chance = chance
        self._history = history
        self._connect = connect
        self._make_token = make_token
        self._audience = audience
        self._continuation: str | None = None
        self._replies: dict[str, asyncio.Future[Reply]] = {}
        self._takers: dict[str, Taker] = {}
        """By message id."""
        self._repetitions: dict[str, str] = {}
        """Request ids by the ids of the messages that carried them."""
        self._init_id = ""
        self._numbers = 0
        self._link_count = 0
        self._is_acknowledging_like_javascript = chance.is_so(0.7)

    @property
    def address(self) -> str:
        """Names this client on its present connection."""
        return f"{self.name}/{self._link_count}"

    def next_number(self) -> int:
        """Never the same twice."""
        self._numbers += 1
        return self._numbers

    # The connection

    def keep_connected(self) -> None:
        """To be called again and again: connect if there is no link, and time to."""
        if self.link is None and asyncio.get_running_loop().time() >= self.away_until:
            self._start_link()

    def hang_up(self) -> None:
        """Close the connection; another one follows."""
        if self.link is not None:
            self.link.close_by_client()
            self._leave_link()

    def load_anew(self) -> None:
        """Be another client of the same identity: a page that was loaded anew."""
        self.hang_up()
        self._continuation = None

    def _start_link(self) -> None:
        self.link = self._connect(self)
        if self.link is None:
            return
        self._link_count += 1
        self._init_id = self._next_id()
        token = self._make_token(self.identity)
        self.link.token = token
        init = Init(id=self._init_id, token=token, continuation_token=self._continuation)
        self._send(encode_upstream(init))

    def _leave_link(self) -> None:
        self.link = None
        self.is_ready = False
        for future in self._replies.values():
            if not future.done():
                future.set_exception(Lost())
        self._replies.clear()
        self._takers.clear()
        self._repetitions.clear()
        self.own_requests.clear()
        self.own_answered.clear()
        self._audience.on_lost()

    def _send(self, frame: bytes) -> None:
        if self.link is not None:
            self.link.send(frame)

    def _next_id(self) -> str:
        return f"TM-{self.name}-{self.next_number()}"

    # From the link

    def on_lost(self, link: Link) -> None:
        if link is self.link:
            self._leave_link()

    def on_frame(self, link: Link, frame: bytes) -> None:
        if link is not self.link:
            return
        message = decode_downstream(frame)
        if isinstance(message, Reply):
            self._take_reply(message)
            return
        self._acknowledge(message.id)
        if isinstance(message, Notification):
            self._audience.on_notification(json.loads(message.payload))
        elif isinstance(message, ServerClose):
            self.hang_up()
        else:
            assert isinstance(message, Ping | ClientUpdate), message

    def _acknowledge(self, message_id: str) -> None:
        if self._is_acknowledging_like_javascript:
            header = (
                b'{"id":"%s","method":"reply","payload_type":"application/json",'
                b'"status":{"code":200,"status":"OK"},"payload_size":0}' % message_id.encode()
            )
            self._send(b"TWILSOCK V3.0 %d\r\n%s\r\n" % (len(header), header))
        else:
            self._send(encode_upstream(Reply(message_id, Status(200, "OK"))))

    def _take_reply(self, reply: Reply) -> None:
        if reply.id == self._init_id:
            if reply.status.is_success:
                self.is_ready = True
                self._continuation = reply.continuation_token
            else:
                self.hang_up()
            return
        is_success = reply.http_status is not None and reply.http_status.is_success
        request_id = self._repetitions.pop(reply.id, None)
        if request_id is not None:
            self.own_requests.discard(request_id)
            if is_success:
                self.own_answered.add(request_id)
        take = self._takers.pop(reply.id, None)
        if take is not None and is_success:
            take(json.loads(reply.payload))
        future = self._replies.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)

    # Requests

    async def update_token(self) -> None:
        """Show a new token. Raises Lost."""
        if self.is_ready and self.link is not None:
            request_id = self._next_id()
            link, token = self.link, self._make_token(self.identity)
            reply = await self._ask(request_id, encode_upstream(Update(request_id, token)))
            if reply.status.is_success:
                link.token = token
            else:
                self.hang_up()

    async def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        params: dict[str, str] | None = None,
        if_match: str | None = None,
        take: Taker | None = None,
    ) -> tuple[Response, str]:
        """A tunnelled request, repeated under the same request id as long as the answer is 503.

        Returns the answer and the request id. Raises Lost.
        """
        request_id = f"RQ-{self.name}-{self._next_id()}"
        while True:
            response = await self._request_once(
                method, path, body, params, if_match, request_id, take
            )
            if response.status != 503:
                return response, request_id
            await asyncio.sleep(self._chance.uniform(0.1, 1.0))

    async def _request_once(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        params: dict[str, str] | None,
        if_match: str | None,
        request_id: str,
        take: Taker | None,
    ) -> Response:
        if not self.is_ready:
            raise Lost
        headers: dict[str, Any] = {"Twilio-Request-Id": request_id}
        if if_match is not None:
            headers["If-Match"] = if_match
        payload = b"" if body is None else json.dumps(body).encode()
        message_id = self._next_id()
        http = HttpRequest(path=path, method=method, params=dict(params or {}), headers=headers)
        frame = encode_upstream(
            Request(message_id, http, "data_sync", b"data_sync" if method == "DELETE" else payload)
        )
        self.own_requests.add(request_id)
        if method != "GET" and path != "/v4/Subscriptions" and self._chance.is_so(0.05):
            # The same once more, as a repetition that crosses the answer.
            repetition_id = self._next_id()
            self._repetitions[repetition_id] = request_id
            self._send(encode_upstream(Request(repetition_id, http, "data_sync", payload)))
        self._repetitions[message_id] = request_id
        if take is not None:
            self._takers[message_id] = take
        reply = await self._ask(message_id, frame)
        assert reply.http_status is not None
        return Response(reply.http_status.code, json.loads(reply.payload or b"{}"))

    async def _ask(self, message_id: str, frame: bytes) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[message_id] = future
        self._send(frame)
        try:
            return await asyncio.wait_for(future, _REQUEST_TIMEOUT_SECONDS)
        except TimeoutError:
            self._history.accuse(f"{self.name}: no reply within 30 s to {frame[:400]!r}")
            raise Lost from None
