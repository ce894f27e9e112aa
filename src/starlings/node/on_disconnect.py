"""Changes that clients leave behind for the moment at which they are gone: the rules, without clock
and without I/O.

A client registers an *action* under a key of its choice. The action belongs to the endpoint that
wrote it, and is due when that endpoint has had no connection for the window.

Rules:

1. Only the identity that wrote an action may change or remove it. Writing it again by another
   endpoint of that identity takes it over: then it is due when that one goes.
2. An endpoint that comes back in time keeps its actions.
3. Actions become due in the order in which they were registered; each leaves the register by being
   performed, refused for good, or removed by its identity. One whose removal fails is not performed
   again, unless the server ends in between.
4. After a restart, endpoints count as if they had just gone.
5. An endpoint has at most ``MOST_ACTIONS``.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple, assert_never

import msgspec

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Actor, Kind, ObjectRef

__all__ = [
    "MOST_ACTIONS",
    "Action",
    "OnDisconnectState",
    "make_command",
    "parse_action",
    "restore_action",
]

MOST_ACTIONS = 20
"""Of one endpoint."""


class _RemoveItem(msgspec.Struct, frozen=True, tag_field="action", tag="remove_item"):
    map: str
    key: str


class _SetItem(msgspec.Struct, frozen=True, tag_field="action", tag="set_item"):
    map: str
    key: str
    data: msgspec.Raw
    ttl: int | None = None


class _SetDocument(msgspec.Struct, frozen=True, tag_field="action", tag="set_document"):
    document: str
    data: msgspec.Raw
    ttl: int | None = None


_Change = _RemoveItem | _SetItem | _SetDocument


class _Owner(msgspec.Struct, frozen=True):
    identity: str
    endpoint: str


_decode_change = msgspec.json.Decoder(_Change).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_owner = msgspec.json.Decoder(_Owner).decode
_encode = msgspec.json.Encoder().encode
_OWNER = "owner"


class Action(NamedTuple):
    """A registered change."""

    key: str
    identity: str
    endpoint: str
    data: bytes
    """Of the item: what the client wrote, with ``owner``."""
    event_id: int = -1
    """Of the event that wrote it."""


def parse_action(key: str, data: bytes, identity: str, endpoint: str) -> Action:
    """An action as a client asks for it; whatever it says about the owner is replaced.

    Raises:
        Refusal: BAD_PARAMETER: not one of the changes that can be registered.
    """
    try:
        members = _decode_members(data)
        members.pop(_OWNER, None)
        change = _decode_change(_encode(members))
    except msgspec.ValidationError as error:
        raise Refusal(Reason.BAD_PARAMETER, f"Invalid on-disconnect action: {error}") from error
    if not isinstance(change, _RemoveItem) and not bytes(change.data).startswith(b"{"):
        raise Refusal(Reason.BAD_PARAMETER, "Invalid on-disconnect action: data must be an object")
    members[_OWNER] = msgspec.Raw(_encode(_Owner(identity, endpoint)))
    return Action(key, identity, endpoint, _encode(members))


def restore_action(key: str, data: bytes, event_id: int) -> Action | None:
    """An action as it is stored; None if it is none."""
    try:
        owner = _decode_owner(bytes(_decode_members(data)[_OWNER]))
        _decode_change(data)
    except (msgspec.MsgspecError, KeyError):
        return None
    return Action(key, owner.identity, owner.endpoint, data, event_id)


def make_command(
    action: Action, service_oid: int
) -> c.PutMapItem | c.RemoveItem | c.UpdateDocument:
    """What performs an action: with the rights of its identity, as they are then."""
    actor = Actor(action.identity, action.endpoint, is_unrestricted=False)
    change = _decode_change(action.data)
    match change:
        case _RemoveItem(map=name, key=key):
            return c.RemoveItem(ObjectRef(service_oid, Kind.MAP, name), key, None, actor)
        case _SetItem(map=name, key=key, data=data, ttl=ttl):
            ref = ObjectRef(service_oid, Kind.MAP, name)
            return c.PutMapItem(ref, key, bytes(data), ttl, None, actor)
        case _SetDocument(document=name, data=data, ttl=ttl):
            ref = ObjectRef(service_oid, Kind.DOCUMENT, name)
            return c.UpdateDocument(ref, bytes(data), ttl, None, actor)
        case _:
            assert_never(change)


class OnDisconnectState:
    """The register of one service. Times are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}
        self._by_endpoint: dict[str, dict[str, None]] = {}
        self._connections: dict[str, int] = {}
        self._gone_at: dict[str, float] = {}
        """Endpoints without a connection that have actions, and when these are due."""
        self._deadlines: list[tuple[float, str]] = []
        self._under_way: dict[str, Action] = {}
        """By key: taken, and not settled."""
        self._done: dict[str, Action] = {}
        """By key: performed or refused for good, and still in the register."""

    @property
    def next_deadline(self) -> float | None:
        return self._deadlines[0][0] if self._deadlines else None

    def __len__(self) -> int:
        return len(self._actions)

    def find(self, key: str) -> Action | None:
        return self._actions.get(key)

    def check(self, action: Action) -> None:
        """Refuse what may not be registered.

        Raises:
            Refusal: ACCESS_DENIED (another identity's key), BAD_PARAMETER (too many).
        """
        self.check_owner(action.key, action.identity)
        held = self._by_endpoint.get(action.endpoint, {})
        if action.key not in held and len(held) >= MOST_ACTIONS:
            raise Refusal(
                Reason.BAD_PARAMETER,
                f"Too many on-disconnect actions: an endpoint may have {MOST_ACTIONS}",
            )

    def check_owner(self, key: str, identity: str) -> None:
        """Raises Refusal ACCESS_DENIED: the key is another identity's. [1]"""
        present = self._actions.get(key)
        if present is not None and present.identity != identity:
            raise Refusal(
                Reason.ACCESS_DENIED,
                "Access forbidden for identity: this on-disconnect action is another identity's",
            )

    # What happens

    def connect(self, endpoint: str) -> None:
        """A connection was opened."""
        self._connections[endpoint] = self._connections.get(endpoint, 0) + 1
        self._gone_at.pop(endpoint, None)

    def disconnect(self, endpoint: str, deadline: float) -> None:
        """A connection that was opened is closed."""
        self._connections[endpoint] -= 1
        if not self._connections[endpoint]:
            del self._connections[endpoint]
            self._hold_back(endpoint, deadline)

    def register(self, action: Action, deadline: float) -> None:
        """An action is stored. ``deadline``: when it is due if its endpoint is gone already."""
        self.forget(action.key)
        self._actions[action.key] = action
        self._by_endpoint.setdefault(action.endpoint, {})[action.key] = None
        if action.endpoint not in self._connections and action.endpoint not in self._gone_at:
            self._hold_back(action.endpoint, deadline)

    def forget(self, key: str) -> None:
        """An action is stored no more; nothing happens if there is none."""
        action = self._actions.pop(key, None)
        if action is None:
            return
        self._done.pop(key, None)
        held = self._by_endpoint[action.endpoint]
        del held[key]
        if not held:
            # When it went is still of interest: an action may be about to be registered anew.
            del self._by_endpoint[action.endpoint]

    def take(self, now: float, limit: int) -> list[Action]:
        """Up to ``limit`` actions that are due. Each must be settled."""
        due: list[Action] = []
        while self._deadlines and self._deadlines[0][0] <= now and len(due) < limit:
            deadline, endpoint = self._deadlines[0]
            if self._gone_at.get(endpoint) != deadline:
                heapq.heappop(self._deadlines)  # came back
                continue
            held = self._by_endpoint.get(endpoint, {})
            waiting = [key for key in held if key not in self._under_way]
            room = limit - len(due)
            for key in waiting[:room]:
                self._under_way[key] = self._actions[key]
                due.append(self._actions[key])
            if len(waiting) <= room:
                heapq.heappop(self._deadlines)
                del self._gone_at[endpoint]
        return due

    def settle(self, action: Action) -> bool:
        """An action was performed, or refused for good. True if the register still holds just this
        one, so that it has to be removed from there: call ``forget`` then.
        """
        self._under_way.pop(action.key, None)
        return self._actions.get(action.key) == action

    def note_done(self, action: Action) -> None:
        """An action was performed, or refused for good, and is to be removed from the register."""
        if self._actions.get(action.key) == action:
            self._done[action.key] = action

    def is_done(self, action: Action) -> bool:
        """True: only its removal from the register is left to do."""
        return self._done.get(action.key) == action

    def retry(self, action: Action, deadline: float) -> None:
        """An action could not be performed, or not be removed from the register now."""
        self._under_way.pop(action.key, None)
        present = self._actions.get(action.key)
        is_waiting = action.endpoint in self._connections or action.endpoint in self._gone_at
        if present == action and not is_waiting:
            self._hold_back(action.endpoint, deadline)

    def _hold_back(self, endpoint: str, deadline: float) -> None:
        if endpoint in self._by_endpoint:
            self._gone_at[endpoint] = deadline
            heapq.heappush(self._deadlines, (deadline, endpoint))
