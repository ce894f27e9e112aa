"""The documentation says what the code does: tables, links, examples.

``python -m tests.test_docs`` writes the tables that are made from the code into their pages. Those
of docs/reference/settings.md have tests of their own, in tests/ops/test_settings.py.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import pytest
from cyclopts import App
from rich.console import Console

from starlings.app import figures
from starlings.app.metrics import Figure, Metrics, RequestCounter
from starlings.cli import app as command_line
from starlings.core.errors import Reason
from starlings.core.limits import DOCUMENTED, Limits, Rates
from starlings.rest.router import Stop
from starlings.rest.routes import make_router
from starlings.wire import paths
from starlings.wire.close_codes import CLOSE_CODES, REFUSALS

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
README: Final = ROOT / "README.md"
TUTORIAL: Final = DOCS / "tutorial" / "first-document.md"
PAGES: Final = sorted([README, ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
ADDRESS: Final = "127.0.0.1:8080"
"""Where the examples expect the server."""

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.M | re.S)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_MARKED = re.compile(r"(<!-- (\w+): made from the \w+ -->\n).*?(<!-- end -->)", re.S)
_COMPARED = re.compile(r"<!-- bounds: compared with the code -->\n(.*?)<!-- end -->", re.S)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in any of these languages."""
    text = page.read_text(encoding="utf-8")
    return [match[3] for match in _BLOCK.finditer(text) if match[2] in languages]


