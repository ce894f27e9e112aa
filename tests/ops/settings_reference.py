"""The table of docs/reference/settings.md, made from the table in the code.

``python -m tests.ops.settings_reference`` writes it into the page; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from starlings.core import limits
from starlings.core.limits import DOCUMENTED, Limits, Rates
from starlings.settings import SETTINGS

__all__ = ["PAGE", "render", "with_tables"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"

_MARKED = re.compile(r"(<!-- (\w+): made from the code -->\n).*?(<!-- end -->)", re.DOTALL)


def render(table: str) -> str:
    """One of the page's tables: ``settings``, ``secrets``, ``limits`` or ``rates``."""
    if table in ("settings", "secrets"):
        lines = ["| Setting | Default | Value | What for |", "|---|---|---|---|"]
        for one in SETTINGS:
            if one.is_secret != (table == "secrets"):
                continue
            names = [f"`{one.variable}`"]
            if not one.is_secret:
                names = [f"`{one.flag}`", *names, f"`{one.name}`"]
            default = f"`{one.default}`" if one.default else ""
            unit = one.unit.replace("|", ", ")
            lines.append(f"| {'<br>'.join(names)} | {default} | {unit} | {one.sentence} |")
        return "\n".join(lines) + "\n"
    kind, values = (Limits, DOCUMENTED) if table == "limits" else (Rates, DOCUMENTED.rates)
    sentences = _sentences(kind)
    lines = ["| Name | Documented | What |", "|---|---|---|"]
    for entry in dataclasses.fields(kind):
        if entry.name != "rates":
            value = getattr(values, entry.name)
            lines.append(f"| `{entry.name}` | {value} | {sentences[entry.name]} |")
    return "\n".join(lines) + "\n"


def with_tables(page: str) -> str:
    """The page with all its tables made anew."""
    return _MARKED.sub(lambda match: match[1] + render(match[2]) + match[3], page)


def _sentences(kind: type) -> dict[str, str]:
    """The sentence under each field; fields in a row share the one under the last of them."""
    source = inspect.getsource(limits)
    body = source[source.index(f"class {kind.__name__}:") :]
    found: dict[str, str] = {}
    waiting: list[str] = []
    for match in re.finditer(r'^    (?:(\w+): [^=\n]+ = |"""(.*?)""")', body, re.M | re.S):
        if match[1]:
            waiting.append(match[1])
        elif waiting:
            sentence = " ".join(re.sub(r"\s*\[.*?\]", "", match[2]).split())
            for name in waiting:
                found.setdefault(name, sentence)
            waiting = []
    return found


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
