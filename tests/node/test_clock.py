"""Time and chance of the system."""

from __future__ import annotations

import pytest

from starlings.node.clock import SYSTEM_SOURCES


@pytest.mark.parametrize("count", [1, 7, 8, 9, 12, 64, 74, 128, 40_000])
def test_random_bits_are_as_many_as_asked_for_and_use_every_bit(count: int) -> None:
    drawn = [SYSTEM_SOURCES.random_bits(count) for _ in range(200 if count < 1000 else 40)]
    seen_set = seen_unset = 0
    for number in drawn:
        assert 0 <= number < 1 << count
        seen_set |= number
        seen_unset |= ~number
    every_bit = (1 << count) - 1
    assert seen_set & every_bit == every_bit
    assert seen_unset & every_bit == every_bit


def test_random_bits_do_not_repeat_when_a_page_is_used_up() -> None:
    drawn = {SYSTEM_SOURCES.random_bits(128) for _ in range(2_000)}
    assert len(drawn) == 2_000


def test_the_clock_gives_milliseconds_since_1970() -> None:
    assert 1_700_000_000_000 < SYSTEM_SOURCES.now() < 4_000_000_000_000