def prose_of(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


# Tables


def render_errors() -> str:
    rows = [f"| {one.code} | {one.status} | {one.title} |" for one in Reason]
    return "\n".join(["| Code | Status | Title |", "|---|---|---|", *sorted(rows)])


def render_closes() -> str:
    rows = [
        f"| {one.code} | {one.status.error_code or ''} | {one.status.description or ''}"
        f" | {one.comes_back.value} | {one.kotlin.value} |"
        for one in CLOSE_CODES
    ]
    head = ["| Code | Error code | Description | JavaScript comes back | Android, iOS |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows])


def render_refusals() -> str:
    rows = [
        f"| {one.code} | {one.status.error_code or ''} | {one.status.status}"
        f" | {one.status.description or ''} | {one.comes_back.value} |"
        for one in REFUSALS
    ]
    head = ["| Code | Error code | Status | Description | The client comes back |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows])


def render_numbers(kind: type, values: Limits | Rates) -> str:
    """Each number with the sentence under its field; fields in a row share the last one's."""
    found: list[tuple[str, str]] = []
    waiting: list[str] = []
    for match in re.finditer(
        r'^    (?:(\w+): [^=\n]+ = |"""(.*?)""")', inspect.getsource(kind), re.M | re.S
    ):
        if match[1]:
            waiting.append(match[1])
        else:
            sentence = " ".join(match[2].split())
            found += [(name, sentence) for name in waiting]
            waiting = []
    rows = [f"| `{name}` | {getattr(values, name)} | {text} |" for name, text in found]
    return "\n".join(["| Name | Default | What, and its source |", "|---|---|---|", *rows])


class _Nobody:
    """Stands in for the rooms that figures are read from: here nothing is read."""

    def __getattr__(self, name: str) -> _Nobody:
        return self


def render_metrics() -> str:
    listed: list[Figure] = []
    for name in figures.__all__:
        list_them: Callable[..., list[Figure]] = getattr(figures, name)
        listed += list_them(*(_Nobody() for _ in inspect.signature(list_them).parameters))
    always = {
        one.name: (one.type, one.documentation)
        for one in Metrics(RequestCounter(), [], "").collect()
    }
    always |= {one.name: (one.kind, one.sentence) for one in listed}
    rows = [
        f"| `{name}{'_total' if kind == 'counter' else ''}` | {kind} | {sentence} |"
        for name, (kind, sentence) in always.items()
    ]
    return "\n".join(["| Name | Kind | What |", "|---|---|---|", *rows])


def render_requests() -> str:
    plural = {
        paths.Kind.DOCUMENT: "v3/Documents",
        paths.Kind.LIST: "v3/Lists",
        paths.Kind.MAP: "v3/Maps",
        paths.Kind.STREAM: "v3/Streams",
        paths.Kind.CONFIGURATION: "v3/Configuration",
        paths.Kind.INSIGHTS: "v3/Insights",
        paths.Kind.SUBSCRIPTIONS: "v4/Subscriptions",
    }
    rows = []
    for (kind, length, part), methods in paths._OPERATIONS.items():
        path = "/" + "/".join([plural[kind], "{name}", part, "{key}"][:length])
        for method, operation in methods.items():
            target = paths.parse_target(method, path.replace("{key}", "1"))
            assert isinstance(target, paths.Route), path
            rows.append(f"| {method} | `{path}` | {operation.value} |")
    return "\n".join(["| Method | Path | What |", "|---|---|---|", *rows])


def render_index(folder: str, prefix: str) -> str:
    """Links to the pages of a folder, with their titles."""
    titles = {
        file.name: file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        for file in sorted((DOCS / folder).glob("*.md"))
        if file.name != "README.md"
    }
    return "\n".join(f"- [{title}]({prefix}{name})" for name, title in titles.items())


TABLES: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "reference/errors.md": {
        "errors": render_errors,
        "closes": render_closes,
        "refusals": render_refusals,
    },
    "reference/limits.md": {
        "limits": lambda: render_numbers(Limits, DOCUMENTED),
        "rates": lambda: render_numbers(Rates, DOCUMENTED.rates),
    },
    "reference/metrics.md": {"metrics": render_metrics},
    "reference/wire.md": {"requests": render_requests},
    "decisions/README.md": {"decisions": partial(render_index, "decisions", "")},
    "README.md": {
        folder: partial(render_index, folder, f"{folder}/")
        for folder in ("howto", "reference", "topics")
    },
}


def with_tables(page: str) -> str:
    """A page of ``TABLES`` with its tables made anew."""
    text = (DOCS / page).read_text(encoding="utf-8")
    tables = TABLES[page]
    assert {match[2] for match in _MARKED.finditer(text)} == tables.keys()
    return _MARKED.sub(lambda match: f"{match[1]}{tables[match[2]]()}\n{match[3]}", text)


@pytest.mark.parametrize("page", TABLES)
def test_tables_are_those_of_the_code(page: str) -> None:
    written = (DOCS / page).read_text(encoding="utf-8")
    assert written == with_tables(page), "run: python -m tests.test_docs"


def test_every_endpoint_has_its_row_and_every_row_its_endpoint() -> None:
    def walk(stop: Stop, path: str) -> Iterator[tuple[str, str]]:
        for method in stop.handlers:
            yield method, path
        for name, following in stop._literals.items():
            yield from walk(following, f"{path}/{name}")
        if stop._capture is not None:
            yield from walk(stop._capture, f"{path}/*")

    rows = re.findall(
        r"^\| (GET|POST|DELETE) \| `(/v1/[^`]+)`",
        (DOCS / "reference" / "rest.md").read_text(encoding="utf-8"),
        re.M,
    )
    told = [(method, re.sub(r"\{\w+\}", "*", path)) for method, path in rows]
    assert sorted(told) == sorted(walk(make_router()._root, ""))


def resolve(name: str) -> object:
    """The value of ``room.module.NAME`` or of ``room.module.Class.field``, its default."""
    module, *rest = name.split(".")
    place: Any = importlib.import_module(f"starlings.{module}")
    for part in rest:
        if inspect.isclass(place):
            place = place()
        elif inspect.ismodule(place) and not hasattr(place, part):
            place = importlib.import_module(f"{place.__name__}.{part}")
            continue
        place = getattr(place, part)
    return place


@pytest.mark.parametrize("page", ["limits", "wire"])
def test_bounds_have_the_values_that_are_told(page: str) -> None:
    text = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    tables = _COMPARED.findall(text)
    rows = [
        row for table in tables for row in re.findall(r"^\| `([^`]+)` \| (\S+) \|", table, re.M)
    ]
    assert len(rows) > 3
    assert dict(rows) == {name: str(resolve(name)) for name, _ in rows}


def list_commands(app: App, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in app:
        if not name.startswith("-"):
            inner = list(list_commands(app[name], (*words, name)))
            yield from inner or [(*words, name)]


def test_the_command_line_is_told_flag_by_flag() -> None:
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    head, *sections = re.split(r"^## starlings ", text, flags=re.M)
    told = {tuple(one.splitlines()[0].split()): set(_FLAG.findall(one)) for one in sections}
    found = {}
    for words in list_commands(command_line):
        out = io.StringIO()
        command_line.help_print(words, console=Console(file=out, width=300))
        found[words] = set(_FLAG.findall(out.getvalue())) - {"--help", "--version"}
    assert "--install-completion" in head
    assert told == found


# Pages and links


def slugs_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    text = prose_of(page)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target.name}"
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in slugs_of(target), f"{link}: there is no such heading"


def test_every_page_is_reached_from_the_index() -> None:
    found: set[Path] = set()
    following = [README]
    while following:
        page = following.pop()
        if page in found or page.suffix != ".md":
            continue
        found.add(page)
        for link in _LINK.findall(prose_of(page)):
            if not re.match(r"[a-z]+:", link):
                following.append((page.parent / link.partition("#")[0]).resolve())
    missing = {name_of(page) for page in PAGES} - {name_of(page) for page in found}
    assert not missing, "run: python -m tests.test_docs"


def test_the_readme_fits_one_screen() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 60


# Examples


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_can_be_parsed(page: Path) -> None:
    for code in blocks_of(page, "python"):
        compile(code, name_of(page), "exec")
    for code in blocks_of(page, "toml"):
        tomllib.loads(code)
    for code in blocks_of(page, "json"):
        json.loads(code)
    for code in blocks_of(page, "sh"):
        checked = subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.js
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, "js")], ids=name_of)
def test_javascript_can_be_parsed(page: Path, tmp_path: Path) -> None:
    for code in blocks_of(page, "js"):
        program = tmp_path / "example.mjs"
        program.write_text(code, encoding="utf-8")
        checked = subprocess.run(["node", "--check", program], text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_the_readme_shows_the_example_program() -> None:
    example = ROOT / "examples" / "realtime_node.mjs"
    assert blocks_of(README, "js") == [example.read_text(encoding="utf-8")]


class Server:
    """``starlings serve`` with its data directory ``data`` in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = "127.0.0.1:0"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("STARLINGS_")
        }
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before if there was one."""
        with (self.directory / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*self.command("serve"), "--port", self.address.partition(":")[2]],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.directory,
                env=self.environment,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Listening on http://"), (self.directory / "log").read_text()
        self.address = line.split("//")[1].strip()

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.communicate()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "starlings", *words]

    def make_token(self, identity: str) -> str:
        return subprocess.run(
            self.command("token", "--identity", identity),
            cwd=self.directory,
            env=self.environment,
            text=True,
            capture_output=True,
            check=True,
        ).stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.end(signal.SIGTERM)


