"""Input that is broken, odd or too large is refused or kept exactly; it never breaks the server."""

from __future__ import annotations

import json
import socket
from http.client import HTTPResponse

import httpx
import pytest

from tests.e2e.raw import as_written, assert_refused, authorization, data_text, unused_name
from tests.e2e.server import ServerProcess

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DATA_BYTES = 16384


@pytest.fixture
def map_items(raw: httpx.Client) -> str:
    """The path of the items of a new map."""
    return f"/Maps/{raw.post('/Maps').json()['sid']}/Items"


# --- data are kept as sent ---


@pytest.mark.parametrize(
    "text",
    [
        '{"n":123456789012345678901234567890}',
        '{"n":-0}',
        '{"n":1.0}',
        '{"n":1e5}',
        '{"n":1E+5}',
        '{"n":0.1000000000000000055511151231257827}',
        '{"z":1,"a":2,"m":{"b":1,"a":2}}',
        '{"":"empty key","nested":[[],{},[null,true,false]]}',
        '{"nul":"\\u0000","quote":"\\"","slash":"\\/","line":"\\u2028"}',
        '{"emoji":"🐦","escaped":"\\ud83d\\udc26"}',
        '{"__proto__":{"x":1},"constructor":2}',
    ],
)
def test_data_come_back_with_numbers_and_order_as_written(
    raw: httpx.Client, map_items: str, text: str
) -> None:
    items = f"/Lists/{raw.post('/Lists').json()['sid']}/Items"
    document = raw.post("/Documents", data={"Data": text})
    path = f"/Documents/{document.json()['sid']}"
    raw.post(path, data={"Data": "{}"})

    for response in (
        document,
        raw.post(path, data={"Data": text}),
        raw.get(path),
        raw.post(items, data={"Data": text}),
        raw.get(f"{items}/0"),
        raw.post(map_items, data={"Key": "k", "Data": text}),
        raw.get(f"{map_items}/k"),
    ):
        assert response.status_code in (200, 201), response.text
        assert data_text(response) == as_written(text)
    page = as_written(raw.get(map_items).text)
    assert as_written(text) in _values(page)


def _values(value: object) -> list[object]:
    """Everything inside a decoded value, at any depth, the value itself included."""
    found = [value]
    if isinstance(value, list | tuple):
        for part in value:
            found += _values(part)
    return found


def test_white_space_around_the_object_is_no_part_of_it(raw: httpx.Client) -> None:
    created = raw.post("/Documents", data={"Data": ' \n\t{ "a" : 1 }\r\n '})

    assert created.status_code == 201
    assert created.json()["data"] == {"a": 1}


@pytest.mark.parametrize(
    "text", ['{"s":"\\ud800"}', '{"n":1e400}', '{"\\udc00":1}', '{"a":1,"a":2}']
)
def test_questionable_json_is_kept_or_refused(raw: httpx.Client, text: str) -> None:
    """What RFC 8259 permits but calls unpredictable, or lets an implementation bound."""
    response = raw.post("/Documents", data={"Data": text})

    if response.status_code != 201:
        assert_refused(response, 400, 54008)
        return
    path = f"/Documents/{response.json()['sid']}"
    assert raw.get(path).json()["data"] == response.json()["data"]
    assert raw.get("/Documents", params={"PageSize": "100"}).status_code == 200


@pytest.mark.parametrize("levels", [50, 500, 1100, 5000, 8000])
@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_deep_data_are_kept_or_refused(raw: httpx.Client, levels: int, bracket: str) -> None:
    if bracket == "[]":
        text = '{"a":' + "[" * levels + "]" * levels + "}"
    else:
        text = '{"":' * levels + "0" + "}" * levels

    response = raw.post("/Documents", data={"Data": text})

    if response.status_code == 201:
        assert text in response.text.replace(" ", "")
        assert raw.get("/Documents").status_code == 200
    elif response.status_code == 413:
        assert len(text) > DATA_BYTES
        assert_refused(response, 413, 54006)
    else:
        assert levels > 50, "fifty levels are no attack"
        assert_refused(response, 400, 54008)


# --- size ---


