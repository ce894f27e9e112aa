"""The rules of on-disconnect actions: each is due once its endpoint is gone, and not before."""

from __future__ import annotations

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Kind, ObjectRef
from starlings.node.on_disconnect import (
    MOST_ACTIONS,
    Action,
    OnDisconnectState,
    make_command,
    parse_action,
    restore_action,
)

WINDOW = 2.0
REMOVE = b'{"action":"remove_item","map":"seats","key":"4b"}'


def action(key: str = "k", identity: str = "alice", endpoint: str = "EP1") -> Action:
    return parse_action(key, REMOVE, identity, endpoint)


@pytest.fixture
def state() -> OnDisconnectState:
    return OnDisconnectState()


# What an action says


def test_an_action_tells_whose_it_is_whatever_the_client_says() -> None:
    told = parse_action("k", REMOVE[:-1] + b',"owner":{"identity":"root"}}', "alice", "EP1")
    assert json.loads(told.data)["owner"] == {"identity": "alice", "endpoint": "EP1"}
    assert restore_action("k", told.data, 7) == told._replace(event_id=7)


@pytest.mark.parametrize(
    ("data", "kind", "name", "type_"),
    [
        (REMOVE, Kind.MAP, "seats", c.RemoveItem),
        (
            b'{"action":"set_item","map":"seats","key":"4b","data":{"n":1}}',
            Kind.MAP,
            "seats",
            c.PutMapItem,
        ),
        (
            b'{"action":"set_document","document":"d","data":{"n":1},"ttl":9}',
            Kind.DOCUMENT,
            "d",
            c.UpdateDocument,
        ),
    ],
)
def test_an_action_is_a_change_with_the_rights_of_its_identity(
    data: bytes, kind: Kind, name: str, type_: type[object]
) -> None:
    command = make_command(parse_action("k", data, "alice", "EP1"), 5)
    assert isinstance(command, type_)
    assert command.ref == ObjectRef(5, kind, name)
    assert command.actor == ("alice", "EP1", False)
    if not isinstance(command, c.RemoveItem):
        assert command.data == b'{"n":1}'
        assert command.ttl == (9 if kind is Kind.DOCUMENT else None)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[]",
        b'{"action":"launch"}',
        b'{"action":"remove_item","map":"m"}',
        b'{"action":"set_item","map":"m","key":"k"}',
        b'{"action":"set_item","map":"m","key":"k","data":[1]}',
        b'{"action":"set_item","map":"m","key":"k","data":{},"ttl":"soon"}',
        b'{"action":"set_document","document":null,"data":{}}',
    ],
)
def test_what_is_no_action_is_refused_and_not_restored(data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_action("k", data, "alice", "EP1")
    assert caught.value.reason is Reason.BAD_PARAMETER
    assert restore_action("k", data, 1) is None


# When it is due


def test_an_action_is_due_once_its_endpoint_has_been_gone_for_the_window(
    state: OnDisconnectState,
) -> None:
    state.connect("EP1")
    state.register(action(), 0.0)
    assert state.take(99.0, 9) == []
    state.disconnect("EP1", WINDOW)
    assert state.next_deadline == WINDOW
    assert state.take(WINDOW - 0.001, 9) == []
    assert state.take(WINDOW, 9) == [action()]
    assert state.take(WINDOW, 9) == []
    assert state.settle(action())
    state.forget("k")
    assert len(state) == 0


def test_a_second_connection_of_the_endpoint_keeps_its_actions(state: OnDisconnectState) -> None:
    state.connect("EP1")
    state.register(action(), 0.0)
    state.connect("EP1")
    state.disconnect("EP1", 1.0)
    assert state.take(99.0, 9) == []


def test_who_comes_back_in_time_keeps_its_actions(state: OnDisconnectState) -> None:
    state.connect("EP1")
    state.register(action(), 0.0)
    state.disconnect("EP1", WINDOW)
    state.connect("EP1")
    assert state.take(99.0, 9) == []
    state.disconnect("EP1", 100.0 + WINDOW)
    assert state.take(100.0, 9) == []
    assert state.take(100.0 + WINDOW, 9) == [action()]


def test_an_action_registered_after_its_endpoint_went_is_due_too(state: OnDisconnectState) -> None:
    state.register(action(), 5.0)
    assert state.take(4.9, 9) == []
    assert state.take(5.0, 9) == [action()]


def test_actions_are_due_in_the_order_of_their_registration(state: OnDisconnectState) -> None:
    state.connect("EP1")
    for key in ("c", "a", "b"):
        state.register(action(key), 0.0)
    state.disconnect("EP1", 1.0)
    assert [one.key for one in state.take(1.0, 2)] == ["c", "a"]
    assert [one.key for one in state.take(1.0, 2)] == ["b"]


def test_another_endpoint_takes_an_action_over(state: OnDisconnectState) -> None:
    state.connect("EP1")
    state.connect("EP2")
    state.register(action(), 0.0)
    state.check(action(endpoint="EP2"))
    state.register(action(endpoint="EP2"), 0.0)
    state.disconnect("EP1", 1.0)
    assert state.take(9.0, 9) == []
    state.disconnect("EP2", 10.0)
    assert state.take(10.0, 9) == [action(endpoint="EP2")]


def test_a_key_belongs_to_its_identity(state: OnDisconnectState) -> None:
    state.register(action(), 9.0)
    with pytest.raises(Refusal) as caught:
        state.check(action(identity="mallory", endpoint="EP9"))
    assert caught.value.reason is Reason.ACCESS_DENIED


def test_an_endpoint_has_so_many_actions_and_no_more(state: OnDisconnectState) -> None:
    for number in range(MOST_ACTIONS):
        state.check(action(str(number)))
        state.register(action(str(number)), 9.0)
    state.check(action("0"))
    with pytest.raises(Refusal) as caught:
        state.check(action("one more"))
    assert caught.value.reason is Reason.BAD_PARAMETER
    state.forget("0")
    state.check(action("one more"))


def test_what_could_not_be_performed_is_due_again(state: OnDisconnectState) -> None:
    state.register(action(), 1.0)
    assert state.take(1.0, 9) == [action()]
    state.retry(action(), 2.0)
    assert state.take(1.9, 9) == []
    assert state.take(2.0, 9) == [action()]


def test_who_goes_while_an_action_is_stored_has_the_whole_window(
    state: OnDisconnectState,
) -> None:
    state.connect("EP1")
    state.register(action(), 1.0)
    state.disconnect("EP1", WINDOW)
    stored = action()._replace(event_id=7)
    state.register(stored, 1.0)
    assert state.take(1.9, 9) == []
    assert state.take(WINDOW, 9) == [stored]


def test_who_came_back_meanwhile_is_given_the_window_before_another_attempt(
    state: OnDisconnectState,
) -> None:
    state.register(action(), 1.0)
    state.take(1.0, 9)
    state.connect("EP1")
    state.disconnect("EP1", 9.0)
    state.retry(action(), 2.0)
    assert state.take(8.9, 9) == []
    assert state.take(9.0, 9) == [action()]


def test_what_is_done_is_not_to_be_done_again_until_it_is_registered_anew(
    state: OnDisconnectState,
) -> None:
    state.register(action(), 1.0)
    state.note_done(action())
    state.retry(action(), 2.0)
    assert state.is_done(action())
    state.register(action(), 3.0)
    assert not state.is_done(action())


def test_what_was_registered_anew_while_it_was_performed_stays(state: OnDisconnectState) -> None:
    state.register(action(), 1.0)
    state.take(1.0, 9)
    state.connect("EP2")
    state.register(action(endpoint="EP2"), 0.0)
    assert not state.settle(action())
    assert state.find("k") == action(endpoint="EP2")


class AnyHistory(RuleBasedStateMachine):
    """Endpoints come, register, go and fail in any order, against the plain truth."""

    def __init__(self) -> None:
        super().__init__()
        self.state = OnDisconnectState()
        self.now = 0.0
        self.open: list[str] = []
        self.gone_until: dict[str, float] = {}
        self.registered: dict[str, Action] = {}
        self.count = 0

    endpoints = st.sampled_from(["EP1", "EP2", "EP3"])
    keys = st.sampled_from(["a", "b", "c"])

    @rule(endpoint=endpoints)
    def connect(self, endpoint: str) -> None:
        self.state.connect(endpoint)
        self.open.append(endpoint)
        self.gone_until.pop(endpoint, None)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        endpoint = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.state.disconnect(endpoint, self.now + WINDOW)
        if endpoint not in self.open:
            self.gone_until[endpoint] = self.now + WINDOW

    @precondition(lambda self: self.open)
    @rule(key=keys, data=st.data())
    def register(self, key: str, data: st.DataObject) -> None:
        self.count += 1
        endpoint = data.draw(st.sampled_from(self.open))
        one = action(key, endpoint=endpoint)._replace(event_id=self.count)
        self.state.register(one, self.now)
        self.registered.pop(key, None)
        self.registered[key] = one

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.state.forget(key)
        self.registered.pop(key, None)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(is_done=st.booleans())
    def perform(self, is_done: bool) -> None:
        """Exactly those are due whose endpoint went a window ago or more."""
        due = [
            one
            for one in self.registered.values()
            if one.endpoint not in self.open and self.gone_until[one.endpoint] <= self.now
        ]
        taken = self.state.take(self.now, 99)
        assert sorted(taken) == sorted(due)
        for one in taken:
            if is_done:
                assert self.state.settle(one)
                self.state.forget(one.key)
                del self.registered[one.key]
            else:
                self.state.retry(one, self.now)

    def teardown(self) -> None:
        for endpoint in self.open:
            self.state.disconnect(endpoint, self.now)
        taken = self.state.take(self.now + WINDOW, 99)
        assert sorted(taken) == sorted(self.registered.values())


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
