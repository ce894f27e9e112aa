"""Outbox and flusher without a socket: turns, order, bounds."""

from __future__ import annotations

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
from tests.ws.fake_loop import FakeLoop


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

    def __init__(
        self, room: int = 1_000_000_000, limits: OutboxLimits | None = None, fd: int = -1
    ) -> None:
        self.loop = FakeLoop()
        self.flusher = Flusher(self.loop, limits, self._write)
        self.cuts: list[str] = []
        self.drained = 0
        self.sink = FakeSink(room)
        self.fd = fd
        self.direct_writes: list[bytes] = []
        self.direct_error: OSError | None = None
        self.outbox = self.sink.outbox = Outbox(
            self.sink, self.flusher, self.cuts.append, self._on_drained, fd
        )

    def _write(self, fd: int, data: bytes) -> int:
        """As write(2) on the descriptor that the transport has, too."""
        assert fd == self.fd
        assert not self.sink.held, "overtakes what the transport holds"
        if self.direct_error is not None:
            raise self.direct_error
        if self.sink.room == 0:
            raise BlockingIOError
        taken = data[: self.sink.room]
        self.direct_writes.append(taken)
        self.sink.taken += taken
        self.sink.room -= len(taken)
        return len(taken)

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


def test_a_mistake_of_ours_loses_only_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    loop = FakeLoop()
    flusher = Flusher(loop)
    cuts: list[str] = []
    sinks = [FakeSink() for _ in range(3)]
    for sink in sinks:
        sink.outbox = Outbox(sink, flusher, cuts.append, lambda: None)
        sink.outbox.append(b"x")
    sinks[1].error = ZeroDivisionError()
    loop.turn()
    assert [sink.taken for sink in sinks] == [b"x", b"", b"x"]
    assert cuts == [WRITE_FAILED]
    assert "could not be written to" in caplog.text


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


# Broadcasts.


def test_a_broadcast_is_written_at_once_and_joined_where_nothing_is_in_the_way() -> None:
    bench = Bench(fd=5)
    bench.flusher.broadcast([bench.outbox], [b"a", b"b", b"c"])
    assert (bench.direct_writes, bench.sink.writes) == ([b"abc"], [])
    bench.loop.turn()
    assert bench.sink.taken == b"abc"
    statistics = bench.flusher.statistics()
    assert (statistics.writes, statistics.frames, statistics.bytes) == (1, 3, 3)


def test_a_broadcast_without_a_descriptor_goes_through_the_transport() -> None:
    bench = Bench(fd=-1)
    bench.flusher.broadcast([bench.outbox], [b"a", b"b"])
    bench.loop.turn()
    assert (bench.direct_writes, bench.sink.writes) == ([], [b"ab"])
    assert bench.flusher.statistics().frames == 2


def test_a_broadcast_queues_behind_what_the_turn_has_gathered() -> None:
    bench = Bench(fd=5)
    bench.outbox.append(b"reply ")
    bench.flusher.broadcast([bench.outbox], [b"event "])
    assert bench.sink.taken == b""
    bench.loop.turn()
    bench.flusher.broadcast([bench.outbox], [b"next"])
    assert bench.sink.taken == b"reply event next"
    assert bench.direct_writes == [b"next"]


def test_a_broadcast_queues_behind_what_the_kernel_has_not_taken() -> None:
    bench = Bench(room=3, fd=5)
    bench.flusher.broadcast([bench.outbox], [b"abcd"])
    bench.loop.turn()
    bench.flusher.broadcast([bench.outbox], [b"ef"])
    assert (bench.sink.taken, bench.outbox.queued_bytes) == (b"abc", 3)
    bench.loop.turn()
    bench.sink.take(100)
    bench.flusher.broadcast([bench.outbox], [b"g"])
    assert bench.sink.taken == b"abcdefg"
    assert bench.direct_writes == [b"abc", b"g"]
    assert bench.drained == 1
    assert bench.flusher.statistics().bytes == 7


def test_a_full_kernel_is_left_to_the_transport() -> None:
    bench = Bench(room=0, fd=5)
    bench.flusher.broadcast([bench.outbox], [b"ab"])
    bench.loop.turn()
    assert bench.outbox.is_paused
    bench.sink.take(10)
    assert bench.sink.taken == b"ab"


@pytest.mark.parametrize("end", ["close", "cut", "refuse_more"])
def test_the_descriptor_of_an_ended_connection_is_never_written_to(end: str) -> None:
    """By then it may be another client's."""
    bench = Bench(fd=5)
    if end == "cut":
        bench.outbox.cut("revoked")
    else:
        getattr(bench.outbox, end)()
    bench.flusher.broadcast([bench.outbox], [b"secret"])
    bench.loop.turn()
    assert bench.direct_writes == bench.sink.writes == []


def test_a_connection_that_fails_in_a_broadcast_loses_only_itself() -> None:
    failing, other = Bench(fd=5), Bench(fd=6)
    failing.direct_error = ConnectionResetError()
    failing.sink.error = RuntimeError("the handler is closed")
    other.flusher = failing.flusher
    writes = {5: failing._write, 6: other._write}
    failing.flusher._write = lambda fd, data: writes[fd](fd, data)
    failing.flusher.broadcast([failing.outbox, other.outbox], [b"ab"])
    failing.loop.turn()
    assert (failing.cuts, other.cuts, other.sink.taken) == ([WRITE_FAILED], [], b"ab")


def test_a_large_broadcast_goes_out_in_pieces_of_whole_frames() -> None:
    bench = Bench(fd=5)
    frames = [bytes([65 + place]) * 30_000 for place in range(7)]
    bench.flusher.broadcast([bench.outbox], frames)
    assert [len(one) for one in bench.direct_writes] == [60_000, 60_000, 60_000, 30_000]
    assert bench.sink.taken == b"".join(frames)
    assert bench.flusher.statistics().frames == 7


@given(
    fd=st.sampled_from([-1, 5]),
    steps=st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=40),
            st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=3),
            st.integers(0, 60),
            st.none(),
        ),
        max_size=40,
    ),
)
def test_whatever_the_kernel_takes_order_and_count_are_kept(
    fd: int,
    steps: list[bytes | list[bytes] | int | None],
) -> None:
    bench = Bench(room=10, limits=OutboxLimits(turn_bytes=64, queued_bytes=10_000), fd=fd)
    sent = b""
    for step in steps:
        if step is None:
            bench.loop.turn()
        elif isinstance(step, int):
            bench.sink.take(step)
        elif isinstance(step, list):
            bench.flusher.broadcast([bench.outbox], step)
            sent += b"".join(step)
        else:
            bench.outbox.append(step)
            sent += step
        assert len(bench.sink.taken) + bench.outbox.queued_bytes == len(sent)
    bench.loop.turn()
    bench.sink.take(10_000)
    assert bench.sink.taken == sent
    statistics = bench.flusher.statistics()
    assert statistics.bytes == len(sent)
    assert statistics.backlogged == 0
