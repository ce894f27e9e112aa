"""The rules of ``check`` for the outbox of webhooks.

No rule says that a webhook's service or object must exist: both can be removed while it waits, and
dead letters of a removed service stay until they are old. Those are counted. But what does exist
must agree with the webhook.

Nor does a rule say that webhooks have no gaps: they are delivered, dropped, switched on and off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from starlings.core.events import VISIBLE, EventType
from starlings.core.objects import Kind
from starlings.core.webhook_rules import SHAPES

__all__ = ["WEBHOOK_COUNTS", "WEBHOOK_RULES", "WEBHOOK_SCHEMA"]

WEBHOOK_SCHEMA: Final = 2
"""The first with an outbox."""

_KEYS: Final = {int: "integer", str: "text", None: "null"}


def _shape_rows() -> Iterator[str]:
    """Type, prefix of the SID, type of the key, whether there are data, event ids that it can have,
    whether it takes an event id of its own.
    """
    for name, (kind, key, has_data, event) in SHAPES.items():
        lowest, highest = -1, "NULL"
        if kind is Kind.DOCUMENT or event in VISIBLE:
            lowest = 0
        if kind in (None, Kind.STREAM) or event is EventType.OBJECT_CREATED:
            highest = str(lowest)
        prefix = "NULL" if kind is None else f"'{kind.sid_prefix}'"
        yield (
            f"('{name}', {prefix}, '{_KEYS[key]}', {int(has_data)}, {lowest}, {highest},"
            f" {int(event in VISIBLE)})"
        )


_SHAPES: Final = (
    "WITH shape (type, prefix, key_type, has_data, lowest, highest, is_visible) AS"
    f" (VALUES {', '.join(_shape_rows())}) "
)

WEBHOOK_RULES: Final = {
    "a webhook is of a type that there is": _SHAPES
    + "SELECT printf('webhook %d: %s', id, type) FROM webhook"
    " WHERE type NOT IN (SELECT type FROM shape)",
    "a webhook has the key and the data of its type": _SHAPES
    + "SELECT printf('webhook %d: %s with key %s and %s data', id, type, quote(key),"
    " iif(data IS NULL, 'no', 'some')) FROM webhook JOIN shape USING (type)"
    " WHERE typeof(key) <> key_type OR (data IS NOT NULL) <> has_data",
    "a webhook's data are JSON": "SELECT printf('webhook %d', id) FROM webhook"
    " WHERE data IS NOT NULL AND NOT json_valid(CAST(data AS TEXT))",
    "a webhook has an event id that its type can have": _SHAPES
    + "SELECT printf('webhook %d: %s with event %d', id, type, event_id)"
    " FROM webhook JOIN shape USING (type)"
    " WHERE event_id < lowest OR event_id > coalesce(highest, event_id)",
    "a webhook of an object stands in the object's lane": _SHAPES
    + "SELECT printf('webhook %d: %s in lane %d', id, coalesce(sid, 'no object'), lane)"
    " FROM webhook JOIN shape USING (type) WHERE prefix IS NOT NULL"
    " AND (lane < 0 OR coalesce(substr(sid, 1, 18), '') <> prefix || printf('%016x', lane))",
    "a webhook of an endpoint names it, no object, and stands in an identity's lane": _SHAPES
    + "SELECT printf('webhook %d: lane %d, endpoint %s, object %s', id, lane, quote(endpoint),"
    " quote(sid)) FROM webhook JOIN shape USING (type) WHERE prefix IS NULL"
    " AND (lane >= 0 OR endpoint IS NULL OR sid IS NOT NULL OR unique_name IS NOT NULL)",
    "a webhook agrees with its object": "SELECT printf('webhook %d: object %s of service %d at"
    " event %d, webhook says %s of %d at %d', id, object.sid, object.service_oid, object.event_id,"
    " webhook.sid, webhook.service_oid, webhook.event_id)"
    " FROM webhook JOIN object ON object.oid = webhook.lane"
    " WHERE object.sid IS NOT webhook.sid OR object.service_oid <> webhook.service_oid"
    " OR object.unique_name IS NOT webhook.unique_name OR object.event_id < webhook.event_id",
    "webhooks of an object stand in the order of its events": _SHAPES
    + "SELECT printf('webhook %d: event %d after %d', id, event_id, before)"
    " FROM (SELECT id, type, event_id, lag(event_id) OVER (PARTITION BY lane ORDER BY id)"
    " AS before FROM webhook WHERE lane >= 0) JOIN shape USING (type)"
    " WHERE event_id < before + is_visible",
    "a webhook waits, or is a dead letter with its reason": "SELECT printf('webhook %d: is_dead %d,"
    " attempts %d, due at %d, error %s', id, is_dead, attempts, due_at, quote(error)) FROM webhook"
    " WHERE is_dead NOT IN (0, 1) OR attempts < 0 OR due_at < 0"
    " OR (is_dead = 1 AND error IS NULL)"
    " OR (attempts > 0 AND error IS NULL)"
    " OR (is_dead = 0 AND (attempts > 0) <> (due_at > 0))"
    " OR (attempts = 0 AND is_dead = 0 AND retried_at IS NULL AND error IS NOT NULL)",
    "a webhook has a token of its own": "SELECT printf('webhook %d: %s', id, hex(token)) FROM"
    " (SELECT id, token, count(*) OVER (PARTITION BY token) AS owners FROM webhook)"
    " WHERE length(token) <> 16 OR owners > 1",
    "no webhook has an id that will be given again": "SELECT printf('webhook %d, last given %d',"
    " top, last) FROM (SELECT max(id) AS top, coalesce((SELECT seq FROM sqlite_sequence"
    " WHERE name = 'webhook'), 0) AS last FROM webhook) WHERE top > last",
    "the version of retries is a number": "SELECT printf('meta: %s', value) FROM meta"
    " WHERE name = 'webhooks_version' AND (value = '' OR value GLOB '*[^0-9]*')",
    "an endpoint told of has a name": "SELECT printf('service %d: identity %s, endpoint %s',"
    " service_oid, quote(identity), quote(endpoint)) FROM reached_endpoint"
    " WHERE identity = '' OR endpoint = ''",
}
"""Queries by the rule that they look for breaches of."""

WEBHOOK_COUNTS: Final = {
    "webhooks that wait": "SELECT count(*) FROM webhook WHERE is_dead = 0",
    "dead letters of webhooks": "SELECT count(*) FROM webhook WHERE is_dead = 1",
    "webhooks of removed services": "SELECT count(*) FROM webhook"
    " WHERE service_oid NOT IN (SELECT oid FROM service)",
    "endpoints told of": "SELECT count(*) FROM reached_endpoint",
}
