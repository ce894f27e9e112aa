"""Short words for the tests of catching up."""

from __future__ import annotations

from typing import Any

from starlings.core.objects import Kind, ObjectRef
from tests.ws.sessions import World

__all__ = ["a_map", "completed", "told"]

Events = list[dict[str, Any]]


def told(events: Events) -> list[tuple[str, Any]]:
    """Type and event id, or type and the entries' (SID, status, last event id)."""
    found: list[tuple[str, Any]] = []
    for one in events:
        if "event" in one:
            found.append((one["event_type"], one["event"].get("id")))
        else:
            found += [
                (one["event_type"], (entry.get("replay_status"), entry.get("last_event_id")))
                for entry in one["events"]
            ]
    return found


def completed(last_id: int | None) -> tuple[str, Any]:
    return ("subscription_established", ("completed", last_id))


async def a_map(world: World, items: int) -> tuple[str, ObjectRef]:
    sid, ref = await world.create(Kind.MAP)
    for number in range(items):
        await world.put(ref, f"k{number}")
    return sid, ref
