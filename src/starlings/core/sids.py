"""SIDs, object ids and unique names: parse, format, and mint from given random bytes.

An *object id* (oid) is a whole number below 2**63 that never changes: 12 bits of bucket, 41 bits of
milliseconds since ``EPOCH_MS``, 10 random bits. The bucket says on which shard the object lives
once there are several, so it is there from the start. Named objects take their bucket from the
name, which keeps a unique name within one shard; others take a random one.

A *SID* is a two-letter prefix and 32 lower-case hexadecimal digits. Those of our objects carry the
oid in their first 16 digits, so that finding an object by its SID needs no index, and 16 random
digits, so that a SID can't be guessed.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Final

__all__ = [
    "ACCOUNT",
    "API_KEY",
    "BUCKETS",
    "DOCUMENT",
    "LIST",
    "MAP",
    "MESSAGE",
    "SERVICE",
    "STREAM",
    "bucket_of_name",
    "find_oid",
    "format_sid",
    "is_sid",
    "mint_oid",
    "oid_of",
]

ACCOUNT: Final = "AC"
API_KEY: Final = "SK"
SERVICE: Final = "IS"
DOCUMENT: Final = "ET"
LIST: Final = "ES"
MAP: Final = "MP"
STREAM: Final = "TO"
MESSAGE: Final = "TZ"

BUCKETS: Final = 4096
EPOCH_MS: Final = 1_767_225_600_000  # 2026-01-01T00:00:00Z; 41 bits of milliseconds last until 2095

_SID = re.compile(r"[A-Z]{2}[a-f0-9]{32}")
_SID_CHARACTERS = 34


def is_sid(text: str) -> bool:
    """True if ``text`` has the form of a SID of any kind; such text is never a unique name.

    [rest-api 1.6]
    """
    return len(text) == _SID_CHARACTERS and _SID.fullmatch(text) is not None


def bucket_of_name(service_oid: int, kind: int, name: str) -> int:
    """The bucket of a named object: the same for the same service, kind and name, for ever."""
    return zlib.crc32(f"{service_oid}/{kind}/{name}".encode()) % BUCKETS


def mint_oid(bucket: int, now: int, random_bits: int) -> int:
    """Make an object id.

    Args:
        bucket: 0 to ``BUCKETS`` - 1.
        now: Milliseconds since 1970, UTC.
        random_bits: Any whole number; its lowest 10 bits are used.
    """
    elapsed = (now - EPOCH_MS) & ((1 << 41) - 1)
    return (bucket << 51) | (elapsed << 10) | (random_bits & 0x3FF)


def format_sid(prefix: str, oid: int, random_bits: int) -> str:
    """The SID of an object: prefix, oid, and the lowest 64 of ``random_bits``."""
    return f"{prefix}{oid:016x}{random_bits & 0xFFFFFFFFFFFFFFFF:016x}"


def oid_of(sid: str) -> int:
    """The object id in a SID. May be the id of nothing, for a SID that we never minted.

    Raises:
        ValueError: ``sid`` is no SID; check with ``is_sid`` before.
    """
    return int(sid[2:18], 16)


def find_oid(name: str) -> int | None:
    """The object id in a SID; None if ``name`` is no SID, but a unique name."""
    # Not before the length is known: what a caller makes up may be long.
    return _find_oid(name) if len(name) == _SID_CHARACTERS else None


@lru_cache(maxsize=65_536)
def _find_oid(name: str) -> int | None:
    """A busy object is named over and over, so the answers are kept."""
    return oid_of(name) if is_sid(name) else None
