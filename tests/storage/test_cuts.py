"""Ids that tell what history they are of."""

from __future__ import annotations

import pytest

from starlings.storage.cuts import IDS_PER_MILLISECOND, is_of_lost_history, make_cut_id

NOW = 1_795_000_000_000


def test_a_cut_is_above_all_that_was_given_out_since_an_earlier_one() -> None:
    first = make_cut_id(NOW, 7)
    an_hour_later = NOW + 3_600_000
    given_out_at_full_speed = first + 3_600_000 * (IDS_PER_MILLISECOND - 1)
    # A second restore of the same backup: nothing in it tells of the first one.
    assert make_cut_id(an_hour_later, 7) > given_out_at_full_speed


def test_a_cut_is_above_all_ids_of_the_backup_even_if_the_clock_went_back() -> None:
    first = make_cut_id(NOW, 7)
    assert make_cut_id(NOW - 1_000_000, first + 3) == first + 4


def test_javascript_can_count_them_for_two_hundred_years() -> None:
    year_2248 = 8_772_000_000_000
    assert make_cut_id(year_2248, 0) < 2**53


@pytest.mark.parametrize(
    ("stated", "present", "cut", "is_lost"),
    [
        (5, 5, 0, False),
        (4, 5, 0, False),
        (-1, 5, 0, False),
        (6, 5, 0, True),  # never restored, and yet ahead
        (5, 1000, 1000, True),
        (-1, 1002, 1000, True),
        (1000, 1000, 1000, False),
        (1001, 1002, 1000, False),
        (1003, 1002, 1000, True),
        (0, 3, 1000, False),  # made after the cut
        (4, 3, 1000, True),
    ],
)
def test_an_id_is_of_lost_history(stated: int, present: int, cut: int, is_lost: bool) -> None:
    assert is_of_lost_history(stated, present, cut) is is_lost
