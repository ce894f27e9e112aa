"""A client that behaves as the JavaScript SDK does towards the server, and keeps whole copies.

It opens objects and queries, stays subscribed to them over one session after the other, and hands
each what the server says of it: ``object_copy.py`` and ``query_copy.py`` judge that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Set
from typing import Any
from urllib.parse import quote

from tests.simulation.chance import Chance
from tests.simulation.client_session import ClientSession, Lost, Response, Taker
from tests.simulation.history import History
from tests.simulation.network import Link
from tests.simulation.object_copy import Copy
from tests.simulation.query_copy import QueryCopy

__all__ = ["Client"]

_PATHS = {"document": "Documents", "list": "Lists", "map": "Maps", "stream": "Streams"}
_FIRST_CORRELATION_ID = 1_795_000_000_000
_ESTIMATE_SECONDS = 30.0
"""After which a subscription that is not confirmed is asked for again."""


class Client:
    """One SDK client with one identity. Implements ``object_copy.Keeper`` and
    ``client_session.Audience``.
    """

    def __init__(
        self,
        name: str,
        identity: str,
        chance: Chance,
        history: History,
        connect: Callable[[ClientSession], Link | None],
        make_token: Callable[[str], str],
    ) -> None:
        self.name = name
        self.identity = identity
        self.history = history
        self.copies: dict[str, Copy] = {}
        """By unique name."""
        self.queries: dict[str, QueryCopy] = {}
        """Live ones, by id."""
        self._chance = chance
        self._closed_sids: set[str] = set()
        """Objects whose subscription was cancelled on this connection."""
        self._by_sid: dict[str, Copy] = {}
        self._batch_size = 100
        self.session = ClientSession(name, identity, chance, history, connect, make_token, self)

    async def run(self) -> None:
        """Stay connected and subscribed for ever."""
        session = self.session
        while True:
            if session.link is None:
                session.keep_connected()
            elif session.is_ready:
                await self._subscribe_to_what_is_missing()
            await asyncio.sleep(0.1)

    @property
    def is_ready(self) -> bool:
        return self.session.is_ready

    @property
    def address(self) -> str:
        return self.session.address

    @property
    def counts(self) -> Counter[str]:
        return self._chance.counts

    @property
    def own_requests(self) -> Set[str]:
        return self.session.own_requests

    @property
    def own_answered(self) -> Set[str]:
        return self.session.own_answered

    def has_closed(self, sid: str) -> bool:
        return sid in self._closed_sids

    def accuse(self, name: str, sentence: str) -> None:
        self.history.accuse(f"{self.name}: {name}: {sentence}")

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
        """As ``ClientSession.request``. Raises Lost."""
        return await self.session.request(
            method, path, body, params=params, if_match=if_match, take=take
        )

    # Objects

    async def open(self, kind: str, name: str, *, from_start: bool) -> Copy | None:
        """Open or create an object; None if that is not allowed. Raises Lost."""
        if name in self.copies:
            return self.copies[name]
        for _ in range(20):
            response, _ = await self.request("GET", f"/v3/{_PATHS[kind]}/{quote(name, safe='')}")
            if response.status == 404:
                body: dict[str, Any] = {"unique_name": name}
                if kind == "document":
                    body["data"] = {"n": 0}
                response, _ = await self.request("POST", f"/v3/{_PATHS[kind]}", body)
                if response.status == 201 and kind == "document":
                    response.body["data"] = {"n": 0}
            if response.status == 409:
                continue
            if not response.is_success:
                return None
            if name not in self.copies:
                copy = Copy(kind, response.body, self, from_start=from_start)
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

    async def close_copy(self, copy: Copy) -> None:
        """Cancel a subscription and forget the object. Raises Lost."""
        self.copies.pop(copy.name, None)
        self._by_sid.pop(copy.sid, None)
        await self._cancel(copy)

    # Queries

    async def search(
        self, index_name: str, body: dict[str, Any], take: Taker | None = None
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

    # Subscriptions

    def subscribe_anew(self, copy: Copy | QueryCopy) -> None:
        """As after a subscription's time to live: establish what is established."""
        copy.is_established = False
        copy.pending = None

    def _subscribed(self) -> list[Copy | QueryCopy]:
        """All that is open."""
        return [*self.copies.values(), *self.queries.values()]

    async def _subscribe_to_what_is_missing(self) -> None:
        now = asyncio.get_running_loop().time()
        missing: list[Copy | QueryCopy] = []
        for copy in self._subscribed():
            if copy.is_established or not copy.is_wanted:
                continue
            if copy.pending is not None and now < copy.asked_at + _ESTIMATE_SECONDS:
                return  # nothing is batched further until the confirmation or the estimate
            missing.append(copy)
        if not missing:
            return
        batch = missing[: self._batch_size]
        correlation_id = self._next_correlation_id()
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

    async def _cancel(self, copy: Copy | QueryCopy) -> None:
        self._closed_sids.add(copy.sid)
        entries = [{"object_sid": copy.sid, "object_type": copy.kind}]
        await self._post_subscriptions("cancel", self._next_correlation_id(), entries)

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

    def _next_correlation_id(self) -> int:
        return _FIRST_CORRELATION_ID + self.session.next_number()

    # From the session

    def on_lost(self) -> None:
        self._closed_sids.clear()
        for copy in self._subscribed():
            copy.forget_connection()

    def on_notification(self, payload: dict[str, Any]) -> None:
        event_type = payload["event_type"]
        correlation_id = payload.get("correlation_id")
        if event_type.startswith("subscription_"):
            for event in payload["events"]:
                if event_type == "subscription_canceled":
                    continue
                if event["object_type"] == QueryCopy.kind:
                    self._take_confirmation_of_query(event_type, correlation_id, event)
                else:
                    self._take_confirmation(event_type, correlation_id, event)
            return
        event = payload["event"]
        if event_type.startswith(QueryCopy.kind):
            query = self._find_query(event["query_id"], event_type)
            if query is not None:
                query.take_event(event_type, event, payload["strictly_ordered"])
            return
        copy = self._by_sid.get(event[f"{event_type.partition('_')[0]}_sid"])
        if copy is not None:
            copy.take_event(event_type, correlation_id, event)

    def _take_confirmation(
        self, event_type: str, correlation_id: int | None, event: dict[str, Any]
    ) -> None:
        copy = self._by_sid.get(event["object_sid"])
        if copy is None:
            return
        if event_type == "subscription_failed":
            copy.fail(event["error"])
        else:
            copy.confirm(correlation_id or 0, event)

    def _take_confirmation_of_query(
        self, event_type: str, correlation_id: int | None, event: dict[str, Any]
    ) -> None:
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
            self.history.accuse(f"{self.name}: {event_type} of {query_id}, which is not open")
        return query
