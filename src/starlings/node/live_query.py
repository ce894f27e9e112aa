"""The result of one query, kept up to date by the events of its Map.

Theory of operation. Everybody who asks the same of the same Map shares one ``LiveQuery``: an event
is evaluated once for it, and encoded once. An ``Index`` hears the Map's events from the hub and
hands each to the live queries on it, so an event costs as many evaluations as there are different
queries on its Map, however many sessions follow them::

    LOADING --load()--> LIVE --a gap in the event ids--> LOADING        any --end()--> ENDED

The members are read page by page while events go on. Those heard meanwhile are kept by key, the
newest of each; ``load`` lays them over what was read, and for each key the higher event id wins.
Thus no lock is needed, and nothing is missed between the reading and the first live event.

*Holders* keep a live query alive and hear when it ends; *listeners* get its frames. Whoever takes
up the result and begins to listen in one step without waiting misses nothing and sees nothing
twice.

An event that takes much work (many queries, large data) waits in the index, as do those behind it,
and is evaluated in ``step``s, between which others have their turn. Live queries then lag behind,
which is as if the news had come late. If too many events wait, those that waited for longest are
dropped: a gap, mended as every other.

No I/O, no clock: every interleaving is a plain test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple, Protocol

import msgspec

from starlings.core.errors import Reason, Refusal
from starlings.core.events import Event, EventType
from starlings.core.objects import Item
from starlings.core.query import Query, format_query, sort_arrays
from starlings.node.hub import Delivery, MessageDelivery

__all__ = [
    "MOST_HELD_KEYS",
    "MOST_WAITING_EVENTS",
    "STEP_WORK",
    "Allowance",
    "Index",
    "LiveQuery",
    "Member",
    "Phase",
    "QueryEncoder",
    "QueryHolder",
    "cost_of",
    "decode_data",
    "too_large",
    "work_of",
]

MOST_HELD_KEYS = 50_000
"""Different keys whose events are kept while the members are read; more start the reading anew."""

MOST_WAITING_EVENTS = 1_000
"""Of one Map; of data there are at most as many times 16 KiB."""

STEP_WORK = 256 * 1024
"""Done in one go, as ``work_of`` counts: some milliseconds' worth, then others have their turn."""

_ITEM_BYTES = 256
"""Added for each item that is looked at, however small."""

_MEMBER_BYTES = 64
"""What a member costs beside its key and data, in JSON and in memory about the same."""

_decode = msgspec.json.Decoder().decode


class Member(NamedTuple):
    """An item of a result."""

    data: bytes
    event_id: int
    """The event that last changed it: its revision for clients, a number that only grows."""


class QueryEncoder(Protocol):
    """Makes the frames of a live query, the same for every session."""

    def encode_item_updated(self, query_id: str, key: str, member: Member) -> bytes: ...

    def encode_item_removed(self, query_id: str, key: str, event_id: int) -> bytes: ...

    def encode_result(
        self, query_id: str, members: Iterable[tuple[str, Member]], event_id: int
    ) -> bytes: ...


class QueryHolder(Protocol):
    """One session's interest in a live query."""

    def send(self, frame: bytes) -> None:
        """A change of the result. Only listeners get it."""

    def on_permission(self, identity: str) -> None:
        """Somebody's permission to the Map has changed."""

    def on_ended(self, refusal: Refusal) -> None:
        """There is nothing more to come, and why."""


