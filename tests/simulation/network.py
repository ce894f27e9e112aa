"""One connection between a session and a client, in memory: late, bounded, and not to be trusted.

The server's end is the real ``Outbox`` over a wire that takes so many bytes and no more until the
client has read them. Broadcasts write past it, to numbers that the next connection gets again as
soon as one has ended, as descriptors are. Both directions keep their order. A cut loses what is
under way, and each end hears of it at a time of its own: until then the server sends into the void.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from starlings.ws.connection import ConnectionStatistics
from starlings.ws.outbox import CLOSE, Flusher, Outbox, OutboxLimits, ws_frame
from tests.simulation.chance import Chance

__all__ = ["Connection", "Descriptors", "Link", "Listener", "Reader", "Witness", "WitnessedFlusher"]


class Listener(Protocol):
    """The session, as ``connection.Listener``."""

    def on_open(self, connection: Any, /) -> None: ...

    def on_message(self, data: bytes, /) -> bool | None: ...

    def on_drained(self) -> None: ...

    def on_close(self, code: int | None, reason: str, /) -> None: ...


class Reader(Protocol):
    """The client."""

    def on_frame(self, link: Link, frame: bytes) -> None: ...

    def on_lost(self, link: Link) -> None: ...


class Witness(Protocol):
    """Sees what passes the server's end of a link, in the step in which it does."""

    def on_taken(self, link: Link, frame: bytes) -> None: ...

    def on_sent(self, link: Link, frame: bytes) -> None: ...


class Descriptors:
    """The open sockets of a server process, by the lowest free number."""

    def __init__(self, chance: Chance) -> None:
        self._links: dict[int, Link] = {}
        self._chance = chance

    def open(self, link: Link) -> int:
        fd = next(number for number in range(len(self._links) + 1) if number not in self._links)
        self._links[fd] = link
        return fd

    def close(self, fd: int) -> None:
        del self._links[fd]

    def write(self, fd: int, data: bytes) -> int:
        """As ``os.write``."""
        self._chance.counts["direct writes"] += 1
        if fd not in self._links:
            raise OSError(errno.EBADF, "bad file descriptor")
        return self._links[fd].write_at_once(data)


class WitnessedFlusher(Flusher):
    """Lets the links know of what is broadcast past their connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: OutboxLimits,
        write: Callable[[int, bytes], int],
    ) -> None:
        super().__init__(loop, limits, write)
        self.links: dict[Outbox, Link] = {}

    def broadcast(self, outboxes: Iterable[Outbox], frames: list[bytes]) -> None:
        for outbox in outboxes:
            for frame in frames:
                self.links[outbox].note_sent(frame)
        super().broadcast(outboxes, frames)


class Connection:
    """The server's end; the same interface as ``connection.Connection``."""

    remote_address = ("192.0.2.1", 5)
    address = "192.0.2.1"

    def __init__(self, link: Link, outbox: Outbox) -> None:
        self._link = link
        self._outbox = outbox
        self.sink = outbox

    def send(self, frame: bytes | bytearray | memoryview) -> None:
        self.send_framed(ws_frame(frame))

    def send_framed(self, frame: bytes) -> None:
        self._link.note_sent(frame)
        self._outbox.append(frame)

    @property
    def queued_bytes(self) -> int:
        return self._outbox.queued_bytes

    def flush(self) -> None:
        self._outbox.flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._link.close_by_server(code, reason)

    def statistics(self) -> ConnectionStatistics:
        return ConnectionStatistics(0, self.queued_bytes)

    def abort(self, reason: str = "aborted") -> None:
        self._outbox.cut(reason)


