"""Every change a caller can ask for. Values only: the rules are in the modules named after the
objects.

Times to live are whole seconds, 0 for never, None for "not given". ``if_match`` is a revision,
``"*"`` for any existing one, or None for no condition. Data are bytes of compact JSON. The faces
have already parsed; the rules check again whatever decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlings.core.objects import Actor, ItemKey, Kind, Match, ObjectRef

__all__ = [
    "MUST_NOT_EXIST",
    "UNSET",
    "AddListItem",
    "AddMapItem",
    "Command",
    "CreateObject",
    "CreateService",
    "ExpireItem",
    "ExpireObject",
    "ExpirePermission",
    "PutMapItem",
    "RemoveItem",
    "RemoveObject",
    "RemovePermission",
    "RemoveService",
    "ServiceSettings",
    "SetObjectTtl",
    "SetPermission",
    "Unset",
    "UpdateDocument",
    "UpdateItem",
    "UpdateService",
]

MUST_NOT_EXIST = "-1"
"""The ``if_match`` of a ``PutMapItem`` that may only add. [wire-protocol 6.2]"""


class Unset:
    """The type of ``UNSET``: a setting that was not given, where None is a value of its own."""

    def __bool__(self) -> bool:
        return False


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings of a service that a caller gave; UNSET ones stay as they are."""

    friendly_name: str | Unset | None = UNSET
    webhook_url: str | Unset | None = UNSET
    has_webhooks_from_rest: bool | Unset = UNSET
    has_reachability_webhooks: bool | Unset = UNSET
    has_acl: bool | Unset = UNSET
    has_debouncing: bool | Unset = UNSET
    debouncing_window_ms: int | Unset = UNSET


@dataclass(frozen=True, slots=True)
class CreateService:
    """Create a service; ``unique_name`` is ``default`` for the account's default one, else None."""

    oid: int
    sid: str
    account_sid: str
    unique_name: str | None
    settings: ServiceSettings
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateService:
    """Change the settings that are given."""

    oid: int
    settings: ServiceSettings
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveService:
    """Remove a service. Its objects are hidden at once and removed one by one afterwards."""

    oid: int
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class CreateObject:
    """Create an object of any kind under ids that were minted for it, named or not."""

    service_oid: int
    kind: Kind
    oid: int
    sid: str
    unique_name: str | None
    data: bytes | None
    """A document's data (None for ``{}``) or a list's context."""
    ttl: int | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateDocument:
    """Replace a document's data, set its time to live, or both."""

    ref: ObjectRef
    data: bytes | None
    ttl: int | None
    if_match: str | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class SetObjectTtl:
    """Set the time to live of a list, map or stream."""

    ref: ObjectRef
    ttl: int
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveObject:
    """Remove an object with all that is in it. Only documents look at ``if_match``."""

    ref: ObjectRef
    if_match: str | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AddListItem:
    """Append an item to a list, under an index that the list gives."""

    ref: ObjectRef
    data: bytes
    ttl: int | None
    collection_ttl: int | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AddMapItem:
    """Add a map item under a key that must be free."""

    ref: ObjectRef
    key: str
    data: bytes
    ttl: int | None
    collection_ttl: int | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class PutMapItem:
    """Add a map item or replace its data. ``if_match`` may be ``MUST_NOT_EXIST``."""

    ref: ObjectRef
    key: str
    data: bytes
    ttl: int | None
    if_match: str | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateItem:
    """Change the data or the time to live of an item that exists."""

    ref: ObjectRef
    key: ItemKey
    data: bytes | None
    ttl: int | None
    collection_ttl: int | None
    if_match: str | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveItem:
    """Remove an item that exists."""

    ref: ObjectRef
    key: ItemKey
    if_match: str | None
    actor: Actor
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class SetPermission:
    """Grant exactly these rights to one identity or, by ``match``, to several."""

    ref: ObjectRef
    identity: str
    may_read: bool
    may_write: bool
    may_manage: bool
    actor: Actor
    request_id: str | None = None
    match: Match = Match.EXACT
    ttl: int | None = None
    """0 and None: for ever."""


@dataclass(frozen=True, slots=True)
class RemovePermission:
    """Take back what was granted to this identity, by this ``match``."""

    ref: ObjectRef
    identity: str
    actor: Actor
    request_id: str | None = None
    match: Match = Match.EXACT


@dataclass(frozen=True, slots=True)
class ExpireObject:
    """Remove an object whose time is up, or whose service is gone; else change nothing."""

    oid: int


@dataclass(frozen=True, slots=True)
class ExpireItem:
    """Remove an item whose time is up; changes nothing unless it still is."""

    oid: int
    key: ItemKey


@dataclass(frozen=True, slots=True)
class ExpirePermission:
    """Remove a permission whose time is up; changes nothing unless it still is."""

    oid: int
    identity: str
    match: Match


Command = (
    CreateService
    | UpdateService
    | RemoveService
    | CreateObject
    | UpdateDocument
    | SetObjectTtl
    | RemoveObject
    | AddListItem
    | AddMapItem
    | PutMapItem
    | UpdateItem
    | RemoveItem
    | SetPermission
    | RemovePermission
    | ExpireObject
    | ExpireItem
    | ExpirePermission
)
