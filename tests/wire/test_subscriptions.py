from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.wire.subscriptions import (
    CorrelationId,
    Established,
    Failed,
    SubscriptionEntry,
    SubscriptionRequest,
    SubscriptionsError,
    decode_subscriptions,
    encode_canceled,
    encode_established,
    encode_failed,
    encode_subscription_response,
    encode_subscriptions,
)

ESTABLISH = (
    b'{"event_protocol_version":4,"action":"establish","correlation_id":1795389771254,'
    b'"retried_requests":0,"ttl_in_s":-1,'
    b'"requests":[{"object_sid":"ETf745","object_type":"document","last_event_id":0},'
    b'{"object_sid":"TO12ab","object_type":"stream","last_event_id":null}]}'
)


def test_the_documented_request_is_understood() -> None:
    assert decode_subscriptions(ESTABLISH) == SubscriptionRequest(
        event_protocol_version=4,
        action="establish",
        correlation_id=1795389771254,
        retried_requests=0,
        ttl_in_s=-1,
        requests=[
            SubscriptionEntry("ETf745", "document", 0),
            SubscriptionEntry("TO12ab", "stream", None),
        ],
    )


def test_a_cancel_needs_only_sid_and_type_and_extra_fields_do_no_harm() -> None:
    body = (
        b'{"action":"cancel","correlation_id":1,"reason":"ttl","extra":{},'
        b'"requests":[{"object_sid":"ES1","object_type":"list","type":"x"}]}'
    )
    assert decode_subscriptions(body) == SubscriptionRequest(
        action="cancel",
        correlation_id=1,
        reason="ttl",
        requests=[SubscriptionEntry("ES1", "list")],
    )


def test_a_live_query_brings_its_index_and_its_query() -> None:
    body = (
        b'{"action":"establish","correlation_id":1,"requests":[{"object_sid":"QY1",'
        b'"object_type":"live_query","last_event_id":3,"index_name":"i","query_string":"a == 1"}]}'
    )
    entry = SubscriptionEntry("QY1", "live_query", 3, "i", "a == 1")
    assert decode_subscriptions(body).requests == [entry]


def test_an_unknown_type_of_object_does_not_fail_its_neighbours() -> None:
    body = (
        b'{"action":"establish","correlation_id":1,'
        b'"requests":[{"object_sid":"XX1","object_type":"sculpture"}]}'
    )
    assert decode_subscriptions(body).requests[0].object_type == "sculpture"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"data_sync",
        b"[]",
        b"{}",
        b'{"action":"dance","correlation_id":1,"requests":[]}',
        b'{"action":"cancel","correlation_id":"1","requests":[]}',
        b'{"action":"cancel","requests":[]}',
        b'{"action":"cancel","correlation_id":1,"requests":null}',
        b'{"action":"cancel","correlation_id":1,"requests":[{}]}',
        b'{"action":"cancel","correlation_id":1,"requests":[{"object_sid":1,"object_type":"map"}]}',
        b'{"action":"cancel","correlation_id":1,"reason":"\xff","requests":[]}',
        b'{"action":"cancel","correlation_id":1,"x":' + b"[" * 9999,
    ],
)
def test_what_is_not_a_subscription_request_is_refused(body: bytes) -> None:
    with pytest.raises(SubscriptionsError) as caught:
        decode_subscriptions(body)
    assert caught.value.reason


def test_the_number_of_entries_is_bounded() -> None:
    entry = SubscriptionEntry("ES1", "list", 0)
    body = encode_subscriptions(
        SubscriptionRequest(action="establish", correlation_id=1, requests=[entry] * 3)
    )
    assert len(decode_subscriptions(body, max_entries=3).requests) == 3
    with pytest.raises(SubscriptionsError, match="at most 2"):
        decode_subscriptions(body, max_entries=2)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    try:
        decoded = decode_subscriptions(body)
    except SubscriptionsError:
        return
    assert isinstance(decoded, SubscriptionRequest)


@given(
    st.builds(
        SubscriptionRequest,
        action=st.sampled_from(["establish", "cancel"]),
        correlation_id=st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300),
        requests=st.lists(
            st.builds(SubscriptionEntry, st.text(), st.text(), st.none() | st.integers(0, 2**53)),
            max_size=3,
        ),
        reason=st.none() | st.text(),
    )
)
def test_every_request_survives_the_round_trip(request_: SubscriptionRequest) -> None:
    assert decode_subscriptions(encode_subscriptions(request_)) == request_


# Answers


def test_the_response_is_the_documented_one() -> None:
    expected = b'{"max_batch_size":100,"estimated_delivery_in_ms":3000}'
    assert encode_subscription_response(100, 3000) == expected
    assert json.loads(encode_subscription_response(1, 2, 3))["ttl_in_s"] == 3


def test_an_established_confirmation_is_byte_for_byte_the_documented_one() -> None:
    payload = encode_established(
        1795389771254,
        [Established("ETf745", "document", 0), Established("MP609d", "map", 1)],
    )
    assert payload == (
        b'{"event_type":"subscription_established","correlation_id":1795389771254,'
        b'"event_protocol_version":4,"strictly_ordered":true,'
        b'"events":[{"object_sid":"ETf745","object_type":"document",'
        b'"replay_status":"completed","last_event_id":0},'
        b'{"object_sid":"MP609d","object_type":"map",'
        b'"replay_status":"completed","last_event_id":1}]}'
    )


def test_a_long_catch_up_is_interrupted_and_a_stream_has_no_last_event() -> None:
    payload = encode_established(
        1, [Established("ES1", "list", 500, "interrupted"), Established("TO1", "stream", None)]
    )
    first, second = json.loads(payload)["events"]
    assert first["replay_status"] == "interrupted"
    assert second["last_event_id"] is None


@pytest.mark.parametrize("number", [0, 7, 1795389771254, 2**53 - 1, 1.5])
def test_a_correlation_id_comes_back_as_the_same_number(number: CorrelationId) -> None:
    body = json.dumps({"action": "cancel", "correlation_id": number, "requests": []}).encode()
    correlation_id = decode_subscriptions(body).correlation_id
    assert b'"correlation_id":%b,' % json.dumps(number).encode() in encode_canceled(
        correlation_id, []
    )


def test_a_canceled_confirmation_lists_its_objects() -> None:
    assert json.loads(encode_canceled(7, [("ES1", "list"), ("TO1", "stream")])) == {
        "event_type": "subscription_canceled",
        "correlation_id": 7,
        "event_protocol_version": 4,
        "strictly_ordered": True,
        "events": [
            {"object_sid": "ES1", "object_type": "list"},
            {"object_sid": "TO1", "object_type": "stream"},
        ],
    }


def test_a_cancel_by_the_server_has_no_correlation_id() -> None:
    assert "correlation_id" not in json.loads(encode_canceled(None, [("ES1", "list")]))


def test_a_failed_confirmation_carries_the_error_of_each_object() -> None:
    payload = encode_failed(7, [Failed("ET1", "document", 404, 54100, "Document not found")])
    assert json.loads(payload) == {
        "event_type": "subscription_failed",
        "correlation_id": 7,
        "event_protocol_version": 4,
        "strictly_ordered": True,
        "events": [
            {
                "object_sid": "ET1",
                "object_type": "document",
                "error": {"status": 404, "code": 54100, "message": "Document not found"},
            }
        ],
    }
