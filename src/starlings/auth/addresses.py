"""Where a caller is: the peer of its connection, or what trusted proxies say of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

__all__ = ["find_caller_address"]


def find_caller_address(
    peer: str, forwarded: bytes | None, is_trusted_proxy: Callable[[str], bool]
) -> str:
    """The nearest address that is no trusted proxy's.

    Args:
        peer: Of the connection; empty if unknown.
        forwarded: The ``X-Forwarded-For`` header, several joined by commas; None without one.
    """
    if forwarded is None or not is_trusted_proxy(peer):
        return peer
    address = peer
    for hop in reversed(forwarded.decode("latin-1").split(",")):
        try:
            address = str(ip_address(_without_port(hop.strip())))
        except ValueError:
            break
        if not is_trusted_proxy(address):
            break
    return address


def _without_port(hop: str) -> str:
    """The address of ``192.0.2.7:1234`` or ``[2001:db8::1]:1234``, as some proxies write it."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
