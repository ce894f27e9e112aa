"""Worlds whose clock is set ahead and back: times to live, the log and all copies stay right."""

from pathlib import Path

import pytest

from tests.simulation.test_simulation import SEEDS, live_through
from tests.simulation.wrong_clocks import WrongClocks

RUNS = [("memory", seed) for seed in range(max(10, SEEDS // 5))] + [
    ("sqlite", seed) for seed in range(max(2, SEEDS // 50))
]


@pytest.mark.parametrize(("store", "seed"), RUNS, ids=[f"{store}-{seed}" for store, seed in RUNS])
def test_expiry_and_history_follow_a_clock_that_is_set(
    store: str, seed: int, tmp_path: Path
) -> None:
    live_through(store, seed, tmp_path, [WrongClocks])
