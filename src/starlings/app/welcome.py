"""The page at ``/``: what somebody sees who opens the printed address in a browser.

It says what this is and where to go on, and nothing of this server: not its version, nor whether
anything is stored. It loads nothing, neither from here nor from elsewhere.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CONTENT_TYPE", "HEADERS", "PAGE"]

CONTENT_TYPE: Final = "text/html; charset=utf-8"
HEADERS: Final = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]

# The icon is there, and empty, so that the browser asks for none: that path wants a password.
PAGE: Final = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Starlings</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 12vh auto 4rem; }
body { padding: 0 1.5rem; }
h1 { font-size: 1.4rem; font-weight: 600; }
dl { margin: 1.5rem 0; }
dd { margin: 0 0 .8rem; }
code { font: .95em ui-monospace, monospace; }
</style>
</head>
<body>
<h1>Starlings is running</h1>
<p>This is a server for programs: state that is kept in sync in real time, with the API of Twilio
Sync. There is nothing to log in to here.</p>
<dl>
<dt><code>/v1/Services/default</code></dt>
<dd>REST, with an account SID and its auth token, or an API key and its secret</dd>
<dt><code>/v3/wsconnect</code></dt>
<dd>WebSocket, for the client SDKs</dd>
<dt><code>/healthz</code>, <code>/readyz</code>, <code>/metrics</code></dt>
<dd>For those who look after this server</dd>
</dl>
<p>The first start wrote credentials into <code>credentials.json</code> in the data directory,
unless it was given some.</p>
</body>
</html>
"""
