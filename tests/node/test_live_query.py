"""A live query without a loop: what is told, read and bounded."""

from __future__ import annotations

import json

import pytest

from starlings.core.errors import Reason, Refusal
from starlings.node import live_query
from starlings.node.live_query import Allowance, Member, Phase, cost_of
from tests.node.live_queries import Bench, a_live_query, blue, item, red

# Changes


def test_an_item_that_begins_to_match_enters() -> None:
    bench = a_live_query()
    follower = bench.follow()
    bench.hear(10, "a", red())
    bench.hear(11, "a", blue(1))
    assert follower.frames == [["updated", "QR1", "a", 11, {"team": "blue", "n": 1}]]
    assert bench.keys == ["a"]


def test_a_member_that_changes_is_told_anew() -> None:
    bench = a_live_query(item("a", 3, blue(1)))
    follower = bench.follow()
    bench.hear(10, "a", blue(2))
    assert follower.told == [("updated", "a")]


def test_a_member_that_no_longer_matches_leaves_once() -> None:
    bench = a_live_query(item("a", 3, blue()))
    follower = bench.follow()
    bench.hear(10, "a", red())
    bench.hear(11, "a", red())
    bench.hear(12, "a", None)
    assert follower.frames == [["removed", "QR1", "a", 10]]
    assert bench.keys == []


def test_a_removed_member_leaves_and_other_removals_are_not_told() -> None:
    bench = a_live_query(item("a", 3, blue()))
    follower = bench.follow()
    bench.hear(10, "other", None)
    bench.hear(11, "a", None)
    assert follower.told == [("removed", "a")]


def test_a_frame_is_made_once_for_all_and_not_at_all_for_nobody() -> None:
    bench = a_live_query()
    bench.hear(10, "a", blue())
    assert bench.frames.made == 0
    followers = [bench.follow() for _ in range(100)]
    bench.hear(11, "b", blue())
    assert bench.frames.made == 1
    assert all(follower.told == [("updated", "b")] for follower in followers)


def test_who_is_released_hears_nothing() -> None:
    bench = a_live_query()
    follower = bench.follow()
    bench.live.release(follower)
    bench.hear(10, "a", blue())
    assert follower.frames == []


def test_a_repeated_event_is_passed_over() -> None:
    bench = a_live_query(event_id=9)
    follower = bench.follow()
    bench.hear(9, "a", blue())
    assert follower.frames == []
    assert bench.keys == []


# What a client misses


def test_changes_elsewhere_in_the_map_are_no_news_for_the_result() -> None:
    bench = a_live_query(item("a", 3, blue()), event_id=9)
    bench.hear(10, "other", red())
    assert bench.live.misses_nothing_since(9)
    assert bench.live.misses_nothing_since(10)
    bench.hear(11, "a", red())
    assert not bench.live.misses_nothing_since(10)
    assert bench.live.misses_nothing_since(11)


def test_a_client_of_the_future_or_of_before_the_reading_may_miss_something() -> None:
    bench = a_live_query(event_id=9)
    assert not bench.live.misses_nothing_since(8)
    assert not bench.live.misses_nothing_since(10)


def test_the_result_frame_is_made_once_for_each_event() -> None:
    bench = a_live_query(item("a", 3, blue()), event_id=9)
    assert bench.live.result_frame is bench.live.result_frame
    assert json.loads(bench.live.result_frame) == [
        "result",
        "QR1",
        {"a": [3, {"team": "blue", "n": None}]},
        9,
    ]
    bench.hear(10, "other", red())
    assert json.loads(bench.live.result_frame)[3] == 10


# Reading while events go on


def test_what_was_heard_during_the_reading_lies_over_what_was_read() -> None:
    bench = Bench()
    bench.hear(10, "came", blue())
    bench.hear(11, "went", None)
    bench.hear(12, "left", red())
    assert bench.live.load(9, [item("went", 3, blue()), item("left", 4, blue())])
    assert bench.keys == ["came"]
    assert bench.live.event_id == 12


