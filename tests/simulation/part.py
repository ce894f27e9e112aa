"""What may live in a world beside objects and their copies: each part has steps and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tests.simulation.client import Client

__all__ = ["Part", "Step"]

Step = tuple[float, Callable[[Client], Any]]
"""How often, compared with others, and what a client does then: at once, or by what is awaited."""


class Part(Protocol):
    """One world's part. It may draw from the world's chance: it is there for the whole seed."""

    def make_data(self) -> dict[str, Any]:
        """Members for the data of every change."""

    async def begin(self) -> None:
        """The first server is up, nothing goes wrong yet, and nobody is connected."""

    def steps(self) -> list[Step]:
        """What may happen in the middle."""

    def mend(self) -> None:
        """From now on nothing goes wrong any more."""

    def is_settled(self) -> bool:
        """False: something is still under way."""

    async def finish(self) -> None:
        """All are settled; the last changes of all objects follow."""

    async def compare(self) -> list[str]:
        """At the end: what isn't as it must be."""
