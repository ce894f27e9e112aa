"""Flags of the command line from the table of settings, so that both always say the same."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from starlings.settings import SETTINGS, Setting, Settings, load_settings

__all__ = ["Config", "Data", "read_settings", "takes_settings"]

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def _help(setting: Setting) -> str:
    default = f" [default: {setting.default}]" if setting.default else ""
    unit = "" if "|" in setting.unit else f" ({setting.unit})"
    return f"{setting.sentence}{unit}{default} [env: {setting.variable}]"


Data = Annotated[str | None, Parameter(name="--data", help=_help(_BY_NAME["data"]), negative="")]
Config = Annotated[
    Path | None,
    Parameter(
        name="--config",
        help="A settings file (TOML); its [limits] and [rates] hold one's own numbers."
        " [env: STARLINGS_CONFIG]",
        negative="",
    ),
]


def takes_settings(run: Callable[[Settings], None]) -> Callable[..., None]:
    """A command with one flag for every setting that isn't secret, and ``--config``."""

    def command(config: Path | None = None, **flags: str | bool | None) -> None:
        run(read_settings(config, **flags))

    parameters = [
        inspect.Parameter(
            setting.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            # Not "or None": cyclopts would then take the word none for a flag not given.
            annotation=Annotated[
                _type_of(setting),
                Parameter(name=setting.flag, help=_help(setting), negative="", show_default=False),
            ],
        )
        for setting in SETTINGS
        if not setting.is_secret
    ]
    parameters.append(
        inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config)
    )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__doc__ = run.__doc__
    command.__name__ = run.__name__
    return command


def read_settings(config: Path | None, **flags: str | bool | None) -> Settings:
    """Settings from these flags, the environment and the settings file. Raises SettingsError."""
    return load_settings(flags, os.environ, config)


def _type_of(setting: Setting) -> Any:
    """Choices are shown and completed, switches need no value; everything else is text that the
    table parses.
    """
    if setting.unit == "1 or 0":
        return bool
    if "|" in setting.unit:
        return Literal[tuple(setting.unit.split("|"))]
    return str
