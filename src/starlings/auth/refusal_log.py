"""Who was not let in, in the log: enough to find a program with a wrong password.

Strangers cause these lines, so there are bounds: some in a row for an address and then one a
minute, and likewise for all addresses together. What was left out is counted in the next line. What
strangers choose is shown as ``repr`` shows it, and cut: no value can end a line or pass for
another. Secrets are never given to this.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Final

from starlings.auth.failures import FailureLimiter
from starlings.core.sids import is_sid

__all__ = ["RefusalLog"]

ADDRESS_BURST: Final = 5
"""Lines in a row about one address …"""
ADDRESS_SECONDS: Final = 60.0
"""… and after so long one more."""
BURST: Final = 50
"""Lines in a row about all addresses …"""
SECONDS: Final = 2.0
"""… and after so long one more: 6 MB a day at most."""

_MOST_CHARACTERS: Final = 64
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]{2,45}")


class RefusalLog:
    """Writes lines at INFO, within the bounds."""

    def __init__(
        self, logger: logging.Logger, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._of_address = FailureLimiter(monotonic, ADDRESS_BURST, ADDRESS_SECONDS)
        self._of_all = FailureLimiter(monotonic, BURST, SECONDS)
        self._left_out = 0

    def tell(self, sentence: str, address: str, **values: str | int | None) -> None:
        """Tell of one refusal.

        Args:
            sentence: Fixed, of ours.
            address: Of the caller; empty if unknown.
            values: Numbers and SIDs are shown as they are, None as ``-``, other text quoted.
        """
        if self._of_address.take(address) is not None or self._of_all.take("") is not None:
            self._left_out += 1
            return
        shown = "".join(f" {name}={_show(value)}" for name, value in values.items())
        if self._left_out:
            shown += f" left_out={self._left_out}"
            self._left_out = 0
        place = address if _ADDRESS.fullmatch(address) else _show(address or None)
        self._logger.info("%s address=%s%s", sentence, place, shown)


def _show(value: str | int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) or is_sid(value):
        return str(value)
    return repr(value[:_MOST_CHARACTERS])
