from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.wire.codec import (
    MESSAGE_TYPES,
    FrameError,
    decode_downstream,
    decode_upstream,
    encode_downstream,
    encode_http_reply,
    encode_notification,
    encode_upstream,
)
from starlings.wire.messages import (
    ClientClose,
    ClientUpdate,
    Downstream,
    HttpRequest,
    Init,
    Metadata,
    Notification,
    Ping,
    Registration,
    Reply,
    Request,
    ServerClose,
    Status,
    Telemetry,
    Unknown,
    Update,
    Upstream,
)
from tests.wire.strategies import downstream_messages, frame, frame_with, upstream_messages

INIT_TRACE = (
    b"TWILSOCK V3.0 548\r\n"
    b'{"id":"TM14c57656-db17-4cff-8262-334ad764635f","method":"init","token":"a.b.c",'
    b'"continuation_token":null,"metadata":{"ver":"1.0.2","env":"Node.js","envv":"20.20.2",'
    b'"os":"Linux","osv":"unknown","osa":64,"type":"sync","sdk":"JS","sdkv":"4.0.1"},'
    b'"registrations":[{"product":"data_sync","type":"ers","notification_protocol_version":0,'
    b'"message_types":["twilio.sync.event","com.twilio.rtd.cds.document",'
    b'"com.twilio.rtd.cds.list","com.twilio.rtd.cds.map"]}],"tweaks":null,'
    b'"capabilities":["client_update","offline_storage","telemetry.v1"],"payload_size":0}\r\n'
)

REPLY_TRACE = (
    b"TWILSOCK V3.0 251\r\n"
    b'{"method":"reply","id":"TM1be75110-5ac3-4b59-8e93-7b62f9f059f8",'
    b'"status":{"code":200,"status":"OK"},"http_status":{"code":404,"status":"Not Found"},'
    b'"http_headers":{"content-type":"application/json"},"payload_size":61,'
    b'"payload_type":"application/json"}\r\n'
    b'{"status":404,"code":54300,"message":"Unique name not found"}\r\n'
)

CLOSE = b'{"method":"close","id":"1"}'


# Documented traces


def test_the_first_frame_of_the_javascript_client_is_understood() -> None:
    assert decode_upstream(INIT_TRACE) == Init(
        "TM14c57656-db17-4cff-8262-334ad764635f",
        "a.b.c",
        None,
        Metadata("1.0.2", "Node.js", "20.20.2", "Linux", "unknown", 64, "sync", "JS", "4.0.1"),
        [
            Registration(
                "data_sync",
                "ers",
                0,
                [
                    "twilio.sync.event",
                    "com.twilio.rtd.cds.document",
                    "com.twilio.rtd.cds.list",
                    "com.twilio.rtd.cds.map",
                ],
            )
        ],
        None,
        ["client_update", "offline_storage", "telemetry.v1"],
    )


def test_a_reply_with_a_payload_is_byte_for_byte_the_documented_one() -> None:
    encoded = encode_http_reply(
        "TM1be75110-5ac3-4b59-8e93-7b62f9f059f8",
        404,
        b'{"status":404,"code":54300,"message":"Unique name not found"}',
    )
    assert encoded == REPLY_TRACE


def test_a_client_acknowledgement_is_a_reply() -> None:
    header = (
        b'{"id":"TM699f36dc36e35c177e9f3e0df77aa131","method":"reply",'
        b'"payload_type":"application/json","status":{"code":200,"status":"OK"},"payload_size":0}'
    )
    expected = Reply("TM699f36dc36e35c177e9f3e0df77aa131", Status(200, "OK"))
    assert decode_upstream(frame(header)) == expected


def test_the_payload_of_a_delete_stays_as_it_came_though_it_is_not_json() -> None:
    header = (
        b'{"id":"TM1","method":"message","active_grant":"data_sync",'
        b'"payload_type":"application/json","http_request":{"host":"h","path":"/v3/Maps/m",'
        b'"method":"DELETE","params":{},"headers":{}},"payload_size":9}'
    )
    message = decode_upstream(frame_with(header, b"data_sync"))
    assert isinstance(message, Request)
    assert message.payload == b"data_sync"


