"""Where a caller is said to be."""

import pytest

from starlings.auth.addresses import find_caller_address

PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", b"198.51.100.1", "192.0.2.7"),
        (PROXY, None, PROXY),
        (PROXY, b"6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (PROXY, b"nonsense", PROXY),
        ("", b"198.51.100.1", ""),
    ],
)
def test_only_trusted_proxies_say_where_a_caller_is(
    peer: str, forwarded: bytes | None, expected: str
) -> None:
    found = find_caller_address(peer, forwarded, lambda address: address.startswith("10."))
    assert found == expected
