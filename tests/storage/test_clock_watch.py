"""A clock that was set back is told of once."""

from pathlib import Path

import pytest

from starlings.core.objects import Kind
from starlings.storage.clock_watch import TOLERATED_MILLISECONDS, ClockWatch
from starlings.storage.sqlite.store import SqliteStore
from tests.contracts.desk import Clock, Desk
from tests.contracts.store_contract import LIMITS


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "starlings.storage"]


def test_a_gap_is_told_once_until_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    watch = ClockWatch()
    watch.see(100_000, 100_000)
    for now in (40_000, 41_000, 42_000):
        watch.see(now, now)
    assert warnings_of(caplog) == ["The clock is behind the newest event seconds=60"]
    watch.see(100_001, 100_001)
    watch.see(1_000, 1_000)
    assert warnings_of(caplog)[1:] == ["The clock is behind the newest event seconds=99"]


def test_small_corrections_of_a_clock_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    watch = ClockWatch()
    watch.see(100_000, 100_000)
    watch.see(100_000 - TOLERATED_MILLISECONDS, 0)
    assert warnings_of(caplog) == []
    assert watch.behind_seconds(100_000 - TOLERATED_MILLISECONDS) == 5
    watch.see(99_999 - TOLERATED_MILLISECONDS, 0)
    assert len(warnings_of(caplog)) == 1


async def test_a_store_tells_of_it_at_its_start_and_when_it_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    store = await SqliteStore.open(tmp_path, LIMITS, clock)
    service = await Desk(store, clock).create_service()
    await Desk(store, clock).create(service, Kind.MAP)
    await store.close()
    clock.pass_seconds(-3_600)
    store = await SqliteStore.open(tmp_path, LIMITS, clock)
    assert warnings_of(caplog) == ["The clock is behind the newest event seconds=3600"]
    assert store.statistics().clock_behind_seconds == 3_600
    desk = Desk(store, clock)
    desk._numbers = iter(range(100, 200)).__next__
    await desk.create(service, Kind.MAP)
    assert len(warnings_of(caplog)) == 1
    clock.pass_seconds(7_200)
    await desk.create(service, Kind.MAP)
    clock.pass_seconds(-60)
    await desk.create(service, Kind.MAP)
    assert warnings_of(caplog)[1:] == ["The clock is behind the newest event seconds=60"]
    await store.close()
    caplog.clear()
    await (await SqliteStore.open(tmp_path, LIMITS, clock)).close()
    assert warnings_of(caplog) == []  # all that came after it has dates of the clock
