"""Accounts and API keys in the database, over a small connection of their own.

Synchronous on purpose: the command line uses it without an event loop, beside a running server. WAL
lets it read while the server writes; for its own rare writes it waits until the server's batch has
committed. Every change moves a version number, so that a server notices with one cheap query.
[starlings.auth.keyring]
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from starlings.core.credentials import (
    Account,
    ApiKey,
    CredentialsUnreadable,
    RevokedIdentity,
)
from starlings.storage.sqlite.database import DatabaseError, refuse_unknown

__all__ = ["CredentialStore"]

_BUSY_SECONDS = 5.0

_MOVE_VERSION = """
    INSERT INTO meta (name, value) VALUES ('credentials_version', '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)
"""


class CredentialStore:
    """Credentials of one database, which must have been made before.

    Threads take turns; ``close`` waits for its turn too, since closing a connection that another
    thread is using ends the process.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    @classmethod
    def open(cls, database: Path, *, is_read_only: bool = False) -> Self:
        """Connect to a database.

        Raises:
            CredentialsUnreadable: There is none, or it is none of ours or of a newer version.
        """
        mode = "ro" if is_read_only else "rw"
        connection = None
        try:
            connection = sqlite3.connect(
                f"{database.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.execute("PRAGMA synchronous = FULL")
            refuse_unknown(connection)
            connection.execute("SELECT 1 FROM account, api_key, meta LIMIT 1").fetchone()
        except (sqlite3.Error, DatabaseError) as error:
            if connection is not None:
                connection.close()
            raise CredentialsUnreadable(f"{database} can't be read: {error}") from error
        return cls(connection)

    def close(self) -> None:
        """Close for good: what is asked later is unreadable."""
        with self._turn:
            self._connection.close()

    def read_version(self) -> int:
        """A number that moves with every change; 0 before the first."""
        with self._reading():
            row = self._connection.execute(
                "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'credentials_version'"
            ).fetchone()
        return 0 if row is None else int(row[0])

    def list_accounts(self) -> list[Account]:
        """All accounts, the oldest first."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT sid, auth_token_sealed, created_at FROM account ORDER BY created_at, sid"
            ).fetchall()
        return [Account(*row) for row in rows]

    def list_keys(self) -> list[ApiKey]:
        """All keys, the revoked ones too, the oldest first."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT sid, account_sid, friendly_name, secret_sealed, created_at, revoked_at"
                " FROM api_key ORDER BY created_at, sid"
            ).fetchall()
        return [ApiKey(*row) for row in rows]

    def put_first(self, account: Account, key: ApiKey) -> None:
        """Add an account and its API key, both or neither."""
        with self._changing():
            self._put_account(account)
            self._put_key(key)

    def put_account(self, account: Account) -> None:
        """Add an account, or give a known one another auth token."""
        with self._changing():
            self._put_account(account)

    def put_key(self, key: ApiKey) -> None:
        """Add a key, or give a known one another secret. A revoked key stays revoked."""
        with self._changing():
            self._put_key(key)

    def revoke_key(self, sid: str, at: int) -> bool:
        """Revoke a key for good; ``at`` in milliseconds since 1970. False if no key of this SID is
        good.
        """
        with self._changing():
            changed = self._connection.execute(
                "UPDATE api_key SET revoked_at = ? WHERE sid = ? AND revoked_at IS NULL", (at, sid)
            ).rowcount
        return changed == 1

    def list_revoked_identities(self) -> list[RevokedIdentity]:
        with self._reading():
            rows = self._connection.execute(
                "SELECT account_sid, identity, revoked_at FROM revoked_identity"
                " ORDER BY revoked_at, account_sid, identity"
            ).fetchall()
        return [RevokedIdentity(*row) for row in rows]

    def revoke_identity(self, revoked: RevokedIdentity) -> None:
        """Refuse an identity's older tokens from now on; of several moments the latest counts."""
        with self._changing():
            self._connection.execute(
                "INSERT INTO revoked_identity (account_sid, identity, revoked_at) VALUES (?, ?, ?)"
                " ON CONFLICT (account_sid, identity) DO UPDATE"
                " SET revoked_at = max(revoked_at, excluded.revoked_at)",
                (revoked.account_sid, revoked.identity, revoked.revoked_at),
            )

    def _put_account(self, account: Account) -> None:
        self._connection.execute(
            "INSERT INTO account (sid, auth_token_sealed, created_at) VALUES (?, ?, ?)"
            " ON CONFLICT (sid) DO UPDATE SET auth_token_sealed = excluded.auth_token_sealed",
            (account.sid, account.auth_token_sealed, account.created_at),
        )

    def _put_key(self, key: ApiKey) -> None:
        self._connection.execute(
            "INSERT INTO api_key (sid, account_sid, friendly_name, secret_sealed, created_at)"
            " VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (sid) DO UPDATE SET secret_sealed = excluded.secret_sealed",
            (key.sid, key.account_sid, key.friendly_name, key.secret_sealed, key.created_at),
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn:
            try:
                yield
            except sqlite3.Error as error:
                raise CredentialsUnreadable(str(error)) from error

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction that moves the version; nothing of it holds if the block fails."""
        with self._reading():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute(_MOVE_VERSION)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
