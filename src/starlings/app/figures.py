"""The tables of figures: which count of which room is shown under which name at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from starlings.app.metrics import Figure
from starlings.auth.basic import BasicAuthenticator
from starlings.auth.keyring import Keyring
from starlings.node.node import Node
from starlings.node.presence_keeper import PresenceKeeper
from starlings.node.reachability import Reachability
from starlings.rest.app import RestApp
from starlings.storage.store import Store
from starlings.webhooks.dispatcher import Dispatcher
from starlings.ws.face import SyncFace
from starlings.ws.http import BoundedHttpServer

__all__ = ["list_figures", "list_presence_figures", "list_webhook_figures"]


def list_figures(
    store: Store,
    rest: RestApp,
    face: SyncFace,
    http: BoundedHttpServer,
    authenticator: BasicAuthenticator,
    keyring: Keyring,
) -> list[Figure]:
    """Every figure but the answers by route, which ``Metrics`` shows itself, and those below."""
    return [
        *_list_store_figures(store),
        *_list_http_figures(rest, http),
        *_list_socket_figures(face),
        *_list_query_figures(face),
        *_list_compression_figures(face),
        *_list_credential_figures(authenticator, keyring),
    ]


def list_webhook_figures(
    dispatcher: Dispatcher, node: Node, reachability: Reachability
) -> list[Figure]:
    """The figures of webhooks."""

    def counted(field: str) -> Callable[[], float]:
        return lambda: float(getattr(dispatcher.statistics(), field))

    return [
        _counter(
            "webhooks_delivered",
            "Webhooks that their target answered with 2xx.",
            counted("delivered"),
        ),
        _counter(
            "webhooks_failed", "Attempts to deliver a webhook that failed.", counted("failed")
        ),
        _counter("webhooks_given_up", "Webhooks that became dead letters.", counted("given_up")),
        _counter(
            "webhooks_dropped",
            "Webhooks dropped because too many waited for their service.",
            counted("dropped"),
        ),
        _gauge(
            "webhooks_in_flight",
            "Objects whose webhooks are being delivered.",
            counted("in_flight"),
        ),
        _gauge(
            "webhooks_targets_down",
            "Services whose webhook fails every time.",
            counted("targets_down"),
        ),
        _gauge(
            "webhooks_waiting", "Webhooks that wait, as of some seconds ago.", counted("waiting")
        ),
        _gauge(
            "webhooks_dead", "Dead letters of webhooks, as of some seconds ago.", counted("dead")
        ),
        _counter(
            "webhooks_lost",
            "Webhooks of messages and endpoints that the store could not take.",
            lambda: node.lost_webhooks + reachability.lost,
        ),
    ]


def list_presence_figures(presence: PresenceKeeper) -> list[Figure]:
    """The figures of presence and on-disconnect actions."""
    return [
        _gauge(
            "presence_services",
            "Services with presence or on-disconnect actions.",
            lambda: presence.statistics().services,
        ),
        _counter(
            "presence_writes", "Changes of presence Maps.", lambda: presence.statistics().written
        ),
        _counter(
            "on_disconnect_performed",
            "On-disconnect actions that were performed.",
            lambda: presence.statistics().performed,
        ),
    ]


def _list_store_figures(store: Store) -> list[Figure]:
    def stored(field: str) -> Callable[[], float]:
        return lambda: float(getattr(store.statistics(), field))

    return [
        _counter("store_commits", "Transactions made durable.", stored("commits")),
        _counter("store_commands", "Commands carried out or refused.", stored("commands")),
        _counter("store_refusals", "Commands refused by a rule.", stored("refusals")),
        _counter("store_faults", "Commands that the store failed.", stored("faults")),
        _gauge("store_waiting", "Commands that wait for a transaction.", stored("waiting")),
        _gauge(
            "store_largest_batch",
            "Most commands of one transaction since the start.",
            stored("largest_batch"),
        ),
        _counter(
            "store_commit_seconds",
            "Time spent on commits, the sync to disk included.",
            stored("commit_seconds"),
        ),
        _gauge("store_database_bytes", "Size of the database.", stored("database_bytes")),
        _gauge("store_log_bytes", "Size of the write-ahead log.", stored("log_bytes")),
        _gauge(
            "store_clock_behind_seconds",
            "How far the clock is behind the newest date written; more than 0 if it was set back.",
            stored("clock_behind_seconds"),
        ),
    ]


def _list_http_figures(rest: RestApp, http: BoundedHttpServer) -> list[Figure]:
    return [
        _gauge(
            "rest_requests_in_progress",
            "REST requests that wait for their answer.",
            lambda: rest.statistics().concurrent,
        ),
        _counter(
            "rest_seconds",
            "Time spent on answered REST requests.",
            lambda: rest.statistics().seconds,
        ),
        _gauge(
            "http_connections",
            "Open TCP connections, WebSockets included.",
            lambda: http.statistics().open_connections,
        ),
        _counter(
            "http_refused",
            "Requests and connections ended for breaking a bound or the syntax of HTTP.",
            lambda: sum(http.statistics().refused.values()),
        ),
    ]


def _list_socket_figures(face: SyncFace) -> list[Figure]:
    return [
        _gauge("ws_sessions", "Client connections.", lambda: face.statistics().sessions),
        _counter(
            "ws_sessions_opened",
            "Client connections since the start.",
            lambda: face.statistics().opened,
        ),
        _gauge(
            "hub_subscriptions",
            "Subscriptions of all client connections.",
            lambda: face.hub.statistics().listeners,
        ),
        _counter(
            "hub_events",
            "Events and messages that somebody listened to.",
            lambda: face.hub.statistics().events,
        ),
        _counter(
            "hub_deliveries",
            "Events and messages times their subscribers.",
            lambda: face.hub.statistics().deliveries,
        ),
        _counter(
            "ws_cut_off",
            "Connections cut off because they did not read.",
            lambda: (
                face.server.flusher.statistics().cut_for_bytes
                + face.server.flusher.statistics().cut_for_age
            ),
        ),
    ]


def _list_query_figures(face: SyncFace) -> list[Figure]:
    return [
        _gauge(
            "queries_live",
            "Live queries, each counted once however many clients have it open.",
            lambda: face.queries.statistics().live_queries,
        ),
        _gauge(
            "queries_live_bytes",
            "What the results of live queries take of their bound.",
            lambda: face.queries.statistics().live_bytes,
        ),
        _gauge(
            "queries_waiting",
            "Searches that wait for another one to have read its map.",
            lambda: face.queries.statistics().waiting,
        ),
        _counter(
            "queries_items_read",
            "Items that searches and live queries have read.",
            lambda: face.queries.statistics().items_read,
        ),
    ]


def _list_compression_figures(face: SyncFace) -> list[Figure]:
    def deflated(field: str) -> Callable[[], float]:
        def read() -> float:
            deflate = face.server.deflate
            return 0.0 if deflate is None else float(getattr(deflate.statistics(), field))

        return read

    return [
        _counter(
            "ws_compression_agreed",
            "Client connections that agreed on compression.",
            deflated("connections"),
        ),
        _counter(
            "ws_compressed",
            "Events and messages compressed, each once for all who get it.",
            deflated("compressed"),
        ),
        _counter(
            "ws_compressed_before_bytes",
            "Size of these before, each counted once.",
            deflated("bytes_before"),
        ),
        _counter(
            "ws_compressed_after_bytes",
            "Size of these after, each counted once.",
            deflated("bytes_after"),
        ),
    ]


def _list_credential_figures(authenticator: BasicAuthenticator, keyring: Keyring) -> list[Figure]:
    return [
        _counter(
            "auth_failures",
            "Log-ins with wrong credentials.",
            lambda: authenticator.statistics().failures,
        ),
        _counter(
            "auth_limited",
            "Failed log-ins answered with 429.",
            lambda: authenticator.statistics().limited,
        ),
        _gauge("auth_keys", "API keys that are good.", lambda: keyring.statistics().keys),
    ]


def _counter(name: str, sentence: str, read: Callable[[], float]) -> Figure:
    return Figure(f"starlings_{name}", "counter", sentence, read)


def _gauge(name: str, sentence: str, read: Callable[[], float]) -> Figure:
    return Figure(f"starlings_{name}", "gauge", sentence, read)
