"""Has the kernel gather acknowledgements, so that one read takes several.

Theory of operation. Clients answer every event. After a fan-out as many answers come in as events
went out, and to read each by itself costs nearly as much as to send the event. So while this server
sends much, a connection of which only acknowledgements have come of late is given a *mark*, the
socket option SO_RCVLOWAT: the kernel calls it readable when as many bytes are there as ``GATHERED``
acknowledgements take, or when the peer hangs up. From time to time (*look*) the mark of whoever was
not read since the last look is lifted, which makes the kernel report what it has; the next
acknowledgement sets it again.

What it costs: a request of a marked connection waits until it and the acknowledgements before and
after it are as large as the mark, twice ``LONGEST_SECONDS`` at most. It lifts the mark until
``FIRST`` acknowledgements have come without another word. Where little is sent nothing is ever
marked.

Linux and uvloop only: elsewhere such a mark means other things, and asyncio's own loop reads once
for each report, so what is larger than its buffer would lie there with a rest below the mark.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol

import uvloop

from starlings.ws.outbox import Flusher, Scheduler

__all__ = [
    "BUSY_WRITES_PER_SECOND",
    "FIRST",
    "GATHERED",
    "LONGEST_SECONDS",
    "MOST_BYTES",
    "SHORTEST_SECONDS",
    "Gatherer",
    "Peer",
    "can_gather",
]

GATHERED = 12
"""Acknowledgements to a read."""
FIRST = 3
"""Acknowledgements without another word after which a connection is noted."""
MOST_BYTES = 4096
"""Of a mark, whatever a client makes of an acknowledgement: the kernel makes room for a mark."""
BUSY_WRITES_PER_SECOND = 10_000
"""Of all connections: to read as many acknowledgements takes a twentieth of a processor."""
SHORTEST_SECONDS = 0.025
"""Between two looks."""
LONGEST_SECONDS = 0.25
"""Between two looks."""

_FEWEST = 2
"""Acknowledgements between two looks: with fewer the marks cost more than they save."""
_PAUSE_SECONDS = 2.0
"""After it turned out that they are fewer."""
_HALF_LIFE_SECONDS = 0.3
"""Of the average of the rate; a large fan-out may take most of it."""


def can_gather(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether connections of ``loop`` can be given marks."""
    return sys.platform == "linux" and isinstance(loop, uvloop.Loop)


class Peer(Protocol):
    """A connection that the event loop reads from."""

    def set_mark(self, size_bytes: int) -> None:
        """Not readable with less."""

    def lift_mark(self) -> None:
        """Readable with one byte. The very next acknowledgement shall be noted."""


class Gatherer:
    """One per event loop.

    Args:
        loop: Gives time.
        flusher: Its number of writes tells whether much is sent.
        is_able: Whether marks do what they should; see ``can_gather``.
    """

    def __init__(self, loop: Scheduler, flusher: Flusher, is_able: bool = True) -> None:
        self._loop = loop
        self._flusher = flusher
        self._is_able = is_able
        self._was_read: dict[Peer, bool] = {}
        """Those with a mark: whether they were read since the last look."""
        self._is_looking = False
        self._is_gathering = False
        self._started_at = self._looked_at = self._paused_until = 0.0
        self._writes = 0
        self._writes_per_second = 0.0

    def __len__(self) -> int:
        return len(self._was_read)

    def note_acknowledgement(self, peer: Peer, size_bytes: int) -> None:
        """``peer`` sends nothing but acknowledgements; the last took so many bytes on the wire."""
        if not self._is_looking and self._is_able:
            self._is_looking = True
            self._started_at = self._looked_at = self._loop.time()
            self._writes, self._writes_per_second = self._flusher.writes, 0.0
            self._loop.call_later(SHORTEST_SECONDS, self._look)
        if self._is_gathering:
            if peer not in self._was_read:
                peer.set_mark(min(GATHERED * size_bytes, MOST_BYTES))
            self._was_read[peer] = True

    def release(self, peer: Peer) -> None:
        """It says something else. Nothing happens if it has no mark."""
        if self._was_read.pop(peer, None) is not None:
            peer.lift_mark()

    def discard(self, peer: Peer) -> None:
        """It is gone."""
        self._was_read.pop(peer, None)

    def _look(self) -> None:
        now = self._loop.time()
        self._measure(now)
        is_busy = self._writes_per_second >= BUSY_WRITES_PER_SECOND
        # Until as many were written to each as shall be gathered.
        seconds = GATHERED * len(self._was_read) / max(1.0, self._writes_per_second)
        if is_busy and seconds > LONGEST_SECONDS * GATHERED / _FEWEST:
            self._paused_until = now + _PAUSE_SECONDS
        self._is_gathering = is_busy and now >= self._paused_until
        # One look finds nothing when it falls between two fan-outs.
        self._is_looking = is_busy or now < self._started_at + 1.0
        if self._is_looking:
            self._loop.call_later(min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS), self._look)
        for peer, was_read in list(self._was_read.items()):
            if was_read and self._is_gathering:
                self._was_read[peer] = False
            else:
                self.release(peer)

    def _measure(self, now: float) -> None:
        seconds = max(now - self._looked_at, 0.001)
        writes = self._flusher.writes
        latest = (writes - self._writes) / seconds
        share = 1 - 0.5 ** (seconds / _HALF_LIFE_SECONDS)
        self._writes_per_second += share * (latest - self._writes_per_second)
        self._looked_at, self._writes = now, writes
