"""Where a delivery may connect to, decided on the very address that is connected to.

A service's owner chooses the URL; the server must not lend them its place in the network. A name
is resolved once, each answer is checked, and the connection is made to a checked address: a name
server that answers differently a moment later changes nothing. Names, odd spellings of numbers
(``0x7f.1``) and IPv6 forms that carry an IPv4 address all end in the addresses checked here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore

__all__ = ["AddressRefused", "GuardedBackend", "is_public"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_RESOLVER_THREADS = 16

_CARRIERS = (
    # Networks whose addresses carry an IPv4 address, and how many bits follow it.
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible, and :: and ::1
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        # The library's is_global has changed from one patch version to the next: what matters
        # most is named here. IANA special-purpose address registries.
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo, ORCHID and others
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


class AddressRefused(Exception):
    """A name has no address that a delivery may connect to."""


def is_public(address: Address) -> bool:
    """True for an address that anybody on the internet may be asked at."""
    if isinstance(address, ipaddress.IPv6Address):
        for carrier, shift in _CARRIERS:
            if address in carrier:
                inner = (int(address) >> shift) & 0xFFFFFFFF
                return is_public(ipaddress.IPv4Address(inner))
    if any(address in network for network in _REFUSED if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for the HTTP client, to checked addresses only.

    The client keeps the name for the Host header and the certificate; only the connection is made
    to the address.

    Args:
        may_be_private: Check nothing: for receivers in the operator's own network.
    """

    def __init__(self, *, may_be_private: bool) -> None:
        self._may_be_private = may_be_private
        self._backend = httpcore.AnyIOBackend()
        # Its own threads: a name server that hangs must not hold up other users of the pool.
        self._threads = ThreadPoolExecutor(
            _RESOLVER_THREADS, thread_name_prefix="starlings-resolver"
        )

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers.

        Raises:
            AddressRefused: There is none that may be connected to.
            httpcore.ConnectError, httpcore.ConnectTimeout: None answers, or the name is unknown.
        """
        failure: Exception | None = None
        for address in await self.resolve(host, port):
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's interface
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("Webhooks don't go to Unix sockets")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The checked addresses of a name, at least one.

        Raises:
            AddressRefused: None of its addresses may be connected to.
            httpcore.ConnectError: It has none.
        """
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._threads, _look_up, host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} has no address: {error}") from error
        if self._may_be_private:
            return answers
        allowed = [answer for answer in answers if is_public(ipaddress.ip_address(answer))]
        if not allowed:
            raise AddressRefused(f"{host} is in a private network ({answers[0]})")
        return allowed

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    answers = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not answers:
        raise OSError("no answer")
    return answers
