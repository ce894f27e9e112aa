"""A server from start to end.

Start: take the data directory, open the store (its migrations run), see that there are credentials,
read them, bind the port, say so. End, on SIGTERM or SIGINT: answer 503 to ``/readyz``, send clients
away, tell callers that their connections end, accept no more, finish what runs, close the store,
give the directory back. A second signal doesn't wait for requests; the store is still closed
properly.

All tasks are in one group that ``_serve`` owns: if one of them fails, the server ends rather than
limp.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sqlite3
from functools import partial

import uvloop

from starlings import __version__
from starlings.app.credentials import IdentityRevoker
from starlings.app.directory import DataDirectory
from starlings.app.errors import OperatorError
from starlings.app.figures import list_figures, list_presence_figures, list_webhook_figures
from starlings.app.first_start import ensure_credentials
from starlings.app.garbage import tune_garbage_collector
from starlings.app.health import Health
from starlings.app.listening import (
    ListeningServer,
    find_address,
    make_config,
    open_listener,
    print_address,
)
from starlings.app.metrics import Metrics, RequestCounter
from starlings.app.site import Site
from starlings.auth.basic import BasicAuthenticator
from starlings.auth.keyring import Keyring
from starlings.auth.sealing import SealingError
from starlings.auth.tokens import AccessToken, verify_token
from starlings.core.credentials import CredentialsUnreadable
from starlings.core.errors import Fault
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.node.presence_keeper import PresenceKeeper
from starlings.node.queries import QueryBounds
from starlings.node.reachability import Reachability
from starlings.node.upkeep import Retention, Upkeep
from starlings.rest.app import RestApp
from starlings.rest.requests import BodyBounds
from starlings.settings import Settings
from starlings.storage.sqlite.credentials import CredentialStore
from starlings.storage.sqlite.database import DatabaseError
from starlings.storage.sqlite.store import SqliteStore
from starlings.webhooks.delivery import Deliverer
from starlings.webhooks.dispatcher import MOST_IN_FLIGHT, Dispatcher, Policy
from starlings.ws.face import SyncFace
from starlings.ws.http import BoundedHttpServer, HttpOptions
from starlings.ws.options import WebSocketOptions

__all__ = ["run_server"]

logger = logging.getLogger("starlings.app")

_CHECKPOINT_SECONDS = 1.0
_OTHER_FILES = 256
"""Descriptors kept for the database, webhooks, logs and the loop itself."""


def run_server(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        OperatorError: It could not start.
    """
    os.umask(0o077)  # the database holds what callers keep private
    directory = DataDirectory(settings.data)
    directory.make()
    _raise_file_limit()
    tune_garbage_collector()
    with directory.lock(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, directory))


async def _serve(settings: Settings, directory: DataDirectory) -> None:
    sources = SYSTEM_SOURCES
    directory.refuse_lost_database()
    try:
        store = await SqliteStore.open(
            directory.path, settings.limits_in_force, sources.now, settings.webhooks_max_waiting
        )
    except (DatabaseError, sqlite3.Error, OSError) as error:
        raise OperatorError(f"The store in {directory.path} can't be opened: {error}") from error
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        with contextlib.closing(directory.open_credentials()) as credentials:
            keyring = _open_keyring(settings, directory, credentials, sources.now())
            await _serve_store(settings, directory, store, credentials, keyring)
    logger.info("Stopped")


def _open_keyring(
    settings: Settings, directory: DataDirectory, credentials: CredentialStore, now: int
) -> Keyring:
    try:
        may_make_key = not credentials.list_accounts()
        sealer = directory.open_sealer(settings.secret_key, may_make_key=may_make_key)
        ensure_credentials(directory, credentials, sealer, settings, now)
        return Keyring(credentials, sealer)
    except SealingError as error:
        raise OperatorError(
            f"{error}: it was sealed with another one. Put back that secret key, set"
            " STARLINGS_ACCOUNT_SID and STARLINGS_AUTH_TOKEN anew, or revoke the API key"
        ) from error
    except CredentialsUnreadable as error:
        raise OperatorError(f"The credentials can't be used: {error}") from error
    except OSError as error:
        raise OperatorError(f"{directory.path} can't be written: {error}") from error


