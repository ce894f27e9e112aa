"""The commands of the pages for operators, on a machine that docs/howto/deploy.md made."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from starlings.cli import app
from tests.test_docs import DOCS, blocks_of

DEPLOY = DOCS / "howto" / "deploy.md"
PAGES = sorted((DOCS / "howto").glob("*.md"))


def commands_of(page: Path) -> list[list[str]]:
    """The calls of ``starlings`` on a page, in blocks and within sentences, as their words."""
    text = "\n".join(blocks_of(page, "sh"))
    text += "\n" + "\n".join(re.findall(r"`(starlings [^`]+)`", page.read_text(encoding="utf-8")))
    text = re.sub(r"\$\([^)]*\)", "x", text)  # what the shell would put in
    lines = (line.strip() for line in text.splitlines() if "…" not in line)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("starlings ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    for words in commands_of(page):
        if words not in (["backup"], ["restore"]):  # named, not called
            app.parse_args(words, exit_on_error=False, print_error=False)


def test_the_pages_for_the_night_have_commands() -> None:
    found = {page.name: len(commands_of(page)) for page in PAGES}
    assert min(found[name] for name in ("back-up.md", "fix.md", "rotate-keys.md")) > 2


def test_the_command_of_the_machine_has_the_servers_settings_and_secrets(tmp_path: Path) -> None:
    wrapper = next(block for block in blocks_of(DEPLOY, "sh") if block.startswith("#!/bin/sh"))
    for told, ours in [
        ("/etc/starlings", f"{tmp_path}/starlings"),
        ("/opt/starlings/bin/starlings", str(Path(sys.executable).with_name("starlings"))),
        ("runuser -u starlings -- ", ""),
        ('"$(id -u)"', "0"),
    ]:
        assert told in wrapper
        wrapper = wrapper.replace(told, ours)
    script = tmp_path / "command"
    script.write_text(wrapper)
    (tmp_path / "starlings.toml").write_text(f'data = "{tmp_path}/none"\n')

    def run() -> tuple[int, str]:
        done = subprocess.run(
            ["sh", script, "keys", "list"], capture_output=True, text=True, timeout=30
        )
        return done.returncode, done.stderr

    status, told = run()
    assert (status, f"There is no database in {tmp_path}/none" in told) == (2, True)
    (tmp_path / "starlings.env").write_text("STARLINGS_SECRET_KEY='two words'\n")
    status, told = run()
    assert (status, "STARLINGS_SECRET_KEY can't be used" in told) == (2, True)
    script.write_text(wrapper.replace("[ 0 = 0 ]", "[ 1 = 0 ]"))
    assert run() == (2, "starlings: run this as root\n")
