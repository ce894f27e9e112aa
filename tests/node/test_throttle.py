"""Token buckets."""

from __future__ import annotations

import pytest

from starlings.core.errors import Reason, Refusal
from starlings.node import throttle
from starlings.node.throttle import Throttle, cost_of_write


class Ticks:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def buckets(ticks: Ticks) -> Throttle:
    return Throttle(ticks)


def take(buckets: Throttle, key: str = "k", cost: float = 1.0, rate: float = 2.0) -> None:
    buckets.take(key, rate, rate * 10, lambda: f"Too fast for {key}", cost=cost)


def refusal_of(buckets: Throttle, key: str = "k", cost: float = 1.0) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        take(buckets, key, cost)
    return refusal.value


def test_a_full_bucket_serves_a_burst_and_then_the_rate(buckets: Throttle, ticks: Ticks) -> None:
    for _ in range(20):
        take(buckets)
    refusal = refusal_of(buckets)
    assert (refusal.reason, refusal.message) == (Reason.RATE_LIMITED, "Too fast for k")
    for _ in range(6):
        ticks.at += 0.5
        take(buckets)
        refusal_of(buckets)


def test_a_bucket_never_holds_more_than_its_capacity(buckets: Throttle, ticks: Ticks) -> None:
    take(buckets)
    ticks.at += 1_000_000
    for _ in range(20):
        take(buckets)
    refusal_of(buckets)


def test_a_refusal_takes_nothing_and_tells_when_to_come_back(
    buckets: Throttle, ticks: Ticks
) -> None:
    for _ in range(19):
        take(buckets)
    refusal = refusal_of(buckets, cost=10)
    assert refusal.retry_after_seconds == 5  # nine tokens at two a second
    assert refusal_of(buckets, cost=10).retry_after_seconds == 5
    ticks.at += 4.5
    take(buckets, cost=10)
    assert refusal_of(buckets).retry_after_seconds == 1


def test_a_cost_above_the_capacity_takes_a_full_bucket(buckets: Throttle, ticks: Ticks) -> None:
    take(buckets, cost=1_000)
    assert refusal_of(buckets, cost=1_000).retry_after_seconds == 10
    ticks.at += 10
    take(buckets, cost=1_000)


def test_buckets_are_apart(buckets: Throttle) -> None:
    for _ in range(20):
        take(buckets, "a")
    refusal_of(buckets, "a")
    take(buckets, "b")


def test_beyond_the_bound_the_longest_unused_bucket_is_forgotten(
    buckets: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "_MOST", 3)
    for key in ("a", "b", "c"):
        take(buckets, key, cost=20)
    take(buckets, "d", cost=20)  # forgets a
    refusal_of(buckets, "b")
    take(buckets, "a", cost=20)  # forgets b, which is the longest unused now
    take(buckets, "b", cost=20)
    refusal_of(buckets, "d")


@pytest.mark.parametrize(
    ("payload_bytes", "writes_per_second"),
    [(0, 20), (1024, 20), (5632, 11), (10240, 2), (16384, 2), (1_000_000, 2)],
)
def test_the_rate_of_writes_falls_with_the_size(
    payload_bytes: int, writes_per_second: float
) -> None:
    assert 20 / cost_of_write(payload_bytes, 20, 2) == pytest.approx(writes_per_second)


def test_a_larger_write_never_costs_less() -> None:
    costs = [cost_of_write(size, 20, 2) for size in range(0, 12_000, 100)]
    assert costs == sorted(costs)
