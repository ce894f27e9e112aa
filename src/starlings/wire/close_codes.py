"""Why a session is refused or ended, and whether its client comes back.

Two tables. A *close code* travels in a ``close`` message to a session that is up; a *refusal*
travels as the ``status`` of the reply to ``init`` or ``update``. What the clients make of each
number is fixed in them (wire-protocol 4.2, 4.4, 4.6, 11), so a number is chosen for its effect.

To end a session whose client shall come back soon, send nothing and drop the connection: it
reconnects after about 1 s, after a ``close`` only after 4 s. For an expired token the same holds,
because a token update within 3 s of ``close`` 410 or 401 is lost for good. [4.4, 4.6, trap 1]
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from starlings.wire.messages import Status

__all__ = [
    "CLOSE_CODES",
    "DISPLACED",
    "EXPIRED_TOKEN",
    "FAULT",
    "INVALID_TOKEN",
    "NOT_INITIALISED",
    "NO_SERVICE",
    "OFFLOAD",
    "OTHER_IDENTITY",
    "OTHER_SERVICE",
    "PROTOCOL_ERROR",
    "REFUSALS",
    "THROTTLED",
    "TOKEN_EXPIRED",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "CloseCode",
    "ComesBack",
    "Refusal",
]


class ComesBack(Enum):
    """What the client does after a close or a refusal."""

    BY_ITSELF = "by itself, after a delay that grows"
    WITH_NEW_TOKEN = "when the application gives it a new token"
    NEVER = "never; the application has to make a new client"


@dataclass(frozen=True, slots=True)
class CloseCode:
    """One ``status`` of a ``close`` message, and what each family of clients does with it."""

    status: Status
    comes_back: ComesBack
    kotlin: ComesBack

    @property
    def code(self) -> int:
        return self.status.code


@dataclass(frozen=True, slots=True)
class Refusal:
    """One ``status`` of a failed ``init`` or ``update``."""

    status: Status
    comes_back: ComesBack

    @property
    def code(self) -> int:
        return self.status.code


def _close(status: Status, comes_back: ComesBack, kotlin: ComesBack | None = None) -> CloseCode:
    return CloseCode(status, comes_back, kotlin or comes_back)


# Close codes

OFFLOAD = _close(
    Status(308, "OFFLOAD", description="Reconnect later"),
    ComesBack.BY_ITSELF,
)
"""The server wants fewer sessions, or stops. May carry a minimum delay. The default to drain."""

OTHER_SERVICE = _close(
    Status(308, "OFFLOAD", 51232, "Token is for another service instance"),
    ComesBack.BY_ITSELF,
    kotlin=ComesBack.NEVER,
)
"""An ``update`` with a token of another Service, as the real service answers it."""

UNAUTHORIZED = _close(
    Status(401, "UNAUTHORIZED", 20101, "Access is no longer granted"),
    ComesBack.WITH_NEW_TOKEN,
    kotlin=ComesBack.NEVER,
)
"""The API key was revoked. A new token within 3 s is lost. [trap 1]"""

UNSUPPORTED = _close(
    Status(406, "NOT_ACCEPTABLE", description="Protocol is not supported"),
    ComesBack.NEVER,
)
"""We don't speak what the client wants; it also tells its application."""

TOKEN_EXPIRED = _close(
    Status(410, "TOKEN_EXPIRED", 51207, "Token expired"),
    ComesBack.WITH_NEW_TOKEN,
    kotlin=ComesBack.NEVER,
)
"""As the real service says it. We drop the connection instead. [trap 1]"""

PROTOCOL_ERROR = _close(
    Status(417, "EXPECTATION_FAILED", description="First frame must be init"),
    ComesBack.NEVER,
)
"""The client breaks the protocol before it is known."""

DISPLACED = _close(
    Status(500, "INTERNAL_SERVER_ERROR", description="Session ended by the server"),
    ComesBack.BY_ITSELF,
)
"""Anything else that shall not keep the client away."""

CLOSE_CODES = (
    OFFLOAD,
    OTHER_SERVICE,
    UNAUTHORIZED,
    UNSUPPORTED,
    TOKEN_EXPIRED,
    PROTOCOL_ERROR,
    DISPLACED,
)


# Refusals of init and update. Clients test 20104 and the word UNAUTHORIZED. [4.2, 4.4]

EXPIRED_TOKEN = Refusal(
    Status(401, "UNAUTHORIZED", 20104, "Access Token expired or expiration date invalid"),
    ComesBack.WITH_NEW_TOKEN,
)
INVALID_TOKEN = Refusal(
    Status(401, "UNAUTHORIZED", 20101, "Invalid Access Token"), ComesBack.WITH_NEW_TOKEN
)
NO_SERVICE = Refusal(Status(403, "FORBIDDEN", 54050, "Service not found"), ComesBack.WITH_NEW_TOKEN)
OTHER_IDENTITY = Refusal(
    Status(
        401,
        "UNAUTHORIZED",
        51215,
        "The new token is for another account, service or identity",
    ),
    ComesBack.WITH_NEW_TOKEN,
)
"""Only for ``update``."""

THROTTLED = Refusal(
    Status(429, "TOO_MANY_REQUESTS", 51202, "Too many requests"), ComesBack.BY_ITSELF
)
"""May carry a minimum delay."""

NOT_INITIALISED = Refusal(
    Status(401, "UNAUTHORIZED", description="First frame must be init"), ComesBack.WITH_NEW_TOKEN
)
"""Answers every other message before ``init`` is through. [5]"""

FAULT = Refusal(Status(500, "INTERNAL_SERVER_ERROR"), ComesBack.BY_ITSELF)
UNAVAILABLE = Refusal(Status(503, "SERVICE_UNAVAILABLE"), ComesBack.BY_ITSELF)

REFUSALS = (
    EXPIRED_TOKEN,
    INVALID_TOKEN,
    NO_SERVICE,
    OTHER_IDENTITY,
    THROTTLED,
    NOT_INITIALISED,
    FAULT,
    UNAVAILABLE,
)
