"""One running server's heart: what callers may ask, whichever face they come by.

The faces (REST, the socket) parse and render; the rules decide inside the store's transaction; the
node stands between. It finds services and objects, holds callers to their rates, mints ids, cuts
pages, and gives messages of streams to the bus.

Order of checks [rest-api 11]: service, object, (the face's) syntax, access, rate, then what the
rules check.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from starlings.core import commands as c
from starlings.core import sids
from starlings.core.access import Right, denial, find_deciding, is_permitted
from starlings.core.errors import Fault, Reason, Refusal
from starlings.core.events import Event, EventType, owner_key
from starlings.core.limits import Limits
from starlings.core.objects import (
    SYSTEM,
    Actor,
    Item,
    ItemKey,
    Kind,
    Match,
    ObjectRef,
    Permission,
    Service,
    SyncObject,
)
from starlings.core.state import ItemOutcome, ObjectOutcome, Outcome
from starlings.core.webhook_rules import webhook_of_message
from starlings.node.clock import Sources
from starlings.node.known_services import KnownServices
from starlings.node.minting import Minter
from starlings.node.pages import Page, cut_page
from starlings.node.rates import CallerRates, charge_of
from starlings.storage.outbox import Outbox
from starlings.storage.store import GrantPlace, Place, Store

__all__ = ["Message", "MessageListener", "Node"]

logger = logging.getLogger("starlings.node")

_AFTER_ALL = (1 << 63) - 1

_ItemCommand = c.AddListItem | c.AddMapItem | c.PutMapItem | c.UpdateItem | c.RemoveItem


class Message(NamedTuple):
    """A passing datum of a stream: never stored. [rest-api 2.6]"""

    sid: str
    stream: SyncObject
    data: bytes
    actor: Actor
    at: int


MessageListener = Callable[[Message], None]


class Guard(Protocol):
    """Stands in front of the objects that the server keeps itself."""

    def check_creation(self, kind: Kind, unique_name: str | None) -> None:
        """Raises Refusal: the name is the server's own."""

    def find_answer(self, command: c.Command) -> Awaitable[Outcome] | None:
        """What answers a command instead of the store; None: the store does. Raises Refusal."""


