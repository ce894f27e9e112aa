"""How many rows per second the store writes, beside what SQLite itself can do with the same rows.

``python bench/store.py`` prints, for 1, 8, 64 and 512 concurrent writers: commands per second
through the store, the same rows per second written by plain ``sqlite3`` in batches of as many
commands as there are writers, and the ratio. Each command replaces a map item, so it writes three
rows: the map, the item, the event. Rounds of both alternate in one process; medians are shown.

The limit ("raw") is one thread with no event loop: the rows are ready-made, the schema and the
settings are the store's, each batch is three ``executemany`` and a commit.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

from starlings.app.garbage import tune_garbage_collector
from starlings.core import commands as c
from starlings.core import sids
from starlings.core.limits import Limits, Rates
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef
from starlings.core.state import ObjectOutcome
from starlings.storage.sqlite import rows as r
from starlings.storage.sqlite.database import migrate, open_writer
from starlings.storage.sqlite.store import SqliteStore

BAR = 0.6
"""At 64 writers: the least share of raw SQLite."""

_WRITERS = (1, 8, 64, 512)
_MAPS = 1_000
_KEYS = 10
_DATA = b'{"x":12,"y":7,"name":"alice","color":"#aabbcc","hp":100,"tags":["a","b"]}'
_ADMIN = Actor(SYSTEM)


class Figures(NamedTuple):
    store: float
    raw: float


def _now() -> int:
    return time.time_ns() // 1_000_000


class StoreBench:
    """The store with its maps, kept over all rounds."""

    def __init__(self, store: SqliteStore, refs: list[ObjectRef]) -> None:
        self._store = store
        self._refs = refs

    @classmethod
    async def open(cls, directory: Path) -> StoreBench:
        store = await SqliteStore.open(directory, Limits(rates=Rates.off()), _now)
        service = sids.mint_oid(1, _now(), 1)
        sid = sids.format_sid(sids.SERVICE, service, 1)
        settings = c.ServiceSettings()
        await store.execute(c.CreateService(service, sid, "AC0", None, settings, _ADMIN))
        refs = await asyncio.gather(*(_create_map(store, service, n) for n in range(_MAPS)))
        return cls(store, refs)

    async def run(self, writers: int, seconds: float) -> float:
        """Commands per second of so many writers, each waiting for its last write."""
        execute, refs = self._store.execute, self._refs
        started = time.perf_counter()
        until = started + seconds
        written = 0

        async def write(number: int) -> None:
            nonlocal written
            step = number
            while time.perf_counter() < until:
                step += writers
                ref, key = refs[step % _MAPS], f"key{step // _MAPS % _KEYS}"
                await execute(c.PutMapItem(ref, key, _DATA, None, None, _ADMIN))
                written += 1

        await asyncio.gather(*(write(number) for number in range(writers)))
        return written / (time.perf_counter() - started)

    async def close(self) -> None:
        await self._store.close()


async def _create_map(store: SqliteStore, service: int, number: int) -> ObjectRef:
    oid = sids.mint_oid(number, _now(), number)
    sid = sids.format_sid(sids.MAP, oid, number)
    outcome = await store.execute(
        c.CreateObject(service, Kind.MAP, oid, sid, None, None, None, _ADMIN)
    )
    assert isinstance(outcome, ObjectOutcome)
    return ObjectRef(service, Kind.MAP, sid)


class RawBench:
    """The same rows, written by hand."""

    _CHANGE = (
        "UPDATE object SET data = ?, seq = ?, event_id = ?, next_index = ?, item_count = ?,"
        " updated_at = ? WHERE oid = ?"
    )
    _PUT = (
        f"INSERT INTO item ({r.ITEM_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)"  # noqa: S608 - columns
        " ON CONFLICT (oid, key)"
        " DO UPDATE SET data = excluded.data, event_id = excluded.event_id,"
        " updated_at = excluded.updated_at, expires_at = excluded.expires_at"
    )
    _LOG = f"INSERT INTO event ({r.EVENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608

    def __init__(self, directory: Path) -> None:
        path = directory / "raw.db"
        self._connection = open_writer(path)
        migrate(self._connection, "raw")
        self._log = path.with_name("raw.db-wal")
        self._oids = [sids.mint_oid(n, _now(), n) for n in range(_MAPS)]
        self._connection.execute("BEGIN")
        places = ", ".join("?" * 15)
        self._connection.executemany(
            f"INSERT INTO object ({r.OBJECT_COLUMNS}) VALUES ({places})",  # noqa: S608
            [
                (
                    oid,
                    sids.format_sid("MP", oid, n),
                    1,
                    3,
                    None,
                    None,
                    1,
                    -1,
                    0,
                    0,
                    0,
                    0,
                    None,
                    "",
                    0,
                )
                for n, oid in enumerate(self._oids)
            ],
        )
        self._connection.execute("COMMIT")
        self._step = 0
        self._seq = 1

    def run(self, writers: int, seconds: float) -> float:
        """Commands' worth of rows per second, in batches of ``writers`` commands."""
        execute, executemany = self._connection.execute, self._connection.executemany
        started = time.perf_counter()
        until = started + seconds
        written = 0
        while time.perf_counter() < until:
            now = _now()
            objects, items, events = [], [], []
            for _ in range(writers):
                self._step += 1
                self._seq += self._step % _MAPS == 0
                oid, seq = self._oids[self._step % _MAPS], self._seq + 1
                key = f"key{self._step // _MAPS % _KEYS}"
                objects.append((None, seq, seq - 2, 0, _KEYS, now, oid))
                items.append((oid, key, _DATA, seq - 2, 0, now, now, None, SYSTEM))
                events.append((oid, seq, seq - 2, 6, now, key, _DATA, None, SYSTEM, None, None))
            execute("BEGIN IMMEDIATE")
            executemany(self._CHANGE, objects)
            executemany(self._PUT, items)
            executemany(self._LOG, events)
            execute("COMMIT")
            written += writers
            if self._log.stat().st_size > 64 * 1024 * 1024:
                execute("PRAGMA wal_checkpoint(PASSIVE)")
        return written / (time.perf_counter() - started)

    def close(self) -> None:
        self._connection.close()


