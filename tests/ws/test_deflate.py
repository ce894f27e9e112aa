"""permessage-deflate by itself: agreement, inflation within bounds, compression once. [RFC 7692]"""

from __future__ import annotations

import gc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.ws.deflate import (
    MOST_BYTES,
    RSV1,
    Agreement,
    DeflateStatistics,
    InflateError,
    SharedDeflate,
    inflate,
    negotiate,
)
from starlings.ws.outbox import BINARY, CLOSE, PONG, ws_frame
from tests.ws.deflating import ANSWER, TEXT, deflate, payload_of

ANY_LENGTH = Agreement(ANSWER, None)

# Agreement.


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        ("permessage-deflate", ANSWER),
        ("permessage-deflate; client_max_window_bits", ANSWER),  # browsers, ws, websockets
        ("permessage-deflate;client_max_window_bits=8", ANSWER),
        ('permessage-deflate ; client_max_window_bits = "15"', ANSWER),
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", ANSWER),
        ("permessage-deflate; server_max_window_bits=15", f"{ANSWER}; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=8", f"{ANSWER}; server_max_window_bits=8"),
        ("x-webkit-deflate-frame, permessage-deflate", ANSWER),
        (", permessage-bzip2; level=9,, permessage-deflate,", ANSWER),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", ANSWER),
    ],
)
def test_the_first_offer_that_can_be_accepted_is_answered(header: str, answer: str) -> None:
    agreement = negotiate(header)
    assert agreement is not None
    assert agreement.answer == answer


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "permessage-bzip2",
        "x-permessage-deflate",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=\u0669",
        "permessage-deflate; client_max_window_bits=99999999999999999999",
        "permessage-deflate; client_max_window_bits=",
        'permessage-deflate; client_max_window_bits=""',
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate;",
        "permessage-deflate; =9",
        "permessage deflate",
    ],
)
def test_an_offer_that_is_unknown_repeated_or_malformed_is_declined(offer: str) -> None:
    assert negotiate(offer) is None


def test_nothing_is_taken_out_of_a_header_that_is_no_list_of_extensions() -> None:
    assert negotiate('x; y="a, permessage-deflate, b"') is None


@given(st.text())
def test_any_header_is_accepted_or_declined(header: str) -> None:
    agreement = negotiate(header)
    assert agreement is None or "permessage-deflate" in header


@given(
    st.lists(
        st.sampled_from(
            ["server_no_context_takeover", "client_no_context_takeover", "unknown"]
            + [
                f"{side}_max_window_bits{value}"
                for side in ("server", "client")
                for value in ("", "=", "=7", "=8", "=9", '="12"', "=15", "=16", "=x")
            ]
        )
    )
)
def test_an_answer_never_promises_more_than_was_asked(parameters: list[str]) -> None:
    agreement = negotiate("; ".join(["permessage-deflate", *parameters]))
    keys = [parameter.partition("=")[0] for parameter in parameters]
    if agreement is None:
        assert parameters  # the plain offer is always good
        return
    assert len(set(keys)) == len(keys)
    asked = [p.replace('"', "") for p in parameters if p.startswith("server_max_window_bits")]
    assert agreement.answer == "; ".join([ANSWER, *asked])
    bits = int(asked[0].partition("=")[2]) if asked else 15
    assert agreement.most_bytes == (None if bits == 15 else 2**bits)


# Inflation.


@given(st.binary(max_size=5000), st.integers(0, 9), st.sampled_from([2, 3, 4]))
def test_what_was_deflated_is_inflated_to_the_same(message: bytes, level: int, flush: int) -> None:
    assert inflate(deflate(message, flush, level), len(message)) == message


@pytest.mark.parametrize(
    "payload",
    [
        "f2 48 cd c9 c9 07 00",  # 7.2.3.1
        "00 05 00 fa ff 48 65 6c 6c 6f 00",  # 7.2.3.3
        "f3 48 cd c9 c9 07 00 00",  # 7.2.3.4
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",  # 7.2.3.5
    ],
)
def test_the_examples_of_the_standard_are_inflated(payload: str) -> None:
    assert inflate(bytes.fromhex(payload), 5) == b"Hello"


@given(st.binary(max_size=300))
def test_any_bytes_are_inflated_within_bounds_or_refused(payload: bytes) -> None:
    with suppress(InflateError):  # anything else would be a defect
        assert len(inflate(payload, 1000)) <= 1000


@pytest.mark.parametrize("size", [1, 1000, 16 * 1024, 128 * 1024])
def test_a_message_of_the_greatest_size_is_inflated_and_one_byte_more_is_too_big(size: int) -> None:
    deflated = deflate(b"x" * size)
    assert len(inflate(deflated, size)) == size
    with pytest.raises(InflateError) as refusal:
        inflate(deflated, size - 1)
    assert refusal.value.close_code == 1009


