"""All that was ever committed, and what was wrong about what clients were sent.

The history is written in the very step of a commit, so it also knows what a dying server told
nobody. It is never trimmed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from starlings.core.events import VISIBLE, Event, EventType
from starlings.core.objects import ItemKey, SyncObject
from starlings.core.sids import oid_of
from starlings.storage.store import Batch

__all__ = ["History"]


class History:
    """Events by object and id, and the violations found so far."""

    def __init__(self) -> None:
        self._events: defaultdict[int, dict[int, Event]] = defaultdict(dict)
        self._newest_of_key: dict[tuple[int, ItemKey | None], int] = {}
        self._ids_of_key: defaultdict[int, dict[ItemKey, list[int]]] = defaultdict(dict)
        self._sids_of_name: defaultdict[str, list[str]] = defaultdict(list)
        self._removed: set[int] = set()
        self._request_ids: Counter[str] = Counter()
        self._listeners: list[Callable[[SyncObject, Event], None]] = []
        self.violations: list[str] = []
        self.event_count = 0

    def add(self, batch: Batch) -> None:
        """Called with each batch as it is committed."""
        for target, event in batch.events:
            self.event_count += 1
            for listener in self._listeners:
                listener(target, event)
            if event.type in VISIBLE:
                events = self._events[event.oid]
                if events and event.event_id != max(events) + 1:
                    self.accuse(f"the log of {event.oid} skips from {max(events)}: {event}")
                events[event.event_id] = event
                self._newest_of_key[event.oid, event.key] = event.event_id
                if event.key is not None:
                    ids = self._ids_of_key[event.oid].setdefault(event.key, [])
                    ids.append(event.event_id)
                if event.request_id is not None:
                    self._request_ids[event.request_id] += 1
            elif event.type is EventType.OBJECT_CREATED:
                self._sids_of_name[target.unique_name or ""].append(target.sid)
            elif event.type is EventType.OBJECT_REMOVED:
                self._removed.add(event.oid)

    def listen(self, listener: Callable[[SyncObject, Event], None]) -> None:
        """Have somebody hear every event in the step of its commit."""
        self._listeners.append(listener)

    def accuse(self, sentence: str) -> None:
        """Note a violation; the run ends at its next step."""
        self.violations.append(sentence)

    def find(self, sid: str, event_id: int) -> Event | None:
        return self._events[oid_of(sid)].get(event_id)

    def find_by_key(self, sid: str, key: ItemKey) -> Event | None:
        """The newest event of an item."""
        event_id = self._newest_of_key.get((oid_of(sid), key))
        return None if event_id is None else self.find(sid, event_id)

    def newest_id(self, sid: str) -> int:
        """Of an object's events; -1 if there is none."""
        return max(self._events[oid_of(sid)], default=-1)

    def keys(self, sid: str) -> list[ItemKey]:
        """Of all items that an object ever had."""
        return list(self._ids_of_key[oid_of(sid)])

    def ids_of_key(self, sid: str, key: ItemKey) -> list[int]:
        """The events of an item, in order."""
        return self._ids_of_key[oid_of(sid)].get(key, [])

    def sids_of_name(self, unique_name: str) -> list[str]:
        """All objects that ever had a name, in order."""
        return self._sids_of_name[unique_name]

    def is_removed(self, sid: str) -> bool:
        return self.has_removed(oid_of(sid))

    def has_removed(self, oid: int) -> bool:
        return oid in self._removed

    def is_superseded(self, sid: str, event_id: int) -> bool:
        """True if a later event made this one needless to send. [wire-protocol 8.5]"""
        event = self.find(sid, event_id)
        if event is None:
            return False
        if event.oid in self._removed:
            return True  # the removal is told, or the subscription failed with 404
        return self._newest_of_key[event.oid, event.key] > event_id

    def repeated_request_ids(self) -> list[str]:
        """Requests that were carried out more than once."""
        return [request_id for request_id, count in self._request_ids.items() if count > 1]
