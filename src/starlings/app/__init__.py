"""Assembly: the only room that knows every other one.

``serving`` puts a server together and runs it: ``listening`` opens its port, ``site`` answers the
operator's paths (``health``, ``metrics`` with ``figures``, ``welcome``) and hands the rest to REST.
``directory`` and ``first_start`` prepare a data directory. The operator's work on one is ``care``
(check, back up, restore), ``credentials``, ``history`` and ``webhook_care``.
"""

from starlings.app.errors import OperatorError
from starlings.app.logs import configure_logging
from starlings.app.serving import run_server

__all__ = ["OperatorError", "configure_logging", "run_server"]
