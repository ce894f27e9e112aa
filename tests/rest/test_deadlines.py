"""One timer for many waits."""

from __future__ import annotations

import asyncio

import pytest

from starlings.rest.deadlines import Deadline


async def test_what_is_there_in_time_is_returned_and_leaves_nothing_behind() -> None:
    deadline = Deadline(60)

    async def answer() -> int:
        return 7

    assert [await deadline.wait_for(answer()) for _ in range(3)] == [7, 7, 7]
    assert deadline._due == {}


async def test_what_is_not_there_in_time_is_cancelled() -> None:
    deadline = Deadline(0)
    was_cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()

    for _ in range(2):
        with pytest.raises(TimeoutError):
            await deadline.wait_for(hang())
        assert was_cancelled.is_set()
        was_cancelled.clear()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert (deadline._due, deadline._overdue) == ({}, set())


async def test_many_waits_end_each_on_its_own() -> None:
    deadline = Deadline(0.01)
    gate = asyncio.Event()

    async def wait(is_in_time: bool) -> str:
        try:
            await deadline.wait_for(gate.wait() if is_in_time else asyncio.Event().wait())
        except TimeoutError:
            return "late"
        return "there"

    tasks = [asyncio.create_task(wait(number % 2 == 0)) for number in range(20)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == ["there", "late"] * 10


async def test_a_later_wait_is_ended_by_a_timer_of_its_own() -> None:
    deadline = Deadline(0.01)
    gate = asyncio.Event()

    async def wait() -> None:
        with pytest.raises(TimeoutError):
            await deadline.wait_for(asyncio.Event().wait())
        gate.set()

    first = asyncio.create_task(wait())
    await gate.wait()
    await asyncio.gather(first, wait())
    assert deadline._timer is None or not deadline._timer.cancelled()


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadline = Deadline(60)
    waiting = deadline.wait_for(asyncio.Event().wait())
    task = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deadline._due == {}
