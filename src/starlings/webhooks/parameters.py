"""What a webhook tells: the form parameters of its request. [rest-api 8]"""

from __future__ import annotations

from starlings.core.objects import Service
from starlings.core.webhook_rules import MESSAGE_PUBLISHED, Webhook

__all__ = ["parameters_of"]

_TITLES = {"document": "Document", "list": "List", "map": "Map", "stream": "Stream"}


def parameters_of(webhook: Webhook, service: Service) -> dict[str, str]:
    """The parameters of a delivery. What doesn't exist (a name, data of what was removed) is left
    out rather than sent empty.
    """
    parameters = {
        "AccountSid": service.account_sid,
        "ServiceSid": service.sid,
        "EventType": webhook.type,
        "Identity": webhook.identity,
    }
    if webhook.endpoint is not None:
        parameters["EndpointId"] = webhook.endpoint
    word, _, rest = webhook.type.partition("_")
    title = _TITLES.get(word)
    if title is None:  # reachability: nothing but the common ones
        return parameters
    assert webhook.sid is not None
    parameters[f"{title}Sid"] = webhook.sid
    if webhook.unique_name is not None:
        parameters[f"{title}UniqueName"] = webhook.unique_name
    data = None if webhook.data is None else webhook.data.decode()
    if word == "stream":
        if webhook.type == MESSAGE_PUBLISHED:
            assert data is not None
            parameters["MessageSid"] = str(webhook.key)
            parameters["MessageData"] = data
        return parameters
    if word == "document":
        parameters["DocumentRevision"] = f"{webhook.event_id:x}"
        if data is not None:
            parameters["DocumentData"] = data
        return parameters
    parameters[f"{title}Revision"] = f"{webhook.event_id + 1:x}"
    if rest.startswith("item_"):
        parameters["EventId"] = str(webhook.event_id)
        parameters["ItemIndex" if word == "list" else "ItemKey"] = str(webhook.key)
        parameters["ItemRevision"] = f"{webhook.event_id:x}"
        if data is not None:
            parameters["ItemData"] = data
    return parameters
