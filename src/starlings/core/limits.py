"""Every bound of the service in one place, with unit and source.

The defaults are the documented ones (rest-api section 10). The rates are switched off by
``Rates.off()``; sizes and counts always hold, because everything behind them relies on their being
bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DOCUMENTED", "OFF", "Limits", "Rates"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one caller or one object; None switches a rate off.

    Each is a token bucket: refilled at the rate, holding ``burst_seconds`` times the rate. Unit:
    per second.
    """

    writes: float | None = 20.0
    """Writes of one object with payloads up to 1 KiB. [rest-api 10]"""
    large_writes: float = 2.0
    """Writes of one object with payloads of 10 KiB and more; linear between. [rest-api 10, 12.17]
    """
    reads: float | None = 20.0
    """Reads of one object; a page counts as one. [rest-api 10, 12.15]"""
    creations: float | None = 20.0
    """Object creations in one service. [54009]"""
    messages: float | None = 30.0
    """Messages of one stream. [rest-api 10]"""
    permissions: float | None = 80.0
    """Reads and writes of one object's permissions. [rest-api 10]"""
    queries: float | None = 200.0
    """Live queries of one index. [rest-api 10]"""
    queries_per_identity: float | None = 20.0
    """Live queries of one index by one identity. [rest-api 10]"""
    burst_seconds: float = 10.0
    """How many seconds' worth of its rate a bucket holds. [rest-api 12.16]"""
    connections: float | None = 110.0
    """New connections of the account. [rest-api 10]"""
    services: int | None = 50
    """Services of the account, a count. [rest-api 10]"""

    @classmethod
    def off(cls) -> Rates:
        return cls(
            writes=None,
            reads=None,
            creations=None,
            messages=None,
            permissions=None,
            queries=None,
            queries_per_identity=None,
            connections=None,
            services=None,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds in force on one server."""

    data_bytes: int = 16 * 1024
    """Serialised data of a document or an item. [54006]"""
    message_bytes: int = 4 * 1024
    """Serialised data of a stream message. [rest-api 10]"""
    data_depth: int = 64
    """Nested arrays and objects in data; deeper is 54008. [ours]"""
    items: int = 1_000_000
    """Items of a list or a map. [rest-api 10]"""
    name_characters: int = 320
    """A unique name. [rest-api 12.5]"""
    key_characters: int = 320
    """A map key. [rest-api 12.5]"""
    identity_characters: int = 256
    """An identity. [54351]"""
    friendly_name_characters: int = 255
    """A service's friendly name. [54053]"""
    webhook_url_characters: int = 512
    """A service's webhook URL. [54051]"""
    patterns: int = 100
    """Permissions of one object for everybody or for a prefix of identities: each is looked at when
    no exact one decides. [ours]"""
    ttl_seconds: int = 31_536_000
    """The longest time to live, a year. [54011]"""
    page_default: int = 50
    """Entries of a page when no PageSize is given. [rest-api 4]"""
    page_max: int = 100
    """Entries of a page at most; a larger PageSize is clamped. [rest-api 12.6]"""
    token_seconds: int = 86_400
    """The longest life of an access token from now. [20157]"""
    clock_skew_seconds: int = 60
    """Tolerance for the clock of whoever signed a token. [ours]"""
    debouncing_window_min_ms: int = 1_000
    debouncing_window_max_ms: int = 30_000
    """Reachability debouncing window. [rest-api 2.1]"""
    subscriptions: int = 2_000
    """Subscriptions of one connection. [54419]"""
    connection_requests: float | None = 500.0
    """Requests per second of one connection. [rest-api 10]"""
    rates: Rates = field(default_factory=Rates)

    @property
    def request_bytes(self) -> int:
        """The most that one request can have by which data come: 128 KiB, and more only if data may
        be larger than documented. A form escapes a byte with three characters, a form of JSON
        escapes with eight.
        """
        return max(128 * 1024, 8 * self.data_bytes, 8 * self.message_bytes)


DOCUMENTED = Limits()
"""The documented limits, the default profile."""

OFF = Limits(rates=Rates.off(), connection_requests=None)
"""No rates; sizes and counts still hold."""
