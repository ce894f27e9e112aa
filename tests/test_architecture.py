"""Imports point one way, and neither ``core`` nor ``wire`` touches the outside world.

``core`` ← ``storage``, ``bus``, ``wire``, ``auth`` ← ``node`` ← ``rest``, ``ws``, ``webhooks`` ←
``app`` ← ``cli``; and ``core``, ``wire`` ← ``client``. A *room* is what stands right below
``starlings``: a package or a module.

Every rule reads one module's source, so each is first shown to fail on a small source made for it.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

LEAVES = frozenset({"storage", "bus", "wire", "auth"})
BELOW_FACES = frozenset({"core", "node"}) | LEAVES
FACES = frozenset({"rest", "ws", "webhooks", "console"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "core": frozenset(),
    "settings": frozenset({"core"}),
    **dict.fromkeys(LEAVES, frozenset({"core"})),
    "node": frozenset({"core"}) | LEAVES,
    **dict.fromkeys(FACES, BELOW_FACES),
    "app": frozenset({"settings"}) | BELOW_FACES | FACES,
    "cli": frozenset({"settings", "app"}) | BELOW_FACES | FACES,
    "__main__": frozenset({"cli"}),
    "client": frozenset({"core", "wire"}),
}
"""Which rooms a room may import besides itself. A new room is entered here first."""

ADAPTERS = (
    "starlings.storage.memory",
    "starlings.storage.sqlite",
    "starlings.storage.postgres",
    "starlings.bus.local",
    "starlings.bus.nats",
    "starlings.bus.pgnotify",
)
"""What plugs into a port. Outside their own room only ``app`` names them."""

FRAMEWORKS = frozenset({"asgiref", "httptools", "picows", "starlette", "uvicorn"})
MAY_USE_FRAMEWORKS = frozenset({"rest", "ws", "app"})

# fmt: off
PURE_STANDARD_MODULES = frozenset({
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "copy", "dataclasses",
    "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "hmac",
    "http.HTTPStatus", "itertools", "json", "keyword", "math", "numbers", "operator", "re",
    "string", "struct", "textwrap", "types", "typing", "unicodedata", "urllib.parse", "zlib",
})
# fmt: on
"""What of the standard library only computes: not ``random`` or ``uuid``, chance is passed in."""

PURE_ROOMS: dict[str, frozenset[str]] = {"core": frozenset(), "wire": frozenset({"msgspec"})}
"""The rooms without I/O, clock, logging and async, and the other packages that each may use."""

IMPURE_BUILTINS = frozenset({"__import__", "breakpoint", "eval", "exec", "input", "open", "print"})
CLOCK_METHODS = frozenset({"now", "today", "utcnow"})


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its dotted name, its text, and whether it is a package's ``__init__``."""

    name: str
    source: str
    is_package: bool = False

    @property
    def room(self) -> str:
        """The part right below ``starlings``; empty for the package's own ``__init__``."""
        return room_of(self.name)

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def modules() -> list[Module]:
    """Every module of the package, as it stands in the work tree."""
    found = []
    for path in sorted((SOURCE / "starlings").rglob("*.py")):
        is_package = path.name == "__init__.py"
        parts = (path.parent if is_package else path.with_suffix("")).relative_to(SOURCE).parts
        found.append(Module(".".join(parts), path.read_text(encoding="utf-8"), is_package))
    return found


