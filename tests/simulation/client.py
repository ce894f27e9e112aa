"""A client that behaves as the JavaScript SDK does towards the server, and keeps whole copies.

What it does with replies and events is that of wire-protocol 4 and 8: it ignores what it knows,
item by item; subscribes again from the newest event it has when told ``interrupted`` and after each
reconnect; repeats what was not confirmed in time; never asks again for what failed for good.

Beside its copy it keeps, per subscription, a *track* of what the server sent, and accuses the
server of whatever breaks the promises of wire-protocol 8.4 and 8.5: a gap, a step back, an event
before the reply to its own change, the echo of its own removal. Live queries: ``query_copy.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from starlings.core.objects import ItemKey
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
from tests.simulation.query_copy import QueryCopy

__all__ = ["Client", "Copy", "Lost", "Response"]

PATHS = {"document": "Documents", "list": "Lists", "map": "Maps", "stream": "Streams"}
_REQUEST_TIMEOUT_SECONDS = 30.0

_MUTED = "_item_dropped"
"""What an own removal, told by its reply, ends in."""


class Lost(Exception):
    """The connection broke, or no reply came: whether the request was carried out is unknown."""


class Response(NamedTuple):
    status: int
    body: dict[str, Any]

    @property
    def is_success(self) -> bool:
        return self.status < 300


class Entry(NamedTuple):
    """What is known of one item; ``data`` None: it was removed."""

    data: Any
    last_id: int
    revision: str


class Track:
    """What was sent for one request to subscribe, on one connection."""

    def __init__(self, after_id: int | None) -> None:
        self.after_id = after_id
        self.last_id = after_id
        self.is_live = False


class Copy:
    """One object as this client knows it."""

    def __init__(self, kind: str, body: dict[str, Any], *, from_start: bool) -> None:
        self.kind = kind
        self.sid: str = body["sid"]
        self.name: str = body["unique_name"]
        self.url: str = body["url"]
        self.data = body.get("data")
        self.revision: str = body.get("revision", "")
        self.last_id: int = body.get("last_event_id", -1)
        self.has_items = kind in ("document", "stream")
        if from_start and not self.has_items:
            self.last_id = -1
            self.has_items = True
        self.items: dict[ItemKey, Entry] = {}
        self.is_removed = False
        self.is_failed = False
        self.is_established = False
        self.pending: int | None = None
        self.asked_at = 0.0
        self.tracks: dict[int, Track] = {}
        self.track: Track | None = None
        """The one whose events are live now."""
        self.messages: list[str] = []

    @property
    def path(self) -> str:
        return self.url.split("//", 1)[1].partition("/")[2].join(("/", ""))

    @property
    def is_wanted(self) -> bool:
        return not self.is_removed and not self.is_failed

    def entry(self) -> dict[str, Any]:
        """What asks for the subscription."""
        after_id = None if self.kind == "stream" else self.last_id
        return {"object_sid": self.sid, "object_type": self.kind, "last_event_id": after_id}

    def ask(self, correlation_id: int, now: float) -> None:
        """A subscription is asked for."""
        self.pending, self.asked_at = correlation_id, now
        self.tracks[correlation_id] = Track(None if self.kind == "stream" else self.last_id)

    def live_items(self) -> dict[ItemKey, Any]:
        return {key: entry.data for key, entry in self.items.items() if entry.data is not None}

    def store(self, key: ItemKey, data: Any, event_id: int, revision: str) -> None:
        """Take over an item's state, or its removal, unless a newer one is known."""
        known = self.items.get(key)
        if known is None or known.last_id < event_id:
            self.items[key] = Entry(data, event_id, revision)

    def forget_connection(self) -> None:
        self.is_established = False
        self.pending = None
        self.tracks.clear()
        self.track = None


