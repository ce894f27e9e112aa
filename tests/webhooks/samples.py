"""Small builders for the tests of webhooks."""

from __future__ import annotations

from starlings.core.events import Committed, Event, EventType
from starlings.core.objects import ItemKey, Kind, Service, SyncObject
from starlings.core.sids import format_sid

ACCOUNT = "AC" + "a" * 32
AUTH_TOKEN = "an auth token"
URL = "https://hooks.example.org/sync?x=1&y=%20"
NOW = 1_800_000_000_000


def a_service(
    url: str | None = URL,
    *,
    oid: int = 7,
    from_rest: bool = False,
    reachability: bool = False,
    window_ms: int | None = None,
) -> Service:
    return Service(
        oid,
        format_sid("IS", oid, 1),
        ACCOUNT,
        None,
        None,
        NOW,
        NOW,
        webhook_url=url,
        has_webhooks_from_rest=from_rest,
        has_reachability_webhooks=reachability,
        has_debouncing=window_ms is not None,
        debouncing_window_ms=window_ms or 5_000,
    )


def a_change(
    kind: Kind,
    type_: EventType,
    *,
    key: ItemKey | None = None,
    name: str | None = "a name",
    event_id: int = 41,
    data: bytes | None = b'{"a":1}',
    identity: str = "bob",
    endpoint: str | None = "EP1",
    service_oid: int = 7,
) -> Committed:
    """An event with its object."""
    target = SyncObject(
        9,
        format_sid(kind.sid_prefix, 9, 2),
        service_oid,
        kind,
        name,
        None,
        50,
        event_id,
        0,
        1,
        NOW,
        NOW,
        None,
        "bob",
    )
    event = Event(9, 50, event_id, type_, NOW, key, data, None, identity, endpoint, None)
    return Committed(target, event)