def test_a_kotlin_request_has_lists_for_values_and_no_payload_size() -> None:
    header = (
        b'{"id":"RQ1","method":"message","active_grant":"data_sync","http_request":{"host":"h",'
        b'"path":"/v3/Maps/m/Items","method":"GET","params":{"Order":["asc"],"From":["5"]},'
        b'"headers":{"Content-Type":["application/json; charset=utf-8"]}}}'
    )
    assert decode_upstream(frame(header)) == Request(
        "RQ1",
        HttpRequest(
            "/v3/Maps/m/Items",
            "GET",
            "h",
            {"Order": ["asc"], "From": ["5"]},
            {"Content-Type": ["application/json; charset=utf-8"]},
        ),
        "data_sync",
    )


# What is sent is exact


def test_the_header_is_counted_in_bytes_and_excludes_both_line_ends() -> None:
    encoded = encode_downstream(Ping("ü😀"))
    header = '{"method":"ping","id":"ü😀","payload_size":0}'.encode()
    assert encoded == b"TWILSOCK V3.0 %d\r\n%b\r\n" % (len(header), header)


def test_the_payload_is_counted_in_bytes_and_followed_by_a_line_end() -> None:
    payload = '{"a":"ü😀"}'.encode()
    encoded = encode_notification("twilio.sync.event", "TM1", payload)
    assert b'"payload_size":%d,' % len(payload) in encoded
    assert encoded.endswith(b"\r\n" + payload + b"\r\n")


def test_a_notification_names_its_context_when_it_has_one() -> None:
    encoded = encode_notification("twilio.sync.event", "TM1", b"{}", "EP1")
    assert encoded == frame(
        b'{"method":"notification","id":"TM1","message_type":"twilio.sync.event",'
        b'"notification_ctx_id":"EP1","payload_size":2,"payload_type":"application/json"}',
        b"\r\n{}\r\n",
    )


def test_a_close_always_carries_its_status() -> None:
    close = ServerClose("TM1", Status(410, "TOKEN_EXPIRED", 51207, "Token expired"))
    assert encode_downstream(close) == frame(
        b'{"method":"close","id":"TM1","status":{"code":410,"status":"TOKEN_EXPIRED",'
        b'"errorCode":51207,"description":"Token expired"},"payload_size":0}'
    )


def test_a_status_without_a_known_phrase_still_has_one() -> None:
    reply = decode_downstream(encode_http_reply("TM1", 599))
    assert isinstance(reply, Reply)
    assert reply.http_status == Status(599, "Unknown")


def test_a_reply_without_a_body_claims_no_content_type() -> None:
    reply = decode_downstream(encode_http_reply("TM1", 204))
    expected = Reply("TM1", Status(200, "OK"), Status(204, "No Content"), {})
    assert reply == expected


def test_given_headers_of_a_reply_replace_the_usual_ones() -> None:
    reply = decode_downstream(encode_http_reply("TM1", 503, b"{}", {"retry-after": "4"}))
    assert isinstance(reply, Reply)
    assert reply.http_headers == {"retry-after": "4"}


@pytest.mark.parametrize(
    "encoded",
    [
        encode_http_reply("TM1", 200, b'{"a":\r\n1}'),
        encode_notification("twilio.sync.event", "TM1", b'{"a":\r\n1}'),
        encode_downstream(Notification("TM1", "twilio.sync.event", None, b'{"a":\r\n1}')),
    ],
)
def test_a_line_end_inside_json_is_blanked_because_kotlin_would_cut_there(encoded: bytes) -> None:
    assert encoded.count(b"\r\n") == 3
    message = decode_downstream(encoded)
    assert isinstance(message, Reply | Notification)
    assert message.payload == b'{"a":  1}'
    assert json.loads(message.payload) == {"a": 1}


