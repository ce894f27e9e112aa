"""So much work in one turn of the loop."""

from __future__ import annotations

import asyncio

import pytest

from starlings.core.objects import Kind
from starlings.ws import turns as module
from starlings.ws.turns import MOST_STEPS, Turns
from tests.ws.sessions import a_world, settle, subscription_body


async def test_only_so_many_steps_are_taken_in_one_turn_and_in_order() -> None:
    turns = Turns()
    taken: list[int] = []

    async def step(number: int) -> None:
        await turns.wait()
        taken.append(number)

    count = 3 * MOST_STEPS + 1
    steps = [asyncio.ensure_future(step(number)) for number in range(count)]
    lengths = []
    for _ in range(9):
        before = len(taken)
        await asyncio.sleep(0)
        lengths.append(len(taken) - before)
    await asyncio.gather(*steps)
    assert max(lengths) == MOST_STEPS
    assert taken == list(range(count))
    assert len(turns) == 0


async def test_one_after_the_other_they_are_not_without_end_in_one_turn() -> None:
    turns = Turns()
    others = 0

    async def count() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(count())
    for _ in range(10 * MOST_STEPS):
        await turns.wait()
    other.cancel()
    assert others >= 9


async def test_who_is_cancelled_takes_nobodys_step() -> None:
    turns = Turns()
    waiting = [asyncio.ensure_future(turns.wait()) for _ in range(MOST_STEPS + 2)]
    await asyncio.sleep(0)
    waiting[MOST_STEPS].cancel()
    await settle()
    assert [one.cancelled() for one in waiting[MOST_STEPS:]] == [True, False]
    assert all(one.done() for one in waiting)


async def test_subscriptions_of_all_sessions_are_established_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_STEPS", 5)
    async with a_world() as world:
        sids = [(await world.create(Kind.DOCUMENT))[0] for _ in range(10)]
        peers = [await world.ready() for _ in range(6)]
        body = subscription_body(*((sid, "document", None) for sid in sids))
        for peer in peers:
            peer.ask_nowait("POST", "/v4/Subscriptions", body)
        known, most = 0, 0
        for _ in range(60):
            await asyncio.sleep(0)
            listeners = world.face.hub.statistics().listeners
            known, most = listeners, max(most, listeners - known)
        assert known == 60
        assert most <= 2 * 5, "what is left of one turn, and the next one's"
