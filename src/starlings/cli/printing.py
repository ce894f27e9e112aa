"""What the commands that print tables share: the flag for JSON, and how dates look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

__all__ = ["Json", "format_date"]

Json = Annotated[bool, Parameter(name="--json", help="Print JSON for programs.", negative="")]


def format_date(at: int) -> str:
    """Milliseconds since 1970 as ``YYYY-MM-DDTHH:MM:SSZ``; a fraction of a second is cut off."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
