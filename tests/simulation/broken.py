"""A server with something broken in it, and a simulation that must notice."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from tests.simulation.bounds import small_bounds
from tests.simulation.held_loop import run_held
from tests.simulation.world import PartMaker, Violation, World

__all__ = ["assert_noticed"]

MOST_SEEDS = 60


def assert_noticed(
    owner: type | ModuleType,
    name: str,
    broken: Callable[..., Any],
    *parts: PartMaker,
    saying: str = "",
    trouble: float | None = None,
) -> None:
    """Some seed must find it, within a few.

    Args:
        saying: What has to be in the accusation.
        trouble: How many answers of the store are faults, and how many events get lost; None: as
            the seed says.
    """
    for seed in range(MOST_SEEDS):
        with small_bounds(), patch.object(owner, name, broken):
            world = World(seed, None, parts)
            if trouble is not None:
                world.fault_share = world.lost_share = trouble
            try:
                run_held(world.run())
            except Violation as violation:
                if saying in str(violation):
                    return
    pytest.fail(f"nobody noticed that {owner.__name__}.{name} is broken")
