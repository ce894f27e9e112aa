"""``starlings token``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from starlings.app.credentials import make_token
from starlings.cli.settings_flags import Config, Data, read_settings

__all__ = ["token"]


def token(
    *,
    identity: str,
    service: str = "default",
    ttl: Annotated[int, Parameter(help="Seconds until it expires, at most a day.")] = 3600,
    key: Annotated[
        str | None, Parameter(help="Sign with this API key instead of the newest good one.")
    ] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Print an access token for a client.

    Signed with the API key of STARLINGS_ACCOUNT_SID, STARLINGS_API_KEY_SID and
    STARLINGS_API_KEY_SECRET if all three are set, else with the newest good key of the data
    directory.

    Parameters
    ----------
    identity
        Who the client is.
    service
        The service SID that it may use, or default.
    """
    print(make_token(read_settings(config, data=data), identity, service, ttl, key))
