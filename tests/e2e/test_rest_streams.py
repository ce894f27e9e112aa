"""Streams and stream messages through the official helper library. [REST 2.6]"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.e2e.helper import assert_about, is_sid, refusal
from tests.e2e.raw import NO_SUCH, unused_name
from tests.e2e.server import ServerProcess


def test_a_created_stream_has_every_documented_field(
    service: Any, server: ServerProcess, raw: httpx.Client
) -> None:
    name = unused_name("stream")

    created = service.sync_streams.create(unique_name=name)

    assert is_sid(created.sid, "TO")
    assert created.unique_name == name
    assert created.account_sid == server.credentials.account_sid
    assert created.service_sid == service.fetch().sid
    assert created.url == (
        f"{server.base_url}/v1/Services/{created.service_sid}/Streams/{created.sid}"
    )
    assert created.links == {"messages": f"{created.url}/Messages"}
    assert created.date_expires is None
    assert_about(created.date_created, datetime.now(UTC))
    assert created.date_updated == created.date_created
    assert created.created_by == "system"
    assert "revision" not in raw.get(f"/Streams/{created.sid}").json()


def test_streams_are_found_listed_and_deleted(client: Any) -> None:
    service = client.sync.v1.services.create()
    first = service.sync_streams.create(unique_name="first")
    second = service.sync_streams.create()

    assert [found.sid for found in service.sync_streams.list()] == [first.sid, second.sid]
    assert service.sync_streams("first").fetch().sid == first.sid
    assert service.sync_streams("first").delete() is True
    with refusal(404, 54250):
        service.sync_streams(first.sid).fetch()
    with refusal(404, 54300):
        service.sync_streams("first").fetch()
    with refusal(409, 54301):
        service.sync_streams.create(unique_name="twice")
        service.sync_streams.create(unique_name="twice")


def test_a_message_is_answered_with_its_sid_and_data(service: Any) -> None:
    messages = service.sync_streams(service.sync_streams.create().sid).stream_messages

    sent = [messages.create(data={"n": n, "text": "✓"}) for n in range(3)]

    assert all(is_sid(message.sid, "TZ") for message in sent)
    assert len({message.sid for message in sent}) == 3
    assert [message.data["n"] for message in sent] == [0, 1, 2]


def test_a_message_can_be_sent_by_unique_name(service: Any) -> None:
    created = service.sync_streams.create(unique_name=unused_name("stream"))

    assert service.sync_streams(created.unique_name).stream_messages.create(data={}).data == {}


def test_a_message_holds_at_most_four_kibibytes(service: Any) -> None:
    messages = service.sync_streams.create().stream_messages
    frame = len('{"t":""}')

    assert messages.create(data={"t": "x" * (4096 - frame)}).data["t"].startswith("xx")
    with refusal(413, 54006):
        messages.create(data={"t": "x" * (4097 - frame)})


@pytest.mark.parametrize(("data", "code"), [("text", 54008), ("[1]", 54008), ("null", 54251)])
def test_refused_message_data(service: Any, data: str, code: int) -> None:
    messages = service.sync_streams.create().stream_messages

    with refusal(400, code):
        messages.create(data=data)


def test_messages_to_unknown_streams_are_refused(service: Any) -> None:
    with refusal(404, 54250):
        service.sync_streams(f"TO{NO_SUCH}").stream_messages.create(data={})
    with refusal(404, 54300):
        service.sync_streams("never made").stream_messages.create(data={})


def test_an_update_of_a_stream_needs_its_parameter(service: Any) -> None:
    stream = service.sync_streams.create()

    with refusal(400, 54010):
        stream.update()
    assert stream.update(ttl=60).date_expires is not None