@pytest.mark.parametrize("filler", ["x", "é", "🐦", "\\u00e9", "\\n"])
def test_sixteen_kibibytes_of_compact_utf8_are_the_bound(
    raw: httpx.Client, map_items: str, filler: str
) -> None:
    """[REST 12 no. 3] Counted after compacting; an escape counts as the character it stands for."""
    width = len(json.dumps(json.loads(f'"{filler}"'), ensure_ascii=False).encode()) - 2
    room = DATA_BYTES - len('{"t":""}')
    fits = '{"t":"' + filler * (room // width) + "x" * (room % width) + '"}'
    exceeds = fits.replace('"}', 'x"}')
    items = f"/Lists/{raw.post('/Lists').json()['sid']}/Items"

    for path in ("/Documents", map_items, items):
        kept = raw.post(path, data={"Key": unused_name(), "Data": fits})
        assert kept.status_code == 201, kept.text[:200]
        refused = raw.post(path, data={"Key": unused_name(), "Data": exceeds})
        assert_refused(refused, 413, 54006)


def test_white_space_does_not_count(raw: httpx.Client) -> None:
    text = '{ "t" :\n' + " " * 4000 + '"' + "x" * (DATA_BYTES - len('{"t":""}')) + '"}'

    assert raw.post("/Documents", data={"Data": text}).status_code == 201


def test_an_update_obeys_the_same_bound(raw: httpx.Client) -> None:
    path = f"/Documents/{raw.post('/Documents').json()['sid']}"
    text = json.dumps({"t": "x" * DATA_BYTES})

    assert_refused(raw.post(path, data={"Data": text}), 413, 54006)
    assert raw.get(path).json()["revision"] == "0"


@pytest.mark.parametrize("mebibytes", [1, 8])
def test_a_body_of_megabytes_is_refused(raw: httpx.Client, mebibytes: int) -> None:
    body = b"Data=" + b"x" * (mebibytes << 20)

    response = raw.post("/Documents", content=body, headers=FORM)

    assert_refused(response, 413, 54006)


def test_a_body_of_megabytes_in_chunks_is_refused(raw: httpx.Client) -> None:
    chunks = (b"x" * 65536 for _ in range(64))

    assert_refused(raw.post("/Documents", content=chunks, headers=FORM), 413, 54006)


def test_a_caller_who_still_sends_too_large_a_body_is_not_cut_off(server: ServerProcess) -> None:
    """Else a slow caller would meet a reset connection, and not the refusal."""
    size = 500_000
    head = f"Host: h\r\nAuthorization: {authorization(server)}\r\n"
    form = f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(f"POST /v1/Services/default/Documents HTTP/1.1\r\n{head}{form}".encode())
        refusal = HTTPResponse(connection)
        refusal.begin()
        assert (refusal.status, json.loads(refusal.read())["code"]) == (413, 54006)
        connection.sendall(b"Data=".ljust(size, b"x"))
        connection.sendall(f"GET /v1/Services/default HTTP/1.1\r\n{head}\r\n".encode())
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200


def test_very_long_addresses_and_headers_are_refused(
    server: ServerProcess, raw: httpx.Client
) -> None:
    for head in (
        b"GET /v1/Services/" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v1/Services HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ):
        status = _exchange(server, head)
        assert status == 0 or 400 <= status < 500, status
    assert raw.get("/Documents").status_code == 200


# --- broken forms and paths ---


@pytest.mark.parametrize("body", [b"Data=%FF%FE", b"Data=\xff\xfe", b'Data={"a":"%C3"}'])
def test_data_that_are_not_utf8_are_refused(raw: httpx.Client, body: bytes) -> None:
    assert_refused(raw.post("/Documents", content=body, headers=FORM), 400, 54008, 20001)


@pytest.mark.parametrize("key", [b"%FF", b"\xff", b"a%C3", b"%ED%A0%80"])
def test_a_key_that_is_not_utf8_is_refused(raw: httpx.Client, map_items: str, key: bytes) -> None:
    body = b"Data={}&Key=" + key

    assert_refused(raw.post(map_items, content=body, headers=FORM), 400, 54209, 20001)
    assert raw.get(map_items).json()["items"] == []


@pytest.mark.parametrize("segment", [b"%FF", b"%C3%28", b"%ED%A0%80", b"%", b"%zz", b"%00"])
def test_a_strange_path_segment_names_nothing(
    server: ServerProcess, map_items: str, segment: bytes
) -> None:
    for path in (f"{map_items}/".encode(), b"/Documents/"):
        head = b"GET /v1/Services/default" + path + segment + b" HTTP/1.1\r\nHost: h\r\n"
        status = _exchange(
            server, head + f"Authorization: {authorization(server)}\r\n\r\n".encode()
        )
        assert status in (400, 404)


@pytest.mark.parametrize(
    "body", [b"&&&", b"=", b"==&=", b"Data", b"%", b"%zz=%zz", b"\x00", b"Da ta=1", b"{}", b"?a=b"]
)
def test_a_malformed_form_without_known_parameters_updates_nothing(
    raw: httpx.Client, body: bytes
) -> None:
    path = f"/Documents/{raw.post('/Documents').json()['sid']}"

    response = raw.post(path, content=body, headers=FORM)

    assert_refused(response, 400, 54010, 54008, 54101, 20001)
    assert raw.get(path).json()["revision"] == "0"


def test_a_form_of_very_many_parameters_is_no_burden(raw: httpx.Client) -> None:
    body = b"&".join(b"a%d=1" % n for n in range(2000))

    response = raw.post("/Documents", content=body, headers=FORM)

    assert response.status_code in (201, 400, 413)


def test_a_repeated_parameter_has_one_of_its_values_or_is_refused(raw: httpx.Client) -> None:
    response = raw.post("/Documents", content=b'Data={"n":1}&Data={"n":2}', headers=FORM)

    if response.status_code == 201:
        assert response.json()["data"] in ({"n": 1}, {"n": 2})
    else:
        assert_refused(response, 400, 20001, 54008)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "multipart/x"])
