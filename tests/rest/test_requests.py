"""Bodies: bounded, in time, and forms."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from starlings.rest.requests import BodyBounds
from tests.rest.asgi import Api, NoAnswer


async def test_a_body_in_many_parts_is_one_form(api: Api) -> None:
    body = b"UniqueName=a%2Bb&Data=%7B%22n%22%3A1%7D"
    answer = await api.ask("POST", "/Documents", [body[n : n + 1] for n in range(len(body))])
    assert (answer.json["unique_name"], answer.json["data"]) == ("a+b", {"n": 1})


async def test_a_body_may_be_empty_with_and_without_its_length(api: Api) -> None:
    assert (await api.ask("POST", "/Documents", b"")).status == 201
    assert (await api.ask("POST", "/Documents", [b""])).status == 201
    assert (await api.ask("POST", "/Documents", [b"", b""])).status == 201


async def test_a_get_with_a_form_type_and_no_body_is_answered(api: Api) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await api.get("/Documents", headers=headers)).status == 200


@pytest.mark.parametrize("length", ["101", "99999999999", "x", "-1"])
async def test_a_length_beyond_the_bound_is_refused_unread(length: str) -> None:
    api = Api(bounds=BodyBounds(most_bytes=100))

    async def receive() -> Message:
        raise AssertionError("the body was read")

    answer = await api.ask(
        "POST", "/Documents", b"x", headers={"content-length": length}, receive=receive
    )
    assert (answer.status, answer.code) == (413, 54006)
    assert "connection" not in answer.headers


@pytest.mark.parametrize("parts", [[b"x" * 101], [b"x" * 60, b"x" * 60], [b"x"] * 101])
async def test_a_body_that_grows_beyond_the_bound_is_refused(parts: list[bytes]) -> None:
    api = Api(bounds=BodyBounds(most_bytes=100))
    answer = await api.ask("POST", "/Documents", parts)
    assert (answer.status, answer.code) == (413, 54006)


async def test_a_body_of_exactly_the_bound_is_read() -> None:
    api = Api(bounds=BodyBounds(most_bytes=100))
    body = b"Unknown=".ljust(100, b"x")
    assert (await api.ask("POST", "/Documents", body)).status == 201
    assert (await api.ask("POST", "/Documents", [body[:50], body[50:]])).status == 201


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever() -> None:
    api = Api(bounds=BodyBounds(seconds=0))

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    answer = await api.ask("POST", "/Documents", [b"x"], receive=receive)
    assert (answer.status, answer.code) == (408, 20408)
    assert answer.headers["connection"] == "close"


async def test_a_caller_who_hangs_up_gets_no_answer(api: Api) -> None:
    parts: list[Message] = [
        {"type": "http.request", "body": b"Data=", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return parts.pop(0)

    with pytest.raises(NoAnswer):
        await api.ask("POST", "/Documents", [b""], receive=receive)
    assert (await api.get("/Documents")).json["documents"] == []
    assert api.app.statistics().concurrent == 0


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "multipart/form-data; boundary=x", "text/plain", "nonsense"],
)
async def test_other_types_of_body_are_refused(api: Api, content_type: str) -> None:
    answer = await api.ask("POST", "/Documents", b"{}", headers={"content-type": content_type})
    assert (answer.status, answer.code) == (400, 20001)
    assert "Content-Type" in answer.json["message"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded; charset=utf-8",
        "Application/X-WWW-Form-Urlencoded",
    ],
)
async def test_the_form_type_may_have_parameters_and_any_case(api: Api, content_type: str) -> None:
    answer = await api.ask(
        "POST", "/Documents", b"UniqueName=n", headers={"content-type": content_type}
    )
    assert answer.json["unique_name"] == "n"


async def test_a_body_without_a_type_is_taken_for_a_form(api: Api) -> None:
    assert (await api.ask("POST", "/Documents", [b"UniqueName=n"])).json["unique_name"] == "n"


async def test_unknown_parameters_are_ignored_and_the_last_of_two_counts(api: Api) -> None:
    answer = await api.ask("POST", "/Documents", b"Colour=red&UniqueName=one&UniqueName=two")
    assert answer.json["unique_name"] == "two"


async def test_a_field_that_is_not_utf_8_is_named(api: Api) -> None:
    answer = await api.ask("POST", "/Documents", b"Data=%7B%7D&UniqueName=%FF")
    assert (answer.status, answer.code) == (400, 20001)
    assert "UniqueName" in answer.json["message"]


async def test_too_many_fields_are_refused(api: Api) -> None:
    answer = await api.ask("POST", "/Documents", b"a&" * 100)
    assert (answer.status, answer.code) == (400, 20001)
