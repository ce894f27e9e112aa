"""The socket face: what clients of the SDKs are connected to.

From the socket up to the node:

- bytes and frames: ``transport`` (picows in uvicorn's place), ``handshake``, ``frame_reader``,
  ``deflate``, ``outbox`` with ``gatherer``; ``connection`` is what an owner sees of all that.
  ``http`` bounds the requests that share the port.
- one client: ``session`` carries out what ``wire.session`` decides; ``admission`` lets it in by its
  token, ``inbox`` and ``requests`` answer what it asks, ``catchup`` and ``queries`` establish what
  it subscribes to, ``render`` writes bodies and events.
- all clients: ``face``.
"""
