"""Live queries in a world: clients open, follow and close them, and search once now and then.

Which items match is decided here by ``core.query``, which has its own tests: what is at stake is
that no change gets lost, comes twice or steps back on its way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlings.core.query import Query, format_query, parse_query
from starlings.node.queries import query_id_of
from tests.simulation.client import Client
from tests.simulation.part import Step
from tests.simulation.query_copy import QueryCopy, Result

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["LiveQueries"]

_TEXTS = [
    "",
    'team == "blue"',
    'data.team EQ "blue"',  # the same, so it shares the result with the one before
    'team != "blue" AND n > 30',
    'tags CONTAINS "ho"',
    'team == "red" OR tags CONTAINS "cold"',
    '(team == "red" OR key == "b/c") AND pad NOT_CONTAINS "xxxxx"',
    'key IN ["a", "ü", "last"] OR n <= 20',
]


class LiveQueries:
    """Implements ``part.Part``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self._names = ["map a", "map%2Fb"]
        self._parsed = {text: parse_query(text) for text in _TEXTS}

    def make_data(self) -> dict[str, Any]:
        data: dict[str, Any] = {"team": self._chance.choice(["blue", "blue", "red", None])}
        if self._chance.is_so(0.5):
            data["tags"] = self._chance.choice([[], ["hot"], ["hot", "cold"], "cold"])
        return data

    async def begin(self) -> None:
        """Everything begins with a client."""

    def steps(self) -> list[Step]:
        return [
            (24, self._open),
            (20, self._write),
            (4, self._search),
            (3, self._close),
            (2, self._reopen),
            (3, self._subscribe_anew),
            (1, self._change_permission),
        ]

    def mend(self) -> None:
        """Nothing goes wrong here by itself."""

    def is_settled(self) -> bool:
        return all(
            query.is_established
            for client in self._world.clients
            for query in client.queries.values()
            if query.is_wanted
        )

    async def finish(self) -> None:
        """Take a permission from somebody who follows a query."""
        world = self._world
        holders = [
            (query.result.map_sid, client.identity)
            for client in world.clients
            for query in client.queries.values()
            if query.is_wanted
        ]
        if holders and world.has_acl:
            sid, identity = self._chance.choice(holders)
            await world.grants.give(sid, identity, may_read=False)

    async def compare(self) -> list[str]:
        """Every result must be what the query matches in the store."""
        return [
            f"{client.name}: {query.text!r} on {query.index_name}: {sentence}"
            for client in self._world.clients
            for query in client.queries.values()
            for sentence in await self._differences(client, query)
        ]

    # Steps

    async def _open(self, client: Client) -> None:
        if not client.is_ready:
            return
        index_name = self._choose_index(client)
        text = self._chance.choice(_TEXTS)
        await self._begin(client, index_name, text)

    async def _begin(self, client: Client, index_name: str, text: str) -> None:
        response = await client.search(
            index_name,
            {"query_string": text, "type": QueryCopy.kind},
            lambda body: self._take_answer(client, index_name, text, body),
        )
        if response.status == 403:
            await self._ask_for_permission(client, index_name)

    def _take_answer(
        self, client: Client, index_name: str, text: str, body: dict[str, Any]
    ) -> None:
        query_id = body["query_id"]
        result = self._find_result(index_name, text, query_id)
        if result is None:
            self._accuse(client, f"{query_id} is of no Map that is called {index_name}")
            return
        self._world.maps_of_queries[query_id] = result.map_sid
        known = client.queries.get(query_id)
        if known is not None and known.is_wanted:
            return  # the SDK has it open, and ignores the answer
        query = QueryCopy(
            query_id,
            index_name,
            text,
            result,
            lambda sentence: self._accuse(client, f"{text!r} on {index_name}: {sentence}"),
            is_listening=client.has_closed(query_id),
        )
        self._chance.counts["queries"] += 1
        query.take_answer(body)
        client.queries[query_id] = query

    async def _search(self, client: Client) -> None:
        """An instant query."""
        if not client.is_ready:
            return
        index_name = self._chance.choice(self._names)
        text = self._chance.choice(_TEXTS)
        sids = self._world.history.sids_of_name(index_name)
        newest_ids = {sid: self._world.history.newest_id(sid) for sid in sids}
        response = await client.search(index_name, {"query_string": text})
        if not response.is_success or sids[-1:] != list(newest_ids)[-1:]:
            return  # another Map has this name now
        result = self._result(sids[-1], text)
        for complaint in result.complaints(response.body["items"], newest_ids[sids[-1]]):
            self._accuse(client, f"{text!r} once on {index_name}: {complaint}")

    async def _close(self, client: Client) -> None:
        query = self._choose_query(client)
        if query is not None:
            await client.close_query(query)

    async def _reopen(self, client: Client) -> None:
        """Close and open at once: the SDK then doesn't even send the cancel."""
        query = self._choose_query(client)
        if query is not None:
            client.forget_query(query)
            await self._begin(client, query.index_name, query.text)

    def _subscribe_anew(self, client: Client) -> None:
        for query in client.queries.values():
            client.subscribe_anew(query)

    async def _change_permission(self, client: Client) -> None:
        query = self._choose_query(client)
        if query is not None and self._world.has_acl:
            sid = query.result.map_sid
            await self._world.grants.give(sid, client.identity, may_read=self._chance.is_so(0.3))

    async def _write(self, client: Client) -> None:
        """More changes than there are in a plain world."""
        del client
        await self._world.writes.change_map(self._chance.choice(self._names))

    # Within

    async def _ask_for_permission(self, client: Client, index_name: str) -> None:
        sids = self._world.history.sids_of_name(index_name)
        if sids and self._chance.is_so(0.7):
            await self._world.grants.give(sids[-1], client.identity, may_read=True)

    def _choose_index(self, client: Client) -> str:
        """A Map by its name, or by its SID if the client knows that."""
        name = self._chance.choice(self._names)
        copy = client.copies.get(name)
        return copy.sid if copy is not None and self._chance.is_so(0.3) else name

    def _choose_query(self, client: Client) -> QueryCopy | None:
        queries = list(client.queries.values())
        return self._chance.choice(queries) if queries and client.is_ready else None

    def _find_result(self, index_name: str, text: str, query_id: str) -> Result | None:
        """For the Map of this name, or SID, to which the id belongs."""
        form = format_query(self._parsed[text])
        epoch = self._world.server.store.epoch
        for sid in (*self._world.history.sids_of_name(index_name), index_name):
            if query_id_of(epoch, sid, form) == query_id:
                return self._result(sid, text)
        return None

    def _result(self, sid: str, text: str) -> Result:
        world = self._world
        return Result(sid, self._parsed[text], world.history, world.now, self._chance.counts)

    def _accuse(self, client: Client, sentence: str) -> None:
        self._world.history.accuse(f"{client.name}: {sentence}")

    async def _differences(self, client: Client, query: QueryCopy) -> list[str]:
        sid = query.result.map_sid
        target = await self._world.find(sid)
        if not query.is_wanted:
            # Whether a refusal was right was judged when it was told.
            if target is not None and query.failed_with != 403:
                return [f"has failed with {query.failed_with}"]
            return []
        if target is None or not self._world.rights.may_read_now(sid, client.identity):
            return [f"goes on, on a Map that is there: {target is not None}"]
        store = self._world.server.store
        rows = await store.list_items(target.oid, None, True, False, 10_000, self._world.now())
        there = _matching(self._parsed[query.text], rows)
        if query.items() != there:
            return [f"has {query.items()}, the store {there}"]
        return []


def _matching(query: Query, rows: list[Any]) -> dict[str, Any]:
    items = {str(row.key): json.loads(row.data) for row in rows}
    return {key: data for key, data in items.items() if query.matches(key, data)}
