"""The documented rates: where they bite, what they answer, and that they are per object. [REST 10]

A bucket holds ten seconds' worth and is refilled all the time, so each test sends until it is
refused and then bounds what was accepted by the time that passed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.raw import assert_refused, raw_client, unused_name
from tests.e2e.server import ServerProcess

ALMOST_NONE = 1.0
"""Requests that may slip through beside the bucket's arithmetic: rounding of its refill."""


def _accepted_before_refusal(
    send: Callable[[], httpx.Response], *, rate: float, at_most: int
) -> httpx.Response:
    """Send until 429 and check the number accepted against burst and refill; the refusal.

    Args:
        rate: Requests per second; the burst is ten times that.
        at_most: Give up after so many requests.
    """
    started = time.monotonic()
    accepted = 0
    for _ in range(at_most):
        response = send()
        if response.status_code == 429:
            burst = 10 * rate
            refill = rate * (time.monotonic() - started)
            assert burst - ALMOST_NONE <= accepted <= burst + refill + ALMOST_NONE, (
                accepted,
                burst,
                refill,
            )
            return response
        assert response.status_code < 400, response.text
        accepted += 1
    raise AssertionError(f"{accepted} requests were accepted")


def _assert_rate_refused(response: httpx.Response, what: str) -> None:
    body = assert_refused(response, 429, 54009)
    assert body["message"] == f"Rate limit exceeded for {what}"


def _create(raw: httpx.Client, path: str) -> str:
    """A new object, patiently: creations have a rate of their own."""
    for _ in range(50):
        response = raw.post(path)
        if response.status_code == 201:
            return str(response.json()["sid"])
        assert_refused(response, 429, 54009)
        time.sleep(0.1)
    raise AssertionError("no object could be created")


def test_item_writes_count_against_their_map(limited_raw: httpx.Client) -> None:
    sid = _create(limited_raw, "/Maps")
    path = f"/Maps/{sid}/Items"

    refused = _accepted_before_refusal(
        lambda: limited_raw.post(path, data={"Key": unused_name(), "Data": "{}"}),
        rate=20,
        at_most=600,
    )

    _assert_rate_refused(refused, f"write-map-{sid}")
    assert limited_raw.get(path).status_code == 200, "reads have a bucket of their own"
    other = _create(limited_raw, "/Maps")
    sent = limited_raw.post(f"/Maps/{other}/Items", data={"Key": "k", "Data": "{}"})
    assert sent.status_code == 201, "another map has a bucket of its own"


def test_writes_to_a_document_and_a_list_are_limited_alike(limited_raw: httpx.Client) -> None:
    document = _create(limited_raw, "/Documents")
    refused = _accepted_before_refusal(
        lambda: limited_raw.post(f"/Documents/{document}", data={"Data": "{}"}),
        rate=20,
        at_most=600,
    )
    _assert_rate_refused(refused, f"write-document-{document}")

    sync_list = _create(limited_raw, "/Lists")
    refused = _accepted_before_refusal(
        lambda: limited_raw.post(f"/Lists/{sync_list}/Items", data={"Data": "{}"}),
        rate=20,
        at_most=600,
    )
    _assert_rate_refused(refused, f"write-list-{sync_list}")


def test_reads_are_limited_and_a_page_counts_once(limited_raw: httpx.Client) -> None:
    sid = _create(limited_raw, "/Maps")
    for n in range(5):
        limited_raw.post(f"/Maps/{sid}/Items", data={"Key": f"k{n}", "Data": "{}"})

    refused = _accepted_before_refusal(
        lambda: limited_raw.get(f"/Maps/{sid}/Items"), rate=20, at_most=600
    )

    _assert_rate_refused(refused, f"read-map-{sid}")


