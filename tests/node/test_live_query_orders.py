"""Every order of reading and hearing ends in the same result."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from starlings.core.events import Event
from starlings.core.objects import Item
from tests.node.live_queries import Bench, blue, event, item, red


class Client:
    """What the SDK makes of the frames. [LiveQueryImpl, ItemsCache]"""

    def __init__(self, rows: dict[str, tuple[int, object]]) -> None:
        self.entries: dict[str, tuple[int, object]] = dict(rows)
        self.removed_unknown: list[str] = []

    def take(self, frame: list[object]) -> None:
        match frame:
            case ["updated", _, str(key), int(revision), data]:
                self._update(key, revision, data)
            case ["removed", _, str(key), int(revision)]:
                if key not in self.items:
                    self.removed_unknown.append(key)
                if self.entries.get(key, (-1, None))[0] < revision:
                    self.entries[key] = (revision, None)
            case ["result", _, dict(rows), _]:
                for key in self.items:
                    if key not in rows:
                        self.entries[key] = (-1, None)
                for key, (revision, data) in rows.items():
                    self._update(key, revision, data)
            case _:
                raise AssertionError(frame)

    def _update(self, key: str, revision: int, data: object) -> None:
        if self.entries.get(key, (-1, None))[0] < revision:
            self.entries[key] = (revision, data)

    @property
    def items(self) -> dict[str, object]:
        return {key: data for key, (_, data) in self.entries.items() if data is not None}


_KEYS = "abcd"
_Change = tuple[str, bytes | None]
_changes = st.lists(
    st.tuples(st.sampled_from(_KEYS), st.sampled_from([blue(1), blue(2), red(), None])),
    max_size=30,
)


def test_old_news_heard_after_the_reading_brings_nothing_back() -> None:
    bench = Bench()
    bench.live.hear(event(0, "a", blue(1)), json.loads(blue(1)))
    assert bench.live.load(1, [])  # event 1 had removed it before the reading began
    bench.live.hear(event(1, "a", None), None)
    assert bench.keys == []


@given(_changes, st.data())
def test_whenever_it_is_read_and_heard_the_client_has_the_truth_at_the_end(
    wanted: list[_Change], data: st.DataObject
) -> None:
    """Events commit, are heard later in order, and the keys are read one by one in between."""
    truth: dict[str, tuple[int, bytes]] = {}
    committed: list[Event] = []

    def commit() -> None:
        key, value = wanted[len(committed)]
        event_id = len(committed)
        committed.append(event(event_id, key, value))
        if value is None:
            truth.pop(key, None)
        else:
            truth[key] = (event_id, value)

    def commit_some() -> None:
        for _ in range(data.draw(st.integers(0, len(wanted) - len(committed)))):
            commit()

    bench = Bench()
    heard = 0

    def hear_some(most: int | None = None) -> None:
        nonlocal heard
        left = len(committed) - heard
        for _ in range(left if most is None else data.draw(st.integers(0, min(left, most)))):
            one = committed[heard]
            heard += 1
            bench.live.hear(one, None if one.data is None else json.loads(one.data))

    commit_some()
    heard = data.draw(st.integers(0, len(committed)))  # before anybody listened
    last_id = len(committed) - 1
    found: list[Item] = []
    for key in _KEYS:
        commit_some()
        hear_some(len(wanted))
        if key in truth and b"blue" in truth[key][1]:
            found.append(item(key, *truth[key]))
    assert bench.live.load(last_id, found)
    follower = bench.follow()
    client = Client(
        {key: (one.event_id, json.loads(one.data)) for key, one in bench.live.members.items()}
    )
    while len(committed) < len(wanted):
        commit()
    hear_some()
    for frame in follower.frames:
        client.take(frame)
    expected = {key: json.loads(value) for key, (_, value) in truth.items() if b"blue" in value}
    assert client.items == expected
    assert bench.keys == sorted(expected)
    assert client.removed_unknown == []
