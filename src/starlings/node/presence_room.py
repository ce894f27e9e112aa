"""One service's presence and on-disconnect actions at work: the rules, with the store behind them.

A room writes in small batches, one at a time for all services together, so that a storm of clients
that come and go shares the store with everybody else instead of standing in front of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.events import Event
from starlings.core.objects import SYSTEM, Actor, Item, Kind, ObjectRef
from starlings.core.state import ItemOutcome, Outcome
from starlings.node.node import Node
from starlings.node.on_disconnect import (
    Action,
    OnDisconnectState,
    make_command,
    parse_action,
    restore_action,
)
from starlings.node.presence import PresenceState, PresenceWrite, published_part
from starlings.node.presence_settings import SETTINGS_NAME, KeptMap, PresenceSettings

__all__ = ["PresenceRoom", "deny"]

logger = logging.getLogger("starlings.node")

_MapItemCommand = c.PutMapItem | c.AddMapItem | c.UpdateItem

_GONE = (Reason.MAP_ITEM_NOT_FOUND, Reason.MAP_NOT_FOUND, Reason.SERVICE_NOT_FOUND)
"""What a write may find when presence was switched off, or the service removed, just now."""
_SERVER = Actor(SYSTEM)
_MOST_WRITES = 200
"""Of one kind in one batch: some 20 ms of the writing thread."""
_ENVELOPE_BYTES = 128
"""What an entry needs beside the published part."""
_RETRY_SECONDS = 1.0
_PAGE = 1_000


class Signal:
    """Wakes all who wait at that moment."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def tell(self) -> None:
        self._event.set()
        self._event = asyncio.Event()


