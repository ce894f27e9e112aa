"""What an operator can mend: told in one line, without a traceback."""

from __future__ import annotations

__all__ = ["OperatorError"]


class OperatorError(Exception):
    """The server or a command can't do its work in these surroundings; the sentence says why, and
    what to do.
    """
