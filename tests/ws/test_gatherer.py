"""Acknowledgements that the kernel gathers: when, for whom, and what it never holds back."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from starlings.ws.gatherer import (
    BUSY_WRITES_PER_SECOND,
    FIRST,
    GATHERED,
    LONGEST_SECONDS,
    MOST_BYTES,
    Gatherer,
    can_gather,
)
from starlings.ws.outbox import Flusher
from tests.ws.fake_loop import FakeLoop
from tests.ws.serving import Recorder, Site, client_frame, read_frame, serving

ACKNOWLEDGEMENT = client_frame(b"ack" * 50)


class Peer:
    """Writes down its mark; 1 is none."""

    def __init__(self) -> None:
        self.mark = 1
        self.changes = 0

    def set_mark(self, size_bytes: int) -> None:
        self.mark = size_bytes
        self.changes += 1

    def lift_mark(self) -> None:
        self.set_mark(1)


@dataclass
class Server:
    """A gatherer whose server writes so many times a second."""

    loop: FakeLoop = field(default_factory=FakeLoop)
    writes_per_second: float = 2 * BUSY_WRITES_PER_SECOND

    def __post_init__(self) -> None:
        self.flusher = Flusher(self.loop)
        self.gatherer = Gatherer(self.loop, self.flusher)
        self.peers: list[Peer] = []

    def join(self, count: int) -> None:
        self.peers += [Peer() for _ in range(count)]

    def run(self, seconds: float, *, acknowledging: bool = True) -> None:
        """Each peer acknowledges what is written to it, as soon as it is read."""
        for _ in range(round(seconds / 0.005)):
            self.flusher.writes += round(self.writes_per_second * 0.005)
            for peer in self.peers:
                if acknowledging and peer.mark == 1:
                    self.gatherer.note_acknowledgement(peer, 170)
            self.loop.advance(0.005)

    @property
    def marked(self) -> int:
        return sum(peer.mark > 1 for peer in self.peers)


def test_who_acknowledges_to_a_busy_server_is_marked() -> None:
    server = Server()
    server.join(10)
    server.run(1)
    assert {peer.mark for peer in server.peers} <= {1, GATHERED * 170}
    assert server.marked > 0


def test_a_mark_is_bounded_however_large_an_acknowledgement_is() -> None:
    """It would make the kernel keep more room for a hostile client."""
    server = Server()
    server.join(10)
    server.run(1)
    for peer in server.peers:
        server.gatherer.release(peer)
        server.gatherer.note_acknowledgement(peer, 128 * 1024)
    assert {peer.mark for peer in server.peers} == {MOST_BYTES}


def test_a_server_with_little_to_do_marks_nobody_and_has_no_timer() -> None:
    server = Server(writes_per_second=BUSY_WRITES_PER_SECOND / 2)
    server.join(10)
    server.run(1)
    assert (server.marked, len(server.gatherer)) == (0, 0)
    server.run(2, acknowledging=False)
    assert server.loop.later == []


def test_nothing_is_held_back_longer_than_between_two_looks() -> None:
    server = Server()
    server.join(10)
    server.run(1)
    assert server.marked > 0
    marked = [peer for peer in server.peers if peer.mark > 1]
    # Nothing reaches the mark: what is there is read after at most two looks.
    server.run(2 * LONGEST_SECONDS, acknowledging=False)
    assert all(peer.mark == 1 for peer in marked)


def test_all_marks_are_lifted_when_the_server_has_done_its_work() -> None:
    server = Server()
    server.join(10)
    server.run(1)
    server.writes_per_second = 0
    server.run(1)
    assert (server.marked, len(server.gatherer)) == (0, 0)


def test_another_message_lifts_the_mark() -> None:
    server = Server()
    server.join(10)
    server.run(1)
    peer = next(peer for peer in server.peers if peer.mark > 1)
    server.gatherer.release(peer)
    assert peer.mark == 1
    changes = peer.changes
    server.gatherer.release(peer)
    assert peer.changes == changes


def test_a_peer_that_is_gone_is_left_alone() -> None:
    server = Server()
    server.join(10)
    server.run(1)
    peer = next(peer for peer in server.peers if peer.mark > 1)
    server.gatherer.discard(peer)
    server.peers.remove(peer)
    changes = peer.changes
    server.run(1)
    assert peer.changes == changes


def test_where_too_little_comes_from_each_marks_are_given_up_for_a_while() -> None:
    """Gathering less than three at a time would cost more than it saves."""
    server = Server(writes_per_second=2 * BUSY_WRITES_PER_SECOND)
    server.join(4000)  # five writes a second to each
    server.run(3)
    assert max(peer.changes for peer in server.peers) <= 4


def test_where_marks_mean_other_things_there_are_none() -> None:
    server = Server()
    server.gatherer = Gatherer(server.loop, server.flusher, is_able=False)
    server.join(10)
    server.run(1)
    assert (server.marked, server.loop.later) == (0, [])
    with closing(asyncio.new_event_loop()) as loop:
        assert not can_gather(loop)


# With a real socket.


async def be_marked(site: Site, writer: asyncio.StreamWriter, listener: Recorder) -> None:
    """Acknowledge as often as it takes; there are no looks, so the mark stays."""
    gatherer = site.ws.gatherer
    gatherer._is_looking = gatherer._is_gathering = True
    for _ in range(FIRST):
        writer.write(ACKNOWLEDGEMENT)
        await listener.messages.get()
    assert len(gatherer) == 1


async def test_marked_acknowledgements_wait_for_each_other() -> None:
    async with serving() as site:
        _, writer, listener = await site.upgrade()
        await be_marked(site, writer, listener)
        for _ in range(GATHERED - 1):
            writer.write(ACKNOWLEDGEMENT)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(listener.messages.get(), 0.02)
        writer.write(ACKNOWLEDGEMENT)
        for _ in range(GATHERED):
            await listener.messages.get()
        writer.close()


async def test_a_large_request_of_a_marked_connection_waits_for_nothing() -> None:
    async with serving() as site:
        _, writer, listener = await site.upgrade()
        await be_marked(site, writer, listener)
        writer.write(ACKNOWLEDGEMENT + client_frame(b"request" * 400))
        assert (await listener.messages.get()).startswith(b"ack")
        assert (await listener.messages.get()).startswith(b"request")
        assert len(site.ws.gatherer) == 0
        writer.write(client_frame(b"next"))
        assert await listener.messages.get() == b"next"
        writer.close()


async def test_a_small_request_of_a_marked_connection_is_read_at_the_next_look() -> None:
    async with serving() as site:
        _, writer, listener = await site.upgrade()
        await be_marked(site, writer, listener)
        writer.write(client_frame(b"get"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(listener.messages.get(), 0.02)
        site.ws.gatherer._look()
        assert await listener.messages.get() == b"get"
        writer.close()


async def test_a_request_in_fragments_ends_the_marks_like_any_other() -> None:
    async with serving() as site:
        _, writer, listener = await site.upgrade()
        await be_marked(site, writer, listener)
        writer.write(client_frame(b"request" * 200, 0x02) + client_frame(b"request" * 200, 0x80))
        assert (await listener.messages.get()).startswith(b"request")
        for _ in range(FIRST - 1):
            writer.write(ACKNOWLEDGEMENT)
            await listener.messages.get()
        assert len(site.ws.gatherer) == 0
        writer.close()


async def test_a_marked_peer_answers_a_close_at_once() -> None:
    async with serving() as site:
        reader, writer, listener = await site.upgrade()
        await be_marked(site, writer, listener)
        listener.connection.close(1001, "bye")
        assert await read_frame(reader) == (0x88, b"\x03\xe9bye")
        writer.write(client_frame(b"\x03\xe9", 0x88))
        async with asyncio.timeout(1):
            assert await listener.closed == (1001, "bye")
        writer.close()


async def test_a_marked_peer_that_hangs_up_is_noticed_at_once() -> None:
    async with serving() as site:
        _, writer, listener = await site.upgrade()
        await be_marked(site, writer, listener)
        writer.transport.abort()
        await listener.closed
        assert len(site.ws.gatherer) == 0
