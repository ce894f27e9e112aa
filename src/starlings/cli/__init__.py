"""The command line: ``starlings serve`` and the operator's tools.

What goes wrong for a reason that an operator can mend is told in one line on stderr, with exit
status 2 [starlings.cli.ending]. Settings that are not given as flags come from the environment and
the settings file.
"""

from __future__ import annotations

import sys
from functools import partial

from cyclopts import App

from starlings import __version__
from starlings.cli.data import backup, check, restore
from starlings.cli.ending import run_to_end
from starlings.cli.history import history
from starlings.cli.identities import identities
from starlings.cli.keys import keys
from starlings.cli.serve import serve
from starlings.cli.token import token
from starlings.cli.webhooks import webhooks

__all__ = ["app", "main"]

app = App(
    name="starlings",
    help="A self-hosted real-time state server that speaks the Twilio Sync protocols.",
    version=__version__,
    version_flags=["--version"],
)
app.command(serve)
app.command(token)
app.command(keys)
app.command(identities)
app.command(check)
app.command(backup)
app.command(restore)
app.command(webhooks)
app.command(history)
app.register_install_completion_command()


@app.command
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command that the arguments name, and exit."""
    run = partial(app, result_action="return_value", exit_on_error=False, print_error=False)
    sys.exit(run_to_end(run, sys.argv[1:]))
