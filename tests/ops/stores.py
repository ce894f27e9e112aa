"""A database with something in it, made by the store itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from starlings.core import commands as c
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.storage.sqlite.store import SqliteStore

__all__ = ["ACCOUNT", "DATABASE", "contents_of", "epoch_of", "fill", "run_sql"]

ACCOUNT = "AC" + "0" * 32
DATABASE = "starlings.db"


async def fill(directory: Path) -> None:
    """A service with a document, a list and a map, each changed some times, and a removed map."""
    directory.mkdir(exist_ok=True)
    store = await SqliteStore.open(directory, OFF, SYSTEM_SOURCES.now)
    try:
        node = Node(store, OFF, SYSTEM_SOURCES)
        actor = Actor(SYSTEM)
        service = await node.create_service(ACCOUNT, c.ServiceSettings(), actor, None)
        for kind in Kind:
            await node.create_object(service, kind, "a", None, None, actor, None)
        document, list_, map_ = (
            ObjectRef(service.oid, kind, "a") for kind in (Kind.DOCUMENT, Kind.LIST, Kind.MAP)
        )
        await node.execute(c.UpdateDocument(document, b'{"n":1}', None, None, actor))
        for _ in range(3):
            await node.execute(c.AddListItem(list_, b"{}", None, None, actor))
        for key in ("x", "y"):
            await node.execute(c.AddMapItem(map_, key, b"{}", None, None, actor))
        await node.execute(c.RemoveItem(list_, 1, None, actor))
        await node.execute(c.SetPermission(map_, "zoe", True, False, False, actor))
        await node.create_object(service, Kind.MAP, "gone", None, None, actor, None)
        gone = ObjectRef(service.oid, Kind.MAP, "gone")
        await node.execute(c.AddMapItem(gone, "x", b"{}", None, None, actor))
        await node.execute(c.RemoveObject(gone, None, actor))
    finally:
        await store.close()
    run_sql(directory, "INSERT INTO account VALUES (?, x'00', 0)", ACCOUNT)


def run_sql(directory: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Carry out one statement behind the store's back."""
    connection = sqlite3.connect(directory / DATABASE, isolation_level=None)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def epoch_of(directory: Path) -> object:
    return run_sql(directory, "SELECT value FROM meta WHERE name = 'epoch'")[0][0]


def contents_of(data: Path) -> list[tuple[object, ...]]:
    """The rows that an operator's commands may change."""
    return [
        row
        for table in ("account", "api_key", "revoked_identity", "meta", "webhook")
        for row in run_sql(data, f"SELECT * FROM {table}")  # noqa: S608  # names of ours
    ]
