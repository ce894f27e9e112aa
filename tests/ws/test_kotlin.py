"""What the Android and iOS clients do and what they cannot read, in one story. [wire-protocol 11]

They are not run here; this is told from their published source. Their parsers refuse what lacks a
field or has one of another type, and cut frames at line ends.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from starlings.core.objects import Kind
from starlings.wire.codec import decode_downstream
from starlings.wire.messages import Reply
from tests.ws.sessions import Peer, World, a_world, settle


def instant(text: Any) -> bool:
    return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None


def text(value: Any) -> bool:
    return isinstance(value, str)


def number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


METADATA = {
    "sid": text,
    "date_created": instant,
    "date_updated": instant,
    "revision": text,
    "last_event_id": number,
}
ITEM = {name: test for name, test in METADATA.items() if name != "sid"}
ITEM_OF = {
    Kind.LIST: ITEM | {"list_sid": text, "index": number},
    Kind.MAP: ITEM | {"map_sid": text, "key": text},
}
REMOVED = {"id": number, "date_created": instant}
CHANGED = REMOVED | {"item_data": lambda value: isinstance(value, dict), "item_revision": text}


def readable(body: Any, fields: dict[str, Any]) -> Any:
    wrong = [name for name, is_right in fields.items() if not is_right(body.get(name))]
    assert not wrong, (wrong, body)
    expires_at = body.get("date_expires")
    assert expires_at is None or instant(expires_at)
    return body


class Client:
    """Asks as Kotlin does: lists for values, the type of the payload with a character set."""

    def __init__(self, peer: Peer, links: dict[str, str]) -> None:
        self.peer = peer
        self.links = links
        self.requests = 0

    @classmethod
    async def connect(cls, world: World) -> Client:
        peer = world.connect()
        await peer.init(capabilities=["client_update", "account_descriptor"])
        configuration = await peer.ask("GET", "/v3/Configuration", params={}, headers={})
        return cls(peer, configuration.body["links"])

    def url(self, kind: Kind, sid: str, *rest: str) -> str:
        """The URL of an object is cut out of that of its items."""
        items = self.links[f"{kind.word}_items"].split("/", 3)[3]
        inside = "/".join(items.split("/")[:3])
        return "/".join([f"/{inside}/{kind.word.capitalize()}s/{sid}", *rest])

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        revision: str | None = None,
        **params: str,
    ) -> Any:
        self.requests += 1
        headers = {
            "Twilio-Request-Id": [f"RQ{self.requests:032x}"],
            "Content-Type": ["application/json; charset=utf-8"],
        }
        if revision is not None:
            headers["If-Match"] = [revision]
        values = {name: [value] for name, value in params.items()}
        answer = await self.peer.ask(method, path, body, params=values, headers=headers)
        return answer.status, answer.body

    async def subscribe(self, kind: Kind, sid: str, last_id: int) -> list[dict[str, Any]]:
        entry = {
            "type": "com.twilio.sync.subscriptions.Subscribe",
            "object_sid": sid,
            "object_type": kind.word,
            "last_event_id": last_id,
        }
        body = {
            "event_protocol_version": 4,
            "action": "establish",
            "correlation_id": 1,
            "requests": [entry],
        }
        answer = await self.peer.ask("POST", "/v4/Subscriptions", body, params={}, headers={})
        assert answer.status == 200
        assert number(answer.body["max_batch_size"])
        assert number(answer.body["estimated_delivery_in_ms"])
        return self.peer.take_events()


@pytest.mark.parametrize("kind", [Kind.LIST, Kind.MAP])
async def test_a_collection_lives_its_life_with_a_kotlin_client(kind: Kind) -> None:
    async with a_world() as world:
        client = await Client.connect(world)
        collections = f"/v3/{kind.word.capitalize()}s"
        new = {"unique_name": "n", "ttl": 0}
        status, made = await client.ask("POST", collections, new)
        assert (status, readable(made, METADATA)["date_expires"]) == (201, None)
        status, taken = await client.ask("POST", collections, new)
        assert (status, taken["status"], taken["code"]) == (409, 409, 54301)
        status, opened = await client.ask("GET", client.url(kind, "n"))
        assert (status, readable(opened, METADATA)["sid"]) == (200, made["sid"])
        [established] = await client.subscribe(kind, made["sid"], made["last_event_id"])
        assert established["events"][0]["replay_status"] == "completed"

        items = client.url(kind, made["sid"], "Items")
        item_fields = ITEM_OF[kind]
        addition = {"key": "0", "data": {"n": 1}} if kind is Kind.MAP else {"data": {"n": 1}}
        status, added = await client.ask("POST", items, addition | {"ttl": 3600})
        assert (status, "data" in readable(added, item_fields)) == (201, False)
        if kind is Kind.MAP:
            status, taken = await client.ask("POST", items, addition)
            assert (status, taken["status"], taken["code"]) == (409, 409, 54208)
        item = client.url(kind, made["sid"], "Items", "0")
        status, changed = await client.ask("POST", item, {"data": {"n": 2}})
        assert (status, "data" in readable(changed, item_fields)) == (200, False)

        stale = added["revision"]
        status, refused = await client.ask("POST", item, {"data": {"n": 3}}, revision=stale)
        assert (status, refused["status"]) == (412, 412)
        status, read = await client.ask("GET", item)
        assert (status, readable(read, item_fields)["data"]) == (200, {"n": 2})
        status, mutated = await client.ask(
            "POST", item, {"data": {"n": 3}}, revision=read["revision"]
        )
        assert (status, "data" in readable(mutated, item_fields)) == (200, False)

        query = {"Order": "asc", "PageSize": "3", "Bounds": "inclusive", "From": "0"}
        status, page = await client.ask("GET", items, **query)
        assert [readable(one, item_fields)["data"] for one in page["items"]] == [{"n": 3}]
        assert (page["meta"]["previous_token"], page["meta"]["next_token"]) == (None, None)

        status, removed = await client.ask("DELETE", item)
        assert (status, readable(removed, item_fields)["last_event_id"]) == (200, 3)
        code = 54151 if kind is Kind.LIST else 54201
        for method, body in (("GET", None), ("POST", {"data": {}}), ("DELETE", None)):
            status, missing = await client.ask(method, item, body)
            assert (status, missing["code"], missing["message"]) == (404, code, "Item not found")

        await settle()
        *changes, _ = client.peer.take_events()
        for change in changes:
            readable(change["event"], CHANGED | {f"{kind.word}_sid": text})
            # Kotlin makes the item of the event, and the application may compare.
            assert change["event"]["id"] in (0, 1, 2)
        assert changes[0]["event"]["date_created"] == added["date_created"]

        status, _ = await client.ask("DELETE", client.url(kind, made["sid"]))
        assert status == 204
        [failed] = await client.subscribe(kind, made["sid"], 3)
        assert failed["events"][0]["error"]["status"] == 404


async def test_every_frame_can_be_cut_at_its_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world() as world:
        client = await Client.connect(world)
        frames: list[bytes] = []
        send = client.peer.connection.send

        def record(frame: bytes) -> None:
            frames.append(frame)
            send(frame)

        monkeypatch.setattr(client.peer.connection, "send", record)
        _, made = await client.ask("POST", "/v3/Maps", {"ttl": 0})
        await client.subscribe(Kind.MAP, made["sid"], made["last_event_id"])
        items = client.url(Kind.MAP, made["sid"], "Items")
        data = {"a": "\r\n", "b": "\u2028", "é": "😀"}
        await client.ask("POST", items, {"key": "ключ\r\n", "data": data})
        sent = json.dumps({"key": "k", "data": data}, indent=1).replace("\n", "\r\n").encode()
        await client.peer.ask("POST", items, payload=sent)
        await client.ask("GET", items)
        await client.ask("GET", f"{items}/nothing")
        assert len(frames) >= 9
        for frame in frames:
            first, header, payload, *_ = frame.decode().split("\r\n")
            assert int(first.rsplit(" ", 1)[1]) == len(header.encode())
            fields = json.loads(header)
            assert fields["payload_size"] == len(payload.encode())
            if fields["payload_size"]:
                json.loads(payload)
            if isinstance(decode_downstream(frame), Reply):
                assert text(fields["status"]["status"])
                assert number(fields["status"]["code"])
                assert all(text(one) for one in fields.get("http_headers", {}).values())
