"""Compressed messages as a client makes and takes them apart."""

from __future__ import annotations

import zlib

__all__ = ["ANSWER", "TEXT", "deflate", "payload_of"]

ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

TEXT = b"what repeats itself gets smaller, " * 20


def deflate(message: bytes, flush: int = zlib.Z_SYNC_FLUSH, level: int = 6) -> bytes:
    """A compressed message as any client may make it; `Z_FINISH` marks its last block as the last,
    and an empty one begins behind it. [RFC 7692, 7.2.3.4]"""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    deflated = deflater.compress(message) + deflater.flush(flush)
    return deflated + b"\x00" if flush == zlib.Z_FINISH else deflated[:-4]


def payload_of(frame: bytes) -> bytes:
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]
