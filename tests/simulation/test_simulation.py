"""Many seeds of the simulated world, and by name those that once failed.

``STARLINGS_SEEDS=1000`` runs that many of the memory store, and a tenth of SQLite. One seed again:
``pytest tests/simulation -k "test_every_copy_equals_the_store and memory-17"``.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.bounds import small_bounds
from tests.simulation.endpoints import Endpoints
from tests.simulation.held_loop import run_held
from tests.simulation.live_queries import LiveQueries
from tests.simulation.presence import Presence
from tests.simulation.revocations import Revocations
from tests.simulation.wide_grants import WideGrants
from tests.simulation.world import PartMaker, World

SEEDS = int(os.environ.get("STARLINGS_SEEDS", "50"))
RUNS = [("memory", seed) for seed in range(SEEDS)] + [
    ("sqlite", seed) for seed in range(max(1, SEEDS // 10))
]
PLAIN: list[PartMaker] = []
"""Nothing but objects and their copies, so that old seeds are what they were."""
QUERIES_AND_PRESENCE: list[PartMaker] = [LiveQueries, Presence]
COMINGS: list[PartMaker] = [Endpoints, Presence, Revocations]
PARTS: list[list[PartMaker]] = [
    PLAIN,
    [LiveQueries],
    [Presence],
    QUERIES_AND_PRESENCE,
    [WideGrants],
    [WideGrants, LiveQueries],
    COMINGS,
    [Endpoints, LiveQueries, Presence, WideGrants, Revocations],
]
"""Which are in a world is decided by its seed; of the few with SQLite most have many."""


def live_through(
    store: str, seed: int, directory: Path, parts: list[PartMaker] | None = None
) -> Counter[str]:
    """One seed's world. Raises AssertionError that tells how to run it again."""
    if parts is None:
        place = seed if store == "memory" else -1 - seed
        parts = PARTS[place % len(PARTS)]
    world = World(seed, directory if store == "sqlite" else None, parts)
    try:
        with small_bounds():
            return run_held(world.run())
    except AssertionError as error:
        again = (
            f'STARLINGS_SEEDS={max(50, 10 * seed + 10)} pytest tests/simulation -k "{store}-{seed}"'
        )
        raise AssertionError(f"{error}\nTo run it again: {again}") from error


@pytest.mark.parametrize(("store", "seed"), RUNS, ids=[f"{store}-{seed}" for store, seed in RUNS])
def test_every_copy_equals_the_store(store: str, seed: int, tmp_path: Path) -> None:
    live_through(store, seed, tmp_path)


@pytest.mark.parametrize("seed", [0, 5, 24])
def test_a_page_that_the_kernel_takes_at_once_does_not_end_a_catch_up(
    seed: int, tmp_path: Path
) -> None:
    live_through("memory", seed, tmp_path, PLAIN)


@pytest.mark.parametrize("seed", [2, 55])
def test_what_is_about_to_expire_is_in_a_replay_without_the_log(seed: int, tmp_path: Path) -> None:
    live_through("memory", seed, tmp_path, PLAIN)


@pytest.mark.parametrize("seed", [5, 30, 35])
def test_a_repair_that_meets_a_fault_is_tried_again(seed: int, tmp_path: Path) -> None:
    live_through("memory", seed, tmp_path, PLAIN)


@pytest.mark.parametrize("seed", [90, 199])
def test_own_removals_are_muted_in_a_repair_as_well(seed: int, tmp_path: Path) -> None:
    live_through("memory", seed, tmp_path, PLAIN)


@pytest.mark.parametrize("seed", [754])
def test_an_own_removal_is_not_muted_before_its_reply(seed: int, tmp_path: Path) -> None:
    live_through("memory", seed, tmp_path, PLAIN)


def test_the_worlds_are_worth_living_in(tmp_path: Path) -> None:
    runs = [live_through("memory", seed, tmp_path, PLAIN) for seed in range(100, 110)]
    assert sum(run["events"] for run in runs) > 1_000
    assert sum(run["sessions"] for run in runs) > 100
    assert sum(run["servers"] for run in runs) > 12
    assert sum(run["copies"] for run in runs) > 100
    assert sum(run["snapshots"] for run in runs) > 10
    assert sum(run["repairs"] for run in runs) > 3
    assert sum(run["direct writes"] for run in runs) > 300


def test_live_queries_and_presence_are_worth_it_too(tmp_path: Path) -> None:
    # Forty: in most worlds nobody loses a right that a live query of theirs needs.
    runs = [
        live_through("memory", seed, tmp_path, QUERIES_AND_PRESENCE) for seed in range(100, 140)
    ]
    assert sum(run["queries"] for run in runs) > 200
    assert sum(run["query events"] for run in runs) > 800
    assert sum(run["query results"] for run in runs) > 160
    assert sum(run["revoked queries"] for run in runs) > 4
    assert sum(run["presence events"] for run in runs) > 1_200
    assert sum(run["performed"] for run in runs) > 60


def test_wide_and_timed_grants_are_worth_it_too(tmp_path: Path) -> None:
    # Of four hundred seeds any twenty in a row have at least twice as much of each.
    runs = [live_through("memory", seed, tmp_path, [WideGrants]) for seed in range(100, 120)]
    assert sum(run["wide grants"] for run in runs) > 60
    assert sum(run["timed grants"] for run in runs) > 110
    assert sum(run["ended grants"] for run in runs) > 90
    assert sum(run["losses"] for run in runs) > 80
    assert sum(run["losses by wide grants"] for run in runs) > 15
    assert sum(run["losses by time"] for run in runs) > 15
    assert sum(run["refusals"] for run in runs) > 70
    assert sum(run["regained"] for run in runs) > 15


def test_comings_and_revocations_are_worth_it_too(tmp_path: Path) -> None:
    runs = [live_through("memory", seed, tmp_path, COMINGS) for seed in range(100, 110)]
    assert sum(run["comings told"] for run in runs) > 180
    assert sum(run["goings told"] for run in runs) > 140
    assert sum(run["silent returns"] for run in runs) > 120
    assert sum(run["servers"] for run in runs) > 12
    assert sum(run["revocations"] for run in runs) > 15
    assert sum(run["revoked sessions"] for run in runs) > 30
    assert sum(run["refused tokens"] for run in runs) > 80


def test_a_seed_is_the_same_world_every_time(tmp_path: Path) -> None:
    for seed in (5, 7):
        assert live_through("memory", seed, tmp_path) == live_through("memory", seed, tmp_path)
