"""Checks of access in their turn: few at once, each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from starlings.ws.access_checks import MOST_CHECKS, AccessChecks, Check
from tests.ws.sessions import settle


class Bench:
    """Checks that wait for ``gate``."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.checks = AccessChecks(self._spawn)
        self.gate = asyncio.Event()
        self.begun: list[int] = []
        self.done: list[int] = []

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def check(self, number: int) -> Check:
        async def look() -> None:
            self.begun.append(number)
            await self.gate.wait()
            self.done.append(number)

        return look


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()
    await asyncio.gather(*made.tasks)


async def test_only_some_are_under_way_at_once_and_all_have_their_turn(bench: Bench) -> None:
    count = 3 * MOST_CHECKS
    assert all(bench.checks.add(number, bench.check(number)) for number in range(count))
    await settle()
    assert bench.begun == list(range(MOST_CHECKS))
    assert (len(bench.tasks), len(bench.checks)) == (MOST_CHECKS, count - MOST_CHECKS)
    bench.gate.set()
    await settle()
    assert bench.begun == list(range(count))
    assert sorted(bench.done) == bench.begun
    assert all(task.done() for task in bench.tasks)
    bench.checks.add(0, bench.check(count))
    await settle()
    assert bench.done[-1] == count


async def test_one_that_has_not_begun_is_enough_and_one_that_has_is_not(bench: Bench) -> None:
    for number in range(MOST_CHECKS):
        assert bench.checks.add(number, bench.check(number))
    await settle()
    assert bench.checks.add(0, bench.check(100))
    assert not bench.checks.add(0, bench.check(101))
    bench.gate.set()
    await settle()
    assert sorted(bench.done) == [*range(MOST_CHECKS), 100]


async def test_one_that_fails_holds_up_none(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    bench.gate.set()
    for number in range(2 * MOST_CHECKS):
        bench.checks.add(number, fail)
    bench.checks.add("last", bench.check(1))
    await settle()
    assert bench.done == [1]
    assert caplog.text.count("A check of access failed") == 2 * MOST_CHECKS
