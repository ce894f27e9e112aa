"""The data directory: what is where, and how its parts are opened.

``starlings.db`` is the database, ``lock`` says that a server runs, ``secret.key`` opens the secrets
in the database, and ``credentials.json`` shows the credentials that were made at the first start.
The last two are for the owner's eyes only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from starlings.app.errors import OperatorError
from starlings.auth.sealing import Sealer, SealingError
from starlings.core.credentials import CredentialsUnreadable
from starlings.storage.sqlite.credentials import CredentialStore
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.lock import LOCK_NAME, DirectoryInUse, DirectoryLock

__all__ = ["DataDirectory", "write_private"]


class DataDirectory:
    """One data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / FILE_NAME
        self.secret_key = path / "secret.key"
        self.credentials = path / "credentials.json"

    def find_database(self) -> Path:
        """The database, which is there and may be read by this user.

        Raises:
            OperatorError: There is none, or it can't be read.
        """
        if not self.has_database():
            self.refuse_lost_database()
            raise OperatorError(
                f"There is no database in {self.path}: name its directory with --data or"
                " --config. The first start of `starlings serve` makes one"
            )
        return self.database

    def has_database(self) -> bool:
        """Whether there is a database, which may be read then.

        Raises:
            OperatorError: This user may not know, or may not read it.
        """
        try:
            if self.database.stat().st_size == 0:
                return False  # a full disk leaves an empty file
            # Not by opening it: to close a file ends all locks that this process has on it.
            is_readable = os.access(self.database, os.R_OK)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:
            is_readable = False
        except OSError as error:
            raise OperatorError(f"{self.path} can't be read: {error.strerror}") from error
        if not is_readable:
            raise OperatorError(
                f"{self.path} can't be read: run this as the server's user"
                " (sudo -u starlings starlings …)"
            )
        return True

    def find_use(self, file: Path) -> str | None:
        """What the server has a file for, as a sentence; None if the file is none of its own.

        A link to one of its files is that file, and what isn't there now has its use all the same.
        """
        database = self._follow_database()
        uses = {
            self.database: "the database itself",
            database.with_name(f"{database.name}-wal"): "the database's write-ahead log",
            database.with_name(f"{database.name}-shm"): "the index of the database's log",
            database.with_name(f"{database.name}-journal"): "the database's journal",
            self.secret_key: "the secret key",
            self.credentials: "where credentials are shown",
            self.path / LOCK_NAME: "the server's lock",
        }
        for own, use in uses.items():
            if _is_same(own, file):
                return f"{own} is {use}"
        return None

    def _follow_database(self) -> Path:
        """Where the database is if it is a link: its companions lie there, not beside the link."""
        is_link = self.database.is_symlink()
        return Path(os.path.realpath(self.database)) if is_link else self.database

    def make(self) -> None:
        """Make the directory unless it is there, and see that it can be written.

        Raises:
            OperatorError: It can't be made, isn't a directory, or can't be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorError(f"The data directory {self.path} can't be made: {error}") from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise OperatorError(f"The data directory {self.path} can't be written")

    def refuse_lost_database(self) -> None:
        """See that no new store is begun where one was: the old one's log would be emptied, and
        nobody would hear that anything is missing.

        A first start that was cut short is none of these: its database comes before all but the
        lock and the secret key.

        Raises:
            OperatorError: The database is missing or empty, and something tells that there was one.
        """
        try:
            if self.database.stat().st_size > 0:
                return
            lack = f"The database in {self.path} is empty, and there are traces of another one"
        except (FileNotFoundError, NotADirectoryError):
            lack = f"There is no database in {self.path}, but the traces of one"
        except OSError as error:
            raise OperatorError(f"{self.database} can't be read: {error.strerror}") from error
        database = self._follow_database()
        suspects = [
            database.with_name(f"{database.name}-wal"),
            database.with_name(f"{database.name}-shm"),
            self.path / f"{self.database.name}.replaced",  # a restore was cut short, as with
            self.path / f".{self.database.name}.new",
            self.credentials,
        ]
        traces = [path.name for path in suspects if path.exists()]
        if traces:
            raise OperatorError(
                f"{lack} ({', '.join(traces)}): put it back, restore a backup, or move these files"
                " away"
            )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from this directory for as long as the context is entered.

        Raises:
            OperatorError: Another process has it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(DirectoryLock(self.path))
            except DirectoryInUse as error:
                raise OperatorError(str(error)) from error
            except OSError as error:
                raise OperatorError(f"{self.path} can't be locked: {error}") from error
            yield

    def open_credentials(self, *, is_read_only: bool = False) -> CredentialStore:
        """The accounts and keys of the database; the caller closes the store.

        Raises:
            OperatorError: There is no database, or it can't be read.
        """
        database = self.find_database()
        try:
            return CredentialStore.open(database, is_read_only=is_read_only)
        except CredentialsUnreadable as error:
            raise OperatorError(str(error)) from error

    def open_sealer(self, key: str | None, *, may_make_key: bool = False) -> Sealer:
        """What opens the secrets of this directory's database.

        Args:
            key: The key given by the operator; None to use the file ``secret.key``.
            may_make_key: Make a new key if there is no file. Only for a database that holds no
                secrets yet.

        Raises:
            OperatorError: No key, or one that isn't a key.
        """
        try:
            if key is not None:
                return Sealer.from_text(key)
            if not self.secret_key.exists() and may_make_key:
                write_private(self.secret_key, Sealer.make_key_text() + "\n")
            return Sealer.from_text(self.secret_key.read_text(encoding="ascii"))
        except FileNotFoundError as error:
            raise OperatorError(
                f"{self.secret_key} is missing: put it back, or set STARLINGS_SECRET_KEY."
                " Without it the secrets in the database can't be opened"
            ) from error
        except SealingError as error:
            where = self.secret_key if key is None else "STARLINGS_SECRET_KEY"
            raise OperatorError(f"{where} can't be used: {error}") from error
        except (OSError, ValueError) as error:
            raise OperatorError(f"{self.secret_key} can't be used: {error}") from error


def _is_same(own: Path, file: Path) -> bool:
    with contextlib.suppress(OSError):
        return own.samefile(file)
    with contextlib.suppress(OSError):
        return own.name == file.name and own.parent.samefile(file.parent)
    return False


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, durably, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
