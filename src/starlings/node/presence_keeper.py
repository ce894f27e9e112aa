"""Presence and on-disconnect actions of all services: who is connected, which services want to
know, and the loop that writes it down. One per node.

The keeper stands in front of the node's writes as its guard: commands that aim at a Map which the
server keeps are answered here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import NamedTuple

import msgspec

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service, SyncObject
from starlings.core.rules import check_name
from starlings.core.state import Outcome
from starlings.node.node import Node
from starlings.node.presence_room import PresenceRoom, deny
from starlings.node.presence_settings import (
    SETTINGS_NAME,
    KeptMap,
    PresenceSettings,
    decode_settings,
    encode_settings,
)
from starlings.node.reachability import RETURN_SECONDS
from starlings.storage.store import Batch, Place

__all__ = ["SHORT_WINDOW_SECONDS", "PresenceKeeper", "PresenceStatistics", "window_of"]

logger = logging.getLogger("starlings.node")

SHORT_WINDOW_SECONDS = 2.0
"""The window of services without reachability debouncing."""
_TICK_SECONDS = 0.05
_PAUSE_SECONDS = 1.0
_PAGE = 500
_SERVER = Actor(SYSTEM)
_AIMED = (
    c.PutMapItem,
    c.AddMapItem,
    c.UpdateItem,
    c.RemoveItem,
    c.UpdateDocument,
    c.RemoveObject,
    c.SetObjectTtl,
)
"""Commands that could change what the server keeps."""


def window_of(service: Service) -> float:
    """How long, in seconds, whoever goes still counts as there."""
    return service.debouncing_window_ms / 1000 if service.has_debouncing else SHORT_WINDOW_SECONDS


class PresenceStatistics(NamedTuple):
    """``services`` have presence now; the rest counts since the start."""

    services: int
    written: int
    performed: int


class _Connection(NamedTuple):
    service_oid: int
    identity: str
    endpoint: str
    name: str
    """The endpoint by which events name the connection."""


class PresenceKeeper:
    """Belongs to the event loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rooms: dict[int, PresenceRoom] = {}
        self._connections: dict[object, _Connection] = {}
        self._endpoints: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._configuring = asyncio.Lock()
        self._is_frozen = False
        self._written = self._performed = 0
        """Of rooms that are no more."""
        node.guard = self
        node.store.listen(self._forget_removed_services)

    # From the socket face

    def connected(
        self, connection: object, service: Service, identity: str, endpoint: str, name: str
    ) -> None:
        """A session began. ``connection`` stands for it until ``disconnected``.

        Args:
            endpoint: The client: the same when it comes back by another connection.
            name: What events call this connection.
        """
        self._connections[connection] = _Connection(service.oid, identity, endpoint, name)
        self._endpoints[name] = endpoint
        room = self._rooms.get(service.oid)
        if room is not None:
            room.connect(identity, endpoint)
            self._wake.set()

    def disconnected(self, connection: object, service: Service) -> None:
        """A session ended; nothing happens if it had not begun."""
        one = self._connections.pop(connection, None)
        if one is None:
            return
        del self._endpoints[one.name]
        if self._is_frozen:
            return
        room = self._rooms.get(one.service_oid)
        if room is not None:
            room.disconnect(one.identity, one.endpoint, window_of(service))
            self._wake.set()

    def freeze(self) -> None:
        """The server is about to end. Who leaves from now on is sent away and will be back: whether
        in time is judged by the next run.
        """
        self._is_frozen = True
        self._wake.set()

    # From REST

    def settings_of(self, service: Service) -> PresenceSettings:
        room = self._rooms.get(service.oid)
        return PresenceSettings() if room is None else room.settings

    async def configure(
        self, service: Service, presence: str | None, on_disconnect: str | None
    ) -> PresenceSettings:
        """Give a service the Maps of these unique names; None: no such Map. One that it no longer
        has is removed, with all that is in it.

        They count from the moment at which they are stored: after a crash or a fault before that,
        all is as it was.

        Raises:
            Refusal: BAD_NAME, BAD_PARAMETER (the names are the same), NAME_TAKEN.
        """
        for name in (presence, on_disconnect):
            if name is not None:
                check_name(name, self._node.limits)
        if presence is not None and presence == on_disconnect:
            raise Refusal(Reason.BAD_PARAMETER, "The two Maps need different names")
        async with self._configuring:
            stored = await self._find_settings(service)
            if stored is not None and stored.leftovers:
                await self._clear(service, stored)
            before = self.settings_of(service)
            settings = PresenceSettings(
                await self._take_map(service, before.presence, presence),
                await self._take_map(service, before.on_disconnect, on_disconnect),
            )
            if settings != before:
                leftovers = [one.sid for one in before.maps if one not in settings.maps]
                passing = msgspec.structs.replace(settings, leftovers=tuple(leftovers))
                self._open(service, settings, await self._save(service, passing))
                await self._try_to_clear(service, passing)
            return settings

    # At the start

    async def restore(self) -> None:
        """Take up the settings and what the former run left. Before the first connection."""
        start: Place | None = None
        while True:
            services = await self._node.store.list_services(start, False, _PAGE)
            for service in services:
                await self._restore_service(service)
            if len(services) < _PAGE:
                return
            start = (services[-1].created_at, services[-1].oid)

    async def _restore_service(self, service: Service) -> None:
        document = await self._find(service, Kind.DOCUMENT, SETTINGS_NAME)
        if document is None:
            return
        settings = decode_settings(document.data)
        if settings is None:
            logger.error("The settings of presence can't be read service=%s", service.sid)
            return
        room = self._make_room(
            service, msgspec.structs.replace(settings, leftovers=()), document.sid
        )
        await room.restore(max(window_of(service), RETURN_SECONDS))
        await self._try_to_clear(service, settings)

    # The loop

    async def run(self) -> None:
        """Write until cancelled or frozen. What isn't written by then is found out at the next
        start.
        """
        while True:
            await self._wait()
            if self._is_frozen:
                return
            await asyncio.sleep(_TICK_SECONDS if await self.work() else _PAUSE_SECONDS)

    async def work(self) -> bool:
        """Write what is due, up to a bound for each service. False: the store can't write now."""
        return all([await room.work() for room in list(self._rooms.values())])

    async def _wait(self) -> None:
        if any(room.has_work for room in self._rooms.values()):
            return
        deadlines = [room.next_deadline for room in self._rooms.values()]
        next_deadline = min((one for one in deadlines if one is not None), default=None)
        seconds = None
        if next_deadline is not None:
            seconds = max(0.0, next_deadline - self._node.sources.monotonic())
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def statistics(self) -> PresenceStatistics:
        rooms = self._rooms.values()
        return PresenceStatistics(
            len(rooms),
            self._written + sum(room.written for room in rooms),
            self._performed + sum(room.performed for room in rooms),
        )

    # The node's guard

    def check_creation(self, kind: Kind, unique_name: str | None) -> None:
        """Raises Refusal BAD_NAME: the name is the server's own."""
        if kind is Kind.DOCUMENT and unique_name == SETTINGS_NAME:
            raise Refusal(Reason.BAD_NAME, f"Invalid unique name: {SETTINGS_NAME} is reserved")

    def find_answer(self, command: c.Command) -> Awaitable[Outcome] | None:
        """What answers a command that aims at something the server keeps; None for all others.

        Raises:
            Refusal: ACCESS_DENIED: only the server itself may do that.
        """
        if not isinstance(command, _AIMED):
            return None
        room = self._rooms.get(command.ref.service_oid)
        if room is None:
            return None
        if room.is_settings(command.ref):
            deny("the server keeps this Document; REST changes it by /Presence")
        kept_map = room.find_kept_map(command.ref)
        if kept_map is None:
            return None
        is_presence = kept_map == room.settings.presence
        match command:
            case c.PutMapItem() | c.AddMapItem() | c.UpdateItem():
                if is_presence:
                    return room.publish(command)
                return room.register(command, self._endpoints.get(command.actor.endpoint or ""))
            case c.RemoveItem() if not is_presence:
                return room.unregister(command)
            case _:
                deny("the server keeps this Map; REST switches it off by /Presence")

    # Within

    def _open(self, service: Service, settings: PresenceSettings, settings_sid: str) -> None:
        """Let the settings count from now on; who is connected is in the new Maps at once."""
        before = self._rooms.get(service.oid)
        self._drop(service.oid)
        if not settings_sid:
            return
        room = self._make_room(service, settings, settings_sid)
        is_new_presence = is_new_register = True
        if before is not None and before.settings.presence == settings.presence:
            room.presence, room.settled = before.presence, before.settled
            is_new_presence = False
        if before is not None and before.settings.on_disconnect == settings.on_disconnect:
            room.on_disconnect = before.on_disconnect
            is_new_register = False
        for one in self._connections.values():
            if one.service_oid == service.oid:
                room.connect(
                    one.identity,
                    one.endpoint,
                    to_presence=is_new_presence,
                    to_register=is_new_register,
                )
        self._wake.set()

    def _make_room(
        self, service: Service, settings: PresenceSettings, settings_sid: str
    ) -> PresenceRoom:
        room = PresenceRoom(self._node, service.oid, settings, settings_sid, self._wake.set)
        self._rooms[service.oid] = room
        return room

    def _drop(self, service_oid: int) -> None:
        room = self._rooms.pop(service_oid, None)
        if room is not None:
            self._written += room.written
            self._performed += room.performed

    def _forget_removed_services(self, batch: Batch) -> None:
        for oid, service in batch.services:
            if service is None:
                self._drop(oid)

    async def _take_map(
        self, service: Service, before: KeptMap | None, name: str | None
    ) -> KeptMap | None:
        """The Map of this name: the one that serves already, else a new one. One that is empty, for
        ever and not a client's is taken over: a crash may have left it.
        """
        if name is None:
            return None
        found = await self._find(service, Kind.MAP, name)
        if found is None or not found.is_live(self._node.sources.now()):
            outcome = await self._node.create_own_object(service, Kind.MAP, name, None)
            found = outcome.object
        elif before != KeptMap(name, found.sid) and (
            found.item_count
            or found.created_by != SYSTEM
            or found.expires_at is not None
            or any(one.sid == found.sid for one in self.settings_of(service).maps)
        ):
            raise Refusal(Reason.NAME_TAKEN)
        return KeptMap(name, found.sid)

    async def _find_settings(self, service: Service) -> PresenceSettings | None:
        """As they are stored."""
        document = await self._find(service, Kind.DOCUMENT, SETTINGS_NAME)
        return None if document is None else decode_settings(document.data)

    async def _save(self, service: Service, settings: PresenceSettings) -> str:
        """Make the settings durable; the SID of their Document."""
        ref = ObjectRef(service.oid, Kind.DOCUMENT, SETTINGS_NAME)
        if settings == PresenceSettings():
            await self._remove(ref)
            return ""
        data = encode_settings(settings)
        found = await self._find(service, Kind.DOCUMENT, SETTINGS_NAME)
        if found is None:
            outcome = await self._node.create_own_object(
                service, Kind.DOCUMENT, SETTINGS_NAME, data
            )
            return outcome.object.sid
        await self._node.store.execute(c.UpdateDocument(ref, data, None, None, _SERVER))
        return found.sid

    async def _clear(self, service: Service, settings: PresenceSettings) -> None:
        """Remove the Maps that served before, then all that is left of them in the settings."""
        for sid in settings.leftovers:
            await self._remove(ObjectRef(service.oid, Kind.MAP, sid))
        await self._save(service, msgspec.structs.replace(settings, leftovers=()))

    async def _try_to_clear(self, service: Service, settings: PresenceSettings) -> None:
        """If it can't be done now, the next change of the settings or the next start does it."""
        try:
            if settings.leftovers:
                await self._clear(service, settings)
        except Fault as error:
            logger.warning("Former Maps of presence stay for now error=%s", error)
        else:
            if not settings.maps:
                self._drop(service.oid)

    async def _remove(self, ref: ObjectRef) -> None:
        try:
            await self._node.store.execute(c.RemoveObject(ref, None, _SERVER))
        except Refusal as refusal:
            logger.debug("Nothing to remove name=%s error=%s", ref.name, refusal)

    async def _find(self, service: Service, kind: Kind, name: str) -> SyncObject | None:
        return await self._node.store.find_object_named(service.oid, kind, name)
