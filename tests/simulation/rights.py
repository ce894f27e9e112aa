"""Who had which right when, worked out from what was asked for: the judge of access control.

Whoever changes a grant announces it here, and sends the command under the request id that he gets.
The commit of the command's event says when it came into force; all else is taken from what was
asked, and how grants decide is written down here once more, after docs/reference/access.md. So
nothing of ``core.access`` and ``core.permissions`` is used to judge them.

Answers are about a span of time: somewhere between the arrival of a request and its reply the
server has looked, and it may have read the grants some time before it looked at the clock.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from starlings.core.events import VISIBLE, Event, EventType
from starlings.core.objects import SYSTEM, Match, SyncObject
from starlings.core.sids import oid_of

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["MANAGE", "READ", "WRITE", "Grant", "Rights"]

READ, WRITE, MANAGE = "read", "write", "manage"

_LATEST_MS = 3_000
"""By which the end of a grant is recorded: a second, and what the simulated store takes."""

_WRITES = {
    EventType.DOCUMENT_UPDATED: WRITE,
    EventType.ITEM_ADDED: WRITE,
    EventType.ITEM_UPDATED: WRITE,
    EventType.ITEM_REMOVED: WRITE,
    EventType.OBJECT_REMOVED: MANAGE,
}
"""What it takes to cause an event; a time to live depends on the kind of object."""


class Grant(NamedTuple):
    """As it was asked for, and then also when it ends."""

    identity: str
    match: Match
    rights: frozenset[str]
    ttl: int | None
    """Seconds."""
    ends_at: int | None = None

    def is_for(self, identity: str) -> bool:
        if self.match is Match.PREFIX:
            return identity[: len(self.identity)] == self.identity
        return self.match is Match.EVERYBODY or identity == self.identity

    def is_over(self, at: int) -> bool:
        return self.ends_at is not None and at >= self.ends_at


_Key = tuple[str, Match]


class _State(NamedTuple):
    """The grants of an object from a moment on, also those whose end is not recorded yet."""

    at: int
    grants: dict[_Key, Grant]
    changed: Grant | None = None
    """Given or taken by the change that led here."""
    is_end: bool = False
    """The time of ``changed`` was up."""

    def ranked(self, identity: str) -> list[Grant]:
        """Those for an identity, the one that decides first."""
        rows = [grant for grant in self.grants.values() if grant.is_for(identity)]
        places = [Match.EXACT, Match.PREFIX, Match.EVERYBODY]
        return sorted(rows, key=lambda one: (places.index(one.match), -len(one.identity)))

    def gives(self, identity: str, right: str, at: int) -> bool:
        decisive = next((one for one in self.ranked(identity) if not one.is_over(at)), None)
        return decisive is not None and right in decisive.rights

    def may_give(self, identity: str, right: str, at: int) -> bool:
        """The same if a grant that is over may count until its end is recorded."""
        for grant in self.ranked(identity):
            if right in grant.rights:
                return True
            if not grant.is_over(at):
                return False
        return False


class Rights:
    """The grants of a world, from their beginning on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: dict[str, Grant] = {}
        self._asked_removals: set[str] = set()
        self._creators: dict[int, str] = {}
        self._states: dict[int, list[_State]] = {}
        self._places: dict[tuple[int, int], int] = {}
        """By object and event id: the state at its commit."""
        world.history.listen(self._hear)

    # What is asked for

    def announce(self, grant: Grant) -> str:
        """A grant is about to be asked for; the request id to do it with."""
        request_id = f"grant-{len(self._asked)}"
        self._asked[request_id] = grant
        return request_id

    def announce_removal(self) -> str:
        request_id = f"removal-{len(self._asked_removals)}"
        self._asked_removals.add(request_id)
        return request_id

    # What is answered

    def list_grants(self, sid: str) -> list[Grant]:
        """The present ones of an object."""
        states = self._states.get(oid_of(sid))
        return list(states[-1].grants.values()) if states else []

    def may_read_now(self, sid: str, identity: str) -> bool:
        now = self._world.now()
        return self.had(sid, identity, READ, now, now)

    def had(self, sid: str, identity: str, right: str, since: int, until: int) -> bool:
        """True if an identity had a right at some moment from ``since`` to ``until``."""
        if not self._world.has_acl:
            return True
        place = self._find_place(sid, since)
        return any(s.gives(identity, right, at) for s, at in self._list(sid, place, since, until))

    def lacked(self, sid: str, identity: str, right: str, since: int, until: int) -> bool:
        """True if it had it not, at some moment. To what is removed nobody has any right."""
        if not self._world.has_acl:
            return False
        if self._world.history.is_removed(sid):
            return True
        place = self._find_place(sid, since)
        moments = self._list(sid, place, since, until)
        return not moments or not all(s.gives(identity, right, at) for s, at in moments)

    def may_have_heard(
        self, sid: str, identity: str, since: int, until: int, event_id: int | None = None
    ) -> bool:
        """True if an identity that was subscribed may have been sent something: it could read at
        some moment, or by a grant whose end was not recorded.

        Args:
            event_id: Look from the commit of this event on, if that is later than ``since``.
        """
        if not self._world.has_acl:
            return True
        place = self._find_place(sid, since)
        if event_id is not None:
            place = max(place, self._places.get((oid_of(sid), event_id), 0))
        moments = self._list(sid, place, since, until)
        return any(state.may_give(identity, READ, at) for state, at in moments)

    def count_loss(self, sid: str, identity: str, since: int) -> None:
        """An identity was told that it has lost a right: note what can have taken it."""
        counts = self._world.chance.counts
        counts["losses"] += 1
        recent = [
            state
            for state in self._states.get(oid_of(sid), [])
            if state.at >= since and state.changed is not None and state.changed.is_for(identity)
        ]
        counts["losses by time"] += any(state.is_end for state in recent)
        counts["losses by wide grants"] += any(
            state.changed is not None and state.changed.match is not Match.EXACT for state in recent
        )

    def compare(self) -> list[str]:
        """At the end: the grants that are over, and nobody recorded it."""
        now, history = self._world.now(), self._world.history
        return [
            f"the end of {grant} was never recorded"
            for oid, states in self._states.items()
            for grant in states[-1].grants.values()
            if grant.is_over(now - _LATEST_MS) and not history.has_removed(oid)
        ]

    # Within

    def _find_place(self, sid: str, at: int) -> int:
        """The state at a moment; the first one of those in its millisecond."""
        states = self._states.get(oid_of(sid), [])
        return max(0, bisect_left(states, at, key=lambda state: state.at) - 1)

    def _list(self, sid: str, place: int, since: int, until: int) -> list[tuple[_State, int]]:
        """States from a place on, each with the moments at which it can have been looked at."""
        found = []
        for state in self._states.get(oid_of(sid), [])[place:]:
            first = max(state.at, since)
            if first > until:
                break
            ends = [g.ends_at for g in state.grants.values() if g.ends_at is not None]
            moments = [first, until, *(at for at in ends if first < at < until)]
            found += [(state, at) for at in moments]
        return found

    # What is committed

    def _hear(self, target: SyncObject, event: Event) -> None:
        oid = event.oid
        states = self._states.setdefault(oid, [_State(0, {})])
        if event.endpoint is not None and event.type is not EventType.OBJECT_CREATED:
            self._check_write(target, event)
        match event.type:
            case EventType.OBJECT_CREATED:
                if self._world.has_acl and event.endpoint is not None:
                    self._creators[oid] = event.identity
                    everything = frozenset({READ, WRITE, MANAGE})
                    self._put(oid, Grant(event.identity, Match.EXACT, everything, None))
            case EventType.PERMISSION_SET:
                self._hear_grant(oid, event)
            case EventType.PERMISSION_REMOVED:
                self._hear_removal(oid, event)
            case event_type if event_type in VISIBLE:
                self._places[oid, event.event_id] = len(states) - 1
            case _:
                pass

    def _check_write(self, target: SyncObject, event: Event) -> None:
        """A client's change was committed: at this very moment it must have been allowed to."""
        right = _WRITES.get(event.type)
        if event.type is EventType.OBJECT_EXPIRY_SET:
            right = WRITE if target.kind.word == "document" else MANAGE
        if right is None or not self._world.has_acl:
            return
        if not self._states[event.oid][-1].gives(event.identity, right, self._world.now()):
            self._accuse(f"{event.identity} had no right to {right}: {event}")

    def _hear_grant(self, oid: int, event: Event) -> None:
        asked = self._asked.get(event.request_id or "")
        if asked is None:
            if self._creators.get(oid) != event.identity:
                self._accuse(f"nobody asked for {event}")
            return
        ends_at = None if asked.ttl is None else self._world.now() + 1000 * asked.ttl
        self._put(oid, asked._replace(ends_at=ends_at))
        counts = self._world.chance.counts
        counts["wide grants"] += asked.match is not Match.EXACT
        counts["timed grants"] += ends_at is not None

    def _hear_removal(self, oid: int, event: Event) -> None:
        match = json.loads(event.data or b"{}").get("match", "exact")
        key = (str(event.key), Match[match.upper()])
        state = self._states[oid][-1]
        grant = state.grants.get(key)
        if grant is None:
            self._accuse(f"there was no such grant: {event}")
            return
        is_end = event.request_id not in self._asked_removals
        if is_end:
            self._check_end(grant, event)
        rest = {other: one for other, one in state.grants.items() if other != key}
        self._states[oid].append(_State(self._world.now(), rest, grant, is_end))

    def _check_end(self, grant: Grant, event: Event) -> None:
        """The server has ended a grant by itself."""
        world = self._world
        world.chance.counts["ended grants"] += 1
        if event.identity != SYSTEM or grant.ends_at is None or world.now() < grant.ends_at:
            self._accuse(f"{grant} was ended before its time: {event}")
        elif not world.fault_share:
            late_ms = world.now() - max(grant.ends_at, world.started_at)
            if late_ms > _LATEST_MS:
                self._accuse(f"{grant} was ended {late_ms} ms after its time")

    def _put(self, oid: int, grant: Grant) -> None:
        grants = {**self._states[oid][-1].grants, (grant.identity, grant.match): grant}
        self._states[oid].append(_State(self._world.now(), grants, grant))

    def _accuse(self, sentence: str) -> None:
        self._world.history.accuse(f"access: {sentence}")
