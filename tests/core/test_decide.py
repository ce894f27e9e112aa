"""The rules of each command, on rows that a test lays out. What stores must do with decisions is
in ``tests/contracts``.
"""

from __future__ import annotations

import dataclasses
import typing

import pytest

from starlings.core import commands as c
from starlings.core.access import Right, is_permitted
from starlings.core.errors import IdTaken, Reason, Refusal
from starlings.core.events import VISIBLE, EventType
from starlings.core.limits import Limits, Rates
from starlings.core.objects import Actor, Kind, Match, ObjectRef, Permission, SyncObject
from starlings.core.state import DropItem, DropService, ItemOutcome, ObjectOutcome, ServiceOutcome
from tests.core.shelf import (
    ADMIN,
    EVE,
    LIMITS,
    NOW,
    ZOE,
    Shelf,
    a_service,
    an_item,
    an_object,
    ref_of,
)

_MAP = an_object(Kind.MAP, event_id=3, item_count=1)
_LIST = an_object(Kind.LIST, event_id=3, item_count=4)


def reason_of(shelf: Shelf, command: c.Command, limits: Limits = LIMITS) -> Reason:
    with pytest.raises(Refusal) as refusal:
        shelf.decide(command, limits=limits)
    return refusal.value.reason


def shelf_with(*objects: SyncObject, has_acl: bool = False, **rows: typing.Any) -> Shelf:
    return Shelf(a_service(has_acl=has_acl), list(objects), **rows)


def creation(**changes: typing.Any) -> c.CreateObject:
    made = c.CreateObject(1, Kind.MAP, 9, "MP" + "0" * 32, None, None, None, ADMIN)
    return dataclasses.replace(made, **changes)


# Creation


def test_a_taken_id_is_no_refusal() -> None:
    with pytest.raises(IdTaken):
        shelf_with(_MAP).decide(creation(oid=_MAP.oid))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"service_oid": 2}, Reason.SERVICE_NOT_FOUND),
        ({"unique_name": ""}, Reason.BAD_NAME),
        ({"unique_name": "room"}, Reason.NAME_TAKEN),
        ({"ttl": -1}, Reason.BAD_TTL),
        ({"kind": Kind.DOCUMENT, "data": b" " * 16_385}, Reason.DATA_TOO_LARGE),
    ],
)
def test_a_bad_creation_is_refused(changes: dict[str, object], reason: Reason) -> None:
    assert reason_of(shelf_with(_MAP), creation(**changes)) is reason


def test_who_creates_under_access_control_gets_all_rights_by_an_event() -> None:
    decision = shelf_with(has_acl=True).decide(creation(actor=ZOE))
    assert decision.changes[1] == Permission(9, "zoe", Match.EXACT, True, True, True)
    assert [event.type for _, event in decision.events] == [
        EventType.OBJECT_CREATED,
        EventType.PERMISSION_SET,
    ]
    assert [event.seq for _, event in decision.events] == [1, 2]


@pytest.mark.parametrize(("has_acl", "actor"), [(False, ZOE), (True, ADMIN)])
def test_otherwise_a_creation_grants_nothing(has_acl: bool, actor: Actor) -> None:
    assert len(shelf_with(has_acl=has_acl).decide(creation(actor=actor)).events) == 1


# Updates without anything, and what is checked first


def test_an_update_needs_something_to_update() -> None:
    document = an_object(Kind.DOCUMENT)
    update = c.UpdateDocument(ref_of(document), None, None, None, ADMIN)
    assert reason_of(shelf_with(document), update) is Reason.NOTHING_TO_UPDATE
    for collection_ttl in (None, 5):  # the time of the collection alone is not enough
        change = c.UpdateItem(ref_of(_MAP), "k", None, None, collection_ttl, None, ADMIN)
        shelf = shelf_with(_MAP, items=[an_item("k")])
        assert reason_of(shelf, change) is Reason.NOTHING_TO_UPDATE
    settings = c.UpdateService(1, c.ServiceSettings(), ADMIN)
    assert reason_of(shelf_with(), settings) is Reason.NOTHING_TO_UPDATE


