"""The table of figures: which count of which room is shown under which name at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

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
    """Every figure but the answers by route, which ``Metrics`` shows itself."""
    figures: list[Figure] = []

    def show(
        name: str, kind: Literal["counter", "gauge"], sentence: str, read: Callable[[], float]
    ) -> None:
        figures.append(Figure(f"starlings_{name}", kind, sentence, read))

    def stored(field: str) -> Callable[[], float]:
        return lambda: float(getattr(store.statistics(), field))

    show("store_commits", "counter", "Transactions made durable.", stored("commits"))
    show("store_commands", "counter", "Commands carried out or refused.", stored("commands"))
    show("store_refusals", "counter", "Commands refused by a rule.", stored("refusals"))
    show("store_faults", "counter", "Commands that the store failed.", stored("faults"))
    show("store_waiting", "gauge", "Commands that wait for a transaction.", stored("waiting"))
    show(
        "store_largest_batch",
        "gauge",
        "Most commands of one transaction since the start.",
        stored("largest_batch"),
    )
    show(
        "store_commit_seconds",
        "counter",
        "Time spent on commits, the sync to disk included.",
        stored("commit_seconds"),
    )
    show("store_database_bytes", "gauge", "Size of the database.", stored("database_bytes"))
    show("store_log_bytes", "gauge", "Size of the write-ahead log.", stored("log_bytes"))
    show(
        "store_clock_behind_seconds",
        "gauge",
        "How far the clock is behind the newest date written; more than 0 if it was set back.",
        stored("clock_behind_seconds"),
    )
    show(
        "rest_requests_in_progress",
        "gauge",
        "REST requests that wait for their answer.",
        lambda: rest.statistics().concurrent,
    )
    show(
        "rest_seconds",
        "counter",
        "Time spent on answered REST requests.",
        lambda: rest.statistics().seconds,
    )
    show(
        "http_connections",
        "gauge",
        "Open TCP connections, WebSockets included.",
        lambda: http.statistics().open_connections,
    )
    show(
        "http_refused",
        "counter",
        "Requests and connections ended for breaking a bound or the syntax of HTTP.",
        lambda: sum(http.statistics().refused.values()),
    )
    show("ws_sessions", "gauge", "Client connections.", lambda: face.statistics().sessions)
    show(
        "ws_sessions_opened",
        "counter",
        "Client connections since the start.",
        lambda: face.statistics().opened,
    )
    show(
        "hub_subscriptions",
        "gauge",
        "Subscriptions of all client connections.",
        lambda: face.hub.statistics().listeners,
    )
    show(
        "hub_events",
        "counter",
        "Events and messages that somebody listened to.",
        lambda: face.hub.statistics().events,
    )
    show(
        "hub_deliveries",
        "counter",
        "Events and messages times their subscribers.",
        lambda: face.hub.statistics().deliveries,
    )
    show(
        "queries_live",
        "gauge",
        "Live queries, each counted once however many clients have it open.",
        lambda: face.queries.statistics().live_queries,
    )
    show(
        "queries_live_bytes",
        "gauge",
        "What the results of live queries take of their bound.",
        lambda: face.queries.statistics().live_bytes,
    )
    show(
        "queries_waiting",
        "gauge",
        "Searches that wait for another one to have read its map.",
        lambda: face.queries.statistics().waiting,
    )
    show(
        "queries_items_read",
        "counter",
        "Items that searches and live queries have read.",
        lambda: face.queries.statistics().items_read,
    )
    show(
        "ws_cut_off",
        "counter",
        "Connections cut off because they did not read.",
        lambda: (
            face.server.flusher.statistics().cut_for_bytes
            + face.server.flusher.statistics().cut_for_age
        ),
    )

    def deflated(field: str) -> Callable[[], float]:
        def read() -> float:
            deflate = face.server.deflate
            return 0.0 if deflate is None else float(getattr(deflate.statistics(), field))

        return read

    show(
        "ws_compression_agreed",
        "counter",
        "Client connections that agreed on compression.",
        deflated("connections"),
    )
    show(
        "ws_compressed",
        "counter",
        "Events and messages compressed, each once for all who get it.",
        deflated("compressed"),
    )
    show(
        "ws_compressed_before_bytes",
        "counter",
        "Size of these before, each counted once.",
        deflated("bytes_before"),
    )
    show(
        "ws_compressed_after_bytes",
        "counter",
        "Size of these after, each counted once.",
        deflated("bytes_after"),
    )
    show(
        "auth_failures",
        "counter",
        "Log-ins with wrong credentials.",
        lambda: authenticator.statistics().failures,
    )
    show(
        "auth_limited",
        "counter",
        "Failed log-ins answered with 429.",
        lambda: authenticator.statistics().limited,
    )
    show("auth_keys", "gauge", "API keys that are good.", lambda: keyring.statistics().keys)
    return figures


def list_webhook_figures(
    dispatcher: Dispatcher, node: Node, reachability: Reachability
) -> list[Figure]:
    """The figures of webhooks."""

    def counted(field: str) -> Callable[[], float]:
        return lambda: float(getattr(dispatcher.statistics(), field))

    return [
        Figure(
            "starlings_webhooks_delivered",
            "counter",
            "Webhooks that their target answered with 2xx.",
            counted("delivered"),
        ),
        Figure(
            "starlings_webhooks_failed",
            "counter",
            "Attempts to deliver a webhook that failed.",
            counted("failed"),
        ),
        Figure(
            "starlings_webhooks_given_up",
            "counter",
            "Webhooks that became dead letters.",
            counted("given_up"),
        ),
        Figure(
            "starlings_webhooks_dropped",
            "counter",
            "Webhooks dropped because too many waited for their service.",
            counted("dropped"),
        ),
        Figure(
            "starlings_webhooks_in_flight",
            "gauge",
            "Objects whose webhooks are being delivered.",
            counted("in_flight"),
        ),
        Figure(
            "starlings_webhooks_targets_down",
            "gauge",
            "Services whose webhook fails every time.",
            counted("targets_down"),
        ),
        Figure(
            "starlings_webhooks_waiting",
            "gauge",
            "Webhooks that wait, as of some seconds ago.",
            counted("waiting"),
        ),
        Figure(
            "starlings_webhooks_dead",
            "gauge",
            "Dead letters of webhooks, as of some seconds ago.",
            counted("dead"),
        ),
        Figure(
            "starlings_webhooks_lost",
            "counter",
            "Webhooks of messages and endpoints that the store could not take.",
            lambda: float(node.lost_webhooks + reachability.lost),
        ),
    ]


def list_presence_figures(presence: PresenceKeeper) -> list[Figure]:
    """The figures of presence and on-disconnect actions."""
    return [
        Figure(
            "starlings_presence_services",
            "gauge",
            "Services with presence or on-disconnect actions.",
            lambda: float(presence.statistics().services),
        ),
        Figure(
            "starlings_presence_writes",
            "counter",
            "Changes of presence Maps.",
            lambda: float(presence.statistics().written),
        ),
        Figure(
            "starlings_on_disconnect_performed",
            "counter",
            "On-disconnect actions that were performed.",
            lambda: float(presence.statistics().performed),
        ),
    ]
