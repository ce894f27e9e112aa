"""Assembly: the only room that knows every other one.

``serving`` runs a server, ``directory`` and ``first_start`` prepare its data directory, ``upkeep``
does the operator's work on one.
"""

from starlings.app.errors import OperatorError
from starlings.app.logs import configure_logging
from starlings.app.serving import run_server

__all__ = ["OperatorError", "configure_logging", "run_server"]
