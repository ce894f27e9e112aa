"""What a peer sends, made into messages: fragments, compression, control frames, all within bounds.

picows parses and unmasks frames; ``FrameReader`` is what it hands them to.
"""

from __future__ import annotations

from typing import Protocol

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
)

from starlings.ws.connection import Connection, Listener
from starlings.ws.deflate import Agreement, InflateError, inflate
from starlings.ws.gatherer import FIRST, GATHERED, Gatherer, Peer

__all__ = ["FrameReader"]

_BINARY = WSMsgType.BINARY

# Those of the IANA's list that an endpoint may send; from 3000 on they are the applications'.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

# Of a client's frame of 126 to 65,535 bytes, mask included. (RFC 6455 section 5.2)
_FRAME_HEAD_BYTES = 8


class _ServerProtocol(Peer, Protocol):
    """``transport.ServerProtocol``, which the frames come from, as their reader needs it."""

    acknowledgements_until_noted: int
    messages_received: int

    @property
    def agreement(self) -> Agreement | None: ...

    @property
    def is_closing(self) -> bool:
        """Whether only the peer's close frame is still of interest."""

    @property
    def max_message_bytes(self) -> int: ...

    def make_connection(self) -> Connection: ...

    def send_pong(self, payload: bytes) -> None: ...

    def answer_close(self, code: int) -> None:
        """The peer has sent a close frame; 1005 if it gave no code."""

    def ended(self) -> tuple[int | None, str]:
        """Code and reason for ``Listener.on_close``."""


class FrameReader(WSListener):
    """Makes messages of frames and answers control frames. (RFC 6455 sections 5.4 and 5.5)"""

    __slots__ = (
        "_fragments",
        "_fragments_bytes",
        "_gatherer",
        "_is_compressed",
        "_is_text",
        "_protocol",
        "listener",
        "on_message",
    )

    def __init__(self, protocol: _ServerProtocol, listener: Listener, gatherer: Gatherer) -> None:
        self.listener = listener
        self.on_message = listener.on_message
        self._protocol = protocol
        self._gatherer = gatherer
        # None between messages. Of a text message only the length is kept.
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._is_compressed = False
        self._is_text = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.listener.on_open(self._protocol.make_connection())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        protocol = self._protocol
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._take_compressed(frame, kind)
        elif kind is _BINARY and frame.fin and self._fragments is None and not protocol.is_closing:
            # First, because nearly all frames are whole messages.
            data = frame.get_payload_as_bytes()
            protocol.messages_received += 1
            if self.on_message(data):
                protocol.acknowledgements_until_noted -= 1
                if protocol.acknowledgements_until_noted <= 0:
                    protocol.acknowledgements_until_noted = GATHERED
                    self._gatherer.note_acknowledgement(protocol, len(data) + _FRAME_HEAD_BYTES)
            else:
                self._note_other()
        elif kind == WSMsgType.CLOSE:
            self._take_close(frame)
        elif protocol.is_closing:
            return
        elif kind == WSMsgType.PING:
            protocol.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PONG:
            return
        else:
            self._take_fragment(frame, kind)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.listener.on_close(*self._protocol.ended())

    def let_go(self) -> None:
        """Nothing comes any more."""
        del self._protocol, self.listener, self.on_message

    def pause_writing(self) -> None:
        """Not used: ``ServerProtocol`` takes this call itself."""

    def resume_writing(self) -> None:
        """Not used: ``ServerProtocol`` takes this call itself."""

    def _take_close(self, frame: WSFrame) -> None:
        """Some codes are never sent, others have no meaning. (RFC 6455 section 7.4)"""
        code = int(frame.get_close_code()) if frame.payload_size else 1005  # type: ignore[call-overload]
        is_allowed = code in _CLOSE_CODES or 3000 <= code < 5000 or not frame.payload_size
        if not is_allowed and not self._protocol.is_closing:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "invalid close code")
        self._protocol.answer_close(code)

    def _take_compressed(self, frame: WSFrame, kind: WSMsgType) -> None:
        """Take the first frame of a compressed message, or what has no meaning. (RFC 7692 6)"""
        is_first = kind in (WSMsgType.BINARY, WSMsgType.TEXT)
        if self._protocol.agreement is None or not is_first or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "reserved bits without an extension")
        if not self._protocol.is_closing:
            self._take_fragment(frame, kind)

    def _take_fragment(self, frame: WSFrame, kind: WSMsgType) -> None:
        if kind == WSMsgType.CONTINUATION:
            if self._fragments is None:
                raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "continuation of nothing")
        elif self._fragments is not None:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "message within a message")
        else:
            self._fragments, self._fragments_bytes = [], 0
            self._is_compressed = bool(frame.rsv1)
            self._is_text = kind == WSMsgType.TEXT
        self._fragments_bytes += frame.payload_size
        if self._fragments_bytes > self._protocol.max_message_bytes:
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, "message too big")
        # Without the empty ones, of which a message may have any number within its bound.
        if frame.payload_size and not self._is_text:
            self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            self._finish_message(self._fragments)

    def _finish_message(self, fragments: list[bytes]) -> None:
        self._fragments = None
        self._protocol.messages_received += 1
        if self._is_text:
            self.listener.on_text()
        else:
            data = b"".join(fragments)
            self.listener.on_message(self._inflate(data) if self._is_compressed else data)
        self._note_other()

    def _note_other(self) -> None:
        """The peer has said something else than acknowledgements."""
        self._gatherer.release(self._protocol)
        self._protocol.acknowledgements_until_noted = FIRST

    def _inflate(self, payload: bytes) -> bytes:
        try:
            return inflate(payload, self._protocol.max_message_bytes)
        except InflateError as error:
            raise WSProtocolError(WSCloseCode(error.close_code), str(error)) from error
