"""``starlings identities``: revoke one identity's access tokens, beside a running server too."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import App, Parameter

from starlings.app.credentials import list_revoked_identities, revoke_identity
from starlings.cli.printing import Json, format_date
from starlings.cli.settings_flags import Config, Data, read_settings

__all__ = ["identities"]

identities = App(
    name="identities",
    help="Identities that access tokens were issued to."
    " A change reaches a running server within a second.",
)


@identities.command
def revoke(
    name: str,
    /,
    *,
    account: Annotated[
        str | None, Parameter(help="Whose identity, if there are several accounts.")
    ] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """End an identity's sessions and refuse its access tokens issued up to now.

    Tokens issued from the next second on are good.

    Parameters
    ----------
    name
        The identity, exactly as in its tokens.
    """
    revoked = revoke_identity(read_settings(config, data=data), account, name)
    print(f"Revoked {revoked.identity} up to {format_date(revoked.revoked_at)}")


@identities.command
def revoked(
    *,
    json_: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """List the identities that were revoked, and when."""
    found = list_revoked_identities(read_settings(config, data=data))
    if json_:
        rows = [
            {
                "account_sid": one.account_sid,
                "identity": one.identity,
                "revoked": format_date(one.revoked_at),
            }
            for one in found
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    print(f"{'ACCOUNT':34}  {'REVOKED':20}  IDENTITY")
    for one in found:
        print(f"{one.account_sid:34}  {format_date(one.revoked_at):20}  {one.identity}")