def run_python(server: Server, code: str, *arguments: str) -> str:
    program = server.directory / "example.py"
    program.write_text(code, encoding="utf-8")
    # The helper library's own warnings are not ours to mend, so they are no errors here.
    done = subprocess.run(
        [sys.executable, program, *arguments],
        cwd=server.directory,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def node_program(server: Server, name: str, code: str, *arguments: str) -> Iterator[IO[str]]:
    """A program that runs beside ``node_modules``; its output."""
    modules = server.directory / "node_modules"
    if not modules.exists():
        modules.symlink_to(ROOT / "tests" / "js" / "node_modules")
    (server.directory / name).write_text(code, encoding="utf-8")
    with (
        (server.directory / f"{name}.err").open("w") as errors,
        subprocess.Popen(
            ["node", name, *arguments],
            cwd=server.directory,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def read_until(output: IO[str], line: str) -> None:
    """Read up to a line. Fails if the output ends without it; silence runs into the timeout."""
    seen = []
    for one in output:
        seen.append(one.rstrip("\n"))
        if seen[-1] == line:
            return
    raise AssertionError(f"{line!r} is not in {seen}")


def test_the_python_example_of_the_readme_runs(server: Server) -> None:
    (code,) = blocks_of(README, "python")
    assert ADDRESS in code
    printed = run_python(server, code.replace(ADDRESS, server.address))
    assert printed == "[('alice', {'points': 8})]\n"


@pytest.mark.js
def test_the_node_example_of_the_readme_runs_in_two_terminals(server: Server) -> None:
    (code,) = blocks_of(README, "js")
    assert ADDRESS in code
    uri = f"ws://{server.address}/v3/wsconnect"
    arguments = [server.make_token("alice"), uri]
    with node_program(server, "realtime.mjs", code, *arguments) as alice:
        read_until(alice, "mine { visits: 1 }")
        with node_program(server, "realtime.mjs", code, server.make_token("bob"), uri) as bob:
            read_until(bob, "mine { visits: 2 }")
            read_until(alice, "theirs { visits: 2 }")


@pytest.mark.js
def test_the_tutorial_goes_as_it_is_told(server: Server) -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    shown = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    programs = dict(re.findall(r"`(\w+\.\w+)`[^\n]*\n\n```\w+\n(.*?)^```", text, re.M | re.S))
    assert programs.keys() == {"watch.mjs", "switch.mjs", "switch.py"}
    uri = f"ws://{server.address}/v3/wsconnect"

    def switch(color: str) -> str:
        arguments = ["data", color, f"http://{server.address}"]
        return run_python(server, programs["switch.py"], *arguments)

    watcher = [server.make_token("alice"), uri]
    with node_program(server, "watch.mjs", programs["watch.mjs"], *watcher) as seen:
        read_until(seen, "light is {}")
        switcher = [server.make_token("bob"), "green", uri]
        with node_program(server, "switch.mjs", programs["switch.mjs"], *switcher) as switched:
            read_until(switched, "switched to green")
        read_until(seen, "light is now { color: 'green', switches: 1 }")
        assert switch("red").rstrip() in shown
        read_until(seen, "light is now { color: 'red', switches: 1 }")
        server.end(signal.SIGKILL)
        read_until(seen, "connection: connecting")
        server.start()
        switch("blue")
        read_until(seen, "light is now { color: 'blue', switches: 1 }")
    for line in ("light is {}", "light is now { color: 'green', switches: 1 }"):
        assert line in shown
    assert "light is now { color: 'blue', switches: 1 }" in shown


if __name__ == "__main__":
    for changed in TABLES:
        (DOCS / changed).write_text(with_tables(changed), encoding="utf-8")
