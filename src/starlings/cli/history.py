"""``starlings history``: who changed an object, and when."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from starlings.app.history import find_history
from starlings.cli.printing import format_date
from starlings.cli.settings_flags import Config, Data, read_settings
from starlings.core.objects import Kind
from starlings.core.wording import name_event
from starlings.rest.history import render_event

__all__ = ["history"]

_KINDS = {kind.word: kind for kind in Kind}


def history(
    kind: Literal["document", "list", "map", "stream"],
    name: str,
    /,
    *,
    service: Annotated[str, Parameter(help="SID or unique name of its service.")] = "default",
    limit: Annotated[
        int, Parameter(help="The newest so many events.", validator=Number(gte=1, lte=100_000))
    ] = 50,
    json_: Annotated[
        bool,
        Parameter(
            name="--json", help="Print JSON lines, with data, as REST's Events tell.", negative=""
        ),
    ] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show what happened to one object, as far as the log is kept; oldest first.

    Parameters
    ----------
    kind
        document, list, map or stream.
    name
        SID or unique name; by its SID also an object that is gone.
    """
    found = find_history(read_settings(config, data=data), service, _KINDS[kind], name, limit)
    if json_:
        for event in found:
            print(msgspec.json.encode(render_event(_KINDS[kind], event)).decode())
        return
    print(f"{'SEQ':>6}  {'TIME':20}  {'EVENT':24}  {'KEY':20}  {'IDENTITY':20}  ENDPOINT")
    for event in found:
        key = "-" if event.shown_key is None else str(event.shown_key)
        print(
            f"{event.seq:>6}  {format_date(event.at):20}  {name_event(_KINDS[kind], event.type):24}"
            f"  {key:20}  {event.identity:20}  {event.endpoint or '-'}"
        )
