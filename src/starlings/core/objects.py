"""What Sync keeps: Services, the four kinds of object, items, permissions.

The row values are named tuples in the column order of the stores, so that a row becomes a value and
a value becomes a row without a conversion: they are made by the hundred thousand. All ``_at`` are
whole milliseconds since 1970, UTC. ``data`` are bytes of compact UTF-8 JSON, opaque here: number
text and key order are as the writer sent them.

Revisions and event ids [rest-api 9, wire-protocol 7]: every document, list and map counts its
events. The count of a document starts at 0 with its creation; that of a list or map at 0 with its
first item event, so that a new one has ``event_id`` -1. A revision is the lower-case hexadecimal of
that number: a document's and an item's is that of the event which last changed it, a list's or
map's is one higher than its last event's.

``seq`` counts everything that happened to an object, also what subscribers never see (creation,
time to live of a collection, permissions, removal); it is the sequence of the object's log, from 1,
without gaps.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from starlings.core import sids
from starlings.core.errors import Reason

__all__ = [
    "SYSTEM",
    "Actor",
    "Item",
    "ItemKey",
    "Kind",
    "Match",
    "ObjectRef",
    "Permission",
    "Service",
    "SyncObject",
    "Tombstone",
]

SYSTEM = "system"
"""The identity of REST callers and of the server itself. [rest-api 8]"""

ItemKey = int | str
"""The index of a list item or the key of a map item."""


class Kind(IntEnum):
    """The four kinds of object."""

    DOCUMENT = 1
    LIST = 2
    MAP = 3
    STREAM = 4

    @property
    def sid_prefix(self) -> str:
        return _SID_PREFIXES[self]

    @property
    def word(self) -> str:
        """The kind's name on the wire, in lower case."""
        return _WORDS[self]

    @property
    def not_found(self) -> Reason:
        """Why an unknown SID of this kind is refused."""
        return _NOT_FOUND[self]


_SID_PREFIXES = {
    Kind.DOCUMENT: sids.DOCUMENT,
    Kind.LIST: sids.LIST,
    Kind.MAP: sids.MAP,
    Kind.STREAM: sids.STREAM,
}
_WORDS = {Kind.DOCUMENT: "document", Kind.LIST: "list", Kind.MAP: "map", Kind.STREAM: "stream"}
_NOT_FOUND = {
    Kind.DOCUMENT: Reason.DOCUMENT_NOT_FOUND,
    Kind.LIST: Reason.LIST_NOT_FOUND,
    Kind.MAP: Reason.MAP_NOT_FOUND,
    Kind.STREAM: Reason.STREAM_NOT_FOUND,
}


class Actor(NamedTuple):
    """Who asks for a change, as recorded with the event."""

    identity: str
    endpoint: str | None = None
    """The connection it came by; None for REST and for the server itself."""
    is_unrestricted: bool = True
    """True for REST and the server itself, which no permission binds. [rest-api 6]"""


class ObjectRef(NamedTuple):
    """An object as a caller names it: by SID or by unique name, within a service and a kind."""

    service_oid: int
    kind: Kind
    name: str
    """A SID, if it has the form of one, else a unique name. [rest-api 1.6]"""


class Service(NamedTuple):
    """The tenant that owns objects, and its settings. [rest-api 2.1]"""

    oid: int
    sid: str
    account_sid: str
    unique_name: str | None
    """``default`` for the account's default service, else None."""
    friendly_name: str | None
    created_at: int
    updated_at: int
    webhook_url: str | None = None
    has_webhooks_from_rest: bool = False
    has_reachability_webhooks: bool = False
    has_acl: bool = False
    has_debouncing: bool = False
    debouncing_window_ms: int = 5_000


class SyncObject(NamedTuple):
    """A document, list, map or stream, without its items."""

    oid: int
    sid: str
    service_oid: int
    kind: Kind
    unique_name: str | None
    data: bytes | None
    """A document's data; a list's context if it has one; else None."""
    seq: int
    """Sequence of the newest event in the object's log."""
    event_id: int
    """The newest event that subscribers see; -1 before the first of a list or map, and for streams.
    """
    next_index: int
    """Lists: the index of the next item; only grows."""
    item_count: int
    created_at: int
    updated_at: int
    expires_at: int | None
    created_by: str
    is_removed: bool = False

    @property
    def revision(self) -> str:
        return f"{self.event_id:x}" if self.kind is Kind.DOCUMENT else f"{self.event_id + 1:x}"

    def is_live(self, now: int) -> bool:
        """False once removed, and from the millisecond of expiry on."""
        return not self.is_removed and (self.expires_at is None or self.expires_at > now)


class Item(NamedTuple):
    """An element of a list or a map."""

    oid: int
    key: ItemKey
    data: bytes
    event_id: int
    """The event that last changed the item."""
    added_id: int
    """The event that added it: a replay from before tells ``added``, from after ``updated``."""
    created_at: int
    updated_at: int
    expires_at: int | None
    created_by: str

    @property
    def revision(self) -> str:
        return f"{self.event_id:x}"

    def is_live(self, now: int) -> bool:
        return self.expires_at is None or self.expires_at > now


class Tombstone(NamedTuple):
    """What is left of a removed item once the event log has forgotten it, for replays.

    [wire-protocol 8.5]
    """

    oid: int
    event_id: int
    """The removal event."""
    key: ItemKey
    data: bytes | None
    """The data before the removal."""
    at: int
    endpoint: str | None


class Match(IntEnum):
    """Whom a permission is for. The numbers are stored: never reuse one.

    The documented model has exact ones only; the others are ours. [docs/reference/access.md]
    """

    EXACT = 1
    """The one identity."""
    PREFIX = 2
    """All identities that begin so."""
    EVERYBODY = 3
    """All identities; the row's identity is ``*``."""

    @property
    def word(self) -> str:
        return self.name.lower()


class Permission(NamedTuple):
    """What an identity, or several, may do with one object; the three rights are independent.
    [rest-api 6]
    """

    oid: int
    identity: str
    """An identity, the beginning of identities, or ``*``, as ``match`` says."""
    match: Match
    may_read: bool
    may_write: bool
    may_manage: bool
    expires_at: int | None = None
    """None: it never does."""

    def is_live(self, now: int) -> bool:
        return self.expires_at is None or self.expires_at > now
