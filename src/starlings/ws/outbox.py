"""One bounded queue of frames per connection, written out once per event-loop turn.

Theory of operation:

1. ``Outbox.append`` only puts a frame into a list; the first frame of a turn also puts the outbox
   into the flusher's list, and the first outbox of a turn schedules the one callback of that turn.
   A fan-out to thousands of connections so costs one loop callback, not thousands.
2. ``Flusher.flush`` joins what each outbox gathered into one ``transport.write``. The transport's
   high-water mark is zero (``WRITE_HIGH_WATER_BYTES``), which makes uvloop and asyncio write to the
   socket at once, and call ``pause_writing`` exactly when the kernel did not take everything.
3. While paused, frames stay here as references to the shared bytes of each event, not as copies.
   ``resume_writing`` means that the kernel took all; the next frames follow, oldest first.
4. ``Flusher.broadcast`` sends the same frames to many. Where nothing is in the way (nothing
   gathered in this turn, nothing left over, no TLS) it writes to the descriptor itself: for a large
   fan-out everything that a delivery touches besides the kernel's socket costs time, since
   thousands of connections fit into no cache.
5. A reader that leaves more than ``OutboxLimits.queued_bytes`` or lets a byte grow older than
   ``OutboxLimits.age_seconds`` is cut off. Nobody ever waits for it; its own replay repairs it.

Everything runs on the loop's thread. Nothing here awaits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "BINARY",
    "CLOSE",
    "PONG",
    "SLOW_READER",
    "WRITE_FAILED",
    "WRITE_HIGH_WATER_BYTES",
    "Flusher",
    "FlusherStatistics",
    "Outbox",
    "OutboxLimits",
    "Scheduler",
    "Sink",
    "ws_frame",
]

logger = logging.getLogger("starlings.ws")

# First bytes of complete (FIN set), uncompressed frames, RFC 6455 section 5.2.
BINARY = 0x82
CLOSE = 0x88
PONG = 0x8A

SLOW_READER = "slow_reader"
WRITE_FAILED = "write_failed"

_PIECE_BYTES = 64 * 1024
"""Of a broadcast: so much may have to be copied for each reader that takes only a part."""

WRITE_HIGH_WATER_BYTES = 0
"""What the transport may hold before it calls ``pause_writing``: nothing, see the module's text."""


def ws_frame(payload: bytes | bytearray | memoryview, first_byte: int = BINARY) -> bytes:
    """Build one complete, unmasked server frame, to be shared by all its receivers. (RFC 6455
    section 5.2)

    Args:
        payload: Any length; control frames (``CLOSE``, ``PONG``) may have 125 bytes at most.
        first_byte: FIN, reserved bits and opcode; a binary message unless given.
    """
    size = len(payload)
    if size < 126:
        return bytes((first_byte, size)) + payload
    if size < 65536:
        return struct.pack(">BBH", first_byte, 126, size) + payload
    return struct.pack(">BBQ", first_byte, 127, size) + payload


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """How far a reader may fall behind before it is cut off.

    ``queued_bytes`` counts what the kernel has not taken; the kernel's own buffer comes on top.
    ``age_seconds`` is the time since the oldest such byte was sent by us. ``turn_bytes`` is written
    out early when gathered within one loop turn, so that a large burst starts to flow before the
    turn ends; the byte bound may be exceeded by this much for a moment.
    """

    queued_bytes: int = 1024 * 1024
    age_seconds: float = 30.0
    turn_bytes: int = 256 * 1024


class Sink(Protocol):
    """The part of ``asyncio.Transport`` that an outbox writes to."""

    def write(self, data: bytes) -> None: ...

    def get_write_buffer_size(self) -> int: ...


class Scheduler(Protocol):
    """The part of the event loop that the flusher needs; tests pass a clock of their own."""

    def call_soon(self, callback: Callable[[], None]) -> Any: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any: ...

    def time(self) -> float: ...


@dataclass(frozen=True, slots=True)
class FlusherStatistics:
    """Counts since the start, over all connections; ``backlogged`` is the present number."""

    turns: int
    writes: int
    frames: int
    bytes: int
    backlogged: int
    cut_for_bytes: int
    cut_for_age: int