class Allowance:
    """The bytes that the results of all live queries together may take."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def has_room_for(self, size: int) -> bool:
        return self.used + size <= self.most


class Phase(Enum):
    """Of a live query: see the head of this module."""

    LOADING = "loading"
    LIVE = "live"
    ENDED = "ended"


class _Heard(NamedTuple):
    """The newest event of a key while the members are read; ``member`` None: it is no member."""

    event_id: int
    member: Member | None


class LiveQuery:
    """One query on one Map, shared by all sessions that ask it.

    Args:
        oid: Of the Map.
        most_bytes: What the result may take, as ``cost_of`` counts. Beyond it the query ends.
        on_gap: Called when events were lost: the members must be read anew.
    """

    def __init__(
        self,
        query_id: str,
        oid: int,
        query: Query,
        encoder: QueryEncoder,
        most_bytes: int,
        allowance: Allowance,
        on_gap: Callable[[LiveQuery], None],
    ) -> None:
        self.id = query_id
        self.oid = oid
        self.query = query
        self.comparisons = query.comparisons
        self.form = format_query(query)
        """The normal form, by which equal queries find together."""
        self.phase = Phase.LOADING
        self.event_id = -1
        """The newest event of the Map that the result takes into account."""
        self.changed_id = -1
        """The newest event that changed the result, as far as known: from there on nothing did.
        Beyond ``event_id`` while the result is ahead of its events.
        """
        self.members: dict[str, Member] = {}
        self.holders: dict[QueryHolder, None] = {}
        self._listeners: dict[QueryHolder, None] = {}
        self._encoder = encoder
        self._most_bytes = most_bytes
        self._allowance = allowance
        self._on_gap = on_gap
        self._size = 0
        self._heard: dict[str, _Heard] = {}
        self._first_heard: int | None = None
        self._last_heard: int | None = None
        self._has_missed = False
        self._result_frame: bytes | None = None

    @property
    def is_loaded(self) -> bool:
        return self.phase is Phase.LIVE

    @property
    def result_frame(self) -> bytes:
        """``live_query_updated`` with the whole result, made once for each event id."""
        if self._result_frame is None:
            self._result_frame = self._encoder.encode_result(
                self.id, self.members.items(), self.event_id
            )
        return self._result_frame

    def misses_nothing_since(self, event_id: int) -> bool:
        """True if a client that has the result as of ``event_id`` has the present one."""
        return self.changed_id <= event_id <= self.event_id

    def listen(self, holder: QueryHolder) -> None:
        """Have a holder get every change from now on."""
        assert holder in self.holders
        self._listeners[holder] = None

    def release(self, holder: QueryHolder) -> None:
        """The opposite of holding, and of listening."""
        self.holders.pop(holder, None)
        self._listeners.pop(holder, None)

    # Reading the members

    def load(self, event_id: int, items: Iterable[Item], seen_id: int = -1) -> bool:
        """Take over the matching items that were read, and lay what was heard meanwhile over them.

        Args:
            event_id: The Map's newest event when the reading began. Each item is as of that event
                or of a later one.
            seen_id: The newest event that any of the items may know of. If it is a later one, the
                result is ahead of its own events. Those are not told again to those who have it, so
                a client with an older result needs this one, even if it knows event ``event_id``.

        Returns:
            False if events were missed meanwhile: read once more.

        Raises:
            Refusal: The result is too large.
        """
        last_heard = self._last_heard
        if self._has_missed or (self._first_heard or 0) > event_id + 1:
            self._begin_loading()
            return False
        members = {str(item.key): Member(item.data, item.event_id) for item in items}
        for key, heard in self._heard.items():
            if heard.event_id <= event_id:
                continue  # old news: the reading began after it
            read = members.get(key)
            if read is not None and read.event_id >= heard.event_id:
                continue
            if heard.member is not None:
                members[key] = heard.member
            elif read is not None:
                del members[key]
        size = sum(cost_of(key, member.data) for key, member in members.items())
        if not self._fits(size - self._size, size):
            raise too_large(self._most_bytes)
        was_told = bool(self._listeners)
        self._resize(size)
        self.members = members
        self.event_id = event_id if last_heard is None else max(event_id, last_heard)
        self.changed_id = max(self.event_id, seen_id)
        self.phase = Phase.LIVE
        self._heard = {}
        self._result_frame = None
        if was_told:
            self._tell(self.result_frame)
        return True

    def _begin_loading(self) -> None:
        self.phase = Phase.LOADING
        self._heard = {}
        self._first_heard = self._last_heard = None
        self._has_missed = False

    # From the index

    def hear(self, event: Event, data: object) -> None:
        """An event that changed an item; ``data`` are its data, decoded."""
        if self.phase is Phase.LOADING:
            self._keep(event, data)
        elif self.phase is Phase.LIVE and event.event_id > self.event_id:
            if event.event_id == self.event_id + 1:
                self.event_id = event.event_id
                self._result_frame = None
                self._apply(str(event.key), event, data)
            else:
                self._begin_loading()
                self._keep(event, data)
                self._on_gap(self)

    def clear(self) -> None:
        """The Map is gone, and all its items with it."""
        self.members = {}
        self._result_frame = None
        self._tell_lazily(lambda: self.result_frame)

    def end(self, refusal: Refusal) -> None:
        """Tell every holder that nothing comes any more. What they have stays as it is."""
        if self.phase is Phase.ENDED:
            return
        self.phase = Phase.ENDED
        self.members = {}
        self._resize(0)
        self._heard = {}
        self._result_frame = None
        for holder in list(self.holders):
            holder.on_ended(refusal)
        self.holders.clear()
        self._listeners.clear()

    def _keep(self, event: Event, data: object) -> None:
        if self._last_heard is not None and event.event_id != self._last_heard + 1:
            self._has_missed = True
        if len(self._heard) >= MOST_HELD_KEYS:
            self._has_missed = True
            self._heard = {}
        if self._first_heard is None:
            self._first_heard = event.event_id
        self._last_heard = event.event_id
        key = str(event.key)
        member = self._member_of(key, event, data)
        self._heard[key] = _Heard(event.event_id, member)

    def _apply(self, key: str, event: Event, data: object) -> None:
        before = self.members.get(key)
        if before is not None and before.event_id >= event.event_id:
            return  # the reading was ahead of the news
        member = self._member_of(key, event, data)
        if member is None and before is None:
            return
        self.changed_id = event.event_id
        cost_before = 0 if before is None else cost_of(key, before.data)
        if member is None:
            del self.members[key]
            self._resize(self._size - cost_before)
            self._tell_lazily(
                lambda: self._encoder.encode_item_removed(self.id, key, event.event_id)
            )
            return
        change = cost_of(key, member.data) - cost_before
        if change > 0 and not self._fits(change, self._size + change):
            self.end(too_large(self._most_bytes))
            return
        self.members[key] = member
        self._resize(self._size + change)
        self._tell_lazily(lambda: self._encoder.encode_item_updated(self.id, key, member))

    def _member_of(self, key: str, event: Event, data: object) -> Member | None:
        """What an item is for the result after an event; None: no member."""
        if event.type is EventType.ITEM_REMOVED or not self.query.matches(key, data):
            return None
        return Member(event.data or b"{}", event.event_id)

    # Bounds, and telling

    def _fits(self, change: int, size: int) -> bool:
        return size <= self._most_bytes and self._allowance.has_room_for(change)

    def _resize(self, size: int) -> None:
        self._allowance.used += size - self._size
        self._size = size

    def _tell_lazily(self, encode: Callable[[], bytes]) -> None:
        if self._listeners:
            self._tell(encode())

    def _tell(self, frame: bytes) -> None:
        for listener in list(self._listeners):
            listener.send(frame)


class Index:
    """The live queries on one Map. Implements ``hub.Listener``.

    Args:
        on_removed: Called after the Map was removed, when all its queries have ended.
        on_work: Called when events begin to wait: then ``step`` is to be called until it says no.
    """

    def __init__(
        self,
        oid: int,
        on_removed: Callable[[Index], None],
        on_work: Callable[[Index], None],
    ) -> None:
        self.oid = oid
        self.queries: dict[str, LiveQuery] = {}
        """By normal form."""
        self._on_removed = on_removed
        self._on_work = on_work
        self._waiting: deque[Event] = deque()
        """The first one is being evaluated, by those that are ..."""
        self._asked: deque[LiveQuery] = deque()
        """... still to be asked."""
        self._data: object = None
        """Its data, decoded."""
        self._is_working = False

    def hear(self, delivery: Delivery) -> None:
        event = delivery.event
        match event.type:
            case EventType.ITEM_ADDED | EventType.ITEM_UPDATED | EventType.ITEM_REMOVED:
                self._hear_item(event)
            case EventType.OBJECT_REMOVED:
                self._waiting.clear()
                self._asked.clear()
                for query in list(self.queries.values()):
                    query.clear()
                    query.end(Refusal(Reason.QUERY_INDEX_NOT_FOUND))
                self._on_removed(self)
            case EventType.PERMISSION_SET | EventType.PERMISSION_REMOVED:
                for query in list(self.queries.values()):
                    for holder in list(query.holders):
                        holder.on_permission(str(event.key))
            case _:
                pass

    def hear_message(self, delivery: MessageDelivery) -> None:
        """Maps have no messages."""

    def step(self) -> bool:
        """Evaluate some of what waits; False: nothing waits any more."""
        work = 0
        self._is_working = False  # should a query fail, the next event goes on with the rest
        while self._waiting and work < STEP_WORK:
            event = self._waiting[0]
            if self._asked:
                query = self._asked.popleft()
                work += work_of(event.data, query.comparisons)
                query.hear(event, self._data)
            if not self._asked and self._waiting:
                self._waiting.popleft()
                self._begin_event()
        self._is_working = bool(self._waiting)
        return self._is_working

    def _hear_item(self, event: Event) -> None:
        self._waiting.append(event)
        if len(self._waiting) == 1:
            self._begin_event()
        elif len(self._waiting) > MOST_WAITING_EVENTS:
            # Not the first, of which some know already: the second, so that all see a gap.
            del self._waiting[1]
        if not self._is_working and self.step():
            self._on_work(self)

    def _begin_event(self) -> None:
        """Ask all queries of now about the event that is first."""
        if self._waiting:
            event = self._waiting[0]
            is_removal = event.type is EventType.ITEM_REMOVED
            self._data = None if is_removal else decode_data(event.data or b"{}")
            self._asked = deque(self.queries.values())


def work_of(data: bytes | None, comparisons: int) -> int:
    """What it takes to say whether an item matches: its bytes, for each comparison."""
    return (len(data or b"") + _ITEM_BYTES) * (1 + comparisons)


def decode_data(data: bytes) -> object:
    """Data as ``Query.matches`` wants them."""
    return sort_arrays(_decode(data)) if b"[" in data else _decode(data)


def cost_of(key: str, data: bytes) -> int:
    """What a member takes of the bounds, in bytes: about its share of the encoded result."""
    return len(key.encode()) + len(data) + _MEMBER_BYTES


def too_large(most_bytes: int) -> Refusal:
    """The refusal of a result that its own bound, or the allowance for all, has no room for."""
    return Refusal(
        Reason.DATA_TOO_LARGE,
        f"The result of the query is too large: more than {most_bytes} bytes in all its items,"
        " or no room for it; narrow the query",
    )
