"""The rules of services: the tenants that own objects."""

from __future__ import annotations

import re
from typing import TypeVar
from urllib.parse import urlsplit

from starlings.core.commands import (
    CreateService,
    RemoveService,
    ServiceSettings,
    Unset,
    UpdateService,
)
from starlings.core.errors import IdTaken, Reason, Refusal
from starlings.core.limits import Limits
from starlings.core.objects import Service
from starlings.core.rules import get_service
from starlings.core.state import Decision, DropService, ServiceOutcome, State

T = TypeVar("T")

__all__ = ["DEFAULT_NAME", "create_service", "remove_service", "update_service"]

DEFAULT_NAME = "default"
"""The unique name, and alias, of the account's default service. [rest-api 1.6]"""

_NO_HOST = re.compile(r'[\x7f\\%<>"{}|^`]')
"""What a host's name can't have, written as it may be."""


def create_service(state: State, command: CreateService, now: int, limits: Limits) -> Decision:
    """Decide a creation. The default service is made by its first use and does not count against
    the limit.

    Raises:
        Refusal: NAME_TAKEN (the default service exists already), BAD_PARAMETER (too many services,
            bad window), BAD_FRIENDLY_NAME, BAD_WEBHOOK_URL.
        IdTaken: The minted id is in use.
    """
    if command.unique_name is not None:
        if state.find_default_service(command.account_sid) is not None:
            raise Refusal(Reason.NAME_TAKEN)
    elif (
        limits.rates.services is not None
        and state.count_services(command.account_sid) >= limits.rates.services
    ):
        raise Refusal(
            Reason.BAD_PARAMETER,
            f"Too many services: the account may have {limits.rates.services}",
        )
    if state.find_service(command.oid) is not None:
        raise IdTaken
    service = Service(
        command.oid, command.sid, command.account_sid, command.unique_name, None, now, now
    )
    service = _with_settings(service, command.settings, limits)
    return Decision((service,), (), ServiceOutcome(service))


def update_service(state: State, command: UpdateService, now: int, limits: Limits) -> Decision:
    """Decide a change of settings.

    Raises:
        Refusal: SERVICE_NOT_FOUND, NOTHING_TO_UPDATE, BAD_FRIENDLY_NAME, BAD_WEBHOOK_URL,
            BAD_PARAMETER.
    """
    service = get_service(state, command.oid)
    if command.settings == ServiceSettings():
        raise Refusal(Reason.NOTHING_TO_UPDATE)
    service = _with_settings(service, command.settings, limits)._replace(updated_at=now)
    return Decision((service,), (), ServiceOutcome(service))


def remove_service(state: State, command: RemoveService) -> Decision:
    """Decide a removal. Raises Refusal SERVICE_NOT_FOUND."""
    service = get_service(state, command.oid)
    return Decision((DropService(service.oid),), (), ServiceOutcome(service))


def _with_settings(service: Service, settings: ServiceSettings, limits: Limits) -> Service:
    """The service with the given settings replaced, after checking them."""
    name = settings.friendly_name
    if isinstance(name, str) and not 1 <= len(name) <= limits.friendly_name_characters:
        raise Refusal(
            Reason.BAD_FRIENDLY_NAME,
            f"Invalid FriendlyName: expected 1-{limits.friendly_name_characters} characters",
        )
    url = settings.webhook_url
    if isinstance(url, str) and (
        len(url) > limits.webhook_url_characters or not _is_absolute_http(url)
    ):
        raise Refusal(
            Reason.BAD_WEBHOOK_URL,
            f"Invalid WebhookUrl: expected an absolute http or https URL of at most"
            f" {limits.webhook_url_characters} characters",
        )
    window = settings.debouncing_window_ms
    if isinstance(window, int) and not (
        limits.debouncing_window_min_ms <= window <= limits.debouncing_window_max_ms
    ):
        raise Refusal(
            Reason.BAD_PARAMETER,
            f"Invalid ReachabilityDebouncingWindow: expected {limits.debouncing_window_min_ms}-"
            f"{limits.debouncing_window_max_ms} milliseconds",
        )
    return service._replace(
        friendly_name=_given(name, service.friendly_name),
        webhook_url=_given(url, service.webhook_url),
        has_webhooks_from_rest=_given(
            settings.has_webhooks_from_rest, service.has_webhooks_from_rest
        ),
        has_reachability_webhooks=_given(
            settings.has_reachability_webhooks, service.has_reachability_webhooks
        ),
        has_acl=_given(settings.has_acl, service.has_acl),
        has_debouncing=_given(settings.has_debouncing, service.has_debouncing),
        debouncing_window_ms=_given(window, service.debouncing_window_ms),
    )


def _is_absolute_http(url: str) -> bool:
    """True for an http or https URL with a host and, if any, a port that there can be."""
    if any(character.isspace() or ord(character) < 33 for character in url):
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and host is not None
        and _NO_HOST.search(host) is None
        and port != 0
    )


def _given(value: T | Unset, current: T) -> T:
    return current if isinstance(value, Unset) else value
