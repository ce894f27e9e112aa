"""Lists and maps without their items. [rest-api 2.3]"""

import pytest

from tests.rest.asgi import BASE, NO_SUCH, Api

pytestmark = pytest.mark.parametrize(
    ("path", "prefix", "code"), [("/Lists", "ES", 54150), ("/Maps", "MP", 54200)]
)


async def test_a_new_collection_has_every_field(
    api: Api, path: str, prefix: str, code: int
) -> None:
    created = await api.make(path, UniqueName="n")
    service_sid = created["service_sid"]
    url = f"{BASE}/v1/Services/{service_sid}{path}/{created['sid']}"
    assert created["sid"].startswith(prefix)
    assert created["url"] == url
    assert created["links"] == {"items": f"{url}/Items", "permissions": f"{url}/Permissions"}
    assert (created["revision"], created["created_by"]) == ("0", "system")
    assert (await api.get(f"{path}/n")).json == created
    assert (await api.get(path)).json[path[1:].lower()] == [created]
    assert (await api.post(path, UniqueName="n")).code == 54301


async def test_its_own_name_of_the_ttl_wins_over_the_alias(
    api: Api, path: str, prefix: str, code: int
) -> None:
    at = {60: "2026-05-28T20:27:40Z", 120: "2026-05-28T20:28:40Z"}
    assert (await api.make(path, Ttl=60))["date_expires"] == at[60]
    assert (await api.make(path, CollectionTtl=60))["date_expires"] == at[60]
    created = await api.make(path, CollectionTtl=120, Ttl=60)
    assert created["date_expires"] == at[120]
    one = f"{path}/{created['sid']}"
    assert (await api.post(one, Ttl=60)).json["date_expires"] == at[60]
    assert (await api.post(one, CollectionTtl=120, Ttl="x")).json["date_expires"] == at[120]
    updated = (await api.post(one, CollectionTtl=0)).json
    assert (updated["date_expires"], updated["revision"]) == (None, "0")


async def test_bad_updates_are_refused(api: Api, path: str, prefix: str, code: int) -> None:
    one = f"{path}/{(await api.make(path))['sid']}"
    assert (await api.post(one)).code == 54010
    assert (await api.post(one, Ttl="x")).code == 54011
    assert (await api.post(one, CollectionTtl="-1", Ttl="5")).code == 54011
    assert (await api.post(path, CollectionTtl="31536001")).code == 54011
    assert (await api.post(path, UniqueName="")).code == 54302


async def test_a_condition_is_ignored(api: Api, path: str, prefix: str, code: int) -> None:
    one = f"{path}/{(await api.make(path))['sid']}"
    assert (await api.post(one, Ttl=5, headers={"if-match": "no revision"})).status == 200
    assert (await api.delete(one, headers={"if-match": "99"})).status == 204


async def test_a_deleted_one_is_gone_with_its_items(
    api: Api, path: str, prefix: str, code: int
) -> None:
    created = await api.make(path, UniqueName="n")
    await api.make(f"{path}/n/Items", Key="k", Data="{}")
    assert (await api.delete(f"{path}/n")).status == 204
    for name, missing in ((created["sid"], code), ("n", 54300), (prefix + NO_SUCH, code)):
        for answer in (
            await api.get(f"{path}/{name}"),
            await api.delete(f"{path}/{name}"),
            await api.post(f"{path}/{name}", Ttl=5),
            await api.get(f"{path}/{name}/Items"),
            await api.post(f"{path}/{name}/Items", Key="k", Data="{}"),
            await api.get(f"{path}/{name}/Items/0"),
            await api.delete(f"{path}/{name}/Items/0"),
        ):
            assert (answer.status, answer.code) == (404, missing)
