"""Sees all that the servers of a world send, in the step in which it is decided, and accuses them
of whatever its receiver had no right to, and of every refusal without a reason. [rest-api 6]

Replies: between the arrival of the request and the reply there must be a moment at which the
identity had the right; or had not, if it was refused. Grants that are over count for nothing.

Events: a subscription may live on until the end of its grant is recorded, and until the news of a
change, and the look at the grants that follows, were heard. For an event that goes out as it
happens, news travel in the order of commits: so nothing that was committed after the right was
lost goes out, unless it is there again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from starlings.wire.codec import decode_downstream, decode_upstream
from starlings.wire.messages import Notification, Reply, Request
from starlings.wire.paths import Kind, NoRoute, Operation, parse_target
from tests.simulation.network import Link
from tests.simulation.rights import MANAGE, READ, WRITE

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["RightsWitness"]

_SLACK_MS = 1_500
"""What the simulated store takes at most for the news of a grant and the look at all grants."""

_READING = {Operation.READ, Operation.READ_ITEMS, Operation.READ_ITEM, Operation.SEARCH}
_WRITING = {
    Operation.ADD_ITEM,
    Operation.PUT_ITEM,
    Operation.UPDATE_ITEM,
    Operation.REMOVE_ITEM,
    Operation.PUBLISH,
}


class _Asked(NamedTuple):
    """A request that has arrived."""

    at: int
    name: str
    """Of the object, or its SID."""
    right: str
    is_write: bool
    """It leaves an event, which is judged by itself."""


class RightsWitness:
    """Implements ``network.Witness``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: dict[tuple[Link, str], _Asked] = {}
        """By link and message id."""
        self._asked_at: dict[str, int] = {}
        """First, by request id: what is repeated is answered as the first time."""
        self._subscribing_at: dict[tuple[Link, int], int] = {}
        """By link and correlation id."""

    # What arrives

    def on_taken(self, link: Link, frame: bytes) -> None:
        if not self._world.has_acl or b'"method":"reply"' in frame[:200]:
            return
        message = decode_upstream(frame)
        if not isinstance(message, Request):
            return
        now = self._world.now()
        http = message.http_request
        request_id = http.find_header("Twilio-Request-Id") or message.id
        at = self._asked_at.setdefault(request_id, now)
        route = parse_target(http.method, http.path)
        if isinstance(route, NoRoute):
            return
        if route.operation is Operation.SUBSCRIBE:
            correlation_id = json.loads(message.payload)["correlation_id"]
            self._subscribing_at[link, correlation_id] = now
            return
        right, is_write = READ, False
        if route.operation in _WRITING:
            right, is_write = WRITE, route.operation is not Operation.PUBLISH
        elif route.operation is Operation.UPDATE:
            right, is_write = WRITE if route.kind is Kind.DOCUMENT else MANAGE, True
        elif route.operation is Operation.REMOVE:
            right, is_write = MANAGE, True
        elif route.operation not in _READING:
            return
        self._asked[link, message.id] = _Asked(at, route.object_ref or "", right, is_write)

    # What is sent

    def on_sent(self, link: Link, frame: bytes) -> None:
        if not self._world.has_acl and b"subscription_failed" not in frame:
            return
        message = decode_downstream(frame)
        if isinstance(message, Reply):
            self._judge_reply(link, message)
        elif isinstance(message, Notification):
            payload = json.loads(message.payload)
            if payload["event_type"].startswith("subscription_"):
                self._judge_confirmations(link, payload)
            else:
                self._judge_event(link, payload)

    def _judge_reply(self, link: Link, reply: Reply) -> None:
        asked = self._asked.pop((link, reply.id), None)
        if asked is None or reply.http_status is None:
            return
        rights, now = self._world.rights, self._world.now()
        sids = self._list_sids(asked.name)
        span = (link.identity, asked.right, asked.at, now)
        if reply.http_status.is_success:
            if not asked.is_write and sids and not any(rights.had(sid, *span) for sid in sids):
                self._accuse(link, f"was answered, and had no right: {asked}")
        elif reply.http_status.code == 403 and asked.name not in self._world.kept_names:
            self._world.chance.counts["refusals"] += 1
            if not any(rights.lacked(sid, *span) for sid in sids):
                self._accuse(link, f"was refused, and had the right: {asked}, {reply.payload!r}")

    def _judge_confirmations(self, link: Link, payload: dict[str, Any]) -> None:
        rights, now = self._world.rights, self._world.now()
        asked_at = self._subscribing_at.get((link, payload.get("correlation_id") or 0))
        for event in payload["events"]:
            query_id = sid = event["object_sid"]
            sid = self._world.maps_of_queries.get(query_id, sid)
            if payload["event_type"] == "subscription_established":
                assert asked_at is not None
                # A live query is held for the client since the search, as if it was subscribed.
                is_held = sid != query_id and rights.may_have_heard(
                    sid, link.identity, now - _SLACK_MS, now
                )
                if not is_held and not rights.had(sid, link.identity, READ, asked_at, now):
                    self._accuse(link, f"was subscribed, and had no right: {event}")
            elif payload["event_type"] == "subscription_failed" and event["error"]["status"] == 403:
                rights.count_loss(sid, link.identity, now - _SLACK_MS)
                since = min(now - _SLACK_MS, now if asked_at is None else asked_at)
                if not rights.lacked(sid, link.identity, READ, since, now):
                    self._accuse(link, f"lost a subscription, and had the right: {event}")

    def _judge_event(self, link: Link, payload: dict[str, Any]) -> None:
        event_type, event = payload["event_type"], payload["event"]
        event_id: int | None = None
        if event_type.startswith("live_query"):
            sid = self._world.maps_of_queries[event["query_id"]]
            if event_type != "live_query_updated":
                event_id = event["last_event_id"]
        else:
            sid = event[f"{event_type.partition('_')[0]}_sid"]
            if payload.get("correlation_id") is None:
                event_id = event.get("id")
        if self._world.chance.counts["repairs"]:
            event_id = None  # it may be read from the log, which is ahead of the news
        now = self._world.now()
        if not self._world.rights.may_have_heard(
            sid, link.identity, now - _SLACK_MS, now, event_id
        ):
            self._accuse(link, f"was sent {event_type}, and had no right: {event}")

    def _list_sids(self, name: str) -> list[str]:
        """The objects that a request can have meant."""
        return self._world.history.sids_of_name(name)[-2:] or [name]

    def _accuse(self, link: Link, sentence: str) -> None:
        self._world.history.accuse(f"access: {link.identity} {sentence}")
