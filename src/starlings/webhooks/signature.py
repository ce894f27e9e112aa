"""The signature by which a receiver knows that a request is ours. [rest-api 8.1]"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

__all__ = ["SIGNATURE_HEADER", "sign"]

SIGNATURE_HEADER = "X-Twilio-Signature"


def sign(url: str, parameters: Mapping[str, str], auth_token: str) -> str:
    """The value of the header.

    Args:
        url: Exactly as the service has it, with its query.
        parameters: Unescaped.
    """
    text = url + "".join(name + parameters[name] for name in sorted(parameters))
    # SHA-1 is what the receivers' libraries compute; in an HMAC it is not known to be broken.
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()
