"""The command line's tools on a data directory without a server."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jwt
import pytest

from starlings import __version__
from starlings.app.directory import DataDirectory
from starlings.app.first_start import ensure_credentials
from starlings.cli import main
from starlings.core.limits import OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite.database import SCHEMA_VERSION
from starlings.storage.sqlite.store import SqliteStore
from tests.ops.stores import fill, run_sql


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, *arguments: str | Path, **environment: str) -> Ended: ...


@pytest.fixture
def starlings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process: starting one takes half a second."""

    def run(*arguments: str | Path, **environment: str) -> Ended:
        with monkeypatch.context() as patch:
            for name in os.environ:
                if name.startswith("STARLINGS_"):
                    patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["starlings", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, printed.out, printed.err)

    return run


FIXED = {
    "STARLINGS_ACCOUNT_SID": "AC" + "a" * 32,
    "STARLINGS_API_KEY_SID": "SK" + "b" * 32,
    "STARLINGS_API_KEY_SECRET": "s" * 32,
}


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """What a first start leaves."""
    directory = DataDirectory(tmp_path / "data")
    directory.make()
    await (await SqliteStore.open(directory.path, OFF, SYSTEM_SOURCES.now)).close()
    sealer = directory.open_sealer(None, may_make_key=True)
    store = directory.open_credentials()
    ensure_credentials(directory, store, sealer, Settings(), SYSTEM_SOURCES.now())
    store.close()
    return directory.path


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


def test_ids_that_no_webhook_has_are_told_and_the_others_done(starlings: Run, data: Path) -> None:
    for id_ in (1, 2, 3):
        run_sql(
            data,
            "INSERT INTO webhook (id, service_oid, lane, type, at, event_id, identity, is_dead)"
            " VALUES (?, 1, 1, 'map_created', 0, 0, 'system', 1)",
            id_,
        )
    for command, done in (("retry", "To be delivered"), ("drop", "Dropped")):
        assert starlings("webhooks", command, "1", "1", "--data", data).returncode == 0
        one = starlings("webhooks", command, "99", "--data", data)
        assert one == (2, f"{done}: 0\n", "starlings: There is no webhook 99\n")
        some = starlings("webhooks", command, "2", "98", "99", "--data", data)
        assert some == (2, f"{done}: 1\n", "starlings: There is no webhook of 2 of these ids\n")
    assert starlings("webhooks", "drop", "--all", "--data", data) == (0, "Dropped: 1\n", "")
    assert starlings("webhooks", "drop", "--all", "--data", data) == (0, "Dropped: 0\n", "")


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


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "create"),
        ("keys", "list"),
        ("keys", "revoke", "SK1"),
        ("token", "--identity", "zoe"),
        ("check",),
        ("backup", "copy.db"),
    ],
)
def test_without_a_database_every_tool_says_so_in_one_line(
    starlings: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    refused = starlings(*command, "--data", tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"There is no database in {tmp_path}" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "command", [("keys", "create"), ("check",), ("backup", "copy.db"), ("webhooks", "list")]
)
@pytest.mark.parametrize("lack", ["missing", "empty"])
def test_where_a_database_was_lost_nobody_is_told_to_start_anew(
    starlings: Run, data: Path, command: tuple[str, ...], lack: str
) -> None:
    (data / "starlings.db").unlink()
    if lack == "empty":
        (data / "starlings.db").touch()
    refused = starlings(*command, "--data", data)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "traces of" in refused.stderr
    assert "starlings serve" not in refused.stderr


@contextlib.contextmanager
def without_rights(directory: Path) -> Iterator[None]:
    """This process as somebody whom ``directory`` doesn't belong to."""
    if os.geteuid() == 0:
        os.setresuid(65_534, 65_534, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
    else:
        mode = directory.stat().st_mode
        directory.chmod(0)
        try:
            yield
        finally:
            directory.chmod(mode)


@pytest.mark.parametrize("is_directory_open", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ("check",),
        ("backup", "copy.db"),
        ("history", "map", "x"),
        ("webhooks", "list"),
        ("webhooks", "drop", "1"),
        ("keys", "list"),
        ("keys", "create"),
        ("identities", "revoked"),
        ("token", "--identity", "zoe"),
    ],
)
def test_somebody_without_rights_is_told_whose_work_it_is(
    starlings: Run, data: Path, command: tuple[str, ...], is_directory_open: bool
) -> None:
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(shutil.copytree(data, Path(parent) / "data"))
        Path(parent).chmod(0o755)
        database = directory / "starlings.db"
        directory.chmod(0o755 if is_directory_open else 0o700)
        database.chmod(0o600)
        with without_rights(database if is_directory_open else directory):
            refused = starlings(*command, "--data", directory)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"starlings: {directory} can't be read: run this as the ser")
    assert len(refused.stderr.splitlines()) == 1