class Flusher:
    """Writes out every outbox that gathered frames in this turn, and cuts off slow readers.

    One per event loop. ``loop`` gives turns and monotonic time, ``write`` is ``os.write``.
    """

    def __init__(
        self,
        loop: Scheduler | asyncio.AbstractEventLoop,
        limits: OutboxLimits | None = None,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self.limits = limits or OutboxLimits()
        self.dirty: list[Outbox] = []
        self.call_soon: Callable[[Callable[[], None]], Any] = loop.call_soon
        self.time: Callable[[], float] = loop.time
        self.turns = self.writes = self.frames = self.bytes = 0
        self.cut_for_bytes = self.cut_for_age = 0
        self._loop = loop
        self._write = write
        self._backlogged: set[Outbox] = set()
        self._sweep_handle: Any = None
        self._sweep_seconds = min(1.0, self.limits.age_seconds / 4)

    def flush(self) -> None:
        """Write what was gathered. A failing transport loses its own connection, no other."""
        dirty, self.dirty = self.dirty, []
        self.turns += 1
        for outbox in dirty:
            try:
                outbox.flush()
            except Exception:
                # Not foreseen. What the others gathered in this turn goes out all the same.
                logger.exception("A connection could not be written to")
                outbox.cut(WRITE_FAILED)

    def broadcast(self, outboxes: Iterable[Outbox], frames: list[bytes]) -> None:
        """Append the same complete frames to many outboxes; few large pieces of them are shared.

        What can be written at once is. Never raises: a failing connection loses only itself.
        """
        for piece, count in _pieces(frames):
            self._broadcast_piece(outboxes, piece, count)

    def _broadcast_piece(self, outboxes: Iterable[Outbox], piece: bytes, count: int) -> None:
        write, size, written_at_once = self._write, len(piece), 0
        for outbox in outboxes:
            fd = outbox.direct_fd
            if fd < 0:
                outbox.append(piece, count)
                continue
            try:
                written = write(fd, piece)
            except OSError:
                # No room: the transport will wait for it. Anything else: it will find out.
                outbox.append(piece, count)
                continue
            if written == size:
                written_at_once += 1
            else:
                self.bytes += written
                outbox.append(piece[written:], 0)
        self.writes += written_at_once
        self.frames += written_at_once * count
        self.bytes += written_at_once * size

    def add_backlogged(self, outbox: Outbox) -> None:
        """Watch the age of what ``outbox`` could not get rid of."""
        self._backlogged.add(outbox)
        if self._sweep_handle is None:
            self._sweep_handle = self._loop.call_later(self._sweep_seconds, self._sweep)

    def discard_backlogged(self, outbox: Outbox) -> None:
        """Stop watching ``outbox``; does nothing if it was not watched."""
        self._backlogged.discard(outbox)

    def statistics(self) -> FlusherStatistics:
        return FlusherStatistics(
            turns=self.turns,
            writes=self.writes,
            frames=self.frames,
            bytes=self.bytes,
            backlogged=len(self._backlogged),
            cut_for_bytes=self.cut_for_bytes,
            cut_for_age=self.cut_for_age,
        )

    def _sweep(self) -> None:
        self._sweep_handle = None
        oldest_allowed = self.time() - self.limits.age_seconds
        for outbox in [each for each in self._backlogged if each.oldest_at < oldest_allowed]:
            self.cut_for_age += 1
            outbox.cut(SLOW_READER)
        if self._backlogged:
            self._sweep_handle = self._loop.call_later(self._sweep_seconds, self._sweep)


class Outbox:
    """The frames of one connection that the kernel has not taken yet, in the order of ``append``.

    Args:
        sink: Must write at once and report the rest by ``pause_writing``, see the module's text.
        flusher: The one of this event loop.
        on_cut: Called once, with the reason, when the reader is too slow or a write failed. It must
            not call back into the connection's owner at once: a fan-out may be in the middle of its
            loop.
        on_drained: Called when the kernel has taken everything after a time when it had not.
        fd: Of the socket, if plain bytes may be written to it past ``sink`` whenever that one holds
            nothing; -1 if not. It must stay open until ``close``: descriptors are used again.
    """

    __slots__ = (
        "_accepts",
        "_backlog",
        "_backlog_bytes",
        "_fd",
        "_flusher",
        "_is_closed",
        "_on_cut",
        "_on_drained",
        "_sink",
        "_turn",
        "_turn_bytes",
        "_turn_limit",
        "direct_fd",
        "is_paused",
        "oldest_at",
    )

    def __init__(
        self,
        sink: Sink,
        flusher: Flusher,
        on_cut: Callable[[str], None],
        on_drained: Callable[[], None],
        fd: int = -1,
    ) -> None:
        self.is_paused = False
        self.direct_fd = fd
        """To be written to past everything; -1 while frames have to queue."""
        self._fd = fd
        self.oldest_at = 0.0
        self._sink = sink
        self._flusher = flusher
        self._on_cut = on_cut
        self._on_drained = on_drained
        self._turn: list[bytes] = []
        self._turn_bytes = 0
        self._turn_limit = min(flusher.limits.turn_bytes, flusher.limits.queued_bytes)
        # (time of sending, frames, their bytes) per turn; most connections never need one.
        self._backlog: deque[tuple[float, list[bytes], int]] | None = None
        self._backlog_bytes = 0
        self._accepts = True
        self._is_closed = False

    def append(self, frame: bytes, count: int = 1) -> None:
        """Send a complete frame after all earlier ones; never blocks.

        Frames appended after ``close``, ``refuse_more`` or a cut are dropped: their reader is gone.
        ``count``: as how many frames it counts, if it is several, or the rest of some.
        """
        if not self._accepts:
            return
        turn = self._turn
        flusher = self._flusher
        if not turn:
            self.direct_fd = -1
            if not flusher.dirty:
                flusher.call_soon(flusher.flush)
            flusher.dirty.append(self)
        flusher.frames += count
        turn.append(frame)
        self._turn_bytes += len(frame)
        if self._turn_bytes > self._turn_limit:
            self.flush()

    @property
    def queued_bytes(self) -> int:
        """Bytes that the kernel has not taken."""
        held = self._sink.get_write_buffer_size() if self.is_paused else 0
        return self._turn_bytes + self._backlog_bytes + held

    def flush(self) -> None:
        """Write what was gathered, or file it behind what the kernel has not taken yet."""
        turn, size = self._turn, self._turn_bytes
        if not turn:
            return
        self._turn_bytes = 0
        if self.is_paused:
            self._turn = []
            if self._backlog is None:
                self._backlog = deque()
            self._backlog.append((self._flusher.time(), turn, size))
            self._backlog_bytes += size
        else:
            self._write(turn, size)
            turn.clear()
            if not self.is_paused:
                if self._accepts:
                    self.direct_fd = self._fd
                return
        if self.is_paused and self.queued_bytes > self._flusher.limits.queued_bytes:
            self._flusher.cut_for_bytes += 1
            self.cut(SLOW_READER)

    def pause_writing(self) -> None:
        """The kernel did not take everything (called by the transport, maybe within ``write``)."""
        if self._is_closed or self.is_paused:
            return
        self.is_paused = True
        self.direct_fd = -1
        self.oldest_at = self._flusher.time()
        self._flusher.add_backlogged(self)

    def resume_writing(self) -> None:
        """The kernel took all that was written; write what waited (called by the transport)."""
        self.is_paused = False
        while self._backlog and not self.is_paused:
            sent_at, frames, size = self._backlog.popleft()
            # Few writes, but bounded copies: join small turns up to the size of one early write.
            while self._backlog and size + self._backlog[0][2] <= self._turn_limit:
                _, more, more_size = self._backlog.popleft()
                frames += more
                size += more_size
            self._backlog_bytes -= size
            self._write(frames, size)
            if self.is_paused:
                self.oldest_at = sent_at
        if not self.is_paused and not self._is_closed:
            self._backlog = None
            if self._accepts and not self._turn:
                self.direct_fd = self._fd
            self._flusher.discard_backlogged(self)
            self._on_drained()

    def cut(self, reason: str) -> None:
        """Drop everything and have the connection aborted; only the first call counts."""
        if not self._is_closed:
            on_cut = self._on_cut
            self.close()
            on_cut(reason)

    def close(self) -> None:
        """Drop everything and accept nothing more, because the connection is gone."""
        self._accepts = False
        self.direct_fd = -1
        self._is_closed = True
        self.is_paused = False
        self._turn, self._turn_bytes = [], 0
        self._backlog, self._backlog_bytes = None, 0
        self._flusher.discard_backlogged(self)
        # Never called again. They hold the connection, which holds this.
        self._on_cut = self._on_drained = _do_nothing

    def refuse_more(self) -> None:
        """Accept nothing more, but still write out what is here: the last frame was a close."""
        self.flush()
        self._accepts = False
        self.direct_fd = -1

    def _write(self, frames: list[bytes], size: int) -> None:
        flusher = self._flusher
        flusher.writes += 1
        flusher.bytes += size
        try:
            self._sink.write(frames[0] if len(frames) == 1 else b"".join(frames))
        except (OSError, RuntimeError):
            # uvloop raises RuntimeError when the handle was closed by somebody else.
            self.cut(WRITE_FAILED)


def _do_nothing(*_: object) -> None:
    pass


def _pieces(frames: list[bytes]) -> Iterable[tuple[bytes, int]]:
    """Frames joined to pieces of about ``_PIECE_BYTES``, each with the number of its frames."""
    if len(frames) == 1:
        yield frames[0], 1
        return
    gathered: list[bytes] = []
    size = 0
    for frame in frames:
        if gathered and size + len(frame) > _PIECE_BYTES:
            yield b"".join(gathered), len(gathered)
            gathered, size = [], 0
        gathered.append(frame)
        size += len(frame)
    yield b"".join(gathered), len(gathered)
