"""The command line called in this process: what it answers, and the type of its fixture."""

from pathlib import Path
from typing import NamedTuple, Protocol

__all__ = ["Ended", "Run"]


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, *arguments: str | Path, **environment: str) -> Ended: ...
