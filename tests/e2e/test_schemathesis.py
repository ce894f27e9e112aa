"""Requests made up from the published OpenAPI description: none may break the server. [REST 1-4]

Schemathesis makes the requests, valid and invalid ones, always the same. Half of them are sent to
objects that exist, since made-up SIDs only ever lead to 404. Every answer must pass:

* ``not_a_server_error``,
* ``content_type_conformance`` and ``response_schema_conformance``, for the documented statuses,
* our own check: a status of success is a documented one, and anything else is a refusal of the
  documented shape.

Of Schemathesis' other checks these contradict the service that is described:

* ``status_code_conformance``: the description has statuses of success only, no refusal.
* ``negative_data_rejection``: unknown parameters are ignored, and forms are text, so that ``"1"``
  for a number is right; what is wrong is tested value by value in the other files.
* ``positive_data_acceptance``: the description knows no bound of names, keys, data and times, hence
  it takes for valid what the error dictionary refuses; and it calls any ``Data`` valid.
* ``missing_required_header``, ``unsupported_method``: the description declares no required header;
  the methods are tested in ``test_rest_transport``.
* ``ignored_auth``: it repeats each request without credentials; ``test_rest_auth`` tests that once.
* ``use_after_free``, ``ensure_resource_availability``: they need links between operations, which
  the description does not have.
* ``response_headers_conformance``: the description declares no header.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from tests.e2e.raw import raw_client
from tests.e2e.server import ServerProcess

DESCRIPTION = Path(__file__).parent.parent / "data" / "twilio_sync_v1.openapi.json"
EXAMPLES = 15
"""Requests per operation; there are 48 operations."""

STATUSES_OF_REFUSAL = {400, 401, 403, 404, 405, 409, 412, 413}

PARENTS = {
    "DocumentSid": ("Documents", "parent"),
    "ListSid": ("Lists", "parent"),
    "MapSid": ("Maps", "parent"),
    "StreamSid": ("Streams", "parent"),
}

schema = schemathesis.openapi.from_path(str(DESCRIPTION))


@pytest.fixture(scope="module")
def target(server: ServerProcess) -> ServerProcess:
    """A server with an object of each type, named ``parent``."""
    with raw_client(server) as raw:
        for kind, name in PARENTS.values():
            assert raw.post(f"/{kind}", data={"UniqueName": name}).status_code == 201
        for n in range(3):
            raw.post("/Lists/parent/Items", data={"Data": "{}"})
            raw.post("/Maps/parent/Items", data={"Key": str(n), "Data": "{}"})
            for kind in ("Documents", "Lists", "Maps"):
                raw.post(f"/{kind}/parent/Permissions/{n}", data={"Read": "true"})
    return server


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    # A server is shared by all examples on purpose; requests take their time.
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_server(case: schemathesis.Case[Any], target: ServerProcess) -> None:
    if case.method.upper() != case.operation.method.upper():
        # Made up to probe methods that the path does not have; `test_rest_transport` tests those.
        assert _send(case, target).status_code in {204, 405}
        return
    if zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode()) % 2:
        _lead_to_objects(case)
    response = _send(case, target)

    case.validate_response(
        response,
        checks=[not_a_server_error, content_type_conformance, response_schema_conformance],
    )
    documented = {int(status) for status in case.operation.definition.raw["responses"]}
    if response.status_code in documented:
        return
    assert response.status_code in STATUSES_OF_REFUSAL, response.text
    _assert_refusal(response.status_code, response.content)


def _send(case: schemathesis.Case[Any], target: ServerProcess) -> schemathesis.Response:
    credentials = target.credentials
    return case.call(
        base_url=target.base_url, auth=(credentials.account_sid, credentials.auth_token), timeout=20
    )


def _lead_to_objects(case: schemathesis.Case[Any]) -> None:
    """Put what exists in place of made-up parents; the last segment stays as made up."""
    for name in case.path_parameters or {}:
        if name == "ServiceSid":
            case.path_parameters[name] = "default"
        elif name in PARENTS:
            case.path_parameters[name] = PARENTS[name][1]
        elif name in ("Index", "Key", "Identity") and case.method != "DELETE":
            case.path_parameters[name] = "1"


def _assert_refusal(status: int, content: bytes) -> None:
    body: dict[str, Any] = json.loads(content)
    assert set(body) - {"details"} == {"code", "message", "more_info", "status"}
    assert body["status"] == status
    assert isinstance(body["code"], int)


def test_the_description_covers_every_operation() -> None:
    assert len(list(schema.get_all_operations())) == 48


def test_the_server_serves_every_path_of_the_description(target: ServerProcess) -> None:
    """None may be answered with the refusal for unknown paths, nor with 405."""
    methods = {"get", "post", "delete"}
    description = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    with raw_client(target) as raw:
        for path, item in description["paths"].items():
            address = path
            for name, (_, parent) in PARENTS.items():
                address = address.replace(f"{{{name}}}", parent)
            address = address.replace("{ServiceSid}", "default")
            for name in ("Sid", "Index", "Key", "Identity"):
                address = address.replace(f"{{{name}}}", "9")
            for method in methods & set(item):
                response = raw.request(method, f"{target.base_url}{address}")
                assert response.status_code != 405, (method, address)
                if response.status_code == 404:
                    assert response.json()["code"] != 20404, (method, address)


def test_refusals_are_told_from_successes() -> None:
    with pytest.raises(AssertionError):
        _assert_refusal(400, httpx.Response(400, json={"message": "no"}).content)
