"""Permissions of documents, lists and maps through the official helper library. [REST 2.7]"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.helper import page_refusal, refusal
from tests.e2e.raw import NO_SUCH, unused_name
from tests.e2e.server import ServerProcess


@dataclass(frozen=True)
class _Kind:
    path: str
    sid_field: str
    prefix: str
    unknown_code: int
    objects: Callable[[Any], Any]
    permissions: Callable[[Any], Any]


_KINDS = [
    _Kind(
        *("Documents", "document_sid", "ET", 54100),
        objects=lambda service: service.documents,
        permissions=lambda document: document.document_permissions,
    ),
    _Kind(
        *("Lists", "list_sid", "ES", 54150),
        objects=lambda service: service.sync_lists,
        permissions=lambda sync_list: sync_list.sync_list_permissions,
    ),
    _Kind(
        *("Maps", "map_sid", "MP", 54200),
        objects=lambda service: service.sync_maps,
        permissions=lambda sync_map: sync_map.sync_map_permissions,
    ),
]

pytestmark = pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.path)


def test_a_set_permission_has_every_documented_field(
    service: Any, server: ServerProcess, kind: _Kind
) -> None:
    owner = kind.objects(service).create()
    permissions = kind.permissions(owner)

    granted = permissions("alice").update_with_http_info(read=True, write=False, manage=True)

    assert granted.status_code == 200
    permission = granted.data
    assert permission.identity == "alice"
    assert (permission.read, permission.write, permission.manage) == (True, False, True)
    assert getattr(permission, kind.sid_field) == owner.sid
    assert permission.account_sid == server.credentials.account_sid
    assert permission.service_sid == owner.service_sid
    assert permission.url == f"{owner.url}/Permissions/alice"
    fetched = permissions("alice").fetch()
    assert (fetched.read, fetched.write, fetched.manage) == (True, False, True)


def test_setting_a_permission_again_replaces_all_flags(service: Any, kind: _Kind) -> None:
    permissions = kind.permissions(kind.objects(service).create())
    permissions("bob").update(read=True, write=True, manage=True)

    permissions("bob").update(read=False, write=True, manage=False)

    bob = permissions("bob").fetch()
    assert (bob.read, bob.write, bob.manage) == (False, True, False)


def test_a_missing_flag_means_false(service: Any, raw: httpx.Client, kind: _Kind) -> None:
    owner = kind.objects(service).create()
    path = f"/{kind.path}/{owner.sid}/Permissions/eve"
    raw.post(path, data={"Read": "true", "Write": "true", "Manage": "true"})

    body = raw.post(path, data={"Write": "TRUE"}).json()

    assert (body["read"], body["write"], body["manage"]) == (False, True, False)


def test_permissions_are_listed_by_identity_and_paged(service: Any, kind: _Kind) -> None:
    permissions = kind.permissions(kind.objects(service).create())
    names = ["dave", "Carol", "bob", "alice", "eve"]
    for name in names:
        permissions(name).update(read=True, write=False, manage=False)

    assert [granted.identity for granted in permissions.list()] == sorted(names)
    assert [granted.identity for granted in permissions.stream(page_size=2)] == sorted(names)
    assert [granted.identity for granted in permissions.list(limit=2)] == sorted(names)[:2]


def test_a_permission_is_found_through_the_unique_name(service: Any, kind: _Kind) -> None:
    name = unused_name("object")
    owner = kind.objects(service).create(unique_name=name)
    kind.permissions(kind.objects(service)(name))("alice").update(
        read=True, write=True, manage=True
    )

    assert kind.permissions(kind.objects(service)(owner.sid))("alice").fetch().write is True


def test_the_list_of_permissions_echoes_the_path_as_called(
    service: Any, raw: httpx.Client, kind: _Kind
) -> None:
    name = unused_name("object")
    owner = kind.objects(service).create(unique_name=name)

    for segment in (name, owner.sid):
        meta = raw.get(f"/{kind.path}/{segment}/Permissions").json()["meta"]
        assert f"/{kind.path}/{segment}/Permissions" in meta["url"]


def test_a_deleted_permission_is_gone(service: Any, kind: _Kind) -> None:
    permissions = kind.permissions(kind.objects(service).create())
    permissions("alice").update(read=True, write=True, manage=True)

    assert permissions("alice").delete() is True

    with refusal(404, 54354):
        permissions("alice").fetch()
    with refusal(404, 54354):
        permissions("alice").delete()
    assert permissions.list() == []


def test_a_permission_never_set_is_not_found(service: Any, kind: _Kind) -> None:
    permissions = kind.permissions(kind.objects(service).create())

    with refusal(404, 54354):
        permissions("nobody").fetch()
    with refusal(404, 54354):
        permissions("nobody").delete()


def test_identities_are_any_text_of_up_to_256_characters(
    service: Any, raw: httpx.Client, kind: _Kind
) -> None:
    owner = kind.objects(service).create()
    permissions = kind.permissions(owner)
    for identity in ("i" * 256, "é" * 256, "Zoë 🐦", "a@b.test"):
        granted = permissions(identity).update(read=True, write=False, manage=False)
        assert granted.identity == identity
        # The address is complete and encoded: it leads back to the same entry.
        assert raw.get(granted.url).json()["identity"] == identity

    encoded = raw.post(
        f"/{kind.path}/{owner.sid}/Permissions/a%2Fb%3Fc%23d%25", data={"Read": "true"}
    )
    assert encoded.json()["identity"] == "a/b?c#d%"
    assert raw.get(encoded.json()["url"]).json()["identity"] == "a/b?c#d%"


def test_bad_identities_are_refused(service: Any, kind: _Kind) -> None:
    permissions = kind.permissions(kind.objects(service).create())

    for identity in ("i" * 257, "bell%07"):
        with refusal(400, 54351):
            permissions(identity).fetch()
        with refusal(400, 54351):
            permissions(identity).update(read=True, write=True, manage=True)


def test_permissions_of_unknown_objects_are_refused(service: Any, kind: _Kind) -> None:
    unknown = kind.permissions(kind.objects(service)(f"{kind.prefix}{NO_SUCH}"))
    unnamed = kind.permissions(kind.objects(service)("never made"))

    with page_refusal(404, kind.unknown_code):
        unknown.list()
    with refusal(404, kind.unknown_code):
        unknown("alice").update(read=True, write=True, manage=True)
    with page_refusal(404, 54300):
        unnamed.list()


def test_permissions_go_with_their_object(service: Any, kind: _Kind) -> None:
    name = unused_name("object")
    owner = kind.objects(service).create(unique_name=name)
    kind.permissions(owner)("alice").update(read=True, write=True, manage=True)
    owner.delete()

    again = kind.objects(service).create(unique_name=name)

    assert kind.permissions(again).list() == []


def test_permissions_are_kept_while_access_control_is_off(client: Any, kind: _Kind) -> None:
    service = client.sync.v1.services.create(acl_enabled=False)
    permissions = kind.permissions(kind.objects(service).create())
    permissions("alice").update(read=True, write=False, manage=False)

    service.update(acl_enabled=True)

    assert permissions("alice").fetch().read is True