@given(st.text(), st.text(), st.binary(max_size=50), st.none() | st.text())
def test_the_fast_notification_equals_the_general_one(
    message_type: str, message_id: str, payload: bytes, context: str | None
) -> None:
    fast = encode_notification(message_type, message_id, payload, context)
    assert fast == encode_downstream(Notification(message_id, message_type, context, payload))


@given(st.text(), st.dictionaries(st.text(), st.text(), max_size=3), st.binary(max_size=50))
def test_the_fast_reply_equals_the_general_one(
    request_id: str, headers: dict[str, str], body: bytes
) -> None:
    general = Reply(request_id, Status(200, "OK"), Status(200, "OK"), headers, payload=body)
    assert encode_http_reply(request_id, 200, body, headers) == encode_downstream(general)


# Round trips


@given(upstream_messages)
def test_every_upstream_message_survives_the_round_trip(message: Upstream) -> None:
    assert decode_upstream(encode_upstream(message)) == message


@given(downstream_messages)
def test_every_downstream_message_survives_the_round_trip(message: Downstream) -> None:
    assert decode_downstream(encode_downstream(message)) == message


@given(upstream_messages)
def test_a_frame_in_a_view_is_the_same_frame(message: Upstream) -> None:
    encoded = encode_upstream(message)
    assert decode_upstream(memoryview(bytearray(encoded))) == message


def test_a_decoded_payload_does_not_hold_on_to_the_receive_buffer() -> None:
    request = Request("TM1", HttpRequest("/v3/Maps", "POST"), None, b'{"a":1}')
    buffer = bytearray(encode_upstream(request))
    message = decode_upstream(memoryview(buffer))
    buffer[:] = b"x" * len(buffer)
    assert message == request


# What is accepted is wide


@pytest.mark.parametrize("rest", [b"", b"\r\n", b"\r\n\r\n", b"\r\nwhatever"])
def test_a_message_without_payload_may_end_as_it_likes(rest: bytes) -> None:
    assert decode_upstream(frame(CLOSE, rest)) == ClientClose("1")


@pytest.mark.parametrize(
    ("size", "rest", "payload"),
    [
        (b',"payload_size":2', b"\r\n{}", b"{}"),
        (b',"payload_size":2', b"\r\n{}\r\n", b"{}"),
        (b',"payload_size":2', b"\r\n{}, and more", b"{}"),
        (b',"payload_size":2', b"\r\n\r\n", b"\r\n"),
        (b',"payload_size":0', b"\r\n", b""),
        (b',"payload_size":0', b"", b""),
        (b',"payload_size":null', b"\r\n{}\r\n", b"{}"),
        (b"", b"\r\n{}", b"{}"),
        (b"", b"\r\n{}\r\n", b"{}"),
        (b"", b"\r\n", b""),
        (b"", b"", b""),
    ],
)
def test_a_payload_is_found_with_and_without_its_size(
    size: bytes, rest: bytes, payload: bytes
) -> None:
    header = b'{"id":"1","method":"notification","message_type":"t"%b}' % size
    assert decode_downstream(frame(header, rest)) == Notification("1", "t", None, payload)


def test_null_fields_are_like_missing_ones() -> None:
    header = (
        b'{"method":"init","id":"1","token":"t","continuation_token":null,"metadata":null,'
        b'"registrations":null,"tweaks":null,"capabilities":null,"payload_type":null}'
    )
    assert decode_upstream(frame(header)) == Init("1", "t")


def test_metadata_may_hold_anything_the_application_put_there() -> None:
    header = b'{"method":"init","id":"1","token":"t","metadata":{"sdk":{"x":1},"own":[1],"osv":7}}'
    message = decode_upstream(frame(header))
    assert isinstance(message, Init)
    assert message.metadata == Metadata(sdk={"x": 1}, osv=7)


