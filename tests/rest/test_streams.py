"""Streams and messages. [rest-api 2.6]"""

import pytest

from starlings.core.limits import Limits, Rates
from starlings.node.node import Message
from tests.rest.asgi import NO_SUCH, Api


async def test_a_new_stream_has_every_field_and_neither_revision_nor_tag(api: Api) -> None:
    answer = await api.post("/Streams", UniqueName="s", Ttl=60)
    assert answer.json["links"] == {"messages": f"{answer.json['url']}/Messages"}
    assert answer.json["date_expires"] == "2026-05-28T20:27:40Z"
    assert "etag" not in answer.headers
    assert (await api.get("/Streams/s")).json == answer.json
    assert (await api.get("/Streams")).json["streams"] == [answer.json]
    assert (await api.post("/Streams", UniqueName="s")).code == 54301


async def test_a_stream_is_updated_and_deleted(api: Api) -> None:
    sid = (await api.make("/Streams", UniqueName="s", Ttl=60))["sid"]
    assert (await api.post("/Streams/s", Ttl=0)).json["date_expires"] is None
    assert (await api.post("/Streams/s")).code == 54010
    assert (await api.post("/Streams/s", Ttl="x")).code == 54011
    assert (await api.delete("/Streams/s")).status == 204
    for name, code in ((sid, 54250), ("s", 54300), (f"TO{NO_SUCH}", 54250)):
        assert (await api.get(f"/Streams/{name}")).code == code
        assert (await api.delete(f"/Streams/{name}")).code == code
        assert (await api.post(f"/Streams/{name}", Ttl=5)).code == code
        assert (await api.post(f"/Streams/{name}/Messages", Data="{}")).code == code


async def test_a_message_is_published_and_answered(api: Api) -> None:
    heard: list[Message] = []
    api.node.listen_to_messages(heard.append)
    stream = await api.make("/Streams", UniqueName="s")
    answer = await api.post("/Streams/s/Messages", Data='{ "n" : 1.0 }')
    assert answer.status == 201
    assert answer.body.endswith(b'"data":{"n":1.0}}')
    (message,) = heard
    assert (message.sid, message.data) == (answer.json["sid"], b'{"n":1.0}')
    assert (message.stream.sid, message.actor.identity) == (stream["sid"], "system")


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({}, 400, 54251),
        ({"Data": ""}, 400, 54251),
        ({"Data": "null"}, 400, 54251),
        ({"Data": "text"}, 400, 54008),
        ({"Data": "[1]"}, 400, 54008),
        ({"Data": '{"t":"' + "x" * 4089 + '"}'}, 413, 54006),
    ],
)
async def test_bad_messages_are_refused(
    api: Api, form: dict[str, str], status: int, code: int
) -> None:
    await api.make("/Streams", UniqueName="s")
    answer = await api.post("/Streams/s/Messages", **form)
    assert (answer.status, answer.code) == (status, code)
    assert (await api.post("/Streams/s/Messages", Data='{"t":"' + "x" * 4088 + '"}')).status == 201


async def test_messages_have_a_rate() -> None:
    api = Api(Limits(rates=Rates(messages=1, burst_seconds=1)))
    await api.make("/Streams", UniqueName="s")
    assert (await api.post("/Streams/s/Messages", Data="{}")).status == 201
    assert (await api.post("/Streams/s/Messages", Data="{}")).code == 54009