def test_what_was_read_later_than_heard_stays() -> None:
    bench = Bench()
    bench.hear(10, "a", red())
    assert bench.live.load(9, [item("a", 12, blue(2))])
    assert bench.live.members["a"] == Member(blue(2), 12)


def test_news_that_the_reading_was_ahead_of_change_nothing() -> None:
    bench = a_live_query(item("a", 12, blue(2)), event_id=9)
    follower = bench.follow()
    bench.hear(10, "a", red())
    bench.hear(11, "a", blue(1))
    bench.hear(12, "a", blue(2))
    assert follower.frames == []
    assert bench.live.members["a"] == Member(blue(2), 12)


def test_who_has_what_a_reading_was_ahead_of_needs_its_result() -> None:
    bench = Bench()
    assert bench.live.load(9, [item("a", 10, blue())], seen_id=11)
    assert not bench.live.misses_nothing_since(9)
    follower = bench.follow()
    bench.hear(10, "a", blue())
    bench.hear(11, "gone before it was read", None)
    assert follower.frames == []
    assert bench.live.misses_nothing_since(11)


@pytest.mark.parametrize(
    "heard", [[(10, "a"), (12, "b")], [(11, "a")]], ids=["between", "at the beginning"]
)
def test_a_gap_during_the_reading_demands_another(heard: list[tuple[int, str]]) -> None:
    bench = Bench()
    for event_id, key in heard:
        bench.hear(event_id, key, blue())
    assert not bench.live.load(9, [])
    assert bench.live.load(12, [item("a", 11, blue())])
    assert bench.keys == ["a"]


def test_too_many_keys_during_the_reading_demand_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_query, "MOST_HELD_KEYS", 2)
    bench = Bench()
    for event_id in range(10, 14):
        bench.hear(event_id, f"k{event_id}", red())
    assert not bench.live.load(9, [])
    assert bench.live.load(13, [])


def test_a_gap_when_live_has_all_read_anew_and_told_at_once() -> None:
    bench = a_live_query(item("a", 3, blue()), item("b", 4, blue()), event_id=9)
    follower = bench.follow()
    bench.hear(12, "c", blue())
    assert (bench.gaps, bench.live.phase) == (1, Phase.LOADING)
    assert follower.frames == []
    bench.hear(13, "d", red())
    assert bench.live.load(12, [item("b", 4, blue()), item("c", 12, blue())])
    assert follower.told == [
        ("result", {"b": [4, {"team": "blue", "n": None}], "c": [12, {"team": "blue", "n": None}]})
    ]
    assert bench.live.event_id == 13


# Bounds


def test_a_result_that_is_too_large_is_refused_when_it_is_read() -> None:
    bench = Bench(most_bytes=100)
    with pytest.raises(Refusal) as caught:
        bench.live.load(9, [item("a", 1, blue()), item("b", 2, blue())])
    assert caught.value.reason is Reason.DATA_TOO_LARGE
    assert bench.allowance.used == 0


def test_a_result_that_grows_too_large_ends_the_query() -> None:
    bench = a_live_query(item("a", 3, blue()), most_bytes=150)
    follower = bench.follow()
    bench.hear(10, "b", blue())
    assert [refusal.reason for refusal in follower.refusals] == [Reason.DATA_TOO_LARGE]
    assert (bench.live.phase, bench.allowance.used) == (Phase.ENDED, 0)
    bench.hear(11, "a", None)
    assert follower.frames == []


def test_all_results_share_one_allowance_and_give_back_what_they_no_longer_need() -> None:
    allowance = Allowance(200)
    first = a_live_query(item("a", 1, blue()), allowance=allowance)
    assert allowance.used == cost_of("a", blue())
    second = Bench(allowance=allowance)
    with pytest.raises(Refusal):
        second.live.load(9, [item("b", 1, blue()), item("c", 2, blue())])
    first.hear(10, "a", None)
    assert allowance.used == 0
    assert second.live.load(9, [item("b", 1, blue()), item("c", 2, blue())])
    second.live.end(Refusal(Reason.QUERY_INDEX_NOT_FOUND))
    assert allowance.used == 0
