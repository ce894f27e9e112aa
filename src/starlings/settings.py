"""What an operator may set: one frozen ``Settings``, from flags, environment and a file.

The fields below are the one table: names, defaults, units and sentences of the command line's flags
(``--log-level``), of the environment (``STARLINGS_LOG_LEVEL``), of the settings file
(``log_level``) and of docs/reference/settings.md all come from it. A flag wins over the
environment, the environment over the file, the file over the default. The file is TOML; its tables
``[limits]`` and ``[rates]`` set single numbers by their names in ``starlings.core.limits``;
``[limits]`` may also name the ``profile`` that they change. A rate is switched off by ``"off"``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from starlings.core.credentials import is_account_sid, is_api_key_sid
from starlings.core.limits import DOCUMENTED, OFF, Limits, Rates

__all__ = [
    "SETTINGS",
    "Setting",
    "Settings",
    "SettingsError",
    "list_unknown_variables",
    "load_settings",
]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Parser = Callable[[str], Any]


_PREFIX = "STARLINGS_"
_CONFIG_VARIABLE = f"{_PREFIX}CONFIG"
_UNSEEN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and the stand-ins for bytes of the environment that are not UTF-8."""
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
"""As browsers send it, so names of other alphabets in Punycode; pages of no site send ``null``."""
_DEFAULT_PORT = re.compile(r"^(http://.+(?=:80$)|https://.+(?=:443$)):[0-9]+$")
"""Browsers leave it out."""
_MOST = 10**15
"""What any whole number may be at most: far from what the database can hold, and from any use."""
_MOST_SECONDS = 100 * 31_557_600
"""Times further away are no dates any more, or no integers of the database."""


class SettingsError(Exception):
    """A setting can't be used; the sentence names it and where it came from."""


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    default: str
    """As it would be written; empty if there is none."""
    unit: str
    """What the value is; for a choice, the choices joined by ``|``."""
    sentence: str
    is_secret: bool
    """Secrets are taken from the environment only: flags show in process lists, files in
    backups.
    """
    parse: Parser

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"{_PREFIX}{self.name.upper()}"


def _setting(default: str, unit: str, sentence: str, parse: Parser, is_secret: bool = False) -> Any:
    """A field of ``Settings``; ``default`` is written as an operator would write it."""
    metadata = {
        "default": default,
        "unit": unit,
        "sentence": sentence,
        "parse": parse,
        "is_secret": is_secret,
    }
    value = parse(default) if default else None
    return field(default=value, metadata=metadata, repr=not is_secret)


def _text(value: str) -> str:
    return value


def _path(value: str) -> Path:
    if not value or "\0" in value:
        raise ValueError("expected a path")
    return Path(value).expanduser()


def _port(value: str) -> int:
    if value.startswith("tcp://"):
        raise ValueError(
            "expected a port. Kubernetes sets this variable in every pod beside a Service named"
            " starlings, unless the pod says enableServiceLinks: false"
        )
    return _whole(value, 0, 65_535, "a port, 0 to 65535")


def _bytes(value: str) -> int:
    return _whole(value, 1, _MOST, "a number of bytes, 1 or more")


def _count(value: str) -> int:
    return _whole(value, 1, _MOST, "a whole number, 1 or more")


def _whole(value: str, least: int, most: int, expected: str) -> int:
    if re.fullmatch(r" *[0-9]{1,18} *", value) and least <= int(value) <= most:
        return int(value)
    raise ValueError(f"expected {expected}")


def _seconds(value: str) -> float:
    with contextlib.suppress(ValueError):
        number = float(value)
        if 0 <= number <= _MOST_SECONDS:
            return number
    raise ValueError(f"expected a number of seconds, 0 to {_MOST_SECONDS} (100 years)")


def _switch(value: str) -> bool:
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected 1 or 0")


def _choice(*choices: str) -> Parser:
    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return value.lower()

    return parse


def _url(value: str) -> str:
    with contextlib.suppress(ValueError):
        parts = urlsplit(value)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if is_whole and not parts.query and not parts.fragment:
            return value.rstrip("/")
    raise ValueError("expected an absolute http or https URL without query")


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in _split(value))
    except ValueError as error:
        raise ValueError("expected addresses or networks like 10.0.0.0/8") from error


