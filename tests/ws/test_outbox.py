"""Outbox and flusher without a socket: turns, order, bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.ws.outbox import (
    CLOSE,
    SLOW_READER,
    WRITE_FAILED,
    Flusher,
    Outbox,
    OutboxLimits,
    ws_frame,
)


class FakeLoop:
    """Turns and time that move when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.later.append((self.now + delay, callback))

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((each for each in self.later if each[0] <= end), key=lambda e: e[0]):
            self.later.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = end


class FakeSink:
    """A transport whose kernel takes ``room`` bytes, then nothing until ``take``."""

    def __init__(self, room: int = 1_000_000_000) -> None:
        self.room = room
        self.taken = b""
        self.held = b""
        self.writes: list[bytes] = []
        self.outbox: Outbox
        self.error: Exception | None = None

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.writes.append(data)
        self.held += data
        self._move()
        if self.held:
            self.outbox.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.held)

    def take(self, size: int) -> None:
        self.room += size
        was_holding = bool(self.held)
        self._move()
        if was_holding and not self.held:
            self.outbox.resume_writing()

    def _move(self) -> None:
        self.taken += self.held[: self.room]
        moved = min(self.room, len(self.held))
        self.held = self.held[moved:]
        self.room -= moved


class Bench:
    """One outbox with everything it touches."""

    def __init__(self, room: int = 1_000_000_000, limits: OutboxLimits | None = None) -> None:
        self.loop = FakeLoop()
        self.flusher = Flusher(self.loop, limits)
        self.cuts: list[str] = []
        self.drained = 0
        self.sink = FakeSink(room)
        self.outbox = self.sink.outbox = Outbox(
            self.sink, self.flusher, self.cuts.append, self._on_drained
        )

    def _on_drained(self) -> None:
        self.drained += 1


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_has_the_shortest_length_field_that_fits(size: int, head: bytes) -> None:
    assert ws_frame(b"x" * size) == head + b"x" * size


def test_a_frame_is_built_from_any_bytes_like_payload() -> None:
    assert ws_frame(bytearray(b"ab")) == ws_frame(memoryview(b"ab")) == b"\x82\x02ab"
    assert ws_frame(b"\x03\xe8", CLOSE) == b"\x88\x02\x03\xe8"


def test_frames_of_one_turn_go_out_in_one_write() -> None:
    bench = Bench()
    for frame in (b"a", b"b", b"c"):
        bench.outbox.append(frame)
    assert bench.sink.writes == []
    bench.loop.turn()
    assert bench.sink.writes == [b"abc"]


def test_a_single_frame_is_written_as_the_same_object() -> None:
    bench = Bench()
    frame = ws_frame(b"shared")
    bench.outbox.append(frame)
    bench.loop.turn()
    assert bench.sink.writes[0] is frame


def test_many_outboxes_share_one_callback_a_turn() -> None:
    loop = FakeLoop()
    flusher = Flusher(loop)
    sinks = [FakeSink() for _ in range(10)]
    outboxes = [Outbox(sink, flusher, lambda reason: None, lambda: None) for sink in sinks]
    for outbox in outboxes:
        outbox.append(b"x")
        outbox.append(b"y")
    assert len(loop.soon) == 1
    loop.turn()
    assert [sink.taken for sink in sinks] == [b"xy"] * 10
    outboxes[0].append(b"z")
    assert len(loop.soon) == 1


def test_a_large_burst_is_written_before_the_turn_ends() -> None:
    bench = Bench(limits=OutboxLimits(turn_bytes=10))
    bench.outbox.append(b"123456")
    bench.outbox.append(b"789012")
    assert bench.sink.taken == b"123456789012"
    bench.outbox.append(b"3")
    bench.loop.turn()
    assert bench.sink.taken == b"1234567890123"


def test_frames_wait_in_order_while_the_kernel_is_full() -> None:
    bench = Bench(room=1)
    for frame in (b"abc", b"def", b"ghi"):
        bench.outbox.append(frame)
        bench.loop.turn()
    assert bench.sink.writes == [b"abc"]
    assert bench.outbox.queued_bytes == 8
    bench.sink.take(2)
    assert bench.sink.writes == [b"abc", b"defghi"]
    assert bench.drained == 0
    bench.sink.take(6)
    assert bench.sink.taken == b"abcdefghi"
    assert bench.drained == 1
    assert bench.outbox.queued_bytes == 0


def test_waiting_frames_are_the_shared_objects_not_copies() -> None:
    bench = Bench(room=0)
    bench.outbox.append(b"first")
    bench.loop.turn()
    frame = ws_frame(b"x" * 1000)
    bench.outbox.append(frame)
    bench.loop.turn()
    bench.sink.take(5)
    assert bench.sink.writes[1] is frame


def test_a_reader_with_too_many_bytes_is_cut_once_and_gets_nothing_more() -> None:
    bench = Bench(room=0, limits=OutboxLimits(queued_bytes=100))
    for _ in range(11):
        bench.outbox.append(b"x" * 10)
        bench.loop.turn()
    assert bench.cuts == [SLOW_READER]
    assert bench.outbox.queued_bytes == 0
    bench.outbox.append(b"late")
    bench.loop.turn()
    assert bench.sink.writes == [b"x" * 10]
    assert bench.flusher.statistics().cut_for_bytes == 1
    assert bench.flusher.statistics().backlogged == 0