def imports(module: Module) -> Iterator[str]:
    """Every dotted name that the module imports, inside functions and ``TYPE_CHECKING`` too.

    ``from a import b`` gives ``a.b``, as ``b`` may be a module.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.name.split(".")
                climb = node.level - (1 if module.is_package else 0)
                base = ".".join(parents[: len(parents) - climb] + ([base] if base else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_imports(module: Module) -> Iterator[str]:
    """What the module imports from other rooms; ``starlings.__version__`` belongs to no room."""
    for name in imports(module):
        target = room_of(name)
        is_root = not target or (target.startswith("__") and target not in MAY_IMPORT)
        if name.split(".")[0] == "starlings" and not is_root and target != module.room:
            yield name


def wrong_arrows(module: Module) -> list[str]:
    """Imports of rooms that the module's room may not know."""
    if module.room and module.room not in MAY_IMPORT:
        return [f"{module.name} is in a room that MAY_IMPORT does not know"]
    allowed = MAY_IMPORT[module.room] if module.room else frozenset()
    return [
        f"{module.name} imports {name}"
        for name in own_imports(module)
        if room_of(name) not in allowed
    ]


def named_adapters(module: Module) -> list[str]:
    """Adapters named by a room that should know only the port."""
    if module.room == "app":
        return []
    return [
        f"{module.name} names the adapter {name}"
        for name in own_imports(module)
        if f"{name}.".startswith(tuple(f"{adapter}." for adapter in ADAPTERS))
    ]


def misplaced_frameworks(module: Module) -> list[str]:
    """ASGI, its framework and its servers outside the rooms that face the network."""
    if module.room in MAY_USE_FRAMEWORKS:
        return []
    return [
        f"{module.name} imports {name}"
        for name in imports(module)
        if name.split(".")[0] in FRAMEWORKS
    ]


def impurities(module: Module) -> list[str]:
    """I/O, clock, chance, logging, async and foreign packages in a room that only computes."""
    if module.room not in PURE_ROOMS:
        return []
    allowed = PURE_STANDARD_MODULES | PURE_ROOMS[module.room] | {"starlings"}
    prefixes = tuple(f"{name}." for name in allowed)
    found = [name for name in imports(module) if not f"{name}.".startswith(prefixes)]
    for node in ast.walk(module.tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                found.append("async")
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_BUILTINS:
                found.append(f"{name}()")
            case (
                ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=name)
                | ast.Attribute(value=ast.Attribute(attr="datetime" | "date"), attr=name)
            ) if name in CLOCK_METHODS:
                found.append(f"datetime.{name}")
    return [f"{module.name} uses {name}" for name in found]


# The rules, held against the package.

MODULES = modules()


def test_the_package_is_found_so_that_the_rules_below_have_something_to_check() -> None:
    assert {"starlings", "starlings.core", "starlings.storage.sqlite"} <= {m.name for m in MODULES}


@pytest.mark.parametrize(
    "rule",
    [wrong_arrows, named_adapters, misplaced_frameworks, impurities],
    ids=lambda r: r.__name__,
)
def test_no_module_breaks(rule: Callable[[Module], list[str]]) -> None:
    assert [breach for module in MODULES for breach in rule(module)] == []


def test_pure_modules_are_standard_modules() -> None:
    assert {name.split(".")[0] for name in PURE_STANDARD_MODULES} <= sys.stdlib_module_names


# The rules, shown to bite.


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("starlings.core.maps", "import starlings.storage.store"),
        ("starlings.core.maps", "from starlings import wire"),
        ("starlings.core.maps", "from ..wire import codec"),
        ("starlings.core.maps", "from .. import wire"),
        ("starlings.storage.store", "from starlings.node import hub"),
        ("starlings.storage.sqlite.writer", "from ...bus.bus import Bus"),
        ("starlings.wire.codec", "from starlings.auth.tokens import Token"),
        ("starlings.node.hub", "def f():\n    import starlings.rest.routes"),
        ("starlings.node.hub", "from starlings.settings import Settings"),
        ("starlings.rest.maps", "from starlings.ws.server import Server"),
        ("starlings.ws.server", "if TYPE_CHECKING:\n    from starlings.app import build"),
        ("starlings.app", "from starlings.cli import main"),
        ("starlings.client.sync", "from starlings.node.node import Node"),
        ("starlings.node.hub", "from starlings.client import SyncClient"),
        ("starlings.cellar", "import json"),
        ("starlings", "from starlings.core.sids import parse_sid"),
    ],
)
def test_an_arrow_the_wrong_way_is_found(name: str, source: str) -> None:
    assert len(wrong_arrows(Module(name, source, is_package=name == "starlings"))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("starlings.core.maps", "from starlings.core.errors import NotFound\nfrom . import sids"),
        ("starlings.core.maps", "from starlings import __version__"),
        ("starlings.storage.sqlite.writer", "from ..store import Store\nfrom ...core import sids"),
        ("starlings.node.node", "from starlings.storage.store import Store"),
        ("starlings.rest.maps", "from starlings.core import commands\nimport starlings.node.node"),
        ("starlings.app", "import starlings.ws.server, starlings.settings, starlings.core.limits"),
        ("starlings.__main__", "from starlings.cli import main"),
        ("starlings.client.sync", "from starlings.wire.codec import decode_message"),
    ],
)
def test_an_arrow_the_right_way_is_allowed(name: str, source: str) -> None:
    assert wrong_arrows(Module(name, source)) == []