@pytest.mark.parametrize(
    "command",
    [
        c.AddMapItem(ref_of(_MAP), "k", b" " * 16_385, None, None, ADMIN),
        c.PutMapItem(ref_of(_MAP), "k", b" " * 16_385, None, c.MUST_NOT_EXIST, ADMIN),
        c.UpdateItem(ref_of(_MAP), "gone", b" " * 16_385, None, None, "9", ADMIN),
        c.UpdateItem(ref_of(_MAP), "k", b" " * 16_385, None, None, "9", ADMIN),
    ],
)
def test_what_is_wrong_in_itself_comes_before_404_412_and_409(command: c.Command) -> None:
    shelf = shelf_with(_MAP, items=[an_item("k")])
    assert reason_of(shelf, command) is Reason.DATA_TOO_LARGE


def test_a_missing_item_comes_before_its_revision() -> None:
    command = c.UpdateItem(ref_of(_LIST), 7, b"{}", None, None, "9", ADMIN)
    assert reason_of(shelf_with(_LIST), command) is Reason.LIST_ITEM_NOT_FOUND


# Items


def test_a_full_collection_is_refused_but_may_still_be_changed() -> None:
    full = Limits(items=1, rates=Rates.off())
    shelf = shelf_with(_MAP, items=[an_item("k")])
    add = c.PutMapItem(ref_of(_MAP), "l", b"{}", None, None, ADMIN)
    with pytest.raises(Refusal, match="map is full: at most 1 items") as refusal:
        shelf.decide(add, limits=full)
    assert refusal.value.status == 400
    change = c.PutMapItem(ref_of(_MAP), "k", b"{}", None, None, ADMIN)
    assert shelf.decide(change, limits=full).outcome is not None
    expired = shelf_with(_MAP, items=[an_item("k", expires_at=NOW)])
    again = c.AddMapItem(ref_of(_MAP), "k", b"{}", None, None, ADMIN)
    assert expired.decide(again, limits=full).outcome is not None


def test_an_update_of_the_time_alone_keeps_the_data() -> None:
    shelf = shelf_with(_MAP, items=[an_item("k")])
    decision = shelf.decide(c.UpdateItem(ref_of(_MAP), "k", None, 9, 7, None, ADMIN))
    outcome = decision.outcome
    assert isinstance(outcome, ItemOutcome)
    assert (outcome.item.data, outcome.item.expires_at) == (b'{"a":1}', NOW + 9_000)
    assert outcome.object.expires_at == NOW + 7_000
    assert (outcome.event.type, outcome.event.event_id) == (EventType.ITEM_UPDATED, 4)


def test_removal_of_an_item_tells_its_last_data() -> None:
    shelf = shelf_with(_LIST, items=[an_item(2)])
    decision = shelf.decide(c.RemoveItem(ref_of(_LIST), 2, None, ZOE))
    [(after, event)] = decision.events
    assert (event.data, event.key, event.identity) == (b'{"a":1}', 2, "zoe")
    assert (after.item_count, after.next_index) == (3, 4)
    assert DropItem(_LIST.oid, 2) in decision.changes


# Objects


@pytest.mark.parametrize("kind", [Kind.LIST, Kind.MAP, Kind.STREAM])
def test_a_time_to_live_of_an_object_is_no_visible_event(kind: Kind) -> None:
    target = an_object(kind)
    decision = shelf_with(target).decide(c.SetObjectTtl(ref_of(target), 5, ADMIN))
    [(after, event)] = decision.events
    assert event.type not in VISIBLE
    assert (after.revision, after.seq) == (target.revision, target.seq + 1)


@pytest.mark.parametrize("kind", Kind)
def test_only_a_document_is_removed_on_a_condition(kind: Kind) -> None:
    target = an_object(kind)
    shelf = shelf_with(target)
    removal = c.RemoveObject(ref_of(target), "7", ADMIN)
    if kind is Kind.DOCUMENT:
        assert reason_of(shelf, removal) is Reason.DOCUMENT_REVISION_MISMATCH
    else:
        outcome = shelf.decide(removal).outcome
        assert isinstance(outcome, ObjectOutcome)
        assert outcome.object.is_removed
    unconditional = shelf.decide(dataclasses.replace(removal, if_match=None)).outcome
    assert isinstance(unconditional, ObjectOutcome)
    assert unconditional.object.data is None


