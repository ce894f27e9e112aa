"""Who is connected, and what the server wrote of it: each write is judged when it is committed.

The keeper is told of sessions that begin and end; a ``WatchedKeeper`` notes that, and when. What
must follow is in docs/reference/presence.md: nobody leaves who is there, or was within the window;
whoever comes gets one entry, and keeps ``since`` and what was published until he has left; nothing
is written when nothing has changed. An action is performed once its endpoint has been gone for the
window, once and no more; only a crash between the change and its removal repeats it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from starlings.core.events import Event, EventType
from starlings.core.objects import SYSTEM, Service, SyncObject
from starlings.node.node import Node
from starlings.node.presence_keeper import SHORT_WINDOW_SECONDS, PresenceKeeper
from starlings.node.reachability import RETURN_SECONDS
from starlings.wire.timestamps import format_timestamp
from tests.simulation.history import History

__all__ = ["ACTIONS", "DONE", "PRESENCE", "Attendance", "WatchedKeeper"]

PRESENCE = "presence"
ACTIONS = "on-disconnect"
DONE = "left"
"""The Map that all actions add an item to, each under a token of its own."""

_GRACE_SECONDS = 0.5
"""From the moment at which a write is decided to its commit, at most."""
_ROUNDING_SECONDS = 0.001
_LATEST_SECONDS = 15.0
"""Whoever is connected for longer has an entry, also if the store has faults."""


class _Subject:
    """An identity or an endpoint, by its connections."""

    def __init__(self) -> None:
        self.connections: set[object] = set()
        self.came_at = 0.0
        self.gone_at = 0.0
        self.window_seconds = 0.0
        """How long after ``gone_at`` it still counts as there."""
        self.returned_at = -1.0
        """When it last came after it had been gone for the window."""

    @property
    def is_there(self) -> bool:
        return bool(self.connections)

    def come(self, connection: object, now: float) -> None:
        if not self.is_there:
            if now - self.gone_at >= self.window_seconds - _ROUNDING_SECONDS:
                self.returned_at = now
            self.came_at = now
        self.connections.add(connection)

    def has_left(self, now: float) -> bool:
        """True if it may be treated as gone: it is for the window, or was until just now."""
        is_gone = not self.is_there
        is_over = now - self.gone_at >= self.window_seconds - _ROUNDING_SECONDS
        return (is_gone and is_over) or now - self.returned_at <= _GRACE_SECONDS


class Attendance:
    """What the keeper was told, and what came of it."""

    def __init__(self, history: History, start_ms: int, counts: Counter[str]) -> None:
        self._history = history
        self._counts = counts
        self._start_ms = start_ms
        self.window_seconds = SHORT_WINDOW_SECONDS
        """Of the service."""
        self._life = 0
        self._subjects: dict[str, _Subject] = {}
        self._of_connection: dict[object, tuple[str, str]] = {}
        self._arrivals: dict[str, set[str]] = {}
        """The moments at which an identity connected, as ``since`` writes them."""
        self.entries: dict[str, dict[str, Any]] = {}
        """The presence Map."""
        self.moods: set[int] = set()
        """What was published, and is committed."""
        self.asked_moods: set[tuple[str, int]] = set()
        """What was asked to be published, by whom."""
        self.registered: dict[str, tuple[str, str]] = {}
        """The register: token and endpoint by key."""
        self.tokens: set[str] = set()
        """All that were ever registered."""
        self._left_register_at: dict[str, float] = {}
        self._performed: dict[str, int] = {}
        """In which life of the server, by token."""
        self._endpoints: dict[str, str] = {}

    def identities(self) -> dict[str, int]:
        """How many endpoints each identity has that is connected."""
        endpoints = set(self._of_connection.values())
        return {identity: sum(one == identity for one, _ in endpoints) for identity, _ in endpoints}

    def is_there(self, subject: str) -> bool:
        return subject in self._subjects and self._subjects[subject].is_there

    # What the keeper is told

    def restart(self) -> None:
        """A server has started: whoever was there, or counted so, has time to come back."""
        self._life += 1
        self._of_connection.clear()
        for subject in self._subjects.values():
            subject.connections.clear()
            subject.gone_at = _now()
            subject.window_seconds = max(self.window_seconds, RETURN_SECONDS)

    def come(self, connection: object, identity: str, endpoint: str) -> None:
        self._of_connection[connection] = (identity, endpoint)
        moment = format_timestamp(self._start_ms + int(_now() * 1000))
        self._arrivals.setdefault(identity, set()).add(moment)
        for name in (identity, endpoint):
            subject = self._subjects.setdefault(name, _Subject())
            subject.come(connection, _now())

    def go(self, connection: object) -> None:
        identity, endpoint = self._of_connection.pop(connection, (None, None))
        if identity is None or endpoint is None:
            return
        subject = self._subjects[identity]
        if _now() - subject.came_at > _LATEST_SECONDS and identity not in self.entries:
            self._accuse(f"{identity} was there for {_now() - subject.came_at} s without an entry")
        for name in (identity, endpoint):
            subject = self._subjects[name]
            subject.connections.discard(connection)
            if not subject.is_there:
                subject.gone_at = _now()
                subject.window_seconds = self.window_seconds

    # What is committed

    def hear(self, target: SyncObject, event: Event) -> None:
        if event.type not in (
            EventType.ITEM_ADDED,
            EventType.ITEM_UPDATED,
            EventType.ITEM_REMOVED,
        ):
            return
        key = str(event.key)
        data = json.loads(event.data or b"{}")
        is_removal = event.type is EventType.ITEM_REMOVED
        self._counts["presence events"] += target.unique_name == PRESENCE
        self._counts["performed"] += target.unique_name == DONE
        match target.unique_name:
            case "presence" if is_removal:
                self._hear_leaving(key)
            case "presence":
                self._hear_entry(key, data, event)
            case "on-disconnect" if is_removal:
                self._hear_dropped(key, event)
            case "on-disconnect":
                self._hear_registered(key, data)
            case "left":
                self._hear_performed(key)
            case _:
                pass

    def _hear_leaving(self, identity: str) -> None:
        subject = self._subjects.get(identity)
        if subject is None or not subject.has_left(_now()):
            self._accuse(f"{identity} was removed at {_now()}, and was there: {_shown(subject)}")
        self.entries.pop(identity, None)

    def _hear_entry(self, identity: str, data: dict[str, Any], event: Event) -> None:
        before = self.entries.get(identity)
        self.entries[identity] = data
        subject = self._subjects.get(identity)
        is_ours = event.identity == SYSTEM
        if data["endpoints"] < 1:
            self._accuse(f"{identity} is present with no endpoint: {data}")
        if is_ours and data == before:
            self._accuse(f"{identity} was written, and nothing has changed: {data}")
        if not is_ours:
            self._hear_published(identity, data)
        if before is None:
            since_gone = _now() - (0.0 if subject is None else subject.gone_at)
            may_count = subject is not None and (
                subject.is_there or since_gone <= subject.window_seconds + _GRACE_SECONDS
            )
            if not may_count:
                self._accuse(f"{identity} came at {_now()}, and was not there: {_shown(subject)}")
            if data["since"] not in self._arrivals.get(identity, ()):
                self._accuse(f"{identity} did not come at {data['since']}")
            if is_ours and "client" in data:
                self._accuse(f"{identity} has published before it came: {data}")
        elif data["since"] != before["since"]:
            self._hear_return(identity, data, subject)
        elif is_ours and data.get("client") != before.get("client"):
            self._accuse(f"{identity} lost what it had published: {before}, then {data}")

    def _hear_return(self, identity: str, data: dict[str, Any], subject: _Subject | None) -> None:
        """Of who was gone for the window, but came back before that could be written."""
        assert subject is not None
        moment = format_timestamp(self._start_ms + int(subject.returned_at * 1000))
        if data["since"] != moment:
            self._accuse(f"{identity} came twice, and had not left: {data}, {_shown(subject)}")

    def _hear_published(self, identity: str, data: dict[str, Any]) -> None:
        mood = data.get("client", {}).get("mood")
        if (identity, mood) not in self.asked_moods:
            self._accuse(f"{identity} has not published {mood}")
        self.moods.add(mood)

    def _hear_registered(self, key: str, data: dict[str, Any]) -> None:
        if key in self.registered:
            self._left_register_at[self.registered[key][0]] = _now()
        endpoint = data["owner"]["endpoint"]
        self.registered[key] = (data["key"], endpoint)
        self.tokens.add(data["key"])
        self._endpoints[data["key"]] = endpoint

    def _hear_dropped(self, key: str, event: Event) -> None:
        token, _ = self.registered.pop(key)
        self._left_register_at[token] = _now()
        if event.identity == SYSTEM and token not in self._performed:
            self._accuse(f"the action {token} was dropped, and not performed")

    def _hear_performed(self, token: str) -> None:
        if token not in self.tokens:
            self._accuse(f"the action {token} was performed, and never registered")
            return
        left_at = self._left_register_at.get(token, _now())
        if _now() - left_at > _GRACE_SECONDS:
            self._accuse(f"the action {token} was performed, and dropped long before")
        if self._performed.get(token) == self._life:
            self._accuse(f"the action {token} was performed twice without a crash")
        self._performed[token] = self._life
        subject = self._subjects.get(self._endpoints[token])
        if subject is None or not subject.has_left(_now()):
            self._accuse(f"{token} was performed at {_now()}, and was there: {_shown(subject)}")

    def _accuse(self, sentence: str) -> None:
        self._history.accuse(f"presence: {sentence}")


class WatchedKeeper(PresenceKeeper):
    """Notes what it is told."""

    def __init__(self, node: Node, attendance: Attendance) -> None:
        super().__init__(node)
        self._attendance = attendance

    async def restore(self) -> None:
        self._attendance.restart()
        await super().restore()

    def connected(
        self, connection: object, service: Service, identity: str, endpoint: str, name: str
    ) -> None:
        self._attendance.come(connection, identity, endpoint)
        super().connected(connection, service, identity, endpoint, name)

    def disconnected(self, connection: object, service: Service) -> None:
        self._attendance.go(connection)
        super().disconnected(connection, service)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _shown(subject: _Subject | None) -> str:
    if subject is None:
        return "never"
    return (
        f"{len(subject.connections)} connections, came {subject.came_at}, gone {subject.gone_at},"
        f" window {subject.window_seconds}"
    )
