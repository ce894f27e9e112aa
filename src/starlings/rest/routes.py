"""The table of paths: every endpoint of the API, and who answers it. [rest-api 2]"""

from __future__ import annotations

from functools import partial

from starlings.core.objects import Kind
from starlings.rest import (
    collections,
    documents,
    explain,
    history,
    identities,
    items,
    permissions,
    presence,
    services,
    streams,
)
from starlings.rest.listings import list_objects
from starlings.rest.render import PLURALS
from starlings.rest.router import Router

__all__ = ["make_router"]


def make_router(revoker: identities.Revoker | None = None) -> Router:
    """The documented endpoints, and ours: presence, permissions of streams, events of every object,
    explanations of who may do what with it. With a ``revoker`` also the revocation of identities.
    """
    router = Router()
    add = router.add
    add("GET", "/v1/Services", services.list_services)
    add("POST", "/v1/Services", services.create_service)
    add("GET", "/v1/Services/*", services.fetch_service)
    add("POST", "/v1/Services/*", services.update_service)
    add("DELETE", "/v1/Services/*", services.remove_service)
    add("GET", "/v1/Services/*/Presence", presence.fetch_presence)
    add("POST", "/v1/Services/*/Presence", presence.update_presence)
    if revoker is not None:
        add("POST", "/v1/Identities/*/Revoke", partial(identities.revoke_identity, revoker))

    base = "/v1/Services/*/Documents"
    add("POST", base, documents.create_document)
    add("GET", f"{base}/*", documents.fetch_document)
    add("POST", f"{base}/*", documents.update_document)
    add("DELETE", f"{base}/*", documents.remove_document)

    base = "/v1/Services/*/Streams"
    add("POST", base, streams.create_stream)
    add("GET", f"{base}/*", streams.fetch_stream)
    add("POST", f"{base}/*", streams.update_stream)
    add("DELETE", f"{base}/*", streams.remove_stream)
    add("POST", f"{base}/*/Messages", streams.publish_message)

    for kind in (Kind.LIST, Kind.MAP):
        base = f"/v1/Services/*/{PLURALS[kind]}"
        add("POST", base, partial(collections.create_collection, kind))
        add("GET", f"{base}/*", partial(collections.fetch_collection, kind))
        add("POST", f"{base}/*", partial(collections.update_collection, kind))
        add("DELETE", f"{base}/*", partial(collections.remove_collection, kind))
        add("GET", f"{base}/*/Items", partial(items.list_items, kind))
        add("POST", f"{base}/*/Items", partial(items.create_item, kind))
        add("GET", f"{base}/*/Items/*", partial(items.fetch_item, kind))
        add("POST", f"{base}/*/Items/*", partial(items.update_item, kind))
        add("DELETE", f"{base}/*/Items/*", partial(items.remove_item, kind))

    for kind in Kind:
        base = f"/v1/Services/*/{PLURALS[kind]}"
        add("GET", base, partial(list_objects, kind))
        add("GET", f"{base}/*/Events", partial(history.list_events, kind))
        add("GET", f"{base}/*/Permissions", partial(permissions.list_permissions, kind))
        add("GET", f"{base}/*/Permissions/*", partial(permissions.fetch_permission, kind))
        add("POST", f"{base}/*/Permissions/*", partial(permissions.set_permission, kind))
        add("DELETE", f"{base}/*/Permissions/*", partial(permissions.remove_permission, kind))
        add("GET", f"{base}/*/Permissions/*/Explain", partial(explain.explain_permissions, kind))
    return router