async def _serve_store(
    settings: Settings,
    directory: DataDirectory,
    store: SqliteStore,
    credentials: CredentialStore,
    keyring: Keyring,
) -> None:
    sources = SYSTEM_SOURCES
    node = Node(store, settings.limits_in_force, sources, store.outbox)
    authenticator = BasicAuthenticator(keyring, sources.monotonic)
    rest = RestApp(
        node,
        authenticator,
        public_url=settings.public_url,
        is_trusted_proxy=settings.is_trusted_proxy,
        body_bounds=BodyBounds(most_bytes=node.limits.request_bytes),
        revoker=IdentityRevoker(credentials, keyring, sources.now),
    )
    reachability = Reachability(store.outbox, store.find_service, sources)
    await reachability.restore()
    presence = PresenceKeeper(node)
    await presence.restore()
    face = _make_face(settings, node, keyring, reachability, presence)
    dispatcher = _make_dispatcher(settings, node, store, keyring)
    await dispatcher.start()
    http = BoundedHttpServer(
        HttpOptions(
            body_bytes=8 * node.limits.request_bytes,
            max_connections=_most_connections(),
            refusal=rest.refuse,
        )
    )
    health = Health(store.check_writable, lambda: store.statistics().commits)
    requests = RequestCounter()
    figures = list_figures(store, rest, face, http, authenticator, keyring)
    figures += list_webhook_figures(dispatcher, node, reachability)
    figures += list_presence_figures(presence)
    metrics = Metrics(requests, figures, __version__)
    site = Site(rest, health, metrics, requests)
    config = make_config(site, http, face.server, settings)
    retention = Retention(settings.log_retention, settings.tombstone_retention)
    with contextlib.closing(open_listener(settings.host, settings.port)) as listener:
        address = find_address(listener, is_secure=settings.ssl_certfile is not None)
        server = ListeningServer(config, partial(print_address, address))
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(keyring.watch(), name="keyring"),
                group.create_task(Upkeep(store, sources, retention).run(), name="upkeep"),
                group.create_task(_checkpoint(store), name="checkpoint"),
                group.create_task(reachability.run(), name="reachability"),
                group.create_task(presence.run(), name="presence"),
                group.create_task(dispatcher.run(), name="webhooks"),
            ]
            logger.info(
                "Started address=%s data=%s version=%s",
                address,
                directory.path.absolute(),
                __version__,
            )
            _stop_on_signals(group, server, health, face, presence, settings.drain)
            await server.serve([listener])
            await face.close()
            for task in background:
                task.cancel()


def _make_dispatcher(
    settings: Settings, node: Node, store: SqliteStore, keyring: Keyring
) -> Dispatcher:
    def find_auth_token(account_sid: str) -> str | None:
        account = keyring.find_account(account_sid)
        return None if account is None else account.auth_token

    return Dispatcher(
        store,
        store.outbox,
        Deliverer(may_be_private=settings.webhooks_allow_private, connections=MOST_IN_FLIGHT),
        find_auth_token,
        node.sources,
        Policy(settings.webhooks_max_age, settings.webhooks_dead_retention),
    )


def _make_face(
    settings: Settings,
    node: Node,
    keyring: Keyring,
    reachability: Reachability,
    presence: PresenceKeeper,
) -> SyncFace:
    limits = settings.limits_in_force

    def verify(text: str) -> AccessToken:
        return verify_token(text, keyring, limits, node.sources.now())

    from_bytes = settings.ws_compression_bytes if settings.ws_compression else None
    face = SyncFace(
        node,
        verify,
        keyring.derive_secret("endpoints"),
        base=settings.public_url or "https://starlings",
        options=WebSocketOptions(
            allowed_origins=settings.ws_origins,
            max_message_bytes=max(WebSocketOptions().max_message_bytes, limits.request_bytes),
            compress_from_bytes=from_bytes,
            is_trusted_proxy=settings.is_trusted_proxy,
        ),
        query_bounds=QueryBounds(
            scanned_items=settings.queries_max_items,
            live_queries=settings.queries_max_live,
            live_bytes=settings.queries_max_live_bytes,
        ),
        reachability=reachability,
        presence=presence,
    )
    keyring.on_revoked(face.revoke_key)
    keyring.on_identity_revoked(face.revoke_identity)
    return face


async def _checkpoint(store: SqliteStore) -> None:
    """Keep the write-ahead log bounded under a load that never rests."""
    while True:
        await asyncio.sleep(_CHECKPOINT_SECONDS)
        try:
            await store.checkpoint_if_long()
        except (Fault, sqlite3.Error) as error:
            logger.warning("The write-ahead log could not be copied error=%s", error)


def _stop_on_signals(
    group: asyncio.TaskGroup,
    server: ListeningServer,
    health: Health,
    face: SyncFace,
    presence: PresenceKeeper,
    drain_seconds: float,
) -> None:
    """From now on to the end of the loop: a signal that comes while the store closes is too late to
    hurry anything, and must not kill the process.
    """
    loop = asyncio.get_running_loop()

    async def drain() -> None:
        try:
            await face.drain(drain_seconds)
            await server.wait_for_callers()
        finally:
            server.stop()

    def stop(name: str) -> None:
        logger.info("Stopping signal=%s at_once=%s", name, health.is_draining)
        if health.is_draining:
            server.stop_at_once()
            return
        health.is_draining = True
        presence.freeze()
        group.create_task(drain(), name="drain")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)


def _most_connections() -> int:
    """As many connections as there are file descriptors, but for those that the rest needs."""
    return max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES)


def _raise_file_limit() -> None:
    """As many open connections as the system grants this user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