def test_no_more_than_the_bound_is_made_of_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, bits: int) -> None:
            self.inflater = real(bits)

        def decompress(self, data: bytes, most_bytes: int) -> bytes:
            asked.append(most_bytes)
            return self.inflater.decompress(data, most_bytes)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    bomb = deflate(bytes(100_000_000), level=9)
    assert len(bomb) < 100_000
    with pytest.raises(InflateError) as refusal:
        inflate(bomb, 128 * 1024)
    assert refusal.value.close_code == 1009
    assert asked == [128 * 1024 + 1]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff\xff\xff", id="no-deflate"),
        pytest.param(b"TWILSOCK V3.0 2", id="plain"),
        pytest.param(deflate(TEXT)[:-3], id="cut-short"),
        pytest.param(b"\x00\xff\x00\x00\xffabc", id="block-that-wants-more"),
        pytest.param(deflate(TEXT, zlib.Z_FINISH)[:-1], id="nothing-behind-the-last-block"),
        pytest.param(deflate(TEXT, zlib.Z_FINISH) + b"more", id="more-behind-the-last-block"),
        pytest.param(zlib.compress(TEXT), id="with-the-head-of-zlib"),
    ],
)
def test_what_is_not_a_deflated_message_is_refused_with_1007(payload: bytes) -> None:
    with pytest.raises(InflateError) as refusal:
        inflate(payload, 10_000)
    assert refusal.value.close_code == 1007


# Compression, shared.


@given(st.binary(max_size=3000).map(lambda data: data * 3))
def test_a_shrunk_frame_is_the_same_message_in_fewer_bytes(payload: bytes) -> None:
    frame = ws_frame(payload)
    shrunk = SharedDeflate(1).shrink(frame)
    if shrunk is frame:
        assert len(deflate(payload, level=1)) + 10 >= len(payload)
    else:
        assert shrunk[0] == BINARY | RSV1
        assert len(shrunk) < len(frame)
        assert inflate(payload_of(shrunk), len(payload)) == payload


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(ws_frame(b"x" * 255), id="small"),
        pytest.param(ws_frame(bytes(range(256))), id="incompressible"),
        pytest.param(ws_frame(b"x" * (MOST_BYTES + 1)), id="long"),
        pytest.param(ws_frame(b"\x03\xe8" + b"x" * 123, CLOSE), id="close"),
        pytest.param(ws_frame(b"x" * 125, PONG), id="pong"),
    ],
)
def test_frames_that_gain_nothing_or_must_not_be_compressed_stay_as_they_are(frame: bytes) -> None:
    shared = SharedDeflate(2 if len(frame) < 200 else 256)
    assert shared.shrink(frame) is frame
    assert shared.statistics() == DeflateStatistics(0, 0, 0, 0)


def test_frames_of_the_least_and_the_greatest_size_are_compressed() -> None:
    shared = SharedDeflate(256)
    for size in (256, MOST_BYTES):
        shrunk = shared.shrink(ws_frame(b"x" * size))
        assert inflate(payload_of(shrunk), size) == b"x" * size


def test_one_frame_is_compressed_once_for_all_and_counted_once() -> None:
    shared = SharedDeflate(256)
    frame = ws_frame(TEXT)
    sent: list[bytes] = []
    senders = [shared.make_sender(sent.append, ANY_LENGTH) for _ in range(100)]
    for send in senders:
        send(frame)
    assert len(sent) == 100
    assert all(one is sent[0] for one in sent)
    assert shared.statistics() == DeflateStatistics(100, 1, len(frame), len(sent[0]))


def test_frames_that_come_in_between_do_not_make_it_compressed_again() -> None:
    shared = SharedDeflate(256)
    event, *others = [ws_frame(TEXT + bytes([number])) for number in range(8)]
    shrunk = shared.shrink(event)
    for other in others:
        assert shared.shrink(other) is not shrunk
        assert shared.shrink(event) is shrunk
    assert shared.statistics().compressed == 8


def test_a_frame_at_the_address_of_a_former_one_is_not_taken_for_it() -> None:
    shared = SharedDeflate(256)
    for number in range(1000):
        payload = b"%04d" % number * 100
        assert inflate(payload_of(shared.shrink(ws_frame(payload))), 400) == payload


def test_no_more_than_the_last_frames_are_held() -> None:
    shared = SharedDeflate(256)
    for number in range(100):
        shared.shrink(ws_frame(b"%04d" % number * 5000))
    gc.collect()
    assert sum(len(plain) for plain, _ in shared._recent.values()) < 9 * 20_000


@pytest.mark.parametrize("bits", range(8, 15))
def test_messages_longer_than_a_clients_window_go_to_it_as_they_are(bits: int) -> None:
    agreement = negotiate(f"permessage-deflate; server_max_window_bits={bits}")
    assert agreement is not None
    shared = SharedDeflate(1)
    sent: list[bytes] = []
    send = shared.make_sender(sent.append, agreement)
    everybody = shared.make_sender(sent.append, ANY_LENGTH)
    # A repetition from the very beginning to the very end: the farthest that a match can reach.
    fitting, longer = (
        b"the same" + bytes(size - 16) + b"the same" for size in (2**bits - 4, 2**bits)
    )
    for payload in (fitting, longer):
        everybody(ws_frame(payload))
        send(ws_frame(payload))
    assert [frame[0] for frame in sent] == [0xC2, 0xC2, 0xC2, 0x82]
    inflater = zlib.decompressobj(-bits)
    assert inflater.decompress(payload_of(sent[1]) + b"\x00\x00\xff\xff") == fitting
