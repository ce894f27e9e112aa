"""``starlings keys``: create, list and revoke API keys, beside a running server too."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import App, Parameter

from starlings.app.credentials import create_key, list_keys, revoke_key
from starlings.cli.printing import Json, format_date
from starlings.cli.settings_flags import Config, Data, read_settings

__all__ = ["keys"]


keys = App(
    name="keys",
    help="API keys: they sign access tokens and may call the REST API."
    " A change reaches a running server within a second.",
)


@keys.command
def create(
    *,
    name: Annotated[str | None, Parameter(help="A name for people.")] = None,
    account: Annotated[
        str | None, Parameter(help="Whose key, if there are several accounts.")
    ] = None,
    json_: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make an API key and print it. Its secret is shown this once."""
    made = create_key(read_settings(config, data=data), account, name)
    shown = {
        "api_key_sid": made.sid,
        "api_key_secret": made.secret,
        "account_sid": made.account_sid,
    }
    if json_:
        print(json.dumps(shown))
    else:
        for field, value in shown.items():
            print(f"{field}: {value}")


@keys.command(name="list")
def list_(*, json_: Json = False, data: Data = None, config: Config = None) -> None:
    """List the API keys, revoked ones too, without secrets."""
    found = list_keys(read_settings(config, data=data))
    if json_:
        rows = [
            {
                "api_key_sid": key.sid,
                "account_sid": key.account_sid,
                "friendly_name": key.friendly_name,
                "created": format_date(key.created_at),
                "revoked": None if key.revoked_at is None else format_date(key.revoked_at),
            }
            for key in found
        ]
        print(json.dumps(rows))
        return
    print(f"{'API KEY':34}  {'ACCOUNT':34}  {'CREATED':20}  {'REVOKED':20}  NAME")
    for key in found:
        revoked = "-" if key.revoked_at is None else format_date(key.revoked_at)
        print(
            f"{key.sid:34}  {key.account_sid:34}  {format_date(key.created_at):20}  {revoked:20}"
            f"  {key.friendly_name or ''}".rstrip()
        )


@keys.command
def revoke(sid: str, /, *, data: Data = None, config: Config = None) -> None:
    """End an API key for good, with all access tokens signed by it.

    Parameters
    ----------
    sid
        The key's SID (SK…).
    """
    revoke_key(read_settings(config, data=data), sid)
    print(f"Revoked {sid}")
