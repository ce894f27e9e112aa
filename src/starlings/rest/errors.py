"""Refusals and faults as HTTP answers: the one translation of ``core.errors``. [rest-api 1.4]

The body has exactly ``code``, ``message``, ``more_info`` and ``status``: with ``type`` and
``title`` besides, newer helper libraries would take it for a problem document and raise another
exception.
"""

from __future__ import annotations

import msgspec

from starlings.core.errors import MORE_INFO_URL, Reason, Refusal, StarlingsError
from starlings.rest.responses import Header, Response

__all__ = ["INTERNAL_FAULT", "render_error"]

_encode = msgspec.json.Encoder().encode
_CHALLENGE: Header = (b"www-authenticate", b'Basic realm="Starlings"')
_CLOSE: Header = (b"connection", b"close")


class _ErrorBody(msgspec.Struct, frozen=True):
    code: int
    message: str
    more_info: str
    status: int


def render_error(error: StarlingsError, *headers: Header) -> Response:
    """The answer that tells a caller why a request had no effect."""
    body = _ErrorBody(
        error.code, error.message, MORE_INFO_URL.format(code=error.code), error.status
    )
    if error.status == 401:
        headers += (_CHALLENGE,)
    if error.reason is Reason.REQUEST_TIMEOUT:
        headers += (_CLOSE,)  # the rest of the body would be taken for the next request
    if isinstance(error, Refusal) and error.retry_after_seconds is not None:
        headers += ((b"retry-after", b"%d" % error.retry_after_seconds),)
    return Response(error.status, _encode(body), headers=headers)


INTERNAL_FAULT = render_error(StarlingsError(Reason.INTERNAL_FAULT))
"""The answer to what nobody foresaw: it tells nothing; the log has the traceback."""
