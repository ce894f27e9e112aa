"""The command line: ``starlings serve`` and the operator's tools.

What goes wrong for a reason that an operator can mend is told in one line on stderr, with exit
status 2. Settings that are not given as flags come from the environment and the settings file.
"""

from __future__ import annotations

import os
import sys

from cyclopts import App

from starlings import __version__
from starlings.app import OperatorError
from starlings.cli.data import backup, check, restore
from starlings.cli.history import history
from starlings.cli.identities import identities
from starlings.cli.keys import keys
from starlings.cli.serve import serve
from starlings.cli.token import token
from starlings.cli.webhooks import webhooks
from starlings.settings import SettingsError

__all__ = ["app", "main"]

CANNOT = 2
"""Exit status when a command can't do its work."""

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
    try:
        status = app(sys.argv[1:], result_action="return_value")
    except (OperatorError, SettingsError) as error:
        print(f"starlings: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CANNOT)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
