"""Where deliveries may go: webhooks/addresses.py."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.webhooks.addresses import AddressRefused, GuardedBackend, is_public

_SPECIAL = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 127.0.0.1 127.255.0.9 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.168.0.1 198.18.0.1 198.51.100.7 203.0.113.9
    224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::
    2002:a00:1::1 2002:c0a8:101:: 3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%2 fec0::1
    ff02::1 ff0e::1
"""
_INTERNET = """
    1.1.1.1 8.8.8.8 11.0.0.1 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.0.1
    172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
    223.255.255.255 2606:4700::1111 2a00:1450:4001::200e ::ffff:8.8.8.8 64:ff9b::8.8.8.8
    2002:808:808::1
"""


@pytest.mark.parametrize("address", _SPECIAL.split())
def test_an_address_of_a_special_network_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", _INTERNET.split())
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_each_ipv6_form(
    address: ipaddress.IPv4Address,
) -> None:
    number = int(address)
    for carrier in (0xFFFF << 32, 0x64FF9B << 96, 0xFFFF << 48, 0):
        assert is_public(ipaddress.IPv6Address(carrier | number)) == is_public(address)
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)
    assert is_public(six_to_four) == is_public(address)


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_public(address: Any) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        inner = getattr(address, "ipv4_mapped", None)
        assert not is_public(address) or (inner is not None and is_public(inner))


def _answering(*found: str) -> Any:
    """A name server of the tests: every name has these addresses."""

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return look_up


async def test_a_name_with_only_private_addresses_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _answering("10.0.0.1", "::1"))
    backend = GuardedBackend(may_be_private=False)
    with pytest.raises(AddressRefused, match="inside is in a private network"):
        await backend.connect_tcp("inside", 80)
    backend.close()


async def test_of_a_name_with_both_kinds_only_public_addresses_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _answering("10.0.0.1", "8.8.8.8", "::1", "8.8.4.4"))
    backend = GuardedBackend(may_be_private=False)
    assert await backend.resolve("both", 80) == ["8.8.8.8", "8.8.4.4"]
    backend.close()


async def test_a_connection_is_made_to_the_checked_address_not_to_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second look-up would be the attacker's chance to answer differently."""
    looked_up = []
    connected = []

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        looked_up.append(host)
        return list(_answering("8.8.8.8" if len(looked_up) == 1 else "127.0.0.1")(host, port))

    class Recorder(httpcore.AsyncNetworkBackend):
        async def connect_tcp(self, host: str, *_: Any, **__: Any) -> Any:
            connected.append(host)
            raise httpcore.ConnectError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    backend = GuardedBackend(may_be_private=False)
    backend._backend = Recorder()  # type: ignore[assignment]
    with pytest.raises(httpcore.ConnectError):
        await backend.connect_tcp("rebinding.example", 80)
    assert (looked_up, connected) == (["rebinding.example"], ["8.8.8.8"])
    backend.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "localhost", "[::1]"])
async def test_no_spelling_of_this_machine_is_connected_to(host: str) -> None:
    backend = GuardedBackend(may_be_private=False)
    with pytest.raises(AddressRefused):
        await backend.resolve(host, 80)
    backend.close()


async def test_an_operator_may_allow_private_addresses() -> None:
    backend = GuardedBackend(may_be_private=True)
    assert await backend.resolve("127.0.0.1", 80) == ["127.0.0.1"]
    backend.close()


async def test_unix_sockets_are_refused_always() -> None:
    backend = GuardedBackend(may_be_private=True)
    with pytest.raises(AddressRefused):
        await backend.connect_unix_socket("/run/docker.sock")
    backend.close()
