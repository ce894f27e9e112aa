"""The signature, as the official libraries of receivers check it. [rest-api 8.1]"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from starlings.webhooks.signature import sign

JS = Path(__file__).parents[1] / "js"

URLS = [
    "https://hooks.example.org/sync",
    "https://hooks.example.org/sync?b=2&a=1&c=%20",
    "https://hooks.example.org:8443/sync?x=%C3%BC",
    "http://hooks.example.org",
]
PARAMETERS = {
    "AccountSid": "AC" + "0" * 32,
    "EventType": "map_item_added",
    "ItemData": '{"text":"a&b=c + ü \U0001f600 100%"}',
    "ItemKey": "a key/with?all&sorts=of ü",
    "Identity": "bob@example.org",
    "EventId": "0",
    "aLowerName": "sorted after all upper ones",
}


@pytest.mark.parametrize("url", URLS)
def test_the_official_python_library_accepts_the_signature(url: str) -> None:
    signature = sign(url, PARAMETERS, "token")
    assert RequestValidator("token").validate(url, PARAMETERS, signature) is True


@given(
    parameters=st.dictionaries(st.text("ABCabcXYZ", min_size=1), st.text(min_size=1)),
    token=st.text("0123456789abcdef", min_size=1),
)
def test_any_parameters_are_signed_as_the_official_library_reads_them(
    parameters: dict[str, str], token: str
) -> None:
    url = URLS[1]
    assert RequestValidator(token).validate(url, parameters, sign(url, parameters, token))


def test_a_changed_request_has_another_signature() -> None:
    signature = sign(URLS[1], PARAMETERS, "token")
    validate = RequestValidator("token").validate
    assert not validate(URLS[0], PARAMETERS, signature)
    assert not validate(URLS[1], PARAMETERS | {"EventId": "1"}, signature)
    assert not RequestValidator("other").validate(URLS[1], PARAMETERS, signature)


@pytest.mark.js
def test_the_official_node_library_accepts_the_signature(tmp_path: Path) -> None:
    samples = [
        {
            "url": url,
            "parameters": PARAMETERS,
            "token": "token",
            "signature": sign(url, PARAMETERS, "token"),
        }
        for url in URLS
    ]
    file = tmp_path / "samples.json"
    file.write_text(json.dumps(samples), encoding="utf-8")
    node = shutil.which("node")
    assert node is not None, "Node is needed; see `make setup`"
    run = subprocess.run(
        [node, "--test", "webhooks/validator.test.mjs"],
        cwd=JS,
        env={"STARLINGS_TEST_SAMPLES": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"pass {len(URLS) + 1}" in run.stdout, run.stdout
