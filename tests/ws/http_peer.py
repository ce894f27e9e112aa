"""A caller of the HTTP side, byte by byte."""

from __future__ import annotations

import asyncio

__all__ = ["GET", "answer_to", "post", "read_response", "refused"]

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body of the next response."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length: ")
    body = await reader.readexactly(int(length.split(b"\r\n")[0]))
    return int(head.split(b" ")[1]), head, body


async def refused(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of a response that is the last on its connection."""
    status, head, body = await read_response(reader)
    assert b"connection: close" in head
    assert await reader.read() == b""
    return status, body


def post(size: int, path: bytes = b"/p") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (path, size)


def answer_to(size: int) -> tuple[bytes, bytes]:
    body = b"POST /p %d" % size
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body
