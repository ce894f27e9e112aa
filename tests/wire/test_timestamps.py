from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.wire.timestamps import format_timestamp


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_389_771_145, "2026-11-22T23:22:51.145Z"),
        (1_795_389_771_007, "2026-11-22T23:22:51.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_an_instant_is_written_with_milliseconds_and_z(ms: int, text: str) -> None:
    assert format_timestamp(ms) == text


@pytest.mark.parametrize("ms", [-62_135_596_800_001, 253_402_300_800_000, 10**30])
def test_an_instant_outside_the_calendar_is_refused(ms: int) -> None:
    with pytest.raises(OverflowError):
        format_timestamp(ms)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_instant_reads_back_as_itself(ms: int) -> None:
    parsed = datetime.strptime(format_timestamp(ms), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert (parsed - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == ms