def test_what_the_kernel_took_meanwhile_does_not_count_against_the_bound() -> None:
    bench = Bench(room=0, limits=OutboxLimits(queued_bytes=100))
    bench.outbox.append(b"x" * 90)
    bench.loop.turn()
    bench.sink.take(80)
    bench.outbox.append(b"y" * 80)
    bench.loop.turn()
    assert bench.cuts == []


def test_a_reader_at_the_byte_bound_is_kept() -> None:
    bench = Bench(room=0, limits=OutboxLimits(queued_bytes=100))
    bench.outbox.append(b"x" * 100)
    bench.loop.turn()
    assert bench.cuts == []


def test_a_reader_is_cut_when_its_oldest_byte_is_too_old() -> None:
    bench = Bench(room=3, limits=OutboxLimits(age_seconds=30))
    bench.outbox.append(b"four")
    bench.loop.turn()
    bench.loop.advance(29)
    assert bench.cuts == []
    bench.loop.advance(3)
    assert bench.cuts == [SLOW_READER]
    assert bench.flusher.statistics().cut_for_age == 1


def test_age_counts_from_sending_not_from_when_the_transport_got_it() -> None:
    bench = Bench(room=0, limits=OutboxLimits(age_seconds=30))
    bench.outbox.append(b"a")
    bench.loop.turn()
    bench.loop.advance(10)
    bench.outbox.append(b"bb")
    bench.loop.turn()
    bench.loop.advance(15)
    bench.sink.take(1)  # "bb", 15 seconds old, goes to the transport
    bench.loop.advance(14)
    assert bench.cuts == []
    bench.loop.advance(3)
    assert bench.cuts == [SLOW_READER]


def test_a_reader_that_keeps_up_slowly_is_not_cut() -> None:
    bench = Bench(room=0, limits=OutboxLimits(age_seconds=30))
    for _ in range(20):
        bench.outbox.append(b"xx")
        bench.loop.turn()
        bench.loop.advance(20)
        bench.sink.take(2)
    assert bench.cuts == []
    assert bench.drained == 20


def test_no_timer_runs_when_nothing_is_backlogged() -> None:
    bench = Bench(room=0)
    bench.outbox.append(b"x")
    bench.loop.turn()
    assert len(bench.loop.later) == 1
    bench.sink.take(1)
    bench.loop.advance(5)
    assert bench.loop.later == []


def test_one_slow_reader_leaves_the_others_alone() -> None:
    loop = FakeLoop()
    flusher = Flusher(loop, OutboxLimits(queued_bytes=50))
    slow, fast = FakeSink(room=0), FakeSink()
    cuts: list[str] = []
    for sink in (slow, fast):
        sink.outbox = Outbox(sink, flusher, cuts.append, lambda: None)
    for _ in range(20):
        for sink in (slow, fast):
            sink.outbox.append(b"0123456789")
        loop.turn()
    assert cuts == [SLOW_READER]
    assert fast.taken == b"0123456789" * 20


@pytest.mark.parametrize("error", [RuntimeError("handle is closed"), OSError("broken")])
def test_a_failing_transport_loses_only_its_own_connection(error: Exception) -> None:
    loop = FakeLoop()
    flusher = Flusher(loop)
    broken, fine = FakeSink(), FakeSink()
    broken.error = error
    cuts: list[str] = []
    for sink in (broken, fine):
        sink.outbox = Outbox(sink, flusher, cuts.append, lambda: None)
        sink.outbox.append(b"x")
    loop.turn()
    assert cuts == [WRITE_FAILED]
    assert fine.taken == b"x"


def test_a_closed_outbox_drops_frames_and_hears_no_cut() -> None:
    bench = Bench()
    bench.outbox.append(b"x")
    bench.outbox.close()
    bench.outbox.append(b"y")
    bench.outbox.cut("too late")
    bench.loop.turn()
    assert bench.sink.writes == []
    assert bench.cuts == []


def test_after_the_last_frame_what_waits_is_still_written() -> None:
    bench = Bench(room=0)
    bench.outbox.append(b"a")
    bench.loop.turn()
    bench.outbox.append(b"b")
    bench.outbox.refuse_more()
    bench.outbox.append(b"dropped")
    bench.sink.take(1)
    bench.sink.take(10)
    assert bench.sink.taken == b"ab"


@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=30),
            st.integers(min_value=1, max_value=60),
            st.none(),
        ),
        max_size=60,
    )
)
def test_whatever_the_kernel_takes_order_and_count_are_kept(
    steps: list[bytes | int | None],
) -> None:
    bench = Bench(room=10, limits=OutboxLimits(turn_bytes=64, queued_bytes=10_000))
    sent = b""
    for step in steps:
        if step is None:
            bench.loop.turn()
        elif isinstance(step, int):
            bench.sink.take(step)
        else:
            bench.outbox.append(step)
            sent += step
        assert len(bench.sink.taken) + bench.outbox.queued_bytes == len(sent)
    bench.loop.turn()
    bench.sink.take(10_000)
    assert bench.sink.taken == sent
    statistics = bench.flusher.statistics()
    assert statistics.bytes == bench.outbox.bytes_sent == len(sent)
    assert statistics.backlogged == 0