class PresenceRoom:
    """Belongs to the event loop.

    Args:
        settings: Of the service; the Maps exist.
        settings_sid: Of the Document that keeps them.
        wake: Is called when there is a deadline that the loop can't know of.
    """

    def __init__(
        self,
        node: Node,
        service_oid: int,
        settings: PresenceSettings,
        settings_sid: str,
        wake: Callable[[], None],
    ) -> None:
        self._node = node
        self.service_oid = service_oid
        self.settings = settings
        self.settings_sid = settings_sid
        self._wake = wake
        self.presence = PresenceState()
        self.on_disconnect = OnDisconnectState()
        self.settled = Signal()
        """Some writes of ``presence`` have ended."""
        self.written = 0
        self.performed = 0

    # What happens

    def connect(
        self, identity: str, endpoint: str, *, to_presence: bool = True, to_register: bool = True
    ) -> None:
        """A connection was opened. The flags: which of the two has not heard of it yet."""
        if to_presence and self.settings.presence is not None:
            self.presence.connect(identity, endpoint, self._node.sources.now())
        if to_register and self.settings.on_disconnect is not None:
            self.on_disconnect.connect(endpoint)

    def disconnect(self, identity: str, endpoint: str, window_seconds: float) -> None:
        deadline = self._node.sources.monotonic() + window_seconds
        if self.settings.presence is not None:
            self.presence.disconnect(identity, endpoint, deadline)
        if self.settings.on_disconnect is not None:
            self.on_disconnect.disconnect(endpoint, deadline)

    async def restore(self, window_seconds: float) -> None:
        """Take up what the former run left in the Maps. Before the first connection."""
        deadline = self._node.sources.monotonic() + window_seconds
        now = self._node.sources.now()
        if self.settings.presence is not None:
            for item in await self._read_all(self.settings.presence):
                self.presence.restore(item, now, deadline)
        if self.settings.on_disconnect is not None:
            for item in await self._read_all(self.settings.on_disconnect):
                action = restore_action(str(item.key), item.data, item.event_id)
                if action is not None:
                    self.on_disconnect.register(action, deadline)

    async def _read_all(self, kept_map: KeptMap) -> list[Item]:
        """The items of a Map, by the event that last changed them."""
        found = await self._node.store.find_object_named(
            self.service_oid, Kind.MAP, kept_map.unique_name
        )
        if found is None:
            return []
        items: list[Item] = []
        while True:
            start = items[-1].key if items else None
            page = await self._node.store.list_items(
                found.oid, start, False, False, _PAGE, self._node.sources.now()
            )
            items += page
            if len(page) < _PAGE:
                return sorted(items, key=lambda item: item.event_id)

    # Work

    @property
    def has_work(self) -> bool:
        return self.presence.has_changes

    @property
    def next_deadline(self) -> float | None:
        deadlines = (self.presence.next_deadline, self.on_disconnect.next_deadline)
        return min((one for one in deadlines if one is not None), default=None)

    async def work(self) -> bool:
        """Write what is due, up to a bound. False: the store can't write now."""
        now = self._node.sources.monotonic()
        writes = self.presence.take(now, _MOST_WRITES)
        actions = self.on_disconnect.take(now, _MOST_WRITES)
        done = await asyncio.gather(
            *(self._write(write) for write in writes),
            *(self._perform(action) for action in actions),
        )
        if writes:
            self.settled.tell()
        return all(done)

    async def _write(self, write: PresenceWrite) -> bool:
        assert self.settings.presence is not None
        ref = self.settings.presence.ref(self.service_oid)
        command: c.Command
        if write.data is None:
            command = c.RemoveItem(ref, write.identity, None, _SERVER)
        else:
            command = c.PutMapItem(ref, write.identity, write.data, None, None, _SERVER)
        try:
            outcome = await self._node.store.execute(command)
        except Refusal as refusal:
            if refusal.reason not in _GONE:
                logger.warning(
                    "Presence can't be written identity=%r error=%s", write.identity, refusal
                )
            self.presence.fail(write, is_final=True)
            return True
        except Fault as error:
            logger.warning("Presence waits for the store error=%s", error)
            self.presence.fail(write, is_final=False)
            return False
        self.written += 1
        self.presence.settle(write, _event_of(outcome).event_id)
        return True

    async def _perform(self, action: Action) -> bool:
        assert self.settings.on_disconnect is not None
        store = self._node.store
        try:
            if not self.on_disconnect.is_done(action):
                await self._change(action)
                self.on_disconnect.note_done(action)
            if self.on_disconnect.settle(action):
                ref = self.settings.on_disconnect.ref(self.service_oid)
                revision = f"{action.event_id:x}"
                try:
                    await store.execute(c.RemoveItem(ref, action.key, revision, _SERVER))
                except Refusal as refusal:
                    # Somebody registered it anew or removed it meanwhile.
                    logger.debug("An on-disconnect action stays error=%s", refusal)
                if self.on_disconnect.find(action.key) == action:
                    self.on_disconnect.forget(action.key)
        except Fault as error:
            logger.warning("On-disconnect actions wait for the store error=%s", error)
            self.on_disconnect.retry(action, self._node.sources.monotonic() + _RETRY_SECONDS)
            return False
        return True

    async def _change(self, action: Action) -> None:
        """Make the change that an action asks for, unless it is refused. Raises Fault."""
        try:
            command = make_command(action, self.service_oid)
            self.check_target(command.ref)
            await self._node.store.execute(command)
            self.performed += 1
        except Refusal as refusal:
            logger.info(
                "An on-disconnect action is refused identity=%r key=%r error=%s",
                action.identity,
                action.key,
                refusal,
            )

    # What callers ask

    def find_kept_map(self, ref: ObjectRef) -> KeptMap | None:
        """The Map of this room that a reference names; None: it names another one, or none."""
        if ref.kind is Kind.MAP:
            for kept_map in self.settings.maps:
                if ref.name in (kept_map.sid, kept_map.unique_name):
                    return kept_map
        return None

    def is_settings(self, ref: ObjectRef) -> bool:
        """Whether a reference names the Document of the settings."""
        return ref.kind is Kind.DOCUMENT and ref.name in (SETTINGS_NAME, self.settings_sid)

    def check_target(self, ref: ObjectRef) -> None:
        """Raises Refusal BAD_PARAMETER: an action must not change what the server keeps."""
        if self.is_settings(ref) or self.find_kept_map(ref) is not None:
            raise Refusal(
                Reason.BAD_PARAMETER,
                f"Invalid on-disconnect action: {ref.name} is kept by the server",
            )

    async def publish(self, command: _MapItemCommand) -> Outcome:
        """A client writes to the presence Map: what it publishes about itself.

        Raises:
            Refusal: ACCESS_DENIED (not its own entry; under access control also without the right
                to write), MAP_KEY_TAKEN (an addition: the entry is the server's), BAD_TTL,
                DATA_TOO_LARGE, MAP_ITEM_REVISION_MISMATCH.
        """
        actor, identity = command.actor, command.actor.identity
        if actor.is_unrestricted or command.key != identity:
            deny("the server keeps this Map; a client may set only the item of its own identity")
        if command.ttl is not None or command.data is None:
            raise Refusal(Reason.BAD_TTL, "Entries of the presence Map have no time to live")
        if isinstance(command, c.AddMapItem):
            raise Refusal(Reason.MAP_KEY_TAKEN)
        part = published_part(command.data)
        room_bytes = self._node.limits.data_bytes - _ENVELOPE_BYTES
        if part is not None and len(part) > room_bytes:
            raise Refusal(
                Reason.DATA_TOO_LARGE,
                f"Data too large: {len(part)} bytes, at most {room_bytes} are allowed",
            )
        state = self.presence
        while state.is_busy(identity):
            await self.settled.wait()
        if not state.is_connected(identity):
            deny("only who is connected is present")
        data, event_id = state.begin_publishing(identity, part)
        written: bytes | None = None
        written_by = -1
        try:
            outcome = await self._node.store.execute(
                c.PutMapItem(
                    command.ref,
                    identity,
                    data,
                    None,
                    command.if_match,
                    actor,
                    command.request_id,
                )
            )
            written, written_by = data, _event_of(outcome).event_id
        finally:
            state.end_publishing(identity, part, written, written_by)
            self.settled.tell()
        return _as_before(outcome, event_id)

    async def register(self, command: _MapItemCommand, endpoint: str | None) -> Outcome:
        """A client registers an action.

        Args:
            endpoint: The client's; None: it isn't connected, or not a client at all.

        Raises:
            Refusal: ACCESS_DENIED, BAD_TTL, BAD_PARAMETER (no such action, too many), and those of
                the write.
        """
        if endpoint is None:
            deny("on-disconnect actions are registered by connected clients")
        if command.ttl is not None or command.data is None:
            raise Refusal(Reason.BAD_TTL, "On-disconnect actions have no time to live")
        key = str(command.key)
        action = parse_action(key, command.data, command.actor.identity, endpoint)
        self.check_target(make_command(action, self.service_oid).ref)
        state = self.on_disconnect
        state.check(action)
        before = state.find(key)
        # Before it is stored, so that two at once are counted as two.
        state.register(action, self._soon())
        try:
            outcome = await self._node.store.execute(replace(command, data=action.data))
        except BaseException:
            if state.find(key) == action:
                state.forget(key)
                if before is not None:
                    state.register(before, self._soon())
            raise
        event_id = _event_of(outcome).event_id
        state.register(action._replace(event_id=event_id), self._soon())
        self._wake()  # the endpoint may have gone meanwhile
        return _as_before(outcome, event_id - 1 if before is None else before.event_id)

    async def unregister(self, command: c.RemoveItem) -> Outcome:
        """Raises Refusal: ACCESS_DENIED (another identity's), and those of the removal."""
        if not command.actor.is_unrestricted:
            self.on_disconnect.check_owner(str(command.key), command.actor.identity)
        outcome = await self._node.store.execute(command)
        self.on_disconnect.forget(str(command.key))
        return outcome

    def _soon(self) -> float:
        return self._node.sources.monotonic() + _RETRY_SECONDS


def deny(why: str) -> NoReturn:
    """Raises Refusal ACCESS_DENIED."""
    raise Refusal(Reason.ACCESS_DENIED, f"Access forbidden for identity: {why}")


def _event_of(outcome: Outcome) -> Event:
    assert isinstance(outcome, ItemOutcome)
    return outcome.event


def _as_before(outcome: Outcome, event_id: int) -> Outcome:
    """The answer to a write whose data the server completed.

    The SDK takes over what it sent as the item's data as of the event in the answer, and ignores
    that event afterwards. So the answer names the event before: then the one that follows corrects
    the client's copy.
    """
    assert isinstance(outcome, ItemOutcome)
    return outcome._replace(item=outcome.item._replace(event_id=event_id))
