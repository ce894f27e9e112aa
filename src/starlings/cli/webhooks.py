"""``starlings webhooks``: list, retry and drop what was not delivered."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from starlings.app.errors import OperatorError
from starlings.app.webhook_care import drop_webhooks, list_webhooks, retry_webhooks
from starlings.cli.printing import Json, format_date
from starlings.cli.settings_flags import Config, Data, read_settings

__all__ = ["webhooks"]

_MOST = 2**63 - 1
"""The highest id that SQLite can give."""

AllDead = Annotated[bool, Parameter(name="--all", help="All dead letters.", negative="")]
Ids = Annotated[tuple[int, ...], Parameter(validator=Number(gte=0, lte=_MOST), negative="")]

webhooks = App(
    name="webhooks",
    help="Webhooks that wait for their delivery, and dead letters: those that were given up."
    " A change reaches a running server within about a second.",
)


@webhooks.command(name="list")
def list_(
    *,
    state: Annotated[Literal["dead", "waiting", "all"], Parameter(help="Which to list.")] = "dead",
    after: Annotated[
        int, Parameter(help="Only ids above this one.", validator=Number(gte=0, lte=_MOST))
    ] = 0,
    limit: Annotated[int, Parameter(help="Most lines.", validator=Number(gte=1, lte=10_000))] = 100,
    json_: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """List dead letters (or what waits), the oldest first."""
    is_dead = None if state == "all" else state == "dead"
    found = list_webhooks(read_settings(config, data=data), is_dead, after, limit)
    if json_:
        rows = []
        for one in found:
            due_at = format_date(one.due_at) if one.due_at else None  # at once
            rows.append(one._asdict() | {"at": format_date(one.at), "due_at": due_at})
        print(json.dumps(rows))
        return
    print(
        f"{'ID':>8}  {'STATE':7}  {'EVENT':24}  {'AT':20}  {'SERVICE':34}  {'OBJECT':34}"
        f"  {'FAILED':>6}  ERROR"
    )
    for one in found:
        word = "dead" if one.is_dead else "waiting"
        print(
            f"{one.id:>8}  {word:7}  {one.type:24}  {format_date(one.at):20}"
            f"  {one.service_sid or '(removed)':34}  {one.sid or '-':34}  {one.attempts:>6}"
            f"  {one.error or ''}".rstrip()
        )


@webhooks.command
def retry(
    ids: Ids = (),
    /,
    *,
    all_: AllDead = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Have webhooks delivered now, dead letters too. Their age counts anew.

    Parameters
    ----------
    ids
        The ids that the list shows.
    """
    count = retry_webhooks(read_settings(config, data=data), _choose(ids, all_))
    print(f"To be delivered: {count}")
    _check_found(ids, count)


@webhooks.command
def drop(
    ids: Ids = (),
    /,
    *,
    all_: AllDead = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Delete webhooks undelivered. Waiting ones must be named.

    Parameters
    ----------
    ids
        The ids that the list shows.
    """
    count = drop_webhooks(read_settings(config, data=data), _choose(ids, all_))
    print(f"Dropped: {count}")
    _check_found(ids, count)


def _choose(ids: tuple[int, ...], is_all: bool) -> tuple[int, ...] | None:
    """The ids that are meant; None for all dead letters. Raises OperatorError."""
    if bool(ids) == is_all:
        raise OperatorError("Name the ids of webhooks, or say --all for all dead letters")
    return None if is_all else ids


def _check_found(ids: tuple[int, ...], count: int) -> None:
    """Raises OperatorError if there were fewer webhooks than ids; with those found it is done."""
    missing = len(set(ids)) - count
    if missing == 1 == len(ids):
        raise OperatorError(f"There is no webhook {ids[0]}")
    if ids and missing > 0:
        raise OperatorError(f"There is no webhook of {missing} of these ids")