def test_a_relative_import_in_a_package_starts_at_that_package() -> None:
    assert wrong_arrows(Module("starlings.core", "from . import maps", is_package=True)) == []
    assert wrong_arrows(Module("starlings.core", "from .. import bus", is_package=True)) != []


@pytest.mark.parametrize("name", ["starlings.node.node", "starlings.rest.maps", "starlings.cli"])
def test_an_adapter_named_outside_app_is_found(name: str) -> None:
    for source in (
        "from starlings.storage.memory import MemoryStore",
        "from starlings.storage import sqlite",
        "import starlings.storage.sqlite.writer",
        "from starlings.bus import local",
    ):
        assert len(named_adapters(Module(name, source))) == 1
        assert named_adapters(Module("starlings.app", source)) == []
    assert named_adapters(Module(name, "from starlings.storage.store import Store")) == []


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_a_framework_outside_the_faces_is_found(framework: str) -> None:
    source = f"from {framework}.part import Thing"
    for room in ("core", "storage", "bus", "wire", "node", "auth", "webhooks", "cli", "client"):
        assert len(misplaced_frameworks(Module(f"starlings.{room}.part", source))) == 1
    for room in MAY_USE_FRAMEWORKS:
        assert misplaced_frameworks(Module(f"starlings.{room}.part", source)) == []


# fmt: off
OUTSIDE_WORLD = (
    "asyncio", "http.client", "io", "logging", "os", "os.path", "pathlib", "random", "secrets",
    "selectors", "socket", "sqlite3", "subprocess", "sys", "threading", "time",
    "urllib.request", "uuid",
)
# fmt: on


@pytest.mark.parametrize(
    "source",
    [
        *(f"import {name}" for name in OUTSIDE_WORLD),
        "from time import monotonic",
        "import orjson",
        "async def f(): pass",
        "open('x')",
        "print('x')",
        "__import__('os')",
        "from datetime import UTC, datetime\nat = datetime.now(UTC)",
        "import datetime\nat = datetime.datetime.utcnow()",
        "from datetime import date\nday = date.today()",
        "from datetime import datetime\nclock = datetime.now",
    ],
)
@pytest.mark.parametrize("room", sorted(PURE_ROOMS))
def test_an_impurity_is_found(room: str, source: str) -> None:
    assert len(impurities(Module(f"starlings.{room}.part", source))) == 1
    assert impurities(Module("starlings.ws.part", source)) == []


def test_msgspec_is_for_wire_and_not_for_core() -> None:
    assert impurities(Module("starlings.wire.codec", "import msgspec.json")) == []
    assert len(impurities(Module("starlings.core.maps", "import msgspec.json"))) == 1


def test_a_rule_with_only_values_is_pure() -> None:
    source = (
        "import json\nfrom datetime import datetime\ndef f(now: datetime): return now.now, json"
    )
    assert impurities(Module("starlings.core.maps", source)) == []
