"""webhooks/backoff.py"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from starlings.webhooks.backoff import BASE_SECONDS, LONGEST_SECONDS, backoff_seconds

chances = st.floats(0, 1)


@given(st.integers(1, 10**9), chances)
def test_a_wait_is_between_half_and_all_of_its_bound(failures: int, chance: float) -> None:
    whole = backoff_seconds(failures, 1)
    assert BASE_SECONDS <= whole <= LONGEST_SECONDS
    assert whole / 2 <= backoff_seconds(failures, chance) <= whole


def test_waits_double_until_they_are_longest() -> None:
    waits = [backoff_seconds(failures, 1) for failures in range(1, 13)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