def test_expiry_changes_nothing_that_is_not_due() -> None:
    due = an_object(Kind.MAP, expires_at=NOW)
    live = an_object(Kind.MAP, expires_at=NOW + 1)
    item = an_item("k", expires_at=NOW)
    for shelf, command, is_due in (
        (shelf_with(due), c.ExpireObject(due.oid), True),
        (shelf_with(live), c.ExpireObject(live.oid), False),
        (shelf_with(), c.ExpireObject(due.oid), False),
        (Shelf(None, [live]), c.ExpireObject(live.oid), True),  # its service is gone
        (shelf_with(live, items=[item]), c.ExpireItem(live.oid, "k"), True),
        (shelf_with(due, items=[item]), c.ExpireItem(due.oid, "k"), False),  # goes with it
        (shelf_with(live), c.ExpireItem(live.oid, "k"), False),
        (shelf_with(live, items=[an_item("k")]), c.ExpireItem(live.oid, "k"), False),
    ):
        decision = shelf.decide(command)
        assert (decision.outcome is not None) == is_due
        assert bool(decision.changes) == bool(decision.events) == is_due


# Access control


def grants(read: bool, write: bool, manage: bool) -> list[Permission]:
    return [Permission(0x20, "zoe", Match.EXACT, read, write, manage)]


_WRITES: list[tuple[c.Command, Right]] = [
    (c.AddListItem(ref_of(_LIST), b"{}", None, None, ZOE), Right.WRITE),
    (c.AddListItem(ref_of(_LIST), b"{}", None, 5, ZOE), Right.MANAGE),
    (c.UpdateItem(ref_of(_LIST), 0, b"{}", None, None, None, ZOE), Right.WRITE),
    (c.UpdateItem(ref_of(_LIST), 0, b"{}", None, 5, None, ZOE), Right.MANAGE),
    (c.RemoveItem(ref_of(_LIST), 0, None, ZOE), Right.WRITE),
    (c.AddMapItem(ref_of(_MAP), "l", b"{}", None, None, ZOE), Right.WRITE),
    (c.AddMapItem(ref_of(_MAP), "l", b"{}", None, 5, ZOE), Right.MANAGE),
    (c.PutMapItem(ref_of(_MAP), "k", b"{}", None, None, ZOE), Right.WRITE),
    (c.SetObjectTtl(ref_of(_MAP), 5, ZOE), Right.MANAGE),
    (c.RemoveObject(ref_of(_MAP), None, ZOE), Right.MANAGE),
    (c.UpdateDocument(ref_of(an_object(Kind.DOCUMENT)), b"{}", 5, None, ZOE), Right.WRITE),
]


@pytest.mark.parametrize(("command", "right"), _WRITES)
def test_a_command_needs_its_right(command: c.Command, right: Right) -> None:
    kind = command.ref.kind  # type: ignore[union-attr]
    target = {Kind.LIST: _LIST, Kind.MAP: _MAP}.get(kind, an_object(Kind.DOCUMENT))
    items = [an_item(0 if kind is Kind.LIST else "k")]
    may_write = Right.WRITE, Right.MANAGE
    enough = grants(False, True, right is Right.MANAGE)
    too_little = grants(True, right is Right.MANAGE and right in may_write, right is Right.WRITE)
    if isinstance(command, c.SetObjectTtl | c.RemoveObject):
        enough, too_little = grants(False, False, True), grants(True, True, False)
    open_shelf = shelf_with(target, items=items)
    assert open_shelf.decide(command).outcome is not None
    closed = shelf_with(target, has_acl=True, items=items)
    assert reason_of(closed, command) is Reason.ACCESS_DENIED
    closed.permissions = too_little
    assert reason_of(closed, command) is Reason.ACCESS_DENIED
    closed.permissions = enough
    assert closed.decide(command).outcome is not None


@pytest.mark.parametrize("has_acl", [False, True])
def test_clients_never_edit_permissions(has_acl: bool) -> None:
    shelf = shelf_with(_MAP, has_acl=has_acl, permissions=grants(True, True, True))
    for command in (
        c.SetPermission(ref_of(_MAP), "eve", True, True, True, ZOE),
        c.RemovePermission(ref_of(_MAP), "zoe", ZOE),
        c.RemovePermission(ref_of(_MAP), "zoe", EVE),
    ):
        assert reason_of(shelf, command) is Reason.ACCESS_DENIED