def test_a_body_of_another_type_is_not_taken_for_a_form(
    raw: httpx.Client, content_type: str
) -> None:
    path = f"/Documents/{raw.post('/Documents').json()['sid']}"

    response = raw.post(path, content=b'{"Data":{}}', headers={"Content-Type": content_type})

    assert 400 <= response.status_code < 500
    assert raw.get(path).json()["revision"] == "0"


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x1f", "\x7f", "\u202e", "\ufeff"])
def test_control_characters_in_names_and_keys_are_kept_or_refused(
    raw: httpx.Client, map_items: str, character: str
) -> None:
    text = unused_name(f"a{character}b")
    segment = "".join(f"%{byte:02X}" for byte in text.encode())

    named = raw.post("/Documents", data={"UniqueName": text})
    keyed = raw.post(map_items, data={"Key": text, "Data": "{}"})

    if named.status_code == 201:
        assert raw.get(f"/Documents/{segment}").json()["sid"] == named.json()["sid"]
    else:
        assert_refused(named, 400, 54302)
    if keyed.status_code == 201:
        assert raw.get(f"{map_items}/{segment}").json()["key"] == text
    else:
        assert_refused(keyed, 400, 54209)


def test_normal_forms_of_unicode_are_different_keys(raw: httpx.Client, map_items: str) -> None:
    for key in ("\u00e9", "e\u0301"):
        assert raw.post(map_items, data={"Key": key, "Data": "{}"}).status_code == 201

    assert [item["key"] for item in raw.get(map_items).json()["items"]] == ["e\u0301", "\u00e9"]


# --- bytes that are no HTTP ---


@pytest.mark.parametrize(
    "message",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,  # a TLS greeting
        b"GET\r\n\r\n",
        b"\x00" * 1000,
        b"POST /v1/Services HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/Services HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/Services HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_bytes_that_are_no_http_end_only_their_own_connection(
    server: ServerProcess, raw: httpx.Client, message: bytes
) -> None:
    status = _exchange(server, message)

    assert status == 0 or 400 <= status < 500, status
    assert raw.get("/Documents").status_code == 200


def test_a_caller_who_leaves_in_the_middle_is_forgotten(
    server: ServerProcess, raw: httpx.Client
) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/Services HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nFriendly"
            )

    assert raw.get("/Documents").status_code == 200


def _exchange(server: ServerProcess, message: bytes) -> int:
    """The status of the first answer, or 0 when the connection is closed without one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        try:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            received = connection.recv(65536)
        except ConnectionError:
            return 0
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.") else 0
