"""Which permission decides. [docs/reference/access.md]"""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.access import (
    EVERYBODY,
    OPERATIONS,
    Right,
    find_deciding,
    is_permitted,
    may_concern,
)
from starlings.core.objects import Kind, Match, Permission

NOW = 1_800_000_000_000


def a_grant(
    identity: str, match: Match = Match.EXACT, flags: str = "", expires_at: int | None = None
) -> Permission:
    return Permission(
        1, identity, match, "r" in flags, "w" in flags, "m" in flags, expires_at=expires_at
    )


OWN = a_grant("guest-7")
LONG = a_grant("guest-", Match.PREFIX, "w")
SHORT = a_grant("gue", Match.PREFIX, "m")
ALL = a_grant(EVERYBODY, Match.EVERYBODY, "r")
OTHERS = [
    a_grant("guest-70"),
    a_grant("guest-"),
    a_grant("Guest-", Match.PREFIX),
    a_grant("guest-7 ", Match.PREFIX),
    a_grant(EVERYBODY),
]


@pytest.mark.parametrize(
    ("grants", "deciding"),
    [
        ([ALL, SHORT, LONG, OWN], OWN),
        ([ALL, SHORT, LONG], LONG),
        ([ALL, SHORT], SHORT),
        ([ALL], ALL),
        ([], None),
    ],
)
def test_the_narrowest_decides_in_whatever_order_they_come(
    grants: list[Permission], deciding: Permission | None
) -> None:
    for order in permutations(grants):
        assert find_deciding([*OTHERS, *order], "guest-7", NOW) == deciding


def test_the_one_that_decides_decides_all_rights_alone() -> None:
    deciding = find_deciding([OWN, LONG, ALL], "guest-7", NOW)
    assert not any(is_permitted(deciding, right) for right in Right)
    assert not any(is_permitted(None, right) for right in Right)


def test_a_prefix_that_is_the_whole_identity_still_gives_way_to_its_own() -> None:
    whole = a_grant("guest-7", Match.PREFIX, "rwm")
    assert find_deciding([whole, LONG], "guest-7", NOW) == whole
    assert find_deciding([whole, OWN], "guest-7", NOW) == OWN


def test_one_that_is_over_counts_for_nothing_from_that_millisecond_on() -> None:
    own = OWN._replace(expires_at=NOW)
    assert find_deciding([own, ALL], "guest-7", NOW - 1) == own
    assert find_deciding([own, ALL], "guest-7", NOW) == ALL
    assert find_deciding([own], "guest-7", NOW) is None


_TEXTS = st.text("ab*", min_size=1, max_size=3)
_GRANTS = st.lists(
    st.builds(
        lambda text, match, live: a_grant(
            EVERYBODY if match is Match.EVERYBODY else text, match, "r", None if live else NOW
        ),
        _TEXTS,
        st.sampled_from(Match),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda grant: (grant.identity, grant.match),
)


@given(grants=_GRANTS, identity=_TEXTS)
def test_it_decides_as_the_table_says_line_by_line(grants: list[Permission], identity: str) -> None:
    rows = {(one.identity, one.match): one for one in grants if one.expires_at is None}
    lines = [(identity, Match.EXACT)]
    lines += [(identity[:size], Match.PREFIX) for size in range(len(identity), 0, -1)]
    lines.append((EVERYBODY, Match.EVERYBODY))
    expected = next((rows[line] for line in lines if line in rows), None)
    assert find_deciding(grants, identity, NOW) == expected


@given(grants=_GRANTS, identity=_TEXTS)
def test_whoever_a_change_may_concern_is_asked(grants: list[Permission], identity: str) -> None:
    for grant in grants:
        if find_deciding([grant], identity, NOW) is not None:
            assert may_concern(grant.identity, identity)


def test_a_change_for_somebody_else_is_known_as_such() -> None:
    assert not may_concern("bob", "alice")
    assert not may_concern("alice2", "alice")


def test_every_right_is_needed_for_something_with_every_kind() -> None:
    for kind in Kind:
        assert set(OPERATIONS[kind].values()) == set(Right)