class Client:
    """One SDK client with one identity, over one link after the other."""

    def __init__(
        self,
        name: str,
        identity: str,
        chance: Chance,
        history: History,
        connect: Callable[[Client], Link | None],
        make_token: Callable[[str], str],
    ) -> None:
        self.name = name
        self.identity = identity
        self.copies: dict[str, Copy] = {}
        """By unique name."""
        self.queries: dict[str, QueryCopy] = {}
        """Live ones, by id."""
        self.is_ready = False
        self.link: Link | None = None
        self.away_until = 0.0
        """Until then a broken connection stays broken."""
        self._chance = chance
        self._history = history
        self._connect = connect
        self._make_token = make_token
        self._continuation: str | None = None
        self._replies: dict[str, asyncio.Future[Reply]] = {}
        self._takers: dict[str, Callable[[dict[str, Any]], None]] = {}
        """What takes over a successful answer before the next frame is read, by message id."""
        self._repetitions: dict[str, str] = {}
        """Request ids by the ids of the messages that carried them."""
        self._own_requests: set[str] = set()
        """Request ids sent on this connection whose reply has not come."""
        self._own_answered: set[str] = set()
        """Request ids whose success was told on this connection."""
        self._closed_sids: set[str] = set()
        """Objects whose subscription was cancelled on this connection."""
        self._init_id = ""
        self._numbers = 0
        self._link_count = 0
        self._by_sid: dict[str, Copy] = {}
        self._batch_size = 100
        self._is_acknowledging_like_javascript = chance.is_so(0.7)

    @property
    def address(self) -> str:
        """Names this client on its present connection."""
        return f"{self.name}/{self._link_count}"

    # The connection

    async def run(self) -> None:
        """Stay connected and subscribed for ever."""
        while True:
            if self.link is None:
                if asyncio.get_running_loop().time() >= self.away_until:
                    self._start_link()
            elif self.is_ready:
                await self._subscribe_to_what_is_missing()
            await asyncio.sleep(0.1)

    def _start_link(self) -> None:
        self.link = self._connect(self)
        if self.link is None:
            return
        self._link_count += 1
        self._init_id = self._next_id()
        self._send(
            encode_upstream(
                Init(
                    id=self._init_id,
                    token=self._make_token(self.identity),
                    continuation_token=self._continuation,
                )
            )
        )

    def on_lost(self, link: Link) -> None:
        if link is self.link:
            self._leave_link()

    def hang_up(self) -> None:
        """Close the connection; ``run`` makes another."""
        if self.link is not None:
            self.link.close_by_client()
            self._leave_link()

    def load_anew(self) -> None:
        """Be another client of the same identity: a page that was loaded anew."""
        self.hang_up()
        self._continuation = None

    def _leave_link(self) -> None:
        self.link = None
        self.is_ready = False
        for future in self._replies.values():
            if not future.done():
                future.set_exception(Lost())
        self._replies.clear()
        self._takers.clear()
        self._repetitions.clear()
        self._own_requests.clear()
        self._own_answered.clear()
        self._closed_sids.clear()
        for copy in self._subscribed():
            copy.forget_connection()

    def _send(self, frame: bytes) -> None:
        if self.link is not None:
            self.link.send(frame)

    def _next_id(self) -> str:
        self._numbers += 1
        return f"TM-{self.name}-{self._numbers}"

    def on_frame(self, link: Link, frame: bytes) -> None:
        if link is not self.link:
            return
        message = decode_downstream(frame)
        if isinstance(message, Reply):
            self._take_reply(message)
            return
        self._acknowledge(message.id)
        if isinstance(message, Notification):
            self._take_notification(json.loads(message.payload))
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
        request_id = self._repetitions.pop(reply.id, None)
        if request_id is not None:
            self._own_requests.discard(request_id)
            if reply.http_status is not None and reply.http_status.is_success:
                self._own_answered.add(request_id)
        take = self._takers.pop(reply.id, None)
        if take is not None and reply.http_status is not None and reply.http_status.is_success:
            take(json.loads(reply.payload))
        future = self._replies.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)

    # Requests

    async def update_token(self) -> None:
        """Show a new token. Raises Lost."""
        if self.is_ready:
            request_id = self._next_id()
            reply = await self._ask(
                request_id, encode_upstream(Update(request_id, self._make_token(self.identity)))
            )
            if not reply.status.is_success:
                self.hang_up()

    async def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        params: dict[str, str] | None = None,
        if_match: str | None = None,
        take: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[Response, str]:
        """A tunnelled request, repeated under the same request id as long as the answer is 503.

        Returns the answer and the request id. ``take`` is given the body of a success before the
        next frame is read, as in JavaScript. Raises Lost.
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
        take: Callable[[dict[str, Any]], None] | None,
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
        self._own_requests.add(request_id)
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

    # Opening

    async def open(self, kind: str, name: str, *, from_start: bool) -> Copy | None:
        """Open or create an object; None if that is not allowed. Raises Lost."""
        if name in self.copies:
            return self.copies[name]
        for _ in range(20):
            response, _ = await self.request("GET", f"/v3/{PATHS[kind]}/{quote(name, safe='')}")
            if response.status == 404:
                body: dict[str, Any] = {"unique_name": name}
                if kind == "document":
                    body["data"] = {"n": 0}
                response, _ = await self.request("POST", f"/v3/{PATHS[kind]}", body)
                if response.status == 201 and kind == "document":
                    response.body["data"] = {"n": 0}
            if response.status == 409:
                continue
            if not response.is_success:
                return None
            if name not in self.copies:
                copy = Copy(kind, response.body, from_start=from_start)
                self.copies[name] = self._by_sid[copy.sid] = copy
            return self.copies[name]
        return None

    async def read_all_items(self, copy: Copy) -> None:
        """Page through a collection, once; up or down, in pages of any size. Raises Lost."""
        is_descending = self._chance.is_so(0.5)
        params = {
            "HideExpired": "true",
            "PageSize": str(self._chance.randint(1, 6)),
            "Order": "desc" if is_descending else "asc",
        }
        while not copy.has_items and copy.is_wanted:
            response, _ = await self.request("GET", f"{copy.path}/Items", params=params)
            if not response.is_success:
                return
            items = response.body["items"]
            for item in items:
                key = item["index"] if copy.kind == "list" else item["key"]
                copy.store(key, item["data"], item["last_event_id"], item["revision"])
            if response.body["meta"]["next_token"] is None:
                copy.has_items = True
            else:
                last = items[-1]["index"] if copy.kind == "list" else items[-1]["key"]
                params = {
                    **params,
                    "From": quote(str(last), safe=""),
                    "PageSize": str(self._chance.randint(2, 6)),
                }

    # Subscriptions

    def _subscribed(self) -> list[Copy | QueryCopy]:
        """All that is open."""
        return [*self.copies.values(), *self.queries.values()]

    async def _subscribe_to_what_is_missing(self) -> None:
        now = asyncio.get_running_loop().time()
        missing: list[Copy | QueryCopy] = []
        for copy in self._subscribed():
            if copy.is_established or not copy.is_wanted:
                continue
            if copy.pending is not None and now < copy.asked_at + 30.0:
                return  # nothing is batched further until the confirmation or the estimate
            missing.append(copy)
        if not missing:
            return
        batch = missing[: self._batch_size]
        self._numbers += 1
        correlation_id = 1_795_000_000_000 + self._numbers
        entries = []
        for copy in batch:
            copy.ask(correlation_id, now)
            entries.append(copy.entry())
        try:
            response = await self._post_subscriptions("establish", correlation_id, entries)
        except Lost:
            return
        if response.is_success:
            self._batch_size = self._chance.choice([1, 2, 3, response.body["max_batch_size"]])
        else:
            for copy in batch:
                if copy.pending == correlation_id:
                    copy.pending = None

    async def _post_subscriptions(
        self, action: str, correlation_id: int, entries: list[dict[str, Any]]
    ) -> Response:
        body = {
            "event_protocol_version": 4,
            "action": action,
            "correlation_id": correlation_id,
            "retried_requests": 0,
            "ttl_in_s": -1,
            "requests": entries,
        }
        return (await self.request("POST", "/v4/Subscriptions", body))[0]

    def subscribe_anew(self, copy: Copy | QueryCopy) -> None:
        """As after a subscription's time to live: establish what is established."""
        copy.is_established = False
        copy.pending = None

    async def close_copy(self, copy: Copy) -> None:
        """Cancel a subscription and forget the object. Raises Lost."""
        self.copies.pop(copy.name, None)
        self._by_sid.pop(copy.sid, None)
        await self._cancel(copy)

    async def _cancel(self, copy: Copy | QueryCopy) -> None:
        self._closed_sids.add(copy.sid)
        self._numbers += 1
        entries = [{"object_sid": copy.sid, "object_type": copy.kind}]
        await self._post_subscriptions("cancel", 1_795_000_000_000 + self._numbers, entries)

    # Queries

    async def search(
        self,
        index_name: str,
        body: dict[str, Any],
        take: Callable[[dict[str, Any]], None] | None = None,
    ) -> Response:
        """Ask a query; ``take`` as in ``request``. Raises Lost."""
        path = f"/v3/Insights/{quote(index_name, safe='')}/Items"
        return (await self.request("POST", path, body, take=take))[0]

    async def close_query(self, query: QueryCopy) -> None:
        """Cancel and forget a live query. Raises Lost."""
        self.forget_query(query)
        await self._cancel(query)

    def forget_query(self, query: QueryCopy) -> None:
        """Close a live query; the server may hear of it, or not."""
        if self.queries.get(query.sid) is query:
            del self.queries[query.sid]
            self._closed_sids.add(query.sid)

    def has_closed(self, sid: str) -> bool:
        """True if that was open before on this connection."""
        return sid in self._closed_sids

    # Events

    def _take_notification(self, payload: dict[str, Any]) -> None:
        event_type = payload["event_type"]
        correlation_id = payload.get("correlation_id")
        if event_type.startswith("subscription_"):
            for event in payload["events"]:
                if event["object_type"] == QueryCopy.kind:
                    self._confirm_query(event_type, correlation_id, event)
                else:
                    self._take_confirmation(event_type, correlation_id or 0, event)
            return
        event = payload["event"]
        if event_type.startswith(QueryCopy.kind):
            query = self._find_query(event["query_id"], event_type)
            if query is not None:
                query.take_event(event_type, event, payload["strictly_ordered"])
            return
        kind = event_type.partition("_")[0]
        copy = self._by_sid.get(event[f"{kind}_sid"])
        if copy is None:
            return
        if event_type == f"{kind}_removed":
            if not self._history.is_removed(copy.sid):
                self._accuse(copy, "was told removed, and is not")
            copy.is_removed = True
        elif kind == "stream":
            self._take_message(copy, event)
        else:
            self._follow(copy, event_type, correlation_id, event["id"])
            self._apply(copy, event_type, event)

    def _take_confirmation(
        self, event_type: str, correlation_id: int, event: dict[str, Any]
    ) -> None:
        copy = self._by_sid.get(event["object_sid"])
        if copy is None or event_type == "subscription_canceled":
            return
        if event_type == "subscription_failed":
            # Also without a request under way: access was taken away.
            if event["error"]["status"] == 404:
                copy.is_removed = True  # may only be about to expire: checked at the end
            else:
                if not self._history.had_permission_changes(copy.sid, self.identity):
                    self._accuse(copy, f"failed: {event}")
                copy.is_failed = True
            return
        track = copy.tracks.get(correlation_id)
        if track is None:
            if copy.sid not in self._closed_sids:  # else it is for the copy closed before
                self._accuse(copy, f"was confirmed for an unknown request {correlation_id}")
            return
        if event["replay_status"] == "completed":
            if copy.kind != "stream":
                if track.last_id is not None:
                    self._check_skipped(copy, track.last_id, event["last_event_id"])
                    if event["last_event_id"] < track.last_id:
                        self._accuse(copy, f"confirmed {event}, behind {track.last_id}")
                track.last_id = event["last_event_id"]
            track.is_live = True
            copy.track = track
        if copy.pending != correlation_id:
            return
        copy.pending = None
        if event["replay_status"] == "completed":
            copy.is_established = True
            if copy.kind in ("list", "map"):
                copy.last_id = max(copy.last_id, event["last_event_id"])
        elif track.last_id == track.after_id:
            self._accuse(copy, "was interrupted without an event")

    def _confirm_query(
        self, event_type: str, correlation_id: int | None, event: dict[str, Any]
    ) -> None:
        if event_type == "subscription_canceled":
            return
        query = self._find_query(event["object_sid"], event_type)
        if query is None:
            return
        if event_type == "subscription_failed":
            query.fail(correlation_id, event["error"])
        else:
            query.confirm(correlation_id or 0, event)

    def _find_query(self, query_id: str, event_type: str) -> QueryCopy | None:
        """The open query that is told of; none if it was sent before a cancel was read."""
        query = self.queries.get(query_id)
        if query is None and query_id not in self._closed_sids:
            self._history.accuse(f"{self.name}: {event_type} of {query_id}, which is not open")
        return query

    def _follow(
        self, copy: Copy, event_type: str, correlation_id: int | None, event_id: int
    ) -> None:
        """Compare an event with what its subscription promises."""
        event = self._history.find(copy.sid, event_id)
        if event is None:
            self._accuse(copy, f"{event_type} {event_id} never happened")
            return
        # A repair reads the log, which may be ahead of the replies.
        is_live = correlation_id is None and not self._chance.counts["repairs"]
        if event.request_id is not None and is_live:
            if event.request_id in self._own_requests:
                self._accuse(copy, f"own event {event_id} came before its reply")
            is_own = event.request_id in self._own_answered
            is_muted = event_type.endswith(_MUTED)
            if is_muted and not is_own:
                self._accuse(copy, f"removal {event_id} of somebody else was muted")
        track = copy.track if correlation_id is None else copy.tracks.get(correlation_id)
        if track is None:
            if copy.sid not in self._closed_sids:  # else it was sent before the cancel was read
                self._accuse(copy, f"{event_type} {event_id} came outside of any subscription")
            return
        if correlation_id is not None and track.is_live:
            self._accuse(copy, f"{event_type} {event_id} was replayed after its confirmation")
        if track.last_id is None:
            track.last_id = event_id
        elif event_id <= track.last_id:
            self._accuse(copy, f"{event_type} {event_id} came after {track.last_id}")
        else:
            self._check_skipped(copy, track.last_id, event_id - 1)
            track.last_id = event_id

    def _check_skipped(self, copy: Copy, after_id: int, last_id: int) -> None:
        """Every event in between must be obsolete."""
        for event_id in range(after_id + 1, last_id + 1):
            event = self._history.find(copy.sid, event_id)
            if event is None or self._history.is_superseded(copy.sid, event_id):
                continue
            self._accuse(copy, f"event {event_id} was left out: {event}")

    def _apply(self, copy: Copy, event_type: str, event: dict[str, Any]) -> None:
        event_id = event["id"]
        if copy.kind == "document":
            if event_id > copy.last_id:
                copy.last_id = event_id
                copy.data = event["document_data"]
                copy.revision = event["document_revision"]
            return
        copy.last_id = max(copy.last_id, event_id)
        if event_type.endswith(_MUTED):
            return  # a type that no client knows: only its id counts
        key = event["item_index"] if copy.kind == "list" else event["item_key"]
        data = None if event_type.endswith("_removed") else event["item_data"]
        copy.store(key, data, event_id, event["item_revision"])

    def _take_message(self, copy: Copy, event: dict[str, Any]) -> None:
        if copy.track is None and copy.sid not in self._closed_sids:
            self._accuse(copy, "a message came outside of any subscription")
        if event["message_sid"] in copy.messages:
            self._accuse(copy, f"message {event['message_sid']} came twice")
        if event["message_data"].get("by") == self.address:
            self._accuse(copy, "an own message was echoed")
        copy.messages.append(event["message_sid"])

    def _accuse(self, copy: Copy, sentence: str) -> None:
        self._history.accuse(f"{self.name}: {copy.name}: {sentence}")