def test_a_missing_permission_grants_nothing_and_each_flag_stands_for_itself() -> None:
    for right in Right:
        assert not is_permitted(None, right)
        flags = [one is right for one in (Right.READ, Right.WRITE, Right.MANAGE)]
        permission = Permission(1, "zoe", Match.EXACT, *flags)
        assert [is_permitted(permission, one) for one in Right] == [one is right for one in Right]


# Services


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (c.ServiceSettings(friendly_name=""), Reason.BAD_FRIENDLY_NAME),
        (c.ServiceSettings(friendly_name="x" * 256), Reason.BAD_FRIENDLY_NAME),
        (c.ServiceSettings(webhook_url=""), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(webhook_url="ftp://example.com"), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(webhook_url="https://"), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(webhook_url="https://:80/"), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(webhook_url="https://user@/"), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(webhook_url="https://a b/"), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(webhook_url="/relative"), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(webhook_url="https://a/" + "x" * 503), Reason.BAD_WEBHOOK_URL),
        (c.ServiceSettings(debouncing_window_ms=999), Reason.BAD_PARAMETER),
        (c.ServiceSettings(debouncing_window_ms=30_001), Reason.BAD_PARAMETER),
    ],
)
def test_a_bad_setting_of_a_service_is_refused(settings: c.ServiceSettings, reason: Reason) -> None:
    assert reason_of(shelf_with(), c.UpdateService(1, settings, ADMIN)) is reason


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://:80/",
        "http://[::1/",
        "http://a:x/",
        "http://a:0/",
        "http://a:99999/",
        "http://a\\b/",
        "http://a%7F/",
        "http://u@/",
    ],
)
def test_a_webhook_url_that_leads_nowhere_is_refused(url: str) -> None:
    command = c.UpdateService(1, c.ServiceSettings(webhook_url=url), ADMIN)
    assert reason_of(shelf_with(), command) is Reason.BAD_WEBHOOK_URL


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "HTTPS://a.example:8443/x?y=z#f",
        "http://[::1]:80/",
        "https://u:p%40@h/%7F",
        "http://größe.example/",
        "http://a:/",
        None,
    ],
)
def test_a_good_webhook_url_is_kept(url: str | None) -> None:
    command = c.UpdateService(1, c.ServiceSettings(webhook_url=url), ADMIN)
    outcome = shelf_with().decide(command).outcome
    assert isinstance(outcome, ServiceOutcome)
    assert outcome.service.webhook_url == url


def test_the_number_of_services_is_bounded_but_the_default_one_is_free() -> None:
    limits = Limits(rates=Rates(services=50))
    full = Shelf(None, services=50)
    plain = c.CreateService(7, "IS7", "AC7", None, c.ServiceSettings(), ADMIN)
    assert reason_of(full, plain, limits) is Reason.BAD_PARAMETER
    assert full.decide(plain).outcome is not None  # without rates
    default = dataclasses.replace(plain, unique_name="default")
    assert full.decide(default, limits=limits).outcome is not None
    taken = Shelf(a_service(unique_name="default"))
    assert reason_of(taken, default, limits) is Reason.NAME_TAKEN


def test_removal_of_a_service_is_one_row() -> None:
    decision = shelf_with(_MAP).decide(c.RemoveService(1, ADMIN))
    assert decision.changes == (DropService(1),)
    assert reason_of(Shelf(None), c.RemoveService(1, ADMIN)) is Reason.SERVICE_NOT_FOUND


def test_every_command_has_a_rule() -> None:
    """A command of each type is decided or refused; one without a rule would fail an assertion."""
    ref = ObjectRef(1, Kind.MAP, "nothing")
    for kind in typing.get_args(c.Command):
        fields = dataclasses.fields(kind)
        values: dict[str, typing.Any] = {
            one.name: {"ref": ref, "actor": ADMIN, "settings": c.ServiceSettings()}.get(one.name)
            for one in fields
        }
        values |= {"oid": 77} if "oid" in values else {}
        values |= {"service_oid": 2} if "service_oid" in values else {}
        values |= {"identity": "zoe"} if "identity" in values else {}
        values |= {"match": Match.EXACT} if "match" in values else {}
        try:
            shelf_with().decide(kind(**values))
        except Refusal as refusal:
            assert refusal.status in (400, 404)  # noqa: PT017 - either is an answer