def _origins(value: str) -> frozenset[str] | None:
    """None allows all."""
    origins = {part.lower().removesuffix("/") for part in _split(value)}
    if "*" in origins:
        return None
    if not all(origin == "null" or _ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("expected origins like https://app.example.org, or * for all")
    return frozenset(_DEFAULT_PORT.sub(r"\1", origin) for origin in origins)


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _account_sid(value: str) -> str:
    if not is_account_sid(value):
        raise ValueError("expected AC and 32 hexadecimal digits")
    return value


def _api_key_sid(value: str) -> str:
    if not is_api_key_sid(value):
        raise ValueError("expected SK and 32 hexadecimal digits")
    return value


def _secret(value: str) -> str:
    if not 1 <= len(value) <= 256 or not all("!" <= character <= "~" for character in value):
        raise ValueError("expected 1 to 256 visible ASCII characters")
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one server."""

    host: str = _setting("127.0.0.1", "address or name", "Where to listen.", _text)
    port: int = _setting("8080", "port", "Where to listen; 0 takes any free port.", _port)
    data: Path = _setting(  # noqa: RUF009  # it makes a field, as all of these do
        "./data", "directory", "Where the database and the keys are.", _path
    )
    limits: Literal["documented", "off"] = _setting(
        "documented",
        "documented|off",
        "Rates that callers are held to; sizes and counts always hold.",
        _choice("documented", "off"),
    )
    public_url: str | None = _setting(
        "",
        "URL",
        "How callers reach this server; without it, URLs in answers follow the Host header.",
        _url,
    )
    trusted_proxies: tuple[Network, ...] | None = _setting(
        "",
        "addresses or networks, comma-separated",
        "Proxies whose X-Forwarded headers are believed.",
        _networks,
    )
    ws_origins: frozenset[str] | None = _setting(
        "*",
        "origins, comma-separated",
        "Web origins whose pages may open a WebSocket; * allows all.",
        _origins,
    )
    ws_compression: bool = _setting(
        "0",
        "1 or 0",
        "Compress events for WebSocket clients that offer permessage-deflate.",
        _switch,
    )
    ws_compression_bytes: int = _setting(
        "256", "bytes", "The smallest event that is compressed.", _bytes
    )
    ssl_certfile: Path | None = _setting(  # noqa: RUF009  # (as above)
        "", "file", "Certificate chain (PEM): serve HTTPS instead of HTTP.", _path
    )
    ssl_keyfile: Path | None = _setting(  # noqa: RUF009  # (as above)
        "", "file", "Private key of the certificate (PEM), if it isn't in the same file.", _path
    )
    log_format: Literal["auto", "human", "json"] = _setting(
        "auto",
        "auto|human|json",
        "How log lines look; auto is human on a terminal and json elsewhere.",
        _choice("auto", "human", "json"),
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info",
        "debug|info|warning|error",
        "The least severe lines that are logged.",
        _choice("debug", "info", "warning", "error"),
    )
    log_retention: float = _setting(
        "86400", "seconds", "How long events are kept for clients that reconnect.", _seconds
    )
    tombstone_retention: float = _setting(
        "604800", "seconds", "How long it is remembered which items were removed.", _seconds
    )
    webhooks_allow_private: bool = _setting(
        "0",
        "1 or 0",
        "Deliver webhooks into private networks too, this machine included.",
        _switch,
    )
    webhooks_max_age: float = _setting(
        "86400",
        "seconds",
        "How long delivering a webhook is tried before it becomes a dead letter.",
        _seconds,
    )
    webhooks_max_waiting: int = _setting(
        "100000",
        "webhooks, 1 or more",
        "How many webhooks may wait for one service; beyond, the oldest are dropped.",
        _count,
    )
    webhooks_dead_retention: float = _setting(
        "604800", "seconds", "How long dead letters of webhooks are kept.", _seconds
    )
    queries_max_items: int = _setting(
        "200000",
        "items, 1 or more",
        "The largest map that can be searched; each search reads all of it.",
        _count,
    )
    queries_max_live: int = _setting(
        "1000",
        "live queries, 1 or more",
        "Different live queries on one map; each change of the map is tried on all of them.",
        _count,
    )
    queries_max_live_bytes: int = _setting(
        "268435456",
        "bytes",
        "Memory for the results of all live queries together.",
        _bytes,
    )
    drain: float = _setting(
        "5", "seconds", "How long requests may take to finish after SIGTERM.", _seconds
    )
    account_sid: str | None = _setting(
        "", "SID (AC…)", "The account, instead of one made at the first start.", _account_sid, True
    )
    auth_token: str | None = _setting(
        "", "text", "The account's auth token, instead of one made.", _secret, True
    )
    api_key_sid: str | None = _setting(
        "", "SID (SK…)", "The first API key, instead of one made.", _api_key_sid, True
    )
    api_key_secret: str | None = _setting(
        "", "text", "The secret of that API key, instead of one made.", _secret, True
    )
    secret_key: str | None = _setting(
        "",
        "base64 of 32 bytes",
        "The key that seals secrets in the database, instead of the file secret.key.",
        _secret,
        True,
    )
    limits_in_force: Limits = DOCUMENTED
    """The profile named by ``limits`` with the numbers of the settings file put in."""

    def is_trusted_proxy(self, address: str) -> bool:
        """True if what this peer says about where a request came from is to be believed."""
        if not self.trusted_proxies:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self.trusted_proxies)


SETTINGS = tuple(
    Setting(entry.name, **entry.metadata)
    for entry in dataclasses.fields(Settings)
    if entry.metadata
)
"""The table, in the order of the fields."""


def load_settings(
    flags: Mapping[str, object], environment: Mapping[str, str], config: Path | None = None
) -> Settings:
    """Put the settings together.

    Args:
        flags: Values given on the command line, by setting name; None for those not given.
        environment: ``STARLINGS_…`` variables among others; an empty one counts as not set.
        config: The settings file; None for the one that ``STARLINGS_CONFIG`` names, if any.

    Raises:
        SettingsError: A value that can't be used, a name that isn't known, an unreadable file.
    """
    if config is None and environment.get(_CONFIG_VARIABLE):
        config = Path(environment[_CONFIG_VARIABLE])
    file = {} if config is None else _read_file(config)
    numbers = file.get("limits")
    if isinstance(numbers, dict):
        # The profile and its numbers share a name: in a file that has numbers, the profile is one
        # of them.
        numbers = dict(numbers)
        file["limits"] = numbers.pop("profile", None)
    else:
        numbers = {}
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        given: object
        if (given := flags.get(setting.name)) is not None:
            source = setting.flag
        elif given := environment.get(setting.variable):
            source = setting.variable
        elif (given := file.get(setting.name)) is not None:
            source = f"{setting.name} in {config}"
        else:
            continue
        values[setting.name] = _parse(setting, _written(given), source)
    settings = Settings(**values)
    if settings.ssl_keyfile is not None and settings.ssl_certfile is None:
        raise SettingsError("--ssl-keyfile needs --ssl-certfile")
    return dataclasses.replace(
        settings,
        limits_in_force=_make_limits(settings.limits, numbers, file.get("rates") or {}, config),
    )


def list_unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names of variables that look like settings and are none, misspelt perhaps."""
    known = {setting.variable for setting in SETTINGS} | {_CONFIG_VARIABLE}
    return sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)


