"""One request on its way through a handler, and its body, read within a bound and a deadline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from starlette.types import Receive

from starlings.core.errors import Reason, Refusal
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.core.rules import parse_if_match
from starlings.node.node import Node
from starlings.rest.deadlines import Deadline
from starlings.rest.forms import Form, parse_form

__all__ = ["DEFAULT_BOUNDS", "REST_ACTOR", "BodyBounds", "ClientGone", "Request"]


class BodyBounds(NamedTuple):
    """How much of a body is read, and for how long it is waited."""

    most_bytes: int = 128 * 1024
    """16 KiB of data are 48 KiB with every byte escaped for the form, 128 KiB with JSON escapes."""
    seconds: float = 10.0


DEFAULT_BOUNDS = BodyBounds()


REST_ACTOR = Actor(SYSTEM)
"""Who acts in every request of this face: no permission binds it. [rest-api 6]"""

_FORM_TYPE = b"application/x-www-form-urlencoded"


class ClientGone(Exception):
    """The caller hung up: nobody waits for an answer."""


class Request:
    """What a handler needs to know of a request."""

    __slots__ = (
        "_deadline",
        "_most_bytes",
        "_receive",
        "account_sid",
        "base_url",
        "headers",
        "node",
        "query",
        "raw_path",
        "request_id",
        "target",
    )

    def __init__(
        self,
        node: Node,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        raw_path: bytes,
        query: bytes,
        base_url: str,
        account_sid: str,
        request_id: str,
        most_bytes: int,
        deadline: Deadline,
    ) -> None:
        self.node = node
        self.headers = headers
        self.raw_path = raw_path
        self.query = query
        self.base_url = base_url
        self.account_sid = account_sid
        self.request_id = request_id
        self.target: ObjectRef | None = None
        """What the path names. That it is missing is told before what is wrong with the request."""
        self._receive = receive
        self._most_bytes = most_bytes
        self._deadline = deadline

    def aim(self, service: Service, kind: Kind, name: str) -> ObjectRef:
        """The object that the path names; remembered as ``target``."""
        self.target = ref = ObjectRef(service.oid, kind, name)
        return ref

    def get_if_match(self) -> str | None:
        """The condition, or None. Raises Refusal BAD_IF_MATCH. [rest-api 3]"""
        value = self.headers.get(b"if-match")
        return None if value is None else parse_if_match(value.decode("latin-1"))

    async def read_form(self) -> Form:
        """The parameters in the body.

        Raises:
            Refusal: BAD_PARAMETER (not a form), DATA_TOO_LARGE, REQUEST_TIMEOUT.
            ClientGone: It hung up before the end of the body.
        """
        body = await self._read_body()
        if not body:
            return {}
        content_type = self.headers.get(b"content-type", _FORM_TYPE)
        if content_type != _FORM_TYPE and (
            content_type.partition(b";")[0].strip().lower() != _FORM_TYPE
        ):
            raise Refusal(
                Reason.BAD_PARAMETER,
                "Invalid Content-Type: expected application/x-www-form-urlencoded",
            )
        return parse_form(body)

    async def _read_body(self) -> bytes:
        length = self.headers.get(b"content-length")
        if length is not None:
            if length == b"0":
                return b""
            if not length.isdigit() or len(length) > 9 or int(length) > self._most_bytes:
                raise self._too_large()
        try:
            return await self._deadline.wait_for(self._receive_all())
        except TimeoutError as error:
            raise Refusal(
                Reason.REQUEST_TIMEOUT,
                f"The body did not arrive within {self._deadline.seconds:g} seconds",
            ) from error

    async def _receive_all(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._most_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join([*parts, part]) if parts else part
            if part:
                parts.append(part)

    def _too_large(self) -> Refusal:
        return Refusal(
            Reason.DATA_TOO_LARGE,
            f"Request body too large: at most {self._most_bytes} bytes are allowed",
        )
