"""The one table of refusals and faults.

A *refusal* can be mended by the caller (4xx); a *fault* must be mended by us (5xx). Every one has a
code, an HTTP status and a title; the sentence for humans names the field and the limit where there
is one. REST and the socket translate this table once each and add nothing. Source: rest-api
sections 7 and 11, wire-protocol section 9.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["MORE_INFO_URL", "Fault", "IdTaken", "Reason", "Refusal", "StarlingsError"]

MORE_INFO_URL = "https://www.twilio.com/docs/errors/{code}"
"""Where the field's error dictionary explains a code; the helper libraries show it."""


class _Row(NamedTuple):
    code: int
    status: int
    title: str


class Reason(Enum):
    """Why a request was refused or failed: code, HTTP status and default sentence."""

    BAD_IF_MATCH = _Row(54003, 400, "Invalid If-Match header: expected a revision")
    DATA_TOO_LARGE = _Row(54006, 413, "Data too large")
    ACCESS_DENIED = _Row(54007, 403, "Access forbidden for identity")
    BAD_DATA = _Row(54008, 400, "Invalid Data: expected a JSON object")
    RATE_LIMITED = _Row(54009, 429, "Rate limit exceeded")
    NOTHING_TO_UPDATE = _Row(54010, 400, "No parameter to update was given")
    BAD_TTL = _Row(54011, 400, "Invalid TTL")
    SERVICE_NOT_FOUND = _Row(54050, 404, "Service not found")
    BAD_WEBHOOK_URL = _Row(54051, 400, "Invalid WebhookUrl")
    BAD_FRIENDLY_NAME = _Row(54053, 400, "Invalid FriendlyName")
    FOREIGN_SERVICE = _Row(54056, 403, "Service belongs to another account")
    DOCUMENT_NOT_FOUND = _Row(54100, 404, "Document not found")
    DOCUMENT_DATA_MISSING = _Row(54101, 400, "Document Data is missing or null")
    DOCUMENT_REVISION_MISMATCH = _Row(54103, 412, "Document revision mismatch")
    LIST_NOT_FOUND = _Row(54150, 404, "List not found")
    LIST_ITEM_NOT_FOUND = _Row(54151, 404, "Item not found")
    LIST_ITEM_REVISION_MISMATCH = _Row(54155, 412, "List Item revision mismatch")
    LIST_ITEM_DATA_MISSING = _Row(54156, 400, "List Item Data is missing or null")
    MAP_NOT_FOUND = _Row(54200, 404, "Map not found")
    MAP_ITEM_NOT_FOUND = _Row(54201, 404, "Item not found")
    MAP_ITEM_REVISION_MISMATCH = _Row(54205, 412, "Map Item revision mismatch")
    MAP_ITEM_DATA_MISSING = _Row(54206, 400, "Map Item Data is missing or null")
    MAP_KEY_TAKEN = _Row(54208, 409, "An Item with given key already exists in the Map")
    BAD_MAP_KEY = _Row(54209, 400, "Invalid Map Item key")
    STREAM_NOT_FOUND = _Row(54250, 404, "Stream not found")
    MESSAGE_DATA_MISSING = _Row(54251, 400, "Stream Message Data is missing or null")
    NAME_NOT_FOUND = _Row(54300, 404, "Unique name not found")
    NAME_TAKEN = _Row(54301, 409, "Unique name already exists")
    BAD_NAME = _Row(54302, 400, "Invalid unique name")
    BAD_IDENTITY = _Row(54351, 400, "Invalid identity")
    PERMISSION_NOT_FOUND = _Row(54354, 404, "Permission not found")
    TOO_MANY_SUBSCRIPTIONS = _Row(54419, 429, "Too many subscriptions on this connection")
    BAD_DIRECTION = _Row(54450, 400, "Invalid Direction: expected forward or backward")
    BAD_ORDER = _Row(54451, 400, "Invalid Order: expected asc or desc")
    BAD_BOUNDS = _Row(54452, 400, "Invalid Bounds: expected inclusive or exclusive")
    BAD_PAGE_TOKEN = _Row(54453, 400, "Invalid PageToken")
    BAD_PAGE_SIZE = _Row(54454, 400, "Invalid PageSize: expected a whole number of 1 or more")
    BAD_LIST_INDEX = _Row(54458, 400, "Invalid List Item index: expected a non-negative integer")
    QUERY_INDEX_NOT_FOUND = _Row(54502, 400, "Live query index not found")
    BAD_QUERY = _Row(54507, 400, "Invalid query expression")
    TOO_MANY_OPERATORS = _Row(54509, 400, "Too many operators in the query expression")
    QUERY_ARRAY_TOO_LONG = _Row(54510, 400, "Array in the query expression is too long")
    BAD_PARAMETER = _Row(20001, 400, "Invalid parameter")
    UNAUTHENTICATED = _Row(20003, 401, "Authentication failed")
    METHOD_NOT_ALLOWED = _Row(20004, 405, "Method not allowed")
    HEAD_TOO_LARGE = _Row(20431, 431, "Request head too large")
    REQUEST_TIMEOUT = _Row(20408, 408, "Request was not received in time")
    TOKEN_MALFORMED = _Row(20101, 401, "Invalid Access Token")
    TOKEN_BAD_HEADER = _Row(20102, 401, "Invalid Access Token header")
    TOKEN_BAD_ISSUER = _Row(20103, 401, "Invalid Access Token issuer or subject")
    TOKEN_EXPIRED = _Row(20104, 401, "Access Token expired or expiration date invalid")
    TOKEN_NOT_YET_VALID = _Row(20105, 401, "Access Token not yet valid")
    TOKEN_BAD_GRANTS = _Row(20106, 401, "Invalid Access Token grants")
    TOKEN_BAD_SIGNATURE = _Row(20107, 401, "Invalid Access Token signature")
    TOKEN_FOR_ANOTHER = _Row(
        51215, 401, "The new token is for another account, service or identity"
    )
    TOKEN_LIVES_TOO_LONG = _Row(20157, 401, "Expiration time in the Access Token exceeds 24 hours")
    UNKNOWN_PATH = _Row(20404, 404, "The requested resource was not found")
    TOO_MANY_REQUESTS = _Row(20429, 429, "Too many requests")
    INTERNAL_FAULT = _Row(20500, 500, "Internal server error")
    UNAVAILABLE = _Row(20503, 503, "Service unavailable")

    @property
    def code(self) -> int:
        return self.value.code

    @property
    def status(self) -> int:
        return self.value.status

    @property
    def title(self) -> str:
        return self.value.title


class StarlingsError(Exception):
    """A request that ended without its effect. ``reason`` tells why; ``message`` is for humans."""

    def __init__(self, reason: Reason, message: str | None = None) -> None:
        self.reason = reason
        self.message = reason.title if message is None else message
        super().__init__(self.message)

    @property
    def code(self) -> int:
        return self.reason.code

    @property
    def status(self) -> int:
        return self.reason.status

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason.name}, {self.message!r})"


class Refusal(StarlingsError):
    """The caller can mend it: another request, or the same one later, may succeed. Status 4xx."""

    def __init__(
        self, reason: Reason, message: str | None = None, *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(reason, message)
        self.retry_after_seconds = retry_after_seconds


class Fault(StarlingsError):
    """We must mend it: the request was fine. Status 5xx; nothing of it was applied."""


class IdTaken(Exception):
    """The minted object id is in use: mint another and ask again. Never reaches a caller."""
