"""A live query as a client keeps it, and what the server promised about it. [wire-protocol 8.3]

The SDK ignores what isn't newer than what it has of an item, reports the removal of an item that it
never had, and forces out whatever a whole result leaves out. So this copy ignores nothing: it
accuses the server of each step that the SDK would ignore, or would take over wrongly. Beyond the
items it knows what the SDK can't: the history. Whatever the query matches has to be in each result,
and no change of the result may be left out between two that are told.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from starlings.core.events import Event, EventType
from starlings.core.objects import ItemKey
from starlings.core.query import Query
from tests.simulation.history import History

__all__ = ["QueryCopy", "Result"]


class _Known(NamedTuple):
    """What is known of an item; ``data`` None: it is not in the result."""

    data: Any
    revision: int


class Result:
    """Checks whole results of a query against the history of its Map."""

    def __init__(
        self,
        map_sid: str,
        query: Query,
        history: History,
        now: Callable[[], int],
        counts: Counter[str],
    ) -> None:
        self.map_sid = map_sid
        self.query = query
        self.history = history
        self._now = now
        self.counts = counts

    def matches(self, event: Event) -> bool:
        """True if the item is in the result after an event."""
        if event.type is EventType.ITEM_REMOVED:
            return False
        return self.query.matches(str(event.key), json.loads(event.data or b"{}"))

    def complaint(self, key: str, revision: int, data: Any) -> str | None:
        """What is wrong with an item that is said to be in the result."""
        event = self.history.find(self.map_sid, revision)
        if event is None or event.key != key or event.type is EventType.ITEM_REMOVED:
            return f"{key!r} was never changed by event {revision}"
        if json.loads(event.data or b"{}") != data:
            return f"{key!r} has other data than event {revision}: {data}"
        if not self.matches(event):
            return f"{key!r} as of {revision} is not what is asked for: {data}"
        return None

    def complaints(self, items: list[dict[str, Any]], as_of: int) -> list[str]:
        """What is wrong with a whole result: each item must be as of event ``as_of``, or newer."""
        found = [
            complaint
            for item in items
            if (complaint := self.complaint(item["key"], item["revision"], item["data"]))
        ]
        revisions = {item["key"]: item["revision"] for item in items}
        if len(revisions) < len(items):
            found.append(f"an item is in the result twice: {sorted(revisions)}")
        if self.history.is_removed(self.map_sid):
            return found
        for key in self.history.keys(self.map_sid):
            ids = self.history.ids_of_key(self.map_sid, key)
            first = bisect_right(ids, as_of) - 1
            if first < 0:
                continue
            if key in revisions:
                if revisions[str(key)] < ids[first]:
                    found.append(f"{key!r} as of {revisions[str(key)]} is behind {ids[first]}")
            elif all(self._must_be_there(key, event_id) for event_id in ids[first:]):
                found.append(f"{key!r} is not in the result as of {as_of}")
        return found

    def is_certain(self, as_of: int) -> bool:
        """True if nothing has happened since an event, and nothing is about to expire."""
        history = self.history
        if history.is_removed(self.map_sid) or history.newest_id(self.map_sid) > as_of:
            return False
        newest = [history.find_by_key(self.map_sid, key) for key in history.keys(self.map_sid)]
        return all(event is None or event.expires_at is None for event in newest)

    def _must_be_there(self, key: ItemKey, event_id: int) -> bool:
        event = self.history.find(self.map_sid, event_id)
        assert event is not None
        assert event.key == key
        has_expired = event.expires_at is not None and event.expires_at <= self._now()
        return self.matches(event) and not has_expired


class QueryCopy:
    """One open live query of a client.

    Args:
        accuse: Is told each broken promise.
        is_listening: It was open before on this connection, and the server may not know yet that
            it was closed: the SDK gives the new object what is sent for the old one.
    """

    kind = "live_query"

    def __init__(
        self,
        query_id: str,
        index_name: str,
        text: str,
        result: Result,
        accuse: Callable[[str], None],
        *,
        is_listening: bool = False,
    ) -> None:
        self.sid = query_id
        self.index_name = index_name
        self.text = text
        self.result = result
        self._accuse = accuse
        self._items: dict[str, _Known] = {}
        self.last_id = -1
        """As the SDK has it: the newest event that was told."""
        self.failed_with: int | None = None
        """The status."""
        self.is_established = False
        self._was_listening = is_listening
        self.is_listening = is_listening
        """Something was confirmed on this connection: changes may come."""
        self.pending: int | None = None
        self.asked_at = 0.0
        self._asked_after: int | None = None
        """What was said to be the newest event when it was last asked for, on this connection."""

    @property
    def is_wanted(self) -> bool:
        return self.failed_with is None

    def items(self) -> dict[str, Any]:
        return {key: one.data for key, one in self._items.items() if one.data is not None}

    def entry(self) -> dict[str, Any]:
        """What asks for the subscription."""
        return {
            "object_sid": self.sid,
            "object_type": self.kind,
            "last_event_id": self.last_id,
            "index_name": self.index_name,
            "query_string": self.text,
        }

    def ask(self, correlation_id: int, now: float) -> None:
        """A subscription is asked for."""
        self.pending, self.asked_at = correlation_id, now
        self._asked_after = self.last_id

    def forget_connection(self) -> None:
        self.is_established = self.is_listening = False
        self.pending = self._asked_after = None

    # What the server says

    def take_answer(self, body: dict[str, Any]) -> None:
        """The answer to the search that began it."""
        self._take_result(body["items"], body["last_event_id"])

    def take_event(self, event_type: str, event: dict[str, Any], is_ordered: bool) -> None:
        if not is_ordered:
            self._accuse(f"{event_type} is not strictly ordered")
        if not self.is_wanted:
            self._accuse(f"{event_type} came after it had failed: {event}")
        event_id = event["last_event_id"]
        if event_type == "live_query_updated":
            self.result.counts["query results"] += 1
            self._take_whole_result(event["items"], event_id)
            return
        self.result.counts["query events"] += 1
        if not self.is_listening:
            self._accuse(f"{event_type} {event_id} came before its confirmation")
        if event["item_revision"] != event_id:
            self._accuse(f"{event_type} {event_id} is of revision {event['item_revision']}")
        if event_id <= self.last_id:
            self._accuse(f"{event_type} {event_id} came after {self.last_id}")
        key = event["item_key"]
        known = self._items.get(key)
        if known is not None and known.revision >= event_id:
            self._accuse(f"{event_type} {event_id} is not newer than {known}")
        self._check_skipped(event_id - 1)
        if event_type == "live_query_item_updated":
            complaint = self.result.complaint(key, event_id, event["item_data"])
            if complaint:
                self._accuse(complaint)
            self._items[key] = _Known(event["item_data"], event_id)
        else:
            self._take_removal(key, event_id, known)
        self.last_id = max(self.last_id, event_id)

    def confirm(self, correlation_id: int, event: dict[str, Any]) -> None:
        if event["replay_status"] != "completed":
            self._accuse(f"confirmed {event}: nothing is replayed")
        if not self.is_wanted:
            self._accuse(f"confirmed {event} after it had failed")
        self._check_skipped(event["last_event_id"])
        if event["last_event_id"] < self.last_id:
            self._accuse(f"confirmed {event}, behind {self.last_id}")
        self.is_listening = True
        if self.pending == correlation_id:  # else it comes late, and the SDK drops it
            self.pending = None
            self.is_established = True
            self.last_id = max(self.last_id, event["last_event_id"])

    def fail(self, correlation_id: int | None, error: dict[str, Any]) -> None:
        if self.pending != correlation_id:
            return  # as the SDK: what is asked for now gets an answer of its own
        if self._asked_after is None and not self.is_listening:
            self._accuse(f"failed, and was not even asked for: {error}")
        self.failed_with = error["status"]
        self.result.counts["revoked queries"] += self.failed_with == 403

    # Within

    def _take_whole_result(self, items: list[dict[str, Any]], event_id: int) -> None:
        if not self.is_listening and self._asked_after is None:
            self._accuse(f"the result as of {event_id} came outside of any subscription")
        if event_id < self.last_id:
            self._accuse(f"the result as of {event_id} came after {self.last_id}")
        # Asked anew while changes go on, the server may not know which of them got through.
        is_asked = self._asked_after is not None and self._asked_after < event_id
        # And opened again, it may have the very change that is still held back, for the query that
        # was open before, until it is known that the Map may be read.
        is_due = is_asked or self._was_listening
        if event_id == self.last_id and not is_due and self.result.is_certain(event_id):
            self._accuse(f"the result as of {event_id} came twice")
        self._take_result(items, event_id)

    def _take_result(self, items: list[dict[str, Any]], event_id: int) -> None:
        for complaint in self.result.complaints(items, event_id):
            self._accuse(complaint)
        present = {item["key"] for item in items}
        for key, known in self._items.items():
            if key not in present and known.data is not None:
                self._items[key] = _Known(None, max(event_id, known.revision))
        for item in items:
            known_one = self._items.get(item["key"])
            one = _Known(item["data"], item["revision"])
            if known_one is not None and (
                known_one.revision > one.revision
                or (known_one.revision == one.revision and known_one != one)
            ):
                self._accuse(f"the result as of {event_id} takes {known_one} back to {one}")
            self._items[item["key"]] = one
        self.last_id = max(self.last_id, event_id)

    def _take_removal(self, key: str, event_id: int, known: _Known | None) -> None:
        event = self.result.history.find(self.result.map_sid, event_id)
        if event is None or event.key != key or self.result.matches(event):
            self._accuse(f"{key!r} was not removed by event {event_id}: {event}")
        if known is None or known.data is None:
            self._accuse(f"{key!r} was removed by {event_id}, and is not in the result")
        self._items[key] = _Known(None, event_id)

    def _check_skipped(self, last_id: int) -> None:
        """No event after what was told may have changed the result."""
        for event_id in range(self.last_id + 1, last_id + 1):
            event = self.result.history.find(self.result.map_sid, event_id)
            if event is None:
                continue
            known = self._items.get(str(event.key))
            if known is not None and known.revision >= event_id:
                continue  # the result was ahead of it
            if self.result.matches(event) or (known is not None and known.data is not None):
                self._accuse(f"event {event_id} was left out: {event}")
