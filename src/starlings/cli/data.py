"""``starlings check``, ``backup`` and ``restore``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from starlings.app.care import back_up_data, check_data, restore_data
from starlings.cli.settings_flags import Config, Data, read_settings

__all__ = ["backup", "check", "restore"]

FOUND = 1
"""Exit status when the data are damaged."""


def check(*, data: Data = None, config: Config = None) -> int:
    """Verify a data directory, beside a running server too: the file, counters against the log,
    orphans, names, webhooks that wait.

    Exit status: 0 clean, 1 something is wrong, 2 there is nothing that could be checked.
    """
    report = check_data(read_settings(config, data=data))
    for name, count in report.counts.items():
        print(f"{name}: {count}")
    for finding in report.findings:
        print(f"WRONG: not so: {finding.rule}: {finding.place}")
    print("Damage was found" if report.findings else "No damage was found")
    return FOUND if report.findings else 0


def backup(
    file: Path,
    /,
    *,
    force: Annotated[
        bool, Parameter(help="Replace the file if there is one.", negative="")
    ] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Copy the database to a file, consistent and while the server runs.

    Secrets in it stay sealed: to use it elsewhere, keep secret.key too, in another place.

    Parameters
    ----------
    file
        Where the copy goes.
    """
    size_bytes = back_up_data(read_settings(config, data=data), file, may_replace=force)
    print(f"Backed up to {file} ({size_bytes} bytes)")


def restore(
    file: Path,
    /,
    *,
    force: Annotated[
        bool, Parameter(help="Replace the database that is there; it is kept.", negative="")
    ] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a backup the database of a data directory that no server uses.

    The store gets a new epoch: clients that come back are told that every object they had open is
    gone, and find what the backup has when they open it again.

    Parameters
    ----------
    file
        A copy made by starlings backup.
    """
    restored = restore_data(read_settings(config, data=data), file, may_replace=force)
    print(f"Restored {file}")
    if restored.kept is not None:
        print(f"The database that was there is kept as {restored.kept}")
    if restored.is_key_missing:
        print(
            "Put secret.key of the original data directory beside it, or set"
            " STARLINGS_SECRET_KEY: the secrets in the backup need it",
            file=sys.stderr,
        )
