"""What a restore does to event ids, so that those of the lost history are known for what they are.

After a restore the objects are as they were at the backup, and would give out again the ids that
they have given out since. A client that heard of a lost event states an id that says nothing then:
ours may be below it, or have grown past it. So a restore raises the event id of every list, map and
document to a *cut id* above all that was ever given out, and the next event takes the one after
that. A stated id below the newest cut id, of an object at or above it, is from before the cut. An
object that was made since begins at 0 like any other, far below, and no id of it is suspect.

Nothing has to be known of what was lost: the cut id is the time, in milliseconds since 1970, times
``IDS_PER_MILLISECOND``. No object gives out ids as fast as that, so those that it gave out since
some earlier cut, in whichever history made of whichever backup, are below. Ids stay below 2^53,
beyond which JavaScript can't count, until the year 2248.
"""

from __future__ import annotations

__all__ = ["IDS_PER_MILLISECOND", "is_of_lost_history", "make_cut_id"]

IDS_PER_MILLISECOND = 1024


def make_cut_id(now: int, highest_id: int) -> int:
    """The cut id of a restore.

    Args:
        now: Milliseconds since 1970, UTC.
        highest_id: Of all event ids in the backup; matters only if the clock went back.
    """
    return max(now * IDS_PER_MILLISECOND, highest_id + 1)


def is_of_lost_history(stated_id: int, event_id: int, cut_id: int) -> bool:
    """Whether an id that a client states was given out before history was cut.

    Args:
        stated_id: What the client has.
        event_id: What the object has.
        cut_id: The store's newest, 0 if it was never restored.
    """
    is_from_before = 0 < cut_id <= event_id and stated_id < cut_id
    return is_from_before or stated_id > event_id
