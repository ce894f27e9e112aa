"""What comes again is carried out once; what failed may be tried anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import patch

import pytest

from starlings.core.errors import Reason, Refusal
from starlings.node.repeats import KEPT_SECONDS, Answer, Repeats

OK = Answer(200, b"{}")


class Counter:
    """Work that is counted, and answers when it is let."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.count = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> Answer:
        self.count += 1
        answer = self.answers[min(self.count, len(self.answers)) - 1]
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


def open_counter(*answers: Answer | Exception) -> Counter:
    counter = Counter(*answers)
    counter.gate.set()
    return counter


def held(now: list[float]) -> Callable[[], float]:
    return lambda: now[0]


async def together(*work: Coroutine[Any, Any, Answer]) -> list[Answer | BaseException]:
    return await asyncio.gather(*work, return_exceptions=True)


async def test_a_repetition_gets_the_first_answer() -> None:
    repeats, work = Repeats(held([0.0])), open_counter(OK)
    assert [await repeats.answer("key", work) for _ in range(3)] == [OK] * 3
    assert work.count == 1


async def test_another_key_is_another_request() -> None:
    repeats, work = Repeats(held([0.0])), open_counter(OK)
    await repeats.answer(("alice", "RQ1"), work)
    await repeats.answer(("bob", "RQ1"), work)
    assert work.count == 2


async def test_a_repetition_that_comes_meanwhile_waits_for_the_answer() -> None:
    repeats, work = Repeats(held([0.0])), Counter(OK)
    asyncio.get_running_loop().call_soon(work.gate.set)
    assert await together(*(repeats.answer("key", work) for _ in range(5))) == [OK] * 5
    assert work.count == 1


async def test_of_several_that_waited_for_a_refusal_one_goes_on() -> None:
    refusal = Refusal(Reason.DOCUMENT_NOT_FOUND)
    repeats, work = Repeats(held([0.0])), Counter(refusal, OK)
    asyncio.get_running_loop().call_soon(work.gate.set)
    answers = await together(*(repeats.answer("key", work) for _ in range(5)))
    assert answers == [refusal, OK, OK, OK, OK]
    assert work.count == 2


@pytest.mark.parametrize("status", [300, 404, 503])
async def test_an_answer_without_success_is_not_kept(status: int) -> None:
    repeats, work = Repeats(held([0.0])), open_counter(Answer(status, b""), OK)
    assert (await repeats.answer("key", work)).status == status
    assert await repeats.answer("key", work) == OK


async def test_a_cancelled_request_lets_its_repetition_go_on() -> None:
    repeats, work = Repeats(held([0.0])), Counter(OK)
    first = asyncio.ensure_future(repeats.answer("key", work))
    second = asyncio.ensure_future(repeats.answer("key", work))
    await asyncio.sleep(0)
    first.cancel()
    work.gate.set()
    assert await second == OK
    assert work.count == 2


async def test_a_cancelled_repetition_leaves_the_first_alone() -> None:
    repeats, work = Repeats(held([0.0])), Counter(OK)
    first = asyncio.ensure_future(repeats.answer("key", work))
    second = asyncio.ensure_future(repeats.answer("key", work))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await first == OK


async def test_answers_are_forgotten_after_a_while() -> None:
    now = [0.0]
    repeats, work = Repeats(held(now)), open_counter(OK)
    await repeats.answer("key", work)
    now[0] = KEPT_SECONDS - 0.1
    await repeats.answer("key", work)
    assert work.count == 1
    now[0] = KEPT_SECONDS
    await repeats.answer("key", work)
    assert work.count == 2


async def test_the_oldest_answers_go_when_there_are_too_many() -> None:
    repeats, work = Repeats(held([0.0])), open_counter(OK)
    with patch("starlings.node.repeats.MOST_ANSWERS", 3):
        for key in (1, 2, 3, 4):
            await repeats.answer(key, work)
        await repeats.answer(4, work)
        assert work.count == 4
        await repeats.answer(1, work)
        assert work.count == 5


async def test_the_oldest_answers_go_when_all_together_are_too_large() -> None:
    large = Answer(200, b"x" * 400)
    repeats, work = Repeats(held([0.0])), open_counter(large)
    with patch("starlings.node.repeats.MOST_BYTES", 1_000):
        for key in range(10):
            await repeats.answer(key, work)
        for key in (8, 9):
            await repeats.answer(key, work)
        assert work.count == 10
        await repeats.answer(7, work)
        assert work.count == 11


async def test_what_was_forgotten_makes_room_again() -> None:
    now = [0.0]
    large = Answer(200, b"x" * 400)
    repeats, work = Repeats(held(now)), open_counter(large)
    with patch("starlings.node.repeats.MOST_BYTES", 1_000):
        for key in range(20):
            now[0] += KEPT_SECONDS
            await repeats.answer(key, work)
            await repeats.answer(-1 - key, work)
            await repeats.answer(key, work)
        assert work.count == 40
