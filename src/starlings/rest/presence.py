"""Presence and on-disconnect actions of a service: whether, and in which Maps. Ours; the documented
API has none.
"""

from __future__ import annotations

from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Service
from starlings.node.presence_keeper import PresenceKeeper, window_of
from starlings.node.presence_settings import KeptMap, PresenceSettings
from starlings.rest.forms import Form
from starlings.rest.parameters import get_flag, get_text
from starlings.rest.render import encode
from starlings.rest.requests import Request
from starlings.rest.responses import Response

__all__ = ["DEFAULT_ON_DISCONNECT", "DEFAULT_PRESENCE", "fetch_presence", "update_presence"]

DEFAULT_PRESENCE = "presence"
DEFAULT_ON_DISCONNECT = "on-disconnect"


async def fetch_presence(request: Request, name: str) -> Response:
    keeper = _get_keeper(request)
    service = await request.node.get_service(request.account_sid, name)
    return Response(200, encode(_render(request, service, keeper.settings_of(service))))


async def update_presence(request: Request, name: str) -> Response:
    keeper = _get_keeper(request)
    service = await request.node.get_service(request.account_sid, name)
    form = await request.read_form()
    before = keeper.settings_of(service)
    wanted = (
        _wanted_name(form, "Enabled", "MapUniqueName", before.presence, DEFAULT_PRESENCE),
        _wanted_name(
            form,
            "OnDisconnectEnabled",
            "OnDisconnectMapUniqueName",
            before.on_disconnect,
            DEFAULT_ON_DISCONNECT,
        ),
    )
    if not form.keys() & _FIELDS:
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    settings = await keeper.configure(service, *wanted)
    return Response(200, encode(_render(request, service, settings)))


_FIELDS = {"Enabled", "MapUniqueName", "OnDisconnectEnabled", "OnDisconnectMapUniqueName"}


def _get_keeper(request: Request) -> PresenceKeeper:
    """Raises Refusal UNKNOWN_PATH: this server has no socket face, so nobody is ever present."""
    keeper = request.node.guard
    if not isinstance(keeper, PresenceKeeper):
        raise Refusal(Reason.UNKNOWN_PATH)
    return keeper


def _wanted_name(
    form: Form, flag_field: str, name_field: str, before: KeptMap | None, default: str
) -> str | None:
    """The Map's name after this request; None: off. What isn't given stays as it is.

    Raises:
        Refusal: BAD_PARAMETER (also for the name of what is off and stays so), BAD_NAME.
    """
    flag = get_flag(form, flag_field)
    name = get_text(form, name_field, Reason.BAD_NAME)
    is_on = flag if flag is not None else before is not None
    if not is_on:
        if name is not None:
            raise Refusal(Reason.BAD_PARAMETER, f"Invalid {name_field}: needs {flag_field}=true")
        return None
    return name if name is not None else default if before is None else before.unique_name


def _render(request: Request, service: Service, settings: PresenceSettings) -> dict[str, object]:
    presence, on_disconnect = settings.presence, settings.on_disconnect
    return {
        "account_sid": service.account_sid,
        "service_sid": service.sid,
        "enabled": presence is not None,
        "map_unique_name": None if presence is None else presence.unique_name,
        "map_sid": None if presence is None else presence.sid,
        "on_disconnect_enabled": on_disconnect is not None,
        "on_disconnect_map_unique_name": (
            None if on_disconnect is None else on_disconnect.unique_name
        ),
        "on_disconnect_map_sid": None if on_disconnect is None else on_disconnect.sid,
        "window": round(window_of(service) * 1000),
        "url": f"{request.base_url}/v1/Services/{service.sid}/Presence",
    }
