"""The command line in this process, on a data directory without a server."""

from pathlib import Path
from typing import NamedTuple, Protocol

from tests.ops.stores import run_sql

__all__ = ["Ended", "Run", "contents_of"]


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, *arguments: str | Path, **environment: str) -> Ended: ...


def contents_of(data: Path) -> list[tuple[object, ...]]:
    return [
        row
        for table in ("account", "api_key", "revoked_identity", "meta", "webhook")
        for row in run_sql(data, f"SELECT * FROM {table}")  # noqa: S608  # names of ours
    ]