def _parse(setting: Setting, text: str, source: str) -> Any:
    try:
        if _UNSEEN.search(text):
            raise ValueError("expected UTF-8 without control characters")
        return setting.parse(text)
    except ValueError as error:
        shown = "" if setting.is_secret else f" {text!r}"
        raise SettingsError(f"{source}{shown} can't be used: {error}") from error


def _written(given: object) -> str:
    """A value of any source as an operator would write it."""
    return ",".join(map(str, given)) if isinstance(given, list | tuple) else str(given)


def _read_file(config: Path) -> dict[str, Any]:
    try:
        file = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"The settings file {config} can't be read: {error.strerror}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The settings file {config} can't be read: {error}") from error
    known = {setting.name for setting in SETTINGS if not setting.is_secret} | {"limits", "rates"}
    for name in file:
        if name not in known:
            raise SettingsError(f"The settings file {config} has an unknown setting: {name}")
    return file


def _make_limits(
    profile: str, numbers: Mapping[str, object], rates: object, config: Path | None
) -> Limits:
    base = OFF if profile == "off" else DOCUMENTED
    if not isinstance(rates, dict):
        raise SettingsError(f"rates in {config} is not a table")
    changed: dict[str, Any] = _check_numbers(Limits, numbers, "limits", config)
    changed_rates: dict[str, Any] = _check_numbers(Rates, rates, "rates", config)
    return dataclasses.replace(
        base, **changed, rates=dataclasses.replace(base.rates, **changed_rates)
    )


def _check_numbers(
    kind: type[Limits] | type[Rates], given: Mapping[str, object], table: str, config: Path | None
) -> dict[str, int | float | None]:
    """The numbers of one table of the settings file.

    Raises:
        SettingsError: An unknown name; what is no positive number; a size that is switched off.
    """
    hints = typing.get_type_hints(kind)
    hints.pop("rates", None)
    numbers: dict[str, int | float | None] = {}
    for name, value in given.items():
        where = f"{name} in [{table}] of {config}"
        if name not in hints:
            raise SettingsError(f"{where} is unknown")
        allowed = typing.get_args(hints[name]) or (hints[name],)
        may_be_off = types.NoneType in allowed
        most = _MOST_SECONDS if name.endswith("_seconds") else _MOST
        if value == "off" and may_be_off:
            numbers[name] = None
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise SettingsError(
                f"{where} must be a number above 0" + (' or "off"' if may_be_off else "")
            )
        elif value > most:
            raise SettingsError(f"{where} must be at most {most}")
        elif float not in allowed and not isinstance(value, int):
            raise SettingsError(f"{where} must be a whole number")
        else:
            numbers[name] = value
    return numbers
