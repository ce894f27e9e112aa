"""The command line's words: help, version, warnings, and what is refused."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from starlings import __version__
from tests.ops.in_process import Run
from tests.ops.stores import fill, run_sql


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


def test_a_path_that_cannot_be_is_told_in_one_line(starlings: Run) -> None:
    refused = starlings("check", "--data", "x" * 300)
    assert refused.returncode == 2
    assert refused.stderr.endswith(" can't be read: File name too long\n")


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
    added = json.loads(lines[1])
    assert (added["data"], added["revision"], added["item_revision"]) == ({}, "1", "0")
    assert added["date_created"].endswith("Z")
    [last] = starlings("history", "list", "a", "--limit", "1", *where).stdout.splitlines()[1:]
    assert "list_item_removed" in last
    missing = starlings("history", "map", "nothing", *where)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "There is no map 'nothing'" in missing.stderr
    elsewhere = starlings("history", "map", "a", "--data", tmp_path, "--service", "nosuch")
    assert (elsewhere.returncode, elsewhere.stdout) == (2, "")
    assert elsewhere.stderr == "starlings: There is no service 'nosuch'\n"
