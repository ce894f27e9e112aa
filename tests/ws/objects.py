"""What is in memory, for tests of what is let go."""

from __future__ import annotations

import gc

__all__ = ["list_objects"]


def list_objects(*types: type) -> list[object]:
    """All objects of these types; first cycles are freed, unless the collector is switched off."""
    if gc.isenabled():
        gc.collect()
    return [one for one in gc.get_objects() if type(one) in types]