class Node:
    """Executes commands and answers reads. One per process; belongs to its event loop.

    Args:
        outbox: Where the webhooks of messages go; None if there are none. Those of events are the
            store's work.
    """

    def __init__(
        self, store: Store, limits: Limits, sources: Sources, outbox: Outbox | None = None
    ) -> None:
        self.store = store
        self._outbox = outbox
        self.lost_webhooks = 0
        """Of messages published while the store could not write."""
        self.limits = limits
        self.sources = sources
        self.guard: Guard | None = None
        self._rates = CallerRates(limits.rates, sources.monotonic)
        self._minter = Minter(store, sources)
        self._services = KnownServices(store, self._minter)
        self._message_listeners: list[MessageListener] = []

    # Services

    async def get_service(self, account_sid: str, name: str) -> Service:
        """The service of a SID or of the alias ``default``, which creates it when it isn't there.
        [rest-api 12.14]

        Raises:
            Refusal: SERVICE_NOT_FOUND, FOREIGN_SERVICE.
        """
        return await self._services.get(account_sid, name)

    async def get_service_of(self, target: SyncObject) -> Service | None:
        """The service of an object; None once it was removed."""
        return await self._services.find(target.service_oid)

    async def create_service(
        self,
        account_sid: str,
        settings: c.ServiceSettings,
        actor: Actor,
        request_id: str | None,
    ) -> Service:
        """Raises Refusal as ``core.services.create_service`` says."""
        return await self._minter.create_service(account_sid, settings, actor, request_id, None)

    async def list_services(
        self, account_sid: str, start: Place | None, is_descending: bool, limit: int
    ) -> Page[Service]:
        """An account's services by creation, after ``start`` in the given direction."""

        async def read(start: Place | None, is_descending: bool, limit: int) -> list[Service]:
            return await self.store.list_services(start, is_descending, limit, account_sid)

        return await cut_page(
            read, start, is_descending, limit, lambda service: (service.created_at, service.oid)
        )

    # Objects

    async def get_object(
        self, ref: ObjectRef, actor: Actor, right: Right = Right.READ
    ) -> SyncObject:
        """The object that a reference names, if the actor has the right to it. Takes nothing from
        any rate.

        Raises:
            Refusal: The kind's not-found reason or NAME_NOT_FOUND; ACCESS_DENIED.
        """
        if sids.is_sid(ref.name):
            found = await self.store.find_object(sids.oid_of(ref.name))
            if found is not None and (
                found.sid != ref.name
                or found.service_oid != ref.service_oid
                or found.kind != ref.kind
            ):
                found = None
            reason = ref.kind.not_found
        else:
            found = await self.store.find_object_named(ref.service_oid, ref.kind, ref.name)
            reason = Reason.NAME_NOT_FOUND
        if found is None or not found.is_live(self.sources.now()):
            raise Refusal(reason)
        await self._check_access(found, actor, right)
        return found

    async def read_object(self, ref: ObjectRef, actor: Actor) -> SyncObject:
        """As ``get_object`` for reading, counted as a read. Raises Refusal also RATE_LIMITED."""
        found = await self.get_object(ref, actor)
        self._rates.take_read(found)
        return found

    async def create_object(
        self,
        service: Service,
        kind: Kind,
        unique_name: str | None,
        data: bytes | None,
        ttl: int | None,
        actor: Actor,
        request_id: str | None,
    ) -> ObjectOutcome:
        """Raises Refusal RATE_LIMITED and as ``core.creation.create_object`` says."""
        self._rates.take_creation(service, kind)
        if self.guard is not None:
            self.guard.check_creation(kind, unique_name)
        return await self._minter.create_object(
            service, kind, unique_name, data, ttl, actor, request_id
        )

    async def create_own_object(
        self, service: Service, kind: Kind, unique_name: str, data: bytes | None
    ) -> ObjectOutcome:
        """Create an object that the server keeps itself. Raises Refusal NAME_TAKEN."""
        return await self._minter.create_object(
            service, kind, unique_name, data, None, Actor(SYSTEM), None
        )

    async def list_objects(
        self, service: Service, kind: Kind, start: Place | None, is_descending: bool, limit: int
    ) -> Page[SyncObject]:
        """Objects by creation, after ``start`` in the given direction."""

        async def read(start: Place | None, is_descending: bool, limit: int) -> list[SyncObject]:
            return await self.store.list_objects(
                service.oid, kind, start, is_descending, limit, self.sources.now()
            )

        return await cut_page(
            read, start, is_descending, limit, lambda found: (found.created_at, found.oid)
        )

    async def execute(self, command: c.Command) -> Outcome:
        """Carry out a command that needs no minted id, durably.

        Raises:
            Refusal: RATE_LIMITED and as the command's rule says.
            Fault: UNAVAILABLE: nothing of it was applied.
        """
        if self._rates.are_commands_held:
            charge = charge_of(command)
            if charge is not None:
                target = await self.get_object(charge.ref, charge.actor, charge.right)
                self._rates.take_command(charge, target)
        if self.guard is not None:
            answer = self.guard.find_answer(command)
            if answer is not None:
                return await answer
        return await self.store.execute(command)

    async def execute_on_object(self, command: c.Command) -> ObjectOutcome:
        """As ``execute``, for commands whose outcome is an object."""
        outcome = await self.execute(command)
        assert isinstance(outcome, ObjectOutcome)
        return outcome

    async def execute_on_item(self, command: _ItemCommand) -> ItemOutcome:
        """As ``execute``, for commands whose outcome is an item."""
        outcome = await self.execute(command)
        assert isinstance(outcome, ItemOutcome)
        return outcome

    # Items

    async def read_item(
        self, ref: ObjectRef, key: ItemKey, actor: Actor
    ) -> tuple[SyncObject, Item]:
        """An item with its collection, counted as a read.

        Raises:
            Refusal: The collection's 404s, ACCESS_DENIED, RATE_LIMITED, the item's 404.
        """
        found = await self.read_object(ref, actor)
        item = await self.store.find_item(found.oid, key)
        await self.check_still(found, actor)
        if item is None or not item.is_live(self.sources.now()):
            raise Refusal(
                Reason.LIST_ITEM_NOT_FOUND if found.kind is Kind.LIST else Reason.MAP_ITEM_NOT_FOUND
            )
        return found, item

    async def list_items(
        self,
        collection: SyncObject,
        start: ItemKey | None,
        is_inclusive: bool,
        is_descending: bool,
        limit: int,
    ) -> Page[Item]:
        """Items of a collection from ``start`` in the given direction. One page counts as one read.
        [rest-api 12.15]

        Raises:
            Refusal: RATE_LIMITED.
        """
        self._rates.take_read(collection)
        now = self.sources.now()
        rows = await self.store.list_items(
            collection.oid, start, is_inclusive, is_descending, limit + 1, now
        )
        entries = rows[:limit]
        if start is None:
            has_previous = False
        else:
            edge = entries[0].key if entries else start
            has_previous = bool(
                await self.store.list_items(
                    collection.oid,
                    edge,
                    not entries and not is_inclusive,
                    not is_descending,
                    1,
                    now,
                )
            )
        return Page(entries, has_previous, len(rows) > limit)

    # History

    async def find_history(self, ref: ObjectRef) -> int:
        """The oid of an object whose log may be read: one that is there, or that was.

        Raises:
            Refusal: The object's 404s, unless the log still tells of one with this SID that was of
                this service.
        """
        try:
            return (await self.get_object(ref, Actor(SYSTEM))).oid
        except Refusal:
            if not sids.is_sid(ref.name) or not ref.name.startswith(ref.kind.sid_prefix):
                raise
            oid = sids.oid_of(ref.name)
            owner = owner_key(ref.service_oid, ref.name)
            expired = await self.store.find_object(oid)
            if expired is not None and owner_key(expired.service_oid, expired.sid) == owner:
                return oid
            for newest in await self.store.read_log(oid, _AFTER_ALL, 1, is_descending=True):
                if newest.type is EventType.OBJECT_REMOVED and newest.key == owner:
                    return oid
            raise

    async def list_history(
        self, oid: int, start: int | None, is_descending: bool, limit: int
    ) -> Page[Event]:
        """Events of an object by sequence, after ``start`` in the given direction."""

        async def read(start: int | None, is_descending: bool, limit: int) -> list[Event]:
            edge = start if start is not None else (_AFTER_ALL if is_descending else 0)
            return await self.store.read_log(oid, edge, limit, is_descending)

        return await cut_page(read, start, is_descending, limit, lambda event: event.seq)

    # Permissions

    async def read_permission(
        self, ref: ObjectRef, identity: str, match: Match
    ) -> tuple[SyncObject, Permission]:
        """Raises Refusal: the object's 404s, RATE_LIMITED, PERMISSION_NOT_FOUND."""
        found = await self.get_object_for_permissions(ref)
        grants = await self.store.list_grants(found.oid, identity)
        wanted = (identity, match)
        permission = next((one for one in grants if (one.identity, one.match) == wanted), None)
        if permission is None or not permission.is_live(self.sources.now()):
            raise Refusal(Reason.PERMISSION_NOT_FOUND)
        return found, permission

    async def list_permissions(
        self, found: SyncObject, start: GrantPlace | None, is_descending: bool, limit: int
    ) -> Page[Permission]:
        """Permissions by identity and match, after ``start`` in the given direction."""
        now = self.sources.now()

        async def read(
            start: GrantPlace | None, is_descending: bool, limit: int
        ) -> list[Permission]:
            return await self.store.list_permissions(found.oid, start, is_descending, limit, now)

        return await cut_page(
            read, start, is_descending, limit, lambda one: (one.identity, one.match)
        )

    async def find_deciding_permission(self, oid: int, identity: str) -> Permission | None:
        """The permission that decides what an identity may do with an object, under access control.
        None: it may do nothing.
        """
        grants = await self.store.list_grants(oid, identity)
        return find_deciding(grants, identity, self.sources.now())

    async def may_read(self, service_oid: int, oid: int, identity: str) -> bool:
        """False if a client may read an object no more. Asks the store, not what is remembered:
        this is for moments at which something has changed.
        """
        service = await self.store.find_service(service_oid)
        if service is None or not service.has_acl:
            return True
        return is_permitted(await self.find_deciding_permission(oid, identity), Right.READ)

    async def check_still(self, found: SyncObject, actor: Actor) -> None:
        """To be awaited when more of an object was read than ``get_object`` gave, before that is
        told: right and data are looked at one after the other, and what was committed after the
        loss of the right is not for who has lost it.

        Raises:
            Refusal: ACCESS_DENIED.
        """
        await self._check_access(found, actor, Right.READ)

    async def get_object_for_permissions(self, ref: ObjectRef) -> SyncObject:
        """The object whose permissions REST asks for, counted as a read of permissions."""
        found = await self.get_object(ref, Actor(SYSTEM))
        self._rates.take_permission(found)
        return found

    # Messages

    async def publish_message(self, ref: ObjectRef, data: bytes, actor: Actor) -> Message:
        """Publish a message to whoever listens to a stream now: at most once, never stored.

        Raises:
            Refusal: The stream's 404s, ACCESS_DENIED, RATE_LIMITED.
        """
        stream = await self.get_object(ref, actor, Right.WRITE)
        self._rates.take_message(stream)
        sid = f"{sids.MESSAGE}{self.sources.random_bits(128):032x}"
        message = Message(sid, stream, data, actor, self.sources.now())
        if self._outbox is not None:
            await self._fire_webhook(self._outbox, message)
        for listener in self._message_listeners:
            listener(message)
        return message

    def listen_to_messages(self, listener: MessageListener) -> None:
        """Have ``listener`` called with every message published on this node."""
        self._message_listeners.append(listener)

    async def _fire_webhook(self, outbox: Outbox, message: Message) -> None:
        """Have a message's webhook delivered, if it has one. Never fails the message: it is not
        stored, and can be had when nothing else can be written. [rest-api 8]
        """
        service = await self.get_service_of(message.stream)
        if service is None:
            return
        webhook = webhook_of_message(
            service, message.stream, message.sid, message.data, message.actor, message.at
        )
        if webhook is None:
            return
        try:
            await outbox.add([webhook])
        except Fault as error:
            self.lost_webhooks += 1
            logger.warning("A message's webhook is lost sid=%s error=%s", message.sid, error)

    # What they share

    async def _check_access(self, found: SyncObject, actor: Actor, right: Right) -> None:
        if actor.is_unrestricted:
            return
        service = await self.get_service_of(found)
        if service is None or not service.has_acl:
            return
        deciding = await self.find_deciding_permission(found.oid, actor.identity)
        if not is_permitted(deciding, right):
            raise denial(found, right)