@pytest.mark.parametrize(
    ("fields", "init"),
    [
        (b'"metadata":"x"', Init("1", "t")),
        (b'"registrations":{}', Init("1", "t")),
        (b'"registrations":[{"product":5}]', Init("1", "t")),
        (b'"continuation_token":5', Init("1", "t")),
        (b'"capabilities":[5]', Init("1", "t")),
        (b'"metadata":7,"continuation_token":"c"', Init("1", "t", "c")),
        (
            b'"metadata":{"sdk":"JS"},"registrations":[{"type":"ers"}],"capabilities":"x"',
            Init("1", "t", None, Metadata(sdk="JS"), [Registration(type="ers")]),
        ),
    ],
)
def test_of_init_only_id_and_token_have_to_be_right(fields: bytes, init: Init) -> None:
    """The SDK lets applications override the rest; refused, it would never try again."""
    assert decode_upstream(frame(b'{"method":"init","id":"1","token":"t",%b}' % fields)) == init


def test_unknown_keys_are_ignored() -> None:
    assert decode_upstream(
        frame(b'{"method":"update","id":"1","token":"t","x":[{}],"payload":7}')
    ) == Update("1", "t")


def test_a_foreign_method_is_a_message_of_its_own() -> None:
    header = b'{"method":"dance","id":"1","token":5}'
    assert decode_upstream(frame(header)) == Unknown("1", "dance")


def test_a_method_of_the_other_direction_is_foreign() -> None:
    assert decode_upstream(frame(b'{"method":"ping","id":"1"}')) == Unknown("1", "ping")
    assert decode_downstream(frame(b'{"method":"init","id":"1"}')) == Unknown("1", "init")


def test_close_means_another_message_in_each_direction() -> None:
    header = b'{"method":"close","id":"1","status":{"code":308,"status":"OFFLOAD"}}'
    assert decode_upstream(frame(header)) == ClientClose("1")
    assert decode_downstream(frame(header)) == ServerClose("1", Status(308, "OFFLOAD"))


def test_telemetry_is_read_with_whole_and_broken_numbers() -> None:
    header = (
        b'{"method":"telemetry.v1","id":"1",'
        b'"events":[{"start":-5,"end":-0.5,"title":"t","details":null}]}'
    )
    message = decode_upstream(frame(header))
    assert isinstance(message, Telemetry)
    assert message.events is not None
    assert (message.events[0].start, message.events[0].end) == (-5, -0.5)


# What is not accepted


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not start"),
        (b"TWILSOCK V2.0 2\r\n{}\r\n", "does not start"),
        (b"TWILSOCK V3.0", "does not start"),
        (b"TWILSOCK V3.0 27", "header size"),
        (b"TWILSOCK V3.0 \r\n", "header size"),
        (b"TWILSOCK V3.0 -1\r\n{}", "header size"),
        (b"TWILSOCK V3.0 +2\r\n{}", "header size"),
        (b"TWILSOCK V3.0 1_0\r\n{}", "header size"),
        (b"TWILSOCK V3.0 2\n{}\n", "header size"),
        (b"TWILSOCK V3.0 " + b"9" * 5000 + b"\r\n{}", "header size"),
        (b"TWILSOCK V3.0 \xd9\xa2\r\n{}", "header size"),
        (b"TWILSOCK V3.0 9999999999\r\n{}", "shorter"),
        (b"TWILSOCK V3.0 3\r\n{}", "shorter"),
        (b"TWILSOCK V3.0 0\r\n\r\n", "truncated"),
        (frame(b"[]"), "object"),
        (frame(b'{"id":"1"}'), "method"),
        (frame(b'{"method":"close"}'), "id"),
        (frame(b'{"method":"close","id":5}'), "str"),
        (frame(b'{"method":null,"id":"1"}'), "str"),
        (frame(b'{"method":"dance"}'), "invalid value"),
        (frame(b'{"method":"close","id":"\xff"}'), "UTF-8"),
        (frame(b'{"method":"init","id":"1","token":"t","tweaks":' + b"[" * 9999), "deeply"),
    ],
)
def test_what_is_not_a_message_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason) as caught:
        decode_upstream(data)
    assert caught.value.message_id is None


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        (b'{"method":"update","id":"1"}', b"\r\n"),
        (b'{"method":"init","id":"1"}', b"\r\n"),
        (b'{"method":"init","id":"1","token":7,"metadata":"x"}', b"\r\n"),
        (b'{"method":"message","id":"1","http_request":{"path":"/"}}', b"\r\n"),
        (b'{"method":"message","id":"1","http_request":{"path":"/","method":7}}', b"\r\n"),
        (b'{"method":"reply","id":"1","status":{"code":1},"payload_size":3}', b"\r\n{}"),
        (b'{"method":"reply","id":"1","status":{"code":1},"payload_size":3}', b""),
        (b'{"method":"reply","id":"1","status":{"code":1},"payload_size":-1}', b"\r\n{}"),
        (b'{"method":"reply","id":"1","status":{"code":1},"payload_size":2}', b"{}"),
    ],
)
def test_a_broken_message_is_refused_with_its_id_so_that_it_can_be_answered(
    header: bytes, rest: bytes
) -> None:
    with pytest.raises(FrameError) as caught:
        decode_upstream(frame(header, rest))
    assert caught.value.message_id == "1"


