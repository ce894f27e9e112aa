"""Compression of WebSocket messages (permessage-deflate, RFC 7692), once for all who get a message.

Theory of operation:

1. Each message is compressed by itself, in both directions (``…_no_context_takeover``). So a
   compressed frame doesn't depend on whom it is for: one serves every connection, as one plain
   frame does. And no connection keeps a window, which would be 300 KiB of zlib's for each.
2. ``SharedDeflate`` belongs to the event loop. It remembers the last frames that it was given, by
   identity, and what became of them: a fan-out of one frame compresses it at the first connection
   that wants it so.
3. A message may always go out as it is (section 6.1). Small ones do, and those that don't shrink.
   So do those longer than the window that a client asks for: no match reaches back farther than the
   message is long, so what is not longer than a window suits it, and one compressed frame suits
   clients with different windows. That is how 8 bits can be granted too, with which zlib's raw
   deflate can't be started.

No I/O here, and nothing of sockets; ``starlings.ws.transport`` asks.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from starlings.ws.outbox import BINARY, ws_frame

__all__ = [
    "MOST_BYTES",
    "RSV1",
    "Agreement",
    "DeflateStatistics",
    "InflateError",
    "SharedDeflate",
    "inflate",
    "negotiate",
]

RSV1: Final = 0x40
"""In the first byte of a message's first frame: the message is compressed. [section 6]"""

MOST_BYTES: Final = 64 * 1024
"""Longer messages go out as they are: compressing them takes a millisecond or more, and meanwhile
everybody waits. No event is that long; the first result of a large query may be."""

_NAME = "permessage-deflate"
_LEVEL = 1
"""Of 1 to 9. Against level 6 an event with 4 KiB of data takes 23 µs instead of 45, and 7 % more
bytes."""
_KEPT = 8
"""Frames remembered. One is enough for the fan-out of an event, but for those of the live queries
that this event changes, and of the removal as told to its author: these come in between."""

_TAIL = b"\x00\x00\xff\xff"
"""The end of an empty block, which each message is sent without. [section 7.2.1]"""
_END = b"\x03\x00"
"""An empty last block: zlib says that it saw the end only if the message ended with a block."""
_LEFT_OVER = frozenset({b"", b"\x00" + _TAIL + _END})
"""What may follow the last block: nothing, or, if the sender marked its own one as the last, the
octet that section 7.2.3.4 makes it put behind, and what was added here."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BITS = re.compile(r"[89]|1[0-5]")

_Parameters = list[tuple[str, str | None]]


class Agreement(NamedTuple):
    """What was agreed on with a client."""

    answer: str
    """The value of ``Sec-WebSocket-Extensions`` in the 101."""
    most_bytes: int | None
    """Longer messages must not be compressed for this client; None if any may be."""


def negotiate(header: str) -> Agreement | None:
    """Take the first offer of a request's ``Sec-WebSocket-Extensions`` that can be accepted.

    The answer holds both sides to no context takeover, which it may without being asked (sections
    7.1.1.1 and 7.1.1.2). The client's own window is left to it: to inflate one message takes the
    same memory for any.

    Args:
        header: All such headers, joined by commas. If it isn't a list of extensions nothing is
            accepted. (RFC 6455 section 9.1)

    Returns:
        None to go on without: no offer, or none without an unknown, repeated or unusable parameter.
    """
    offers = _parse_extensions(header)
    for name, parameters in offers or ():
        if name == _NAME and (agreement := _accept(parameters)) is not None:
            return agreement
    return None


class InflateError(Exception):
    """A compressed message that can't be taken; the connection is closed with ``close_code``.

    1009 if it is too big. 1007 if it isn't deflate's: RFC 7692 names no code, and 1002 stands for
    frames, which were right; their content doesn't fit its type. (RFC 6455 section 7.4.1)
    """

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code


def inflate(payload: bytes, most_bytes: int) -> bytes:
    """Restore a message from the payloads of all its frames. (section 7.2.2)

    At most one byte more than allowed is ever made of it.

    Raises:
        InflateError: It has more than ``most_bytes``, or is corrupt or cut short.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        message = inflater.decompress(payload + _TAIL + _END, most_bytes + 1)
    except zlib.error as error:
        raise InflateError(1007, "message can't be inflated") from error
    if len(message) > most_bytes:
        raise InflateError(1009, "message too big")
    if not inflater.eof or inflater.unused_data not in _LEFT_OVER:
        raise InflateError(1007, "message can't be inflated")
    return message


