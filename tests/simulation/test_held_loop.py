"""held_loop.py: a run that will never be over ends all the same."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.held_loop import Stuck, run_held


def test_a_world_that_stands_still_does_not_hang() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run_held(wait())


def test_a_world_that_goes_round_in_circles_does_not_hang() -> None:
    async def turn() -> None:
        asyncio.get_running_loop().call_soon(again)
        await asyncio.get_running_loop().create_future()

    def again() -> None:
        asyncio.get_running_loop().call_soon(again)

    with pytest.raises(Stuck):
        run_held(turn())
