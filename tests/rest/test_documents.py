"""Documents. [rest-api 2.2, 3]"""

import pytest

from tests.rest.asgi import ACCOUNT_SID, BASE, NO_SUCH, Api


async def test_a_new_document_has_every_field(api: Api) -> None:
    answer = await api.post(
        "/Documents", UniqueName="a doc/é", Data='{ "n" : 1.50, "a":1 }', Ttl=60
    )
    service = (await api.get("/v1/Services/default")).json
    sid = answer.json["sid"]
    url = f"{BASE}/v1/Services/{service['sid']}/Documents/{sid}"
    assert answer.status == 201
    assert answer.headers["etag"] == '"0"'
    assert b'"data":{"n":1.50,"a":1},' in answer.body
    assert answer.json == {
        "sid": sid,
        "unique_name": "a doc/é",
        "account_sid": ACCOUNT_SID,
        "service_sid": service["sid"],
        "url": url,
        "links": {"permissions": f"{url}/Permissions"},
        "revision": "0",
        "data": {"n": 1.5, "a": 1},
        "date_expires": "2026-05-28T20:27:40Z",
        "date_created": "2026-05-28T20:26:40Z",
        "date_updated": "2026-05-28T20:26:40Z",
        "created_by": "system",
    }
    for path in (f"/Documents/{sid}", "/Documents/a%20doc%2F%C3%A9"):
        assert (await api.get(path)).json == answer.json


async def test_without_parameters_it_is_anonymous_and_empty(api: Api) -> None:
    created = await api.make("/Documents")
    assert (created["unique_name"], created["data"], created["date_expires"]) == (None, {}, None)


@pytest.mark.parametrize(
    ("parameter", "value", "code"),
    [
        ("UniqueName", "", 54302),
        ("UniqueName", "n" * 321, 54302),
        ("UniqueName", f"XX{NO_SUCH}", 54302),
        ("UniqueName", "a\0b", 54302),
        ("Data", "scalar", 54008),
        ("Data", "[1]", 54008),
        ("Data", "7", 54008),
        ("Data", '"t"', 54008),
        ("Data", "{", 54008),
        ("Data", '{"a":NaN}', 54008),
        ("Data", '{"a":' * 70 + "1" + "}" * 70, 54008),
        ("Data", "null", 54101),
        ("Data", "", 54101),
        ("Ttl", "-1", 54011),
        ("Ttl", "31536001", 54011),
        ("Ttl", "x", 54011),
    ],
)
async def test_a_bad_parameter_is_refused(api: Api, parameter: str, value: str, code: int) -> None:
    document = await api.make("/Documents")
    answer = await api.post("/Documents", **{parameter: value})
    assert (answer.status, answer.code) == (400, code)
    if parameter != "UniqueName":
        answer = await api.post(f"/Documents/{document['sid']}", **{parameter: value})
        assert (answer.status, answer.code) == (400, code)
    assert (await api.get("/Documents")).json["documents"] == [document]


async def test_data_may_have_sixteen_kibibytes(api: Api) -> None:
    text = "é" * 8187
    data = f'{{"t":"{text}"}}'
    assert (await api.post("/Documents", Data=data)).status == 201
    answer = await api.post("/Documents", Data=data.replace("t", "tttt"))
    assert (answer.status, answer.code) == (413, 54006)
    assert "connection" not in answer.headers


async def test_a_name_is_taken_once(api: Api) -> None:
    await api.make("/Documents", UniqueName="n")
    answer = await api.post("/Documents", UniqueName="n")
    assert (answer.status, answer.code) == (409, 54301)
    for path in ("/Lists", "/Maps", "/Streams"):
        await api.make(path, UniqueName="n")


async def test_an_update_of_data_keeps_the_expiry_and_one_of_the_ttl_the_data(api: Api) -> None:
    created = await api.make("/Documents", Data='{"a":1}', Ttl=60)
    path = f"/Documents/{created['sid']}"
    api.clock.advance(10)
    updated = await api.post(path, Data='{"b":2}')
    assert updated.headers["etag"] == '"1"'
    assert updated.json["data"] == {"b": 2}
    assert updated.json["date_expires"] == "2026-05-28T20:27:40Z"
    assert updated.json["date_updated"] == "2026-05-28T20:26:50Z"
    updated = await api.post(path, Ttl=100)
    assert (updated.json["revision"], updated.json["data"]) == ("2", {"b": 2})
    assert updated.json["date_expires"] == "2026-05-28T20:28:30Z"
    assert (await api.post(path, Ttl=0)).json["date_expires"] is None


@pytest.mark.parametrize("form", [{}, {"Ttl": ""}, {"Unknown": "x"}])
async def test_an_update_without_a_parameter_is_refused(api: Api, form: dict[str, str]) -> None:
    document = await api.make("/Documents")
    assert (await api.post(f"/Documents/{document['sid']}", **form)).code == 54010


@pytest.mark.parametrize("value", ["1", '"1"', 'W/"1"', "*", '"01"'])
async def test_a_condition_that_holds_lets_pass(api: Api, value: str) -> None:
    path = f"/Documents/{(await api.make('/Documents'))['sid']}"
    await api.post(path, Data="{}")
    assert (await api.post(path, Data="{}", headers={"if-match": value})).status == 200
    value = value.replace("1", "2")
    assert (await api.delete(path, headers={"if-match": value})).status == 204


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ("0", 412, 54103),
        ('"2"', 412, 54103),
        ("x", 400, 54003),
        ("", 400, 54003),
        ("é", 400, 54003),
    ],
)
async def test_a_condition_that_does_not_is_refused(
    api: Api, value: str, status: int, code: int
) -> None:
    path = f"/Documents/{(await api.make('/Documents'))['sid']}"
    await api.post(path, Data="{}")
    for answer in (
        await api.post(path, Data="{}", headers={"if-match": value}),
        await api.delete(path, headers={"if-match": value}),
    ):
        assert (answer.status, answer.code) == (status, code)
    assert (await api.get(path)).json["revision"] == "1"


async def test_a_deleted_document_is_gone_by_sid_and_by_name(api: Api) -> None:
    created = await api.make("/Documents", UniqueName="n")
    assert (await api.delete("/Documents/n")).status == 204
    for name, code in ((created["sid"], 54100), ("n", 54300)):
        assert (await api.get(f"/Documents/{name}")).code == code
        assert (await api.post(f"/Documents/{name}", Data="{}")).code == code
        assert (await api.delete(f"/Documents/{name}")).code == code


async def test_an_expired_document_is_gone_at_that_millisecond(api: Api) -> None:
    await api.make("/Documents", UniqueName="n", Ttl=1)
    api.clock.advance(0.999)
    assert (await api.get("/Documents/n")).status == 200
    api.clock.advance(0.001)
    assert (await api.get("/Documents/n")).code == 54300
    assert (await api.get("/Documents")).json["documents"] == []
    await api.make("/Documents", UniqueName="n")


@pytest.mark.parametrize("prefix", ["ES", "MP", "TO"])
async def test_a_sid_of_another_kind_is_no_document(api: Api, prefix: str) -> None:
    path = {"ES": "/Lists", "MP": "/Maps", "TO": "/Streams"}[prefix]
    sid = (await api.make(path))["sid"]
    assert (await api.get(f"/Documents/{sid}")).code == 54100
    assert (await api.get(f"/Documents/ET{sid[2:]}")).code == 54100
