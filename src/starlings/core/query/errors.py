"""Why a query text is refused.

- ``QueryError``
    - ``QuerySyntaxError`` (54507)
    - ``TooManyOperators`` (54509)
    - ``ArrayTooLong`` (54510)

These know nothing of HTTP or sessions; the caller maps ``code`` to a refusal. Messages never
repeat the query, which may hold personal data.
"""

from typing import ClassVar

__all__ = ["ArrayTooLong", "QueryError", "QuerySyntaxError", "TooManyOperators"]


class QueryError(Exception):
    """A query text that cannot be run.

    ``code`` is the published error code, ``position`` the number of characters before the offending
    one, ``message`` one sentence without the position.
    """

    code: ClassVar[int]

    def __init__(self, position: int, message: str) -> None:
        super().__init__(position, message)
        self.position = position
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} (at character {self.position})"


class QuerySyntaxError(QueryError):
    """The text is not a query, is too long or nests too deeply."""

    code = 54507


class TooManyOperators(QueryError):
    """The query has more comparisons and connectives than ``MAX_OPERATORS``."""

    code = 54509


class ArrayTooLong(QueryError):
    """An array in the query has more items than ``MAX_ARRAY_ITEMS``."""

    code = 54510