def test_the_reason_does_not_repeat_what_the_peer_sent() -> None:
    with pytest.raises(FrameError) as caught:
        decode_upstream(frame(b'{"method":"secret-token"}'))
    assert "secret" not in caught.value.reason


def _never_raises_anything_else(data: bytes) -> None:
    for decode in (decode_upstream, decode_downstream):
        reason = "fine"
        try:
            decode(data)
        except FrameError as error:
            reason = error.reason
        assert reason
        assert "\n" not in reason


@given(st.binary(max_size=200))
def test_any_bytes_raise_a_frame_error_or_nothing(data: bytes) -> None:
    _never_raises_anything_else(data)


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_raise_a_frame_error_or_nothing(data: bytes) -> None:
    _never_raises_anything_else(b"TWILSOCK V3.0 " + data)
    _never_raises_anything_else(frame(data))


@given(
    upstream_messages,
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), min_size=1, max_size=4),
)
def test_a_damaged_frame_raises_a_frame_error_or_nothing(
    message: Upstream, damages: list[tuple[int, bytes]]
) -> None:
    data = bytearray(encode_upstream(message))
    for place, replacement in damages:
        data[place : place + 1] = replacement
    _never_raises_anything_else(bytes(data))


@given(
    st.sampled_from(MESSAGE_TYPES),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["code", "path", "method", "x"]), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    st.sampled_from(["id", "token", "http_request", "status", "events", "metadata", "tweaks"]),
)
def test_any_json_in_a_header_raises_a_frame_error_or_nothing(
    row: object, value: object, key: str
) -> None:
    method = getattr(row, "method", "")
    header = json.dumps({"method": method, "id": "1", key: value}).encode()
    _never_raises_anything_else(frame(header))


def test_lone_surrogates_in_escapes_never_come_out_of_the_decoder() -> None:
    # They could not be encoded again, and so would break the reply.
    for escape in (b"\\ud800", b"\\udc00", b"\\ud800x", b"\\ud800\\ud800", b"\\udc00\\ud800"):
        with pytest.raises(FrameError):
            decode_upstream(frame(b'{"method":"close","id":"%b"}' % escape))


def test_a_client_update_is_byte_for_byte_as_documented() -> None:
    encoded = encode_downstream(ClientUpdate("TM1", "token_about_to_expire"))
    assert encoded == frame(
        b'{"method":"client_update","id":"TM1",'
        b'"client_update_type":"token_about_to_expire","payload_size":0}'
    )
