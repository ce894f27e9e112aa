"""Settings: their sources and what wins, what is refused, and the page that tells of them."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from starlings.cli.serve import serve
from starlings.core.limits import DOCUMENTED, OFF
from starlings.node.queries import QueryBounds
from starlings.settings import (
    SETTINGS,
    Settings,
    SettingsError,
    list_unknown_variables,
    load_settings,
)
from tests.ops.settings_reference import PAGE, with_tables


def a_file(directory: Path, text: str) -> Path:
    file = directory / "starlings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_defaults_are_those_of_the_developers_guide() -> None:
    settings = load_settings({}, {})
    assert (settings.host, settings.port, str(settings.data)) == ("127.0.0.1", 8080, "data")
    assert settings.limits_in_force == DOCUMENTED
    assert settings.log_retention == 24 * 3600
    assert settings.tombstone_retention == 7 * 24 * 3600
    assert settings == Settings()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = a_file(tmp_path, 'host = "file"\nport = 1\ndrain = 3\n')
    environment = {"STARLINGS_HOST": "environment", "STARLINGS_PORT": "2"}
    settings = load_settings({"host": "flag", "port": None}, environment, file)
    assert (settings.host, settings.port, settings.drain) == ("flag", 2, 3.0)


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = a_file(tmp_path, "port = 7\n")
    assert load_settings({}, {"STARLINGS_CONFIG": str(file)}).port == 7


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({}, {"STARLINGS_PORT": "", "STARLINGS_CONFIG": ""}).port == 8080


def test_a_variable_that_is_no_setting_is_found() -> None:
    known = {one.variable: "1" for one in SETTINGS} | {"STARLINGS_CONFIG": "x", "HOME": "/"}
    assert list_unknown_variables(known) == []
    misspelt = {"STARLINGS_PROT": "1", "STARLINGS_LOG_LEVLE": "debug"}
    assert list_unknown_variables(known | misspelt) == ["STARLINGS_LOG_LEVLE", "STARLINGS_PROT"]


def test_a_port_that_kubernetes_set_is_told_with_its_remedy() -> None:
    with pytest.raises(SettingsError, match=r"STARLINGS_PORT .* enableServiceLinks: false$"):
        load_settings({}, {"STARLINGS_PORT": "tcp://10.0.0.1:8080"})


def test_limits_may_be_switched_off_by_profile() -> None:
    assert load_settings({"limits": "off"}, {}).limits_in_force == OFF
    assert load_settings({}, {"STARLINGS_LIMITS": "OFF"}).limits_in_force == OFF


def test_the_file_sets_single_numbers(tmp_path: Path) -> None:
    file = a_file(
        tmp_path,
        'port = 1\n[limits]\npage_max = 1000\nconnection_requests = "off"\n'
        '[rates]\nwrites = 100\nreads = "off"\nservices = 3\n',
    )
    limits = load_settings({}, {}, file).limits_in_force
    assert limits.page_max == 1000
    assert limits.connection_requests is None
    assert (limits.rates.writes, limits.rates.reads, limits.rates.services) == (100, None, 3)
    assert limits.data_bytes == DOCUMENTED.data_bytes
    assert limits.rates.messages == DOCUMENTED.rates.messages


@pytest.mark.parametrize("text", ['limits = "off"\n', '[limits]\nprofile = "off"\n'])
def test_the_file_may_name_the_profile(tmp_path: Path, text: str) -> None:
    assert load_settings({}, {}, a_file(tmp_path, text)).limits_in_force == OFF


def test_numbers_of_the_file_change_whichever_profile_is_in_force(tmp_path: Path) -> None:
    file = a_file(tmp_path, '[limits]\nprofile = "documented"\n[rates]\nwrites = 5\n')
    limits = load_settings({"limits": "off"}, {}, file).limits_in_force
    assert (limits.rates.writes, limits.rates.reads) == (5, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 1\n", "colour"),
        ("auth_token = 'x'\n", "auth_token"),
        ("[limits]\ncolour = 1\n", "colour in \\[limits\\]"),
        ("[limits]\nrates = 1\n", "rates in \\[limits\\]"),
        ("[limits]\npage_max = 0\n", "page_max"),
        ("[limits]\npage_max = 1.5\n", "page_max"),
        ("[limits]\npage_max = true\n", "page_max"),
        ("[limits]\npage_max = 'off'\n", "page_max"),
        ("[limits]\nprofile = 'none'\n", "limits"),
        ("[rates]\nwrites = -1\n", 'writes .* must be a number above 0 or "off"$'),
        ("[rates]\nwrites = 1e300\n", "writes .* must be at most"),
        ("[limits]\nttl_seconds = 4000000000\n", "ttl_seconds .* must be at most 3155760000"),
        ("[limits]\npage_max = 1000000000000000000000\n", "page_max .* must be at most"),
        ("[limits]\npage_max = 'off'\n", "page_max .* must be a number above 0$"),
        ("a = " + "[" * 5000, "can't be read"),
        ("[rates]\nwrites = inf\n", "writes"),
        ("[rates]\nwrites = nan\n", "writes"),
        ("[rates]\nlarge_writes = 'off'\n", "large_writes"),
        ("rates = 5\n", "rates"),
        ("port = 'x'\n", "port in .*starlings.toml"),
        ("port = \n", "can't be read"),
    ],
)
def test_what_the_file_may_not_say_is_an_error_that_names_it(
    tmp_path: Path, text: str, named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings({}, {}, a_file(tmp_path, text))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.toml"):
        load_settings({}, {}, tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "-1"),
        ("port", "65536"),
        ("port", "http"),
        ("limits", "some"),
        ("data", "a\0b"),
        ("drain", "-1"),
        ("drain", "nan"),
        ("log_retention", "inf"),
        ("webhooks_max_waiting", "0"),
        ("webhooks_max_waiting", "off"),
        ("queries_max_items", "0"),
        ("queries_max_live", "1.5"),
        ("queries_max_live_bytes", "256MiB"),
        ("log_level", "loud"),
        ("public_url", "sync.example.org"),
        ("public_url", "ftp://sync.example.org"),
        ("public_url", "https://sync.example.org/?a=b"),
        ("trusted_proxies", "10.0.0.0/33"),
        ("account_sid", "AC123"),
        ("account_sid", "SK" + "0" * 32),
        ("api_key_sid", "AC" + "0" * 32),
        ("api_key_sid", "SK" + "g" * 32),
        ("auth_token", "two words"),
        ("api_key_secret", "x" * 257),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_that_names_its_variable(
    name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"STARLINGS_{name.upper()}"):
        load_settings({}, {f"STARLINGS_{name.upper()}": value})


def test_what_queries_may_cost_is_what_they_cost_without_settings() -> None:
    settings, bounds = load_settings({}, {}), QueryBounds()
    assert settings.queries_max_items == bounds.scanned_items
    assert settings.queries_max_live == bounds.live_queries
    assert settings.queries_max_live_bytes == bounds.live_bytes


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "abc", "a port, 0 to 65535"),
        ("port", "8_080", "a port, 0 to 65535"),
        ("port", "9" * 5000, "a port, 0 to 65535"),
        ("drain", "soon", r"a number of seconds, 0 to 3155760000 \(100 years\)"),
        ("log_retention", "1e300", r"a number of seconds, 0 to 3155760000 \(100 years\)"),
        ("webhooks_max_waiting", "many", "a whole number, 1 or more"),
        ("ws_compression_bytes", "1k", "a number of bytes, 1 or more"),
        ("trusted_proxies", "10.0.0.0/8, proxy", "addresses or networks like 10.0.0.0/8"),
        ("public_url", "http://[::1", "an absolute http or https URL without query"),
        ("public_url", "http://sync:99999", "an absolute http or https URL without query"),
        ("host", "a\nb", "UTF-8 without control characters"),
        ("host", "\udcff", "UTF-8 without control characters"),
    ],
)
def test_a_value_that_cannot_be_used_is_answered_with_what_is_expected(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=f"can't be used: expected {expected}$"):
        load_settings({name: value}, {})


def test_secrets_are_shown_neither_in_errors_nor_in_settings() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {"STARLINGS_AUTH_TOKEN": "hunter 2"})
    assert "hunter" not in str(caught.value)
    assert "hunter2" not in repr(load_settings({}, {"STARLINGS_AUTH_TOKEN": "hunter2"}))


def test_a_private_key_without_a_certificate_is_an_error() -> None:
    with pytest.raises(SettingsError, match="--ssl-certfile"):
        load_settings({"ssl_keyfile": "key.pem"}, {})


def test_proxies_are_trusted_by_address_and_by_network() -> None:
    settings = load_settings({"trusted_proxies": "10.0.0.0/8, 192.0.2.7,2001:db8::/32"}, {})
    trusted = ["10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1"]
    assert all(settings.is_trusted_proxy(address) for address in trusted)
    others = ["11.0.0.1", "192.0.2.8", "2001:db9::1", "", "unix:"]
    assert not any(settings.is_trusted_proxy(address) for address in others)
    assert not Settings().is_trusted_proxy("127.0.0.1")


def test_origins_are_compared_without_case_and_a_star_allows_all() -> None:
    assert Settings().ws_origins is None
    given = load_settings({"ws_origins": "https://A.example/, http://b.example"}, {})
    assert given.ws_origins == frozenset({"https://a.example", "http://b.example"})


def test_an_origin_is_what_browsers_send() -> None:
    given = (
        "https://a.example:443, http://b.example:80/, http://b.example:443, capacitor://localhost,"
        " http://[::1]:5173, null, https://xn--bcher-kva.example"
    )
    assert load_settings({"ws_origins": given}, {}).ws_origins == frozenset(
        {
            "https://a.example",
            "http://b.example",
            "http://b.example:443",
            "capacitor://localhost",
            "http://[::1]:5173",
            "null",
            "https://xn--bcher-kva.example",
        }
    )


@pytest.mark.parametrize(
    "origin",
    [
        "app.example.org",
        "app.example.org:8080",
        "https://",
        "https://app.example.org/chat",
        "https://*.example.org",
        "https://zoe@app.example.org",
        "https//app.example.org",
        "https://bücher.example",
        "https://app.example.org https://b.example",
    ],
)
def test_what_no_browser_sends_as_an_origin_is_an_error(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"expected origins like https://app\.example\.org"):
        load_settings({"ws_origins": f"https://a.example, {origin}"}, {})


def test_compression_is_off_and_its_least_size_is_a_number_of_bytes() -> None:
    assert (Settings().ws_compression, Settings().ws_compression_bytes) == (False, 256)
    given = {"STARLINGS_WS_COMPRESSION": "on", "STARLINGS_WS_COMPRESSION_BYTES": "1024"}
    settings = load_settings({}, given)
    assert (settings.ws_compression, settings.ws_compression_bytes) == (True, 1024)
    for wrong in ("0", "-1", "1k"):
        with pytest.raises(SettingsError, match="--ws-compression-bytes"):
            load_settings({"ws_compression_bytes": wrong}, {})


def test_every_setting_is_a_flag_of_serve_unless_it_is_secret() -> None:
    flags: Any = inspect.signature(serve).parameters
    assert list(flags) == [one.name for one in SETTINGS if not one.is_secret] + ["config"]


def test_every_field_is_in_the_table() -> None:
    fields = [entry.name for entry in dataclasses.fields(Settings)]
    assert [one.name for one in SETTINGS] + ["limits_in_force"] == fields


def test_the_page_of_settings_says_what_the_code_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("made from the code") == 4
    assert with_tables(page) == page, "run `python -m tests.ops.settings_reference`"


def test_the_example_of_the_page_can_be_used(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    settings = load_settings({}, {}, a_file(tmp_path, example))
    assert settings.is_trusted_proxy("10.9.9.9")
    assert settings.limits_in_force.page_max == 1000
