"""Plain HTTP against the REST face, for what the helper library cannot send or does not show."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import httpx

from tests.e2e.server import ServerProcess

__all__ = [
    "NO_SUCH",
    "Number",
    "as_written",
    "assert_refused",
    "authorization",
    "data_text",
    "raw_client",
    "unused_name",
]

NO_SUCH = "0123456789abcdef" * 2
"""The thirty-two digits of a SID that no server mints; a two-letter prefix goes before."""

_ERROR_KEYS = {"code", "message", "more_info", "status"}
_names = itertools.count()


def authorization(server: ServerProcess) -> str:
    """The header value of the account's own credentials, for requests written byte by byte."""
    pair = f"{server.credentials.account_sid}:{server.credentials.auth_token}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def raw_client(server: ServerProcess) -> httpx.Client:
    """A client whose base is ``/v1/Services/default`` and which signs with the account's token."""
    credentials = server.credentials
    return httpx.Client(
        base_url=f"{server.base_url}/v1/Services/default",
        auth=(credentials.account_sid, credentials.auth_token),
        timeout=20.0,
        trust_env=False,
    )


def assert_refused(response: httpx.Response, status: int, *codes: int) -> dict[str, Any]:
    """The response is an error of this status and one of these codes, in the one documented shape.

    [REST 1.4] ``type`` and ``title`` must be absent: helper libraries would take the body for a
    problem document of RFC 9457 and raise another exception.
    """
    assert response.status_code == status, (response.status_code, response.text[:500])
    assert response.headers["content-type"].split(";")[0] == "application/json"
    body: dict[str, Any] = response.json()
    assert set(body) - {"details"} == _ERROR_KEYS, body
    assert body["code"] in codes, body
    assert body["status"] == status
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{body['code']}"
    assert isinstance(body["message"], str)
    assert body["message"]
    return body


def as_written(text: str) -> object:
    """Decode JSON so that equal results mean equal numbers' text and equal key order."""
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=_Members)


def data_text(response: httpx.Response) -> object:
    """The response's ``data``, decoded by `as_written`."""
    body = as_written(response.text)
    assert isinstance(body, _Members)
    return dict(body)["data"]


def unused_name(stem: str = "name") -> str:
    """A name no other test of this process uses."""
    return f"{stem}-{next(_names)}"


class Number(str):
    """A JSON number as it was written: ``1.0`` and ``1e0`` differ, and neither equals a string."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


class _Members(list[tuple[str, object]]):
    """The members of a JSON object, in order; never equal to an array."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Members) and list.__eq__(self, other)

    __hash__ = None  # like any list
