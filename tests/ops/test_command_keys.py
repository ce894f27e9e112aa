"""API keys and tokens made on the command line."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.ops.in_process import Run
from tests.ops.stores import run_sql

FIXED = {
    "STARLINGS_ACCOUNT_SID": "AC" + "a" * 32,
    "STARLINGS_API_KEY_SID": "SK" + "b" * 32,
    "STARLINGS_API_KEY_SECRET": "s" * 32,
}


def decode(token: str, secret: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, secret, ["HS256"], options={"require": ["exp"]})
    return decoded


def test_a_token_is_signed_with_the_key_of_the_directory(starlings: Run, data: Path) -> None:
    shown = json.loads((data / "credentials.json").read_text())
    printed = starlings("token", "--identity", "zoe", "--ttl", "60", "--data", data)
    assert printed.returncode == 0, printed.stderr
    claims = decode(printed.stdout.strip(), shown["api_key_secret"])
    assert claims["iss"] == shown["api_key_sid"]
    assert claims["sub"] == shown["account_sid"]
    assert claims["exp"] - claims["nbf"] == 60
    assert claims["grants"] == {"identity": "zoe", "data_sync": {"service_sid": "default"}}
    header = jwt.get_unverified_header(printed.stdout.strip())
    assert header == {"alg": "HS256", "cty": "twilio-fpa;v=1", "typ": "JWT"}


def test_a_token_is_signed_with_fixed_credentials_without_any_directory(
    starlings: Run, tmp_path: Path
) -> None:
    service = "IS" + "5" * 32
    printed = starlings(
        *("token", "--identity", "zoe", "--service", service, "--data", tmp_path),
        **FIXED,
    )
    claims = decode(printed.stdout.strip(), FIXED["STARLINGS_API_KEY_SECRET"])
    assert claims["iss"] == FIXED["STARLINGS_API_KEY_SID"]
    assert claims["grants"]["data_sync"] == {"service_sid": service}


def test_a_copied_credentials_file_is_enough_to_sign(
    starlings: Run, data: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shown = (data / "credentials.json").read_text()
    (elsewhere / "credentials.json").write_text(shown)
    printed = starlings("token", "--identity", "zoe", "--data", elsewhere)
    assert decode(printed.stdout.strip(), json.loads(shown)["api_key_secret"])


def test_a_revoked_key_signs_no_more_and_the_next_one_does(starlings: Run, data: Path) -> None:
    shown = json.loads((data / "credentials.json").read_text())
    assert starlings("keys", "revoke", shown["api_key_sid"], "--data", data).returncode == 0
    refused = starlings("token", "--identity", "zoe", "--data", data)
    assert (refused.returncode, "keys create" in refused.stderr) == (2, True)
    created = starlings("keys", "create", "--data", data).stdout
    made = dict(line.split(": ") for line in created.splitlines())
    printed = starlings("token", "--identity", "zoe", "--data", data)
    assert decode(printed.stdout.strip(), made["api_key_secret"])["iss"] == made["api_key_sid"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--identity", ""),
        ("--identity", "x" * 257),
        ("--identity", "system"),
        ("--identity", "a\nb"),
        ("--identity", "a\x7fb"),
        ("--identity", "zoe", "--service", "none"),
        ("--identity", "zoe", "--ttl", "0"),
        ("--identity", "zoe", "--ttl", "86401"),
        ("--identity", "zoe", "--ttl", "soon"),
        (),
    ],
)
def test_a_token_that_the_server_would_refuse_is_not_made(
    starlings: Run, data: Path, arguments: tuple[str, ...]
) -> None:
    refused = starlings("token", *arguments, "--data", data)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Traceback" not in refused.stderr


def test_a_named_key_that_cannot_sign_is_told_apart_from_there_being_none(
    starlings: Run, data: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "credentials.json").write_text((data / "credentials.json").read_text())
    sid = json.loads((data / "credentials.json").read_text())["api_key_sid"]
    named = ("token", "--identity", "zoe", "--key")
    assert starlings(*named, sid, "--data", data).returncode == 0
    assert starlings(*named, sid, "--data", elsewhere).returncode == 0
    unknown = starlings(*named, "SK1", "--data", data)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "starlings: There is no API key SK1\n"
    assert "There is no API key SK1 in" in starlings(*named, "SK1", "--data", elsewhere).stderr
    starlings("keys", "revoke", sid, "--data", data)
    revoked = starlings(*named, sid, "--data", data)
    assert revoked.stderr == f"starlings: The API key {sid} was revoked\n"


def test_keys_are_made_for_a_known_account_only(starlings: Run, data: Path) -> None:
    refused = starlings("keys", "create", "--account", "AC" + "f" * 32, "--data", data)
    assert refused.returncode == 2
    run_sql(data, "INSERT INTO account VALUES ('AC2', x'00', 0)")
    several = starlings("keys", "create", "--data", data)
    assert (several.returncode, "--account" in several.stderr) == (2, True)


def test_a_key_is_not_sealed_with_another_secret_key_than_the_servers(
    starlings: Run, data: Path
) -> None:
    refused = starlings("keys", "create", "--data", data, STARLINGS_SECRET_KEY="A" * 43 + "=")
    assert (refused.returncode, "does not open" in refused.stderr) == (2, True)
    assert run_sql(data, "SELECT count(*) FROM api_key") == [(1,)]
