"""``starlings serve``."""

from __future__ import annotations

import logging
import os

from starlings.app import configure_logging, run_server
from starlings.cli.settings_flags import takes_settings
from starlings.settings import Settings, list_unknown_variables

__all__ = ["serve"]

logger = logging.getLogger("starlings.cli")


@takes_settings
def serve(settings: Settings) -> None:
    """Run a server until SIGTERM or SIGINT.

    The first start on an empty data directory makes an account and an API key and writes them to
    credentials.json there, unless STARLINGS_ACCOUNT_SID, STARLINGS_AUTH_TOKEN,
    STARLINGS_API_KEY_SID and STARLINGS_API_KEY_SECRET fix them. When the server is ready it prints
    its address.
    """
    configure_logging(settings.log_format, settings.log_level)
    unknown = list_unknown_variables(os.environ)
    if unknown:
        logger.warning("Unknown variables are ignored names=%s", ",".join(unknown))
    run_server(settings)
