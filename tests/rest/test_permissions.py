"""Permissions of every kind of object. [rest-api 2.7]"""

import pytest

from tests.rest.asgi import NO_SUCH, Api

pytestmark = pytest.mark.parametrize(
    ("path", "prefix", "code"),
    [
        ("/Documents", "ET", 54100),
        ("/Lists", "ES", 54150),
        ("/Maps", "MP", 54200),
        ("/Streams", "TO", 54250),
    ],
)


async def test_a_permission_is_set_fetched_replaced_and_deleted(
    api: Api, path: str, prefix: str, code: int
) -> None:
    owner = await api.make(path, UniqueName="o")
    one = f"{path}/o/Permissions/alice"
    granted = await api.post(one, Read="true", Write="TRUE", Manage="false")
    assert granted.status == 200
    permission = granted.json
    assert (permission["read"], permission["write"], permission["manage"]) == (True, True, False)
    assert permission["identity"] == "alice"
    assert permission["url"] == f"{owner['url']}/Permissions/alice"
    assert permission[f"{path[1:-1].lower()}_sid"] == owner["sid"]
    assert (await api.get(one)).json == permission
    replaced = (await api.post(one, Manage="true")).json
    assert (replaced["read"], replaced["write"], replaced["manage"]) == (False, False, True)
    assert (await api.delete(one)).status == 204
    for answer in (await api.get(one), await api.delete(one)):
        assert (answer.status, answer.code) == (404, 54354)


async def test_they_are_paged_by_identity_and_the_path_is_echoed(
    api: Api, path: str, prefix: str, code: int
) -> None:
    await api.make(path, UniqueName="o")
    for identity in ("b", "a", "d", "c"):
        await api.post(f"{path}/o/Permissions/{identity}", Read="true")
    first = (await api.get(f"{path}/o/Permissions", PageSize=3)).json
    assert f"{path}/o/Permissions?" in first["meta"]["url"]
    second = (await api.get(first["meta"]["next_page_url"])).json
    assert [entry["identity"] for entry in first["permissions"]] == ["a", "b", "c"]
    assert [entry["identity"] for entry in second["permissions"]] == ["d"]
    back = (await api.get(second["meta"]["previous_page_url"])).json
    assert back["permissions"] == first["permissions"]
    await api.delete(f"{path}/o/Permissions/d")
    empty = (await api.get(first["meta"]["next_page_url"])).json
    assert empty["permissions"] == []
    back = (await api.get(empty["meta"]["previous_page_url"])).json
    assert back["permissions"] == first["permissions"]


@pytest.mark.parametrize("identity", ["%07", "x" * 257, "%00", "%C2%85"])
async def test_bad_identities_are_refused(
    api: Api, path: str, prefix: str, code: int, identity: str
) -> None:
    await api.make(path, UniqueName="o")
    one = f"{path}/o/Permissions/{identity}"
    for answer in (await api.get(one), await api.post(one, Read="true"), await api.delete(one)):
        assert (answer.status, answer.code) == (400, 54351)


@pytest.mark.parametrize("segment", ["a%2Fb%3Fc%23d%25", "Zo%C3%AB", "a@b.test", "x" * 256])
async def test_any_other_identity_is_reached_by_its_url(
    api: Api, path: str, prefix: str, code: int, segment: str
) -> None:
    await api.make(path, UniqueName="o")
    granted = (await api.post(f"{path}/o/Permissions/{segment}", Read="true")).json
    assert (await api.get(granted["url"])).json == granted


async def test_bad_flags_are_refused(api: Api, path: str, prefix: str, code: int) -> None:
    await api.make(path, UniqueName="o")
    for flag in ("Read", "Write", "Manage"):
        assert (await api.post(f"{path}/o/Permissions/a", **{flag: "maybe"})).code == 20001
    assert (await api.get(f"{path}/o/Permissions")).json["permissions"] == []


async def test_a_missing_object_is_told(api: Api, path: str, prefix: str, code: int) -> None:
    for name, missing in ((prefix + NO_SUCH, code), ("never-made", 54300)):
        one = f"{path}/{name}/Permissions/alice"
        for answer in (
            await api.get(f"{path}/{name}/Permissions"),
            await api.get(one),
            await api.post(one, Read="true"),
            await api.delete(one),
        ):
            assert (answer.status, answer.code) == (404, missing)