async def measure(directory: Path, rounds: int, seconds: float) -> dict[int, Figures]:
    """Medians of alternating rounds, by the number of writers."""
    store_bench, raw_bench = await StoreBench.open(directory), RawBench(directory)
    medians = {}
    for writers in _WRITERS:
        figures = []
        for _ in range(rounds):
            raw = raw_bench.run(writers, seconds)
            figures.append(Figures(await store_bench.run(writers, seconds), raw))
        medians[writers] = Figures(
            statistics.median(one.store for one in figures),
            statistics.median(one.raw for one in figures),
        )
    await store_bench.close()
    raw_bench.close()
    return medians


async def profile(directory: Path, writers: int, seconds: float) -> None:
    """Where the writing thread's time goes; the profiler makes all of it slower."""
    profiler = cProfile.Profile()
    start = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        if thread.name != "starlings-writer":
            return start(thread)
        profiler.runcall(start, thread)

    threading.Thread.run = run  # type: ignore[assignment, method-assign]
    bench = await StoreBench.open(directory)
    print(f"{await bench.run(writers, seconds):,.0f} commands/s while profiled")
    await bench.close()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(28)


def _in_a_directory(parent: Path | None, work: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(dir=parent, prefix="starlings-bench-") as name:
        work(Path(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--directory", type=Path, help="on the disk to measure; default: temporary")
    parser.add_argument("--profile", type=int, metavar="WRITERS", help="profile instead")
    options = parser.parse_args()
    uvloop.install()
    tune_garbage_collector()  # as the server does, for both sides
    if options.profile:
        _in_a_directory(
            options.directory,
            lambda path: asyncio.run(profile(path, options.profile, options.seconds)),
        )
        return 0
    medians: dict[int, Figures] = {}
    _in_a_directory(
        options.directory,
        lambda path: medians.update(asyncio.run(measure(path, options.rounds, options.seconds))),
    )
    print("writers   store commands/s   raw SQLite/s   ratio")
    for writers, (store, raw) in medians.items():
        print(f"{writers:7}   {store:16,.0f}   {raw:12,.0f}   {store / raw:5.2f}")
    ratio = medians[64].store / medians[64].raw
    print(f"At 64 writers the store reaches {ratio:.2f} of raw SQLite; the bar is {BAR}.")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