class DeflateStatistics(NamedTuple):
    """Counts since the start; of each message once, however many got it."""

    connections: int
    """With which compression was agreed on."""
    compressed: int
    bytes_before: int
    bytes_after: int


class SharedDeflate:
    """The compressed twins of frames. One per event loop.

    Args:
        from_bytes: Payloads below this size stay as they are.
    """

    def __init__(self, from_bytes: int) -> None:
        self._from_bytes = from_bytes
        self._connections = self._compressed = self._bytes_before = self._bytes_after = 0
        # By id(): the frame is held beside, so that no other one can get the same.
        self._recent: dict[int, tuple[bytes, bytes]] = {}

    def make_sender(
        self, send_framed: Callable[[bytes], None], agreement: Agreement
    ) -> Callable[[bytes], None]:
        """What a connection with this agreement has in place of its ``send_framed``."""
        self._connections += 1
        shrink, most_bytes = self.shrink, agreement.most_bytes
        if most_bytes is None:
            return lambda frame: send_framed(shrink(frame))
        return lambda frame: send_framed(shrink(frame) if len(frame) <= most_bytes else frame)

    def shrink(self, frame: bytes) -> bytes:
        """The frame to send in place of one that ``ws_frame`` made: the same one unless it is a
        binary message that gets smaller."""
        kept = self._recent.get(id(frame))
        if kept is not None:
            return kept[1]
        if len(frame) < self._from_bytes:
            return frame
        shrunk = self._deflate(frame)
        if len(self._recent) == _KEPT:
            del self._recent[next(iter(self._recent))]
        self._recent[id(frame)] = (frame, shrunk)
        return shrunk

    def statistics(self) -> DeflateStatistics:
        return DeflateStatistics(
            self._connections, self._compressed, self._bytes_before, self._bytes_after
        )

    def _deflate(self, frame: bytes) -> bytes:
        payload = memoryview(frame)[_head_bytes(frame) :]
        if frame[0] != BINARY or not self._from_bytes <= len(payload) <= MOST_BYTES:
            return frame
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        deflated = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
        shrunk = ws_frame(memoryview(deflated)[: -len(_TAIL)], BINARY | RSV1)
        if len(shrunk) >= len(frame):
            return frame
        self._compressed += 1
        self._bytes_before += len(frame)
        self._bytes_after += len(shrunk)
        return shrunk


def _head_bytes(frame: bytes) -> int:
    """The length of what stands before the payload of an unmasked frame."""
    return {126: 4, 127: 10}.get(frame[1], 2)


def _accept(parameters: _Parameters) -> Agreement | None:
    """An offer's parameters: each known, once, with a value that it may have. (section 7.1)"""
    answer = f"{_NAME}; server_no_context_takeover; client_no_context_takeover"
    most_bytes = None
    seen = set()
    for key, value in parameters:
        if key in seen:
            return None
        seen.add(key)
        match key:
            case "server_no_context_takeover" | "client_no_context_takeover":
                if value is not None:
                    return None
            case "server_max_window_bits" if value is not None and _BITS.fullmatch(value):
                most_bytes = None if int(value) == zlib.MAX_WBITS else 1 << int(value)
                answer += f"; {key}={value}"
            case "client_max_window_bits" if value is None or _BITS.fullmatch(value):
                pass
            case _:
                return None
    return Agreement(answer, most_bytes)


def _parse_extensions(header: str) -> list[tuple[str, _Parameters]] | None:
    """Names and parameters; None if it isn't such a list. (RFC 6455 section 9.1)

    A quoted value must be a token too, so none has a comma or semicolon in it.
    """
    extensions = []
    for text in header.split(","):
        if not text.strip(" \t"):
            continue  # lists of HTTP may have empty places
        name, *rest = (part.strip(" \t") for part in text.split(";"))
        if not _TOKEN.fullmatch(name):
            return None
        parameters: _Parameters = []
        for part in rest:
            key, equals, value = (piece.strip(" \t") for piece in part.partition("="))
            if len(value) > 2 and value[0] == value[-1] == '"':
                value = value[1:-1]
            if not _TOKEN.fullmatch(key) or (equals and not _TOKEN.fullmatch(value)):
                return None
            parameters.append((key, value if equals else None))
        extensions.append((name, parameters))
    return extensions
