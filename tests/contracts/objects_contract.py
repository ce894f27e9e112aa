"""What every store does with services, objects and permissions: a part of ``StoreContract``."""

from __future__ import annotations

import asyncio

import pytest

from starlings.core import commands as c
from starlings.core.errors import IdTaken, Reason, Refusal
from starlings.core.events import EventType
from starlings.core.objects import Actor, Kind, Match, ObjectRef, Permission
from starlings.core.state import ObjectOutcome
from starlings.storage.store import Store
from tests.contracts.desk import ACCOUNT_SID, ADMIN, Clock, Desk, reason_of, ref_of
from tests.contracts.setting import KINDS, Setting

__all__ = ["ObjectsContract"]


class ObjectsContract:
    # Creation

    @KINDS
    async def test_creation_of_every_kind_gives_what_was_asked_for(
        self, at: Setting, store: Store, kind: Kind, clock: Clock
    ) -> None:
        made = await at.desk.create(at.service, kind, "room", ttl=60, actor=Actor("zoe", "EP1"))
        assert made == await store.find_object(made.oid)
        assert made == await store.find_object_named(at.service.oid, kind, "room")
        assert (made.kind, made.unique_name, made.service_oid) == (kind, "room", at.service.oid)
        assert (made.created_at, made.updated_at) == (clock.at, clock.at)
        assert (made.expires_at, made.created_by) == (clock.at + 60_000, "zoe")
        assert made.data == (b"{}" if kind is Kind.DOCUMENT else None)
        [event] = await store.read_log(made.oid, 0, 10)
        assert (event.type, event.seq, event.at) == (EventType.OBJECT_CREATED, 1, clock.at)
        assert (event.identity, event.endpoint) == ("zoe", "EP1")

    @KINDS
    async def test_a_new_object_has_revision_0(self, at: Setting, kind: Kind) -> None:
        made = await at.desk.create(at.service, kind)
        assert made.revision == "0"
        assert made.event_id == (0 if kind is Kind.DOCUMENT else -1)

    @KINDS
    async def test_a_name_is_taken_within_its_kind_only(self, at: Setting, kind: Kind) -> None:
        await at.desk.create(at.service, kind, "lobby")
        with pytest.raises(Refusal) as refusal:
            await at.desk.create(at.service, kind, "lobby")
        assert reason_of(refusal.value) is Reason.NAME_TAKEN
        other = next(one for one in Kind if one is not kind)
        await at.desk.create(at.service, other, "lobby")
        await at.desk.create(await at.desk.create_service(), kind, "lobby")

    async def test_names_differ_by_case_and_accents(self, at: Setting, store: Store) -> None:
        names = ["a", "A", "á", "a\u0301", "a ", "😀"]
        made = [await at.map(name) for name in names]
        for name, one in zip(names, made, strict=True):
            assert await store.find_object_named(at.service.oid, Kind.MAP, name) == one

    async def test_a_taken_id_is_told_apart_from_a_refusal(self, at: Setting, store: Store) -> None:
        taken = await at.document()
        creation = at.desk.creation(at.service, Kind.MAP, oid=taken.oid)
        with pytest.raises(IdTaken):
            await store.execute(creation)
        await at.desk.remove(taken)
        with pytest.raises(IdTaken):  # until it is purged
            await store.execute(creation)
        while await store.purge(100):
            pass
        assert await store.find_object(taken.oid) is None

    async def test_an_object_of_a_removed_service_can_not_be_made(
        self, at: Setting, store: Store
    ) -> None:
        await store.execute(c.RemoveService(at.service.oid, ADMIN))
        with pytest.raises(Refusal) as refusal:
            await at.document()
        assert reason_of(refusal.value) is Reason.SERVICE_NOT_FOUND

    # Services

    async def test_a_service_keeps_its_settings(self, desk: Desk, store: Store) -> None:
        settings = c.ServiceSettings(
            "Café", "https://example.com/x", True, True, True, True, 30_000
        )
        made = await desk.create_service(settings)
        assert made == await store.find_service(made.oid)
        assert made.friendly_name == "Café"
        assert made[7:] == ("https://example.com/x", True, True, True, True, 30_000)
        assert all(isinstance(flag, bool) for flag in made[8:12])
        cleared = c.ServiceSettings(friendly_name=None, webhook_url=None)
        await store.execute(c.UpdateService(made.oid, cleared, ADMIN))
        found = await store.find_service(made.oid)
        assert found is not None
        assert (found.friendly_name, found.webhook_url, found.has_acl) == (None, None, True)

    async def test_there_is_one_default_service(self, desk: Desk, store: Store) -> None:
        assert await store.find_default_service(ACCOUNT_SID) is None
        made = await desk.create_service(unique_name="default")
        assert await store.find_default_service(ACCOUNT_SID) == made
        with pytest.raises(Refusal) as refusal:
            await desk.create_service(unique_name="default")
        assert reason_of(refusal.value) is Reason.NAME_TAKEN
        await store.execute(c.RemoveService(made.oid, ADMIN))
        assert await store.find_default_service(ACCOUNT_SID) is None
        again = await desk.create_service(unique_name="default")
        assert await store.find_default_service(ACCOUNT_SID) == again

    async def test_each_account_has_its_own_services_and_default(
        self, desk: Desk, store: Store
    ) -> None:
        other = "AC" + "f" * 32
        mine = await desk.create_service(unique_name="default")
        theirs = await desk.create_service(unique_name="default", account_sid=other)
        assert await store.find_default_service(ACCOUNT_SID) == mine
        assert await store.find_default_service(other) == theirs
        assert await store.list_services(None, False, 9, other) == [theirs]
        assert await store.list_services(None, True, 9, ACCOUNT_SID) == [mine]
        assert len(await store.list_services(None, False, 9)) == 2

    async def test_default_service_removed_and_made_anew_in_one_batch(
        self, desk: Desk, store: Store
    ) -> None:
        made = await desk.create_service(unique_name="default")
        answers = await asyncio.gather(
            store.execute(c.RemoveService(made.oid, ADMIN)),
            desk.create_service(unique_name="default"),
            desk.create_service(unique_name="default"),
            return_exceptions=True,
        )
        assert reason_of(answers[2]) is Reason.NAME_TAKEN
        found = await store.find_default_service(ACCOUNT_SID)
        assert found == answers[1]

    async def test_objects_of_a_removed_service_are_listed_as_orphans(
        self, at: Setting, store: Store
    ) -> None:
        made = await at.map("m")
        kept = await at.desk.create(await at.desk.create_service(), Kind.MAP)
        assert await store.list_orphans(10) == []
        await store.execute(c.RemoveService(at.service.oid, ADMIN))
        assert [one.oid for one in await store.list_orphans(10)] == [made.oid]
        assert isinstance(await store.execute(c.ExpireObject(made.oid)), ObjectOutcome)
        assert await store.list_orphans(10) == []
        assert await store.find_object(kept.oid) == kept

    @KINDS
    async def test_a_sid_that_was_never_minted_is_not_found(
        self, at: Setting, store: Store, kind: Kind
    ) -> None:
        for digits in ("0" * 32, "f" * 32):
            ref = ObjectRef(at.service.oid, kind, kind.sid_prefix + digits)
            with pytest.raises(Refusal) as refusal:
                await store.execute(c.RemoveObject(ref, None, ADMIN))
            assert reason_of(refusal.value) is kind.not_found
            assert await store.find_object(int(digits[:16], 16)) is None

    # Permissions

    async def test_permissions_are_kept_by_identity(self, at: Setting, store: Store) -> None:
        target = await at.map()
        for identity in ("b", "a", "é", "Z"):
            await at.desk.grant(target, identity, (True, False, True))
        listed = await store.list_permissions(target.oid, None, False, 10)
        assert [one.identity for one in listed] == ["Z", "a", "b", "é"]
        found = await at.desk.find_permission(target.oid, "a")
        assert found == Permission(target.oid, "a", Match.EXACT, True, False, True)
        back = await store.list_permissions(target.oid, ("b", Match.EXACT), True, 10)
        assert [one.identity for one in back] == ["a", "Z"]
        await store.execute(c.RemovePermission(ref_of(target), "a", ADMIN))
        assert await at.desk.find_permission(target.oid, "a") is None
        with pytest.raises(Refusal) as refusal:
            await store.execute(c.RemovePermission(ref_of(target), "a", ADMIN))
        assert reason_of(refusal.value) is Reason.PERMISSION_NOT_FOUND

    async def test_who_creates_under_access_control_may_do_everything(
        self, desk: Desk, store: Store
    ) -> None:
        service = await desk.create_service(c.ServiceSettings(has_acl=True))
        zoe = Actor("zoe", "EP1", is_unrestricted=False)
        made = await desk.create(service, Kind.MAP, actor=zoe)
        granted = await desk.find_permission(made.oid, "zoe")
        assert granted == Permission(made.oid, "zoe", Match.EXACT, True, True, True)
        await desk.add(made, key="k", actor=zoe)
        with pytest.raises(Refusal) as refusal:
            await desk.add(made, key="l", actor=Actor("eve", "EP2", is_unrestricted=False))
        assert reason_of(refusal.value) is Reason.ACCESS_DENIED