class Link:
    """A connection as a whole; also the sink of the server's outbox."""

    def __init__(
        self,
        chance: Chance,
        flusher: WitnessedFlusher,
        descriptors: Descriptors,
        make_listener: Callable[[], Listener],
        reader: Reader,
        window_bytes: int,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self.identity = ""
        """Of the client, as it says; the next one as well."""
        self.token = ""
        self._witnesses = witnesses
        self._loop = asyncio.get_running_loop()
        self._chance = chance
        self._reader = reader
        self._window_bytes = window_bytes
        self._unsent = bytearray()
        self._under_way_bytes = 0
        self._down: deque[bytes] = deque()
        self._down_at = 0.0
        self._up: deque[bytes] = deque()
        self._up_at = 0.0
        self._received = bytearray()
        self._is_stalled = False
        self._is_cut = False
        self._is_closing = False
        self.is_server_open = True
        self.is_client_open = True
        self._descriptors = descriptors
        self._fd = descriptors.open(self)
        self._outbox = Outbox(self, flusher, self._abort, self._on_drained, self._fd)
        flusher.links[self._outbox] = self
        self._listener = make_listener()
        self._listener.on_open(Connection(self, self._outbox))

    def note_sent(self, frame: bytes) -> None:
        """The server has decided to send a complete frame."""
        if self._witnesses:
            size = frame[1]
            payload = frame[2 if size < 126 else 4 if size == 126 else 10 :]
            for witness in self._witnesses:
                witness.on_sent(self, payload)

    # Sink

    def write(self, data: bytes) -> None:
        self._unsent += data
        self._fill()
        if self._unsent:
            self._outbox.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write_at_once(self, data: bytes) -> int:
        """What a broadcast writes past the outbox."""
        assert not self._unsent, "overtakes what was written before"
        room = self._window_bytes - self._under_way_bytes
        if room <= 0:
            raise BlockingIOError
        self._unsent += data[:room]
        self._fill()
        return min(room, len(data))

    def _fill(self) -> None:
        room = self._window_bytes - self._under_way_bytes
        if self._unsent and room > 0:
            chunk = bytes(self._unsent[:room])
            del self._unsent[:room]
            self._under_way_bytes += len(chunk)
            self._down.append(chunk)
            self._down_at = max(self._down_at, self._loop.time() + self._chance.delay())
            self._loop.call_at(self._down_at, self._arrive)

    # Server to client

    def _arrive(self) -> None:
        if self._is_stalled or self._is_cut or not self.is_client_open or not self._down:
            return
        chunk = self._down.popleft()
        self._under_way_bytes -= len(chunk)
        self._received += chunk
        self._fill()
        if not self._unsent and self._outbox.is_paused:
            self._outbox.resume_writing()
        self._read_frames()

    def _read_frames(self) -> None:
        data = self._received
        while self.is_client_open and len(data) >= 2:
            size, start = data[1], 2
            if size == 126:
                if len(data) < 4:
                    return
                ((size,), start) = struct.unpack_from(">H", data, 2), 4
            elif size == 127:
                if len(data) < 10:
                    return
                ((size,), start) = struct.unpack_from(">Q", data, 2), 10
            if len(data) < start + size:
                return
            first, payload = data[0], bytes(data[start : start + size])
            del data[: start + size]
            if first == CLOSE:
                self.close_by_client()
                self._reader.on_lost(self)
            else:
                self._reader.on_frame(self, payload)

    def stall(self) -> None:
        """The client stops reading."""
        self._is_stalled = True

    def resume(self) -> None:
        """The client reads again."""
        if self._is_stalled:
            self._is_stalled = False
            for _ in range(len(self._down)):
                self._loop.call_soon(self._arrive)

    # Client to server

    def send(self, frame: bytes) -> None:
        if not self.is_client_open:
            return
        self._up.append(frame)
        self._up_at = max(self._up_at, self._loop.time() + self._chance.delay())
        self._loop.call_at(self._up_at, self._take)

    def _take(self) -> None:
        if self._up:
            frame = self._up.popleft()
            if self.is_server_open and not self._is_cut and not self._is_closing:
                for witness in self._witnesses:
                    witness.on_taken(self, frame)
                self._listener.on_message(frame)

    # The end

    def cut(self) -> None:
        """What is under way is lost; the ends hear of it later, each at its own time."""
        if self._is_cut:
            return
        self._is_cut = True
        self._loop.call_later(self._chance.uniform(0, 2), self._lose_server, None, "lost")
        self._loop.call_later(self._chance.uniform(0, 2), self._lose_client)

    def close_by_client(self) -> None:
        """The client hangs up; what it sent before still arrives."""
        if self.is_client_open:
            self.is_client_open = False
            self._up_at = max(self._up_at, self._loop.time() + self._chance.delay())
            self._loop.call_at(self._up_at, self._lose_server, 1000, "peer_closed")

    def close_by_server(self, code: int, reason: str) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._outbox.append(ws_frame(struct.pack(">H", code) + reason.encode()[:123], CLOSE))
            self._outbox.refuse_more()
            self._loop.call_later(5.0, self._abort, reason)

    def _abort(self, reason: str) -> None:
        self._is_cut = True
        self._loop.call_soon(self._lose_server, None, reason)
        self._loop.call_later(self._chance.delay(), self._lose_client)

    def die(self) -> None:
        """The server's process is gone, without a call to anybody in it."""
        self._is_cut = True
        self.is_server_open = False
        self._outbox.close()
        self._loop.call_later(self._chance.delay(), self._lose_client)

    def _lose_server(self, code: int | None, reason: str) -> None:
        if self.is_server_open:
            self.is_server_open = False
            self._outbox.close()
            self._listener.on_close(code, reason)
            self._descriptors.close(self._fd)

    def _lose_client(self) -> None:
        if self.is_client_open:
            self.is_client_open = False
            self._reader.on_lost(self)

    def _on_drained(self) -> None:
        if self.is_server_open and not self._is_closing:
            self._listener.on_drained()
