"""How writes are queued, shared out to batches and answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from starlings.core.commands import Command, ExpireObject
from starlings.core.errors import Fault, Reason, Refusal
from starlings.storage import batcher
from starlings.storage.batcher import Batcher, Results
from starlings.storage.store import Batch


class Recorder:
    """A committer that notes what it is given; a test may hold it at a gate."""

    def __init__(self) -> None:
        self.story: list[object] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail_open: Exception | None = None
        self.fail_commit: BaseException | None = None
        self.fail_rest: Exception | None = None
        self.threads: set[int] = set()
        self.rested = threading.Event()

    def open(self) -> None:
        if self.fail_open:
            raise self.fail_open

    def commit(self, commands: Sequence[Command]) -> Results:
        self.threads.add(threading.get_ident())
        self.gate.wait(10)
        numbers = [command.oid for command in commands if isinstance(command, ExpireObject)]
        self.story.append(numbers)
        if self.fail_commit:
            raise self.fail_commit
        return Results(
            [Refusal(Reason.BAD_TTL) if number < 0 else None for number in numbers], Batch((), ())
        )

    def rest(self) -> None:
        self.rested.set()
        if self.fail_rest:
            raise self.fail_rest

    def close(self) -> None:
        self.story.append("closed")

    @property
    def batches(self) -> list[list[int]]:
        return [one for one in self.story if isinstance(one, list)]


async def started(recorder: Recorder) -> Batcher:
    queue = Batcher(recorder)
    await queue.start()
    return queue


def submit(queue: Batcher, number: int, size_bytes: int = 1) -> asyncio.Future[object]:
    future: asyncio.Future[object] = queue.submit(ExpireObject(number), size_bytes)  # type: ignore[assignment]
    return future


async def test_what_is_asked_for_in_one_turn_of_the_loop_is_one_batch() -> None:
    recorder = Recorder()
    queue = await started(recorder)
    await asyncio.gather(*(submit(queue, number) for number in range(64)))
    await asyncio.gather(*(submit(queue, number) for number in range(64)))
    assert recorder.batches == [list(range(64))] * 2
    await queue.close()


async def test_callers_that_go_on_together_share_the_next_commit_too() -> None:
    recorder = Recorder()
    queue = await started(recorder)

    async def write(number: int) -> None:
        for _ in range(5):
            await submit(queue, number)

    await asyncio.gather(*(write(number) for number in range(20)))
    assert recorder.batches == [list(range(20))] * 5
    await queue.close()


async def test_what_queues_during_a_commit_is_the_next_batch() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    queue = await started(recorder)
    futures = [submit(queue, 1)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for number in (2, 3, 4):
        futures.append(submit(queue, number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    recorder.gate.set()
    await asyncio.gather(*futures)
    assert [number for batch in recorder.batches for number in batch] == [1, 2, 3, 4]
    assert recorder.batches[-1][-1] == 4
    assert len(recorder.batches) <= 3
    await queue.close()


async def test_batches_are_bounded_by_number_and_by_bytes() -> None:
    recorder = Recorder()
    queue = await started(recorder)
    await asyncio.gather(*(submit(queue, number) for number in range(1_200)))
    assert [len(batch) for batch in recorder.batches] == [512, 512, 176]
    recorder.story.clear()
    half = batcher.BATCH_BYTES // 2
    await asyncio.gather(*(submit(queue, number, half) for number in range(5)))
    assert [len(batch) for batch in recorder.batches] == [2, 2, 1]
    assert queue.statistics() == (6, 1_205, 0, 512)
    await queue.close()


async def test_one_more_than_may_wait_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "MOST_WAITING", 3)
    recorder = Recorder()
    recorder.gate.clear()
    queue = await started(recorder)
    futures = [submit(queue, number) for number in range(3)]
    with pytest.raises(Fault) as fault:
        submit(queue, 4)
    assert fault.value.reason is Reason.UNAVAILABLE
    recorder.gate.set()
    await asyncio.gather(*futures)
    await submit(queue, 5)
    await queue.close()


async def test_each_waiter_gets_its_own_outcome() -> None:
    queue = await started(Recorder())
    answers = await asyncio.gather(
        *(submit(queue, number) for number in (1, -1, 2)), return_exceptions=True
    )
    assert [isinstance(answer, Refusal) for answer in answers] == [False, True, False]
    await queue.close()


async def test_a_cancelled_waiter_disturbs_nobody_and_its_command_is_carried_out() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    queue = await started(recorder)
    futures = [submit(queue, number) for number in range(3)]
    await asyncio.sleep(0)
    futures[1].cancel()
    recorder.gate.set()
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert (answers[0], answers[2]) == (None, None)
    assert recorder.batches == [[0, 1, 2]]
    assert queue.statistics().waiting == 0
    await queue.close()


async def test_a_failing_commit_faults_its_batch_only(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    queue = await started(recorder)
    recorder.fail_commit = ValueError("a bug")
    answers = await asyncio.gather(submit(queue, 1), submit(queue, 2), return_exceptions=True)
    reasons = [answer.reason for answer in answers if isinstance(answer, Fault)]
    assert reasons == [Reason.INTERNAL_FAULT] * 2
    recorder.fail_commit = None
    await submit(queue, 3)
    assert "A batch failed" in caplog.text
    await queue.close()


async def test_failing_housekeeping_does_not_stop_the_writer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder()
    recorder.fail_rest = OSError("no space left on device")
    queue = await started(recorder)
    await submit(queue, 1)
    assert await asyncio.to_thread(recorder.rested.wait, 10)
    await submit(queue, 2)
    assert recorder.batches == [[1], [2]]
    assert "Housekeeping failed" in caplog.text
    await queue.close()


async def test_callers_that_ask_again_at_once_do_not_wait_for_housekeeping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher, "_IDLE_SECONDS", 60)
    recorder = Recorder()
    queue = await started(recorder)
    for number in range(20):
        await submit(queue, number)
    assert not recorder.rested.is_set()
    await queue.close()


async def test_when_the_thread_ends_by_an_error_all_who_wait_are_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    queue = await started(recorder)

    def fail() -> list[object]:
        raise AssertionError("a bug of the batcher itself")

    monkeypatch.setattr(queue, "_take_batch", fail)
    answers = await asyncio.gather(
        submit(queue, 1), queue.run(lambda: None), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Fault, Fault]
    with pytest.raises(Fault):
        submit(queue, 2)
    await queue.close()
    assert recorder.story == ["closed"]
    assert "The writing thread ends" in caplog.text


async def test_jobs_run_between_batches_in_the_writing_thread_in_order() -> None:
    recorder = Recorder()
    queue = await started(recorder)

    def job() -> int:
        recorder.story.append("job")
        recorder.threads.add(threading.get_ident())
        return 7

    first = submit(queue, 1)
    middle = asyncio.ensure_future(queue.run(job))
    await asyncio.sleep(0)
    last = submit(queue, 2)
    assert await middle == 7
    await asyncio.gather(first, last)
    assert recorder.story == [[1], "job", [2]]
    assert len(recorder.threads) == 1
    assert threading.get_ident() not in recorder.threads
    await queue.close()


async def test_a_failing_job_raises_in_its_caller_only() -> None:
    queue = await started(Recorder())

    def job() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await queue.run(job)
    await submit(queue, 1)
    await queue.close()


async def test_what_can_not_be_opened_raises_and_can_still_be_closed() -> None:
    recorder = Recorder()
    recorder.fail_open = OSError("no such disk")
    queue = Batcher(recorder)
    with pytest.raises(OSError, match="no such disk"):
        await queue.start()
    await queue.close()
    with pytest.raises(Fault):
        submit(queue, 1)


async def test_closing_finishes_what_is_queued_and_refuses_the_rest() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    queue = await started(recorder)
    futures = [submit(queue, number) for number in range(600)]
    closings = [asyncio.ensure_future(queue.close()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Fault):
        submit(queue, 9)
    with pytest.raises(Fault):
        await queue.run(lambda: None)
    recorder.gate.set()
    await asyncio.gather(*closings)
    assert all(future.done() for future in futures)
    assert recorder.story[-1] == "closed"
    assert sum(map(len, recorder.batches)) == 600


async def test_listeners_are_told_of_every_batch_that_has_untold_promised() -> None:
    """Of empty ones too: they may be waiting for it."""
    recorder = Recorder()
    queue = await started(recorder)
    told: list[tuple[Batch, bool]] = []
    queue.listen(lambda batch: told.append((batch, queue.has_untold)))
    assert not queue.has_untold
    refused, carried_out = submit(queue, -1), submit(queue, 2)
    assert queue.has_untold
    await asyncio.gather(refused, carried_out, return_exceptions=True)
    await asyncio.sleep(0)
    assert told == [(Batch((), ()), False)]
    await queue.close()


async def test_a_batch_that_fails_is_told_all_the_same() -> None:
    recorder = Recorder()
    recorder.fail_commit = Fault(Reason.UNAVAILABLE)
    queue = await started(recorder)
    told: list[Batch] = []
    queue.listen(told.append)
    with pytest.raises(Fault):
        await submit(queue, 1)
    await asyncio.sleep(0)
    assert (told, queue.has_untold) == ([Batch((), ())], False)
    await queue.close()
