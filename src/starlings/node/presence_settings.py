"""Which services have presence and on-disconnect actions, and in which Maps.

A service's settings are a Document of the service itself, of a reserved name: so they are durable,
in every backup, in the service's history, and on a cluster their change is an event like any other.
Nobody but the server may write it; REST sets it by ``…/Presence``.
"""

from __future__ import annotations

import msgspec

from starlings.core.objects import Kind, ObjectRef

__all__ = ["SETTINGS_NAME", "KeptMap", "PresenceSettings", "decode_settings", "encode_settings"]

SETTINGS_NAME = "starlings.presence"
"""The unique name of the Document."""


class KeptMap(msgspec.Struct, frozen=True):
    """A Map of the service that the server keeps."""

    unique_name: str
    sid: str

    def ref(self, service_oid: int) -> ObjectRef:
        return ObjectRef(service_oid, Kind.MAP, self.sid)


class PresenceSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """None: the service has no such Map."""

    presence: KeptMap | None = None
    on_disconnect: KeptMap | None = None
    leftovers: tuple[str, ...] = ()
    """SIDs of Maps that served before and are to be removed: a crash may come in between."""

    @property
    def maps(self) -> list[KeptMap]:
        return [one for one in (self.presence, self.on_disconnect) if one is not None]


_decode = msgspec.json.Decoder(PresenceSettings).decode
encode_settings = msgspec.json.Encoder().encode


def decode_settings(data: bytes | None) -> PresenceSettings | None:
    """The settings in a Document's data; None if they can't be read."""
    try:
        return None if data is None else _decode(data)
    except msgspec.MsgspecError:
        return None
