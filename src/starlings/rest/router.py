"""Finding the handler of a path.

Paths are matched as they were sent: split at every ``/``, then each segment is percent-decoded
exactly once. So ``%2F`` stays inside a segment, where clients put names and keys with slashes, and
``+`` is a literal plus. [rest-api 1.1] That is why this is not the framework's router, which
decodes the whole path first and tries one pattern after the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

from starlings.core.errors import Reason, Refusal
from starlings.rest.responses import Response

__all__ = ["Handler", "Router", "Stop"]

Handler = Callable[..., Awaitable[Response]]
"""Takes the ``Request`` and one text for each captured segment."""

_CAPTURE = "*"


class Stop:
    """A place that paths lead to: its handlers by method, none where a path only passes through."""

    __slots__ = ("_capture", "_literals", "handlers")

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self._literals: dict[str, Stop] = {}
        self._capture: Stop | None = None

    @property
    def methods(self) -> list[str]:
        """What may be asked for here, as the Allow header lists it."""
        own = set(self.handlers)
        return sorted(own | {"OPTIONS"} | ({"HEAD"} if "GET" in own else set()))

    def _find(self, segment: str) -> tuple[Stop | None, bool]:
        """The next stop, and whether it captures the segment."""
        literal = self._literals.get(segment)
        if literal is not None:
            return literal, False
        return (self._capture, True) if segment else (None, False)

    def _grow(self, segment: str) -> Stop:
        if segment != _CAPTURE:
            return self._literals.setdefault(segment, Stop())
        if self._capture is None:
            self._capture = Stop()
        return self._capture


class Router:
    """Handlers by method and path. Filled once, at the start."""

    def __init__(self) -> None:
        self._root = Stop()

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        """Have ``handler`` answer a method on a pattern; ``*`` is any non-empty segment."""
        stop = self._root
        for segment in pattern.split("/")[1:]:
            stop = stop._grow(segment)
        assert method not in stop.handlers, f"{method} {pattern} has a handler already"
        stop.handlers[method] = handler

    def find(self, raw_path: bytes) -> tuple[Stop, list[str]]:
        """Where a path leads, and the segments captured on it. A trailing slash changes nothing.

        Args:
            raw_path: As sent, without the query.

        Raises:
            Refusal: UNKNOWN_PATH; BAD_PARAMETER for a segment that is not UTF-8.
        """
        try:
            segments = raw_path.decode().split("/")
            if b"%" in raw_path:
                segments = [
                    unquote_to_bytes(segment).decode() if "%" in segment else segment
                    for segment in segments
                ]
        except UnicodeDecodeError as error:
            raise Refusal(Reason.BAD_PARAMETER, "Invalid path: not valid UTF-8") from error
        if segments[-1] == "" and raw_path.endswith(b"/"):
            segments.pop()
        if not segments or segments[0] != "":
            raise Refusal(Reason.UNKNOWN_PATH)
        stop: Stop | None = self._root
        captured: list[str] = []
        for segment in segments[1:]:
            assert stop is not None
            stop, is_captured = stop._find(segment)
            if stop is None:
                raise Refusal(Reason.UNKNOWN_PATH)
            if is_captured:
                captured.append(segment)
        assert stop is not None
        if not stop.handlers:
            raise Refusal(Reason.UNKNOWN_PATH)
        return stop, captured