@pytest.mark.parametrize(("size", "rate"), [(1024, 20.0), (5632, 11.0), (10240, 2.0), (16384, 2.0)])
def test_large_payloads_shrink_the_rate(limited_raw: httpx.Client, size: int, rate: float) -> None:
    """[REST 10] 20/s up to 1 KiB, 2/s from 10 KiB, linear between."""
    sid = _create(limited_raw, "/Documents")
    data = '{"t":"' + "x" * (size - len('{"t":""}')) + '"}'

    refused = _accepted_before_refusal(
        lambda: limited_raw.post(f"/Documents/{sid}", data={"Data": data}),
        rate=rate,
        at_most=600,
    )

    _assert_rate_refused(refused, f"write-document-{sid}")


def test_a_refused_write_changes_nothing_and_a_later_one_is_made(
    limited_raw: httpx.Client,
) -> None:
    sid = _create(limited_raw, "/Documents")
    path = f"/Documents/{sid}"
    data = '{"t":"' + "x" * 12000 + '"}'
    accepted = 0
    while (response := limited_raw.post(path, data={"Data": data})).status_code == 200:
        accepted += 1
    assert_refused(response, 429, 54009)
    assert int(limited_raw.get(path).json()["revision"], 16) == accepted

    deadline = time.monotonic() + 5
    while limited_raw.post(path, data={"Data": data}).status_code == 429:
        assert time.monotonic() < deadline, "the bucket was not refilled"
        time.sleep(0.1)

    assert int(limited_raw.get(path).json()["revision"], 16) == accepted + 1


def test_a_refused_syntax_costs_nothing(limited_raw: httpx.Client) -> None:
    """[REST 11, check order] Syntax is checked before the rate."""
    sid = _create(limited_raw, "/Documents")

    for _ in range(250):
        assert_refused(limited_raw.post(f"/Documents/{sid}", data={"Data": "no json"}), 400, 54008)

    assert limited_raw.post(f"/Documents/{sid}", data={"Data": "{}"}).status_code == 200


def test_messages_of_a_stream_are_limited(limited_raw: httpx.Client) -> None:
    sid = _create(limited_raw, "/Streams")

    refused = _accepted_before_refusal(
        lambda: limited_raw.post(f"/Streams/{sid}/Messages", data={"Data": "{}"}),
        rate=30,
        at_most=900,
    )

    body = assert_refused(refused, 429, 54009)
    assert body["message"].startswith("Rate limit exceeded for ")
    assert sid in body["message"]


def test_permissions_have_a_wider_rate(limited_raw: httpx.Client) -> None:
    """[REST 10] 80/s with a burst of ten seconds: 800 at once, far beyond the 200 of writes."""
    sid = _create(limited_raw, "/Documents")
    path = f"/Documents/{sid}/Permissions/alice"

    def send(_: int) -> int:
        return limited_raw.post(path, data={"Read": "true"}).status_code

    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(send, range(1600)))

    accepted = statuses.count(200)
    assert set(statuses) <= {200, 429}
    assert 799 <= accepted <= 801 + 80 * (time.monotonic() - started)


def test_creations_are_limited(limited_raw: httpx.Client) -> None:
    refusals = 0
    for _ in range(400):
        response = limited_raw.post("/Documents")
        if response.status_code == 429:
            assert_refused(response, 429, 54009)
            assert response.json()["message"].startswith("Rate limit exceeded for ")
            refusals += 1
        else:
            assert response.status_code == 201

    assert refusals > 0


# --- limits of the operator's own ---


def test_data_may_be_as_large_as_the_operator_says(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("[limits]\ndata_bytes = 200_000\n")
    data = tmp_path / "data"
    with (
        ServerProcess(data, environment={"STARLINGS_CONFIG": str(config)}) as server,
        raw_client(server) as raw,
    ):
        # In the form each of these two bytes has six characters.
        text = '{"t":"' + "ü" * ((200_000 - len('{"t":""}')) // 2) + '"}'
        created = raw.post("/Documents", data={"Data": text})
        assert created.status_code == 201, created.text
        assert created.json()["data"] == json.loads(text)
        escaped = text.replace("ü", "\\u00fc")
        assert raw.post("/Documents", data={"Data": escaped}).status_code == 201
        too_large = text.replace("t", "to")
        assert_refused(raw.post("/Documents", data={"Data": too_large}), 413, 54006)
        server.stop()
