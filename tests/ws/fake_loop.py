"""An event loop's turns and time, for tests without a socket."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["FakeLoop"]


class FakeLoop:
    """Turns and time that move when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.later.append((self.now + delay, callback))

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((each for each in self.later if each[0] <= end), key=lambda e: e[0]):
            self.later.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = end