def test_a_path_that_cannot_be_is_told_in_one_line(starlings: Run) -> None:
    refused = starlings("check", "--data", "x" * 300)
    assert refused.returncode == 2
    assert refused.stderr.endswith(" can't be read: File name too long\n")


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "create"),
        ("keys", "list"),
        ("keys", "revoke", "@key"),
        ("identities", "revoke", "zoe"),
        ("identities", "revoked"),
        ("token", "--identity", "zoe"),
        ("check",),
        ("backup", "@copy"),
        ("restore", "--force", "@database"),
        ("history", "map", "a"),
        ("webhooks", "list"),
        ("webhooks", "retry", "--all"),
        ("webhooks", "drop", "--all"),
    ],
)
def test_a_database_of_a_newer_version_is_refused_by_every_command(
    starlings: Run, data: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    run_sql(data, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    shown = json.loads((data / "credentials.json").read_text())
    places = {
        "@key": shown["api_key_sid"],
        "@copy": tmp_path / "copy.db",
        "@database": data / "starlings.db",
    }
    before = contents_of(data)
    refused = starlings(*(places.get(word, word) for word in command), "--data", data)
    assert (refused.returncode, refused.stdout) == (2, "")
    [line] = refused.stderr.splitlines()
    assert f"The database has schema {SCHEMA_VERSION + 1}, this version knows" in line
    assert contents_of(data) == before
    assert not (tmp_path / "copy.db").exists()


def contents_of(data: Path) -> list[tuple[object, ...]]:
    return [
        row
        for table in ("account", "api_key", "revoked_identity", "meta", "webhook")
        for row in run_sql(data, f"SELECT * FROM {table}")  # noqa: S608  # names of ours
    ]


async def test_check_tells_clean_from_damaged_by_its_exit_status(
    starlings: Run, tmp_path: Path
) -> None:
    await fill(tmp_path)
    clean = starlings("check", "--data", tmp_path)
    assert clean.returncode == 0, clean.stdout
    assert "items: 5\n" in clean.stdout
    assert clean.stdout.endswith("No damage was found\n")
    run_sql(tmp_path, "UPDATE object SET item_count = 77 WHERE kind = 2")
    damaged = starlings("check", "--data", tmp_path)
    assert damaged.returncode == 1
    assert "an object counts its items rightly" in damaged.stdout


def break_header(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"X" * 20)


def break_first_page(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff" * 3996)


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_short(file: Path) -> None:
    os.truncate(file, 300)


def fill_with_nothing(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize(
    "damage", [break_header, break_first_page, cut_in_half, cut_short, fill_with_nothing]
)
def test_a_file_damaged_beyond_reading_is_damage(
    starlings: Run, data: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(data / "starlings.db")
    checked = starlings("check", "--data", data)
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "WRONG: not so: the file is sound: " in checked.stdout
    assert checked.stdout.endswith("Damage was found\n")
    backed_up = starlings("backup", tmp_path / "copy.db", "--data", data)
    assert (backed_up.returncode, backed_up.stdout) == (2, "")
    assert backed_up.stderr.startswith(f"starlings: {data / 'starlings.db'} is damaged and ")
    restored = starlings("restore", data / "starlings.db", "--data", tmp_path / "new")
    assert (restored.returncode, "is damaged: the file is sound" in restored.stderr) == (2, True)
    assert not (tmp_path / "copy.db").exists()
    assert not (tmp_path / "new" / "starlings.db").exists()
    assert len(restored.stderr.splitlines()) == len(backed_up.stderr.splitlines()) == 1


def test_a_file_that_can_not_be_reached_is_no_damage(starlings: Run, tmp_path: Path) -> None:
    (tmp_path / "starlings.db").mkdir()
    refused = starlings("check", "--data", tmp_path)
    assert (refused.returncode, "can't be checked" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("serve", "--limits", "none"), "--limits"),
        (("serve", "--log-level", "null"), "--log-level"),
        (("serve", "--log-format", "None"), "--log-format"),
        (("serve", "--ws-compression=none"), "--ws-compression"),
        (("check", "--data", "none"), "no database in none"),
        (("webhooks", "drop", "none"), "IDS"),
        (("webhooks", "list", "--limit", "none"), "--limit"),
    ],
)
def test_none_is_a_word_like_any_other(
    starlings: Run, command: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["starlings.cli.serve"], "run_server", pytest.fail)
    refused = starlings(*command)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert named in refused.stderr


def test_a_misspelt_variable_is_a_warning_without_its_value(
    starlings: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = sys.modules["starlings.cli.serve"]
    monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    monkeypatch.setattr(module, "run_server", lambda _: None)
    assert starlings("serve", STARLINGS_AUTH_TOKN="hunter2").returncode == 0
    assert caplog.messages == ["Unknown variables are ignored names=STARLINGS_AUTH_TOKN"]


@pytest.mark.parametrize(
    "arguments", [("list", "--after", str(2**63)), ("retry", str(2**63)), ("drop", "1", "-1")]
)
def test_a_webhook_id_that_no_database_could_give_is_refused(
    starlings: Run, data: Path, arguments: tuple[str, ...]
) -> None:
    refused = starlings("webhooks", *arguments, "--data", data)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Must be" in refused.stderr


def test_another_programs_database_is_not_judged(starlings: Run, tmp_path: Path) -> None:
    run_sql(tmp_path, "CREATE TABLE other (a)")
    refused = starlings("check", "--data", tmp_path)
    assert (refused.returncode, "no database of starlings" in refused.stderr) == (2, True)


def test_version_is_printed(starlings: Run) -> None:
    assert starlings("version").stdout == f"{__version__}\n"
    assert starlings("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("token",),
        ("keys",),
        ("keys", "create"),
        ("check",),
        ("backup",),
        ("restore",),
    ],
)
def test_every_command_has_help(starlings: Run, command: tuple[str, ...]) -> None:
    shown = starlings(*command, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: starlings")


def test_history_shows_a_maps_events_and_those_of_one_that_is_gone(
    starlings: Run, tmp_path: Path
) -> None:
    asyncio.run(fill(tmp_path))
    [[service]] = run_sql(tmp_path, "SELECT sid FROM service")
    [[gone]] = run_sql(tmp_path, "SELECT sid FROM object WHERE is_removed = 1")
    where = ("--data", str(tmp_path), "--service", str(service))
    shown = starlings("history", "map", "a", *where)
    assert shown.returncode == 0
    words = [line.split()[2] for line in shown.stdout.splitlines()[1:]]
    assert words == ["map_created", "map_item_added", "map_item_added", "map_permission_set"]
    lines = starlings("history", "map", str(gone), "--json", *where).stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines] == [
        "map_created",
        "map_item_added",
        "map_removed",
    ]
    assert json.loads(lines[1])["data"] == {}
    [last] = starlings("history", "list", "a", "--limit", "1", *where).stdout.splitlines()[1:]
    assert "list_item_removed" in last
    missing = starlings("history", "map", "nothing", *where)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "There is no map 'nothing'" in missing.stderr
    elsewhere = starlings("history", "map", "a", "--data", tmp_path, "--service", "nosuch")
    assert (elsewhere.returncode, elsewhere.stdout) == (2, "")
    assert elsewhere.stderr == "starlings: There is no service 'nosuch'\n"
