"""Tunnelled requests: from a method and a path to a call of the node, and back to a status and a
body. [wire-protocol 6]

The same rules, limits and errors as over REST: this is only another way to write them down. Bodies
are JSON; those of GET and DELETE are ignored, whatever they are. [trap 5]
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from starlings.core import commands as c
from starlings.core.errors import Reason, Refusal
from starlings.core.objects import Actor, Item, ItemKey, ObjectRef, Service, SyncObject
from starlings.core.objects import Kind as ObjectKind
from starlings.core.rules import parse_if_match
from starlings.node.data import normalise_data, refuse_malformed
from starlings.node.node import Node
from starlings.node.pages import Page
from starlings.node.repeats import Answer
from starlings.wire.messages import Request, first_value
from starlings.wire.paths import (
    BadQuery,
    Kind,
    NoRoute,
    Operation,
    Route,
    parse_page_query,
    parse_target,
)
from starlings.ws import render

__all__ = ["Caller", "Reader", "RequestHandler", "is_change"]

_KINDS = {
    Kind.DOCUMENT: ObjectKind.DOCUMENT,
    Kind.LIST: ObjectKind.LIST,
    Kind.MAP: ObjectKind.MAP,
    Kind.STREAM: ObjectKind.STREAM,
}
_DATA_MISSING = {
    Kind.DOCUMENT: Reason.DOCUMENT_DATA_MISSING,
    Kind.LIST: Reason.LIST_ITEM_DATA_MISSING,
    Kind.MAP: Reason.MAP_ITEM_DATA_MISSING,
    Kind.STREAM: Reason.MESSAGE_DATA_MISSING,
}
_ITEM_MISSING = {
    Kind.LIST: Reason.LIST_ITEM_NOT_FOUND,
    Kind.MAP: Reason.MAP_ITEM_NOT_FOUND,
}
_MOST_INCLUDED = 100
_FIELDS_BYTES = 2048
"""Of an object or an item without its data; hardly ever more than half of it."""


class Caller(NamedTuple):
    """Who asks: one session."""

    service: Service
    actor: Actor


_ABSENT = msgspec.Raw(b"")


class _Body(msgspec.Struct):
    """The fields of all bodies that change something."""

    data: msgspec.Raw = _ABSENT
    ttl: int | None = None
    unique_name: str | None = None
    key: str | None = None
    context: msgspec.Raw = _ABSENT


_decode_body = msgspec.json.Decoder(_Body).decode
_NO_BODY = _Body()


class Reader(Protocol):
    """Who keeps in mind what a session has read; ``holds.Holds`` does."""

    def note_open(self, target: SyncObject) -> None:
        """An object is being opened: the client makes anew what it keeps of it."""

    def note_read(self, target: SyncObject) -> None:
        """A list or map, as it is just before its items are read."""


class _Call(NamedTuple):
    """A request taken apart."""

    caller: Caller
    kind: Kind
    ref: ObjectRef
    key: ItemKey | None
    body: _Body
    request: Request
    request_id: str | None
    reader: Reader

    @property
    def actor(self) -> Actor:
        return self.caller.actor


def is_change(request: Request) -> bool:
    """True for requests that must not be carried out twice."""
    return request.http_request.method != "GET"


class RequestHandler:
    """Answers tunnelled requests, but for subscriptions and searches, which are the session's."""

    def __init__(self, node: Node, base: str) -> None:
        self._node = node
        self._base = base
        self._handlers: dict[Operation, Callable[[_Call], Awaitable[Answer]]] = {
            Operation.READ: self._read,
            Operation.CREATE: self._create,
            Operation.UPDATE: self._update,
            Operation.REMOVE: self._remove,
            Operation.READ_ITEMS: self._read_items,
            Operation.READ_ITEM: self._read_item,
            Operation.ADD_ITEM: self._add_item,
            Operation.PUT_ITEM: self._put_item,
            Operation.UPDATE_ITEM: self._update_item,
            Operation.REMOVE_ITEM: self._remove_item,
            Operation.READ_CONTEXT: self._read_context,
            Operation.PUBLISH: self._publish,
        }

    def most_reply_bytes(self, request: Request) -> int:
        """How large the reply may become, about; it only is if the objects are as large as may be.

        At most as much as a page, whatever the limits are.
        """
        http = request.http_request
        if is_change(request):
            return _FIELDS_BYTES
        params = http.params or {}
        is_one = "Key" in params or "Index" in params
        if "Include" in params or (http.path.endswith("/Items") and not is_one):
            return render.PAGE_BYTES
        return min(self._node.limits.data_bytes + _FIELDS_BYTES, render.PAGE_BYTES)

    def route(self, request: Request, caller: Caller) -> Route:
        """What a request is about.

        Raises:
            Refusal: UNKNOWN_PATH, METHOD_NOT_ALLOWED, SERVICE_NOT_FOUND (not the session's
                service).
        """
        target = parse_target(request.http_request.method, request.http_request.path)
        if isinstance(target, NoRoute):
            reason = Reason.METHOD_NOT_ALLOWED if target.status == 405 else Reason.UNKNOWN_PATH
            if target.status == 400:
                reason = Reason.BAD_PARAMETER
            raise Refusal(reason, target.message)
        if target.service not in (None, caller.service.sid, caller.service.unique_name):
            raise Refusal(Reason.SERVICE_NOT_FOUND, "The token is for another service")
        return target

    async def answer(
        self,
        request: Request,
        route: Route,
        caller: Caller,
        request_id: str | None,
        reader: Reader,
    ) -> Answer:
        """Carry out a request.

        Args:
            request_id: Is told with the events that it causes.

        Raises:
            Refusal, Fault: To be rendered by the session.
        """
        if route.kind is Kind.CONFIGURATION:
            return Answer(200, render.render_configuration(self._base, caller.service.sid))
        kind = _KINDS[route.kind]
        key: ItemKey | None = route.key
        if key is not None and kind is ObjectKind.LIST:
            key = int(key)
        call = _Call(
            caller,
            route.kind,
            ObjectRef(caller.service.oid, kind, route.object_ref or ""),
            key,
            _read_body(request),
            request,
            request_id,
            reader,
        )
        return await self._handlers[route.operation](call)

    # Objects

    async def _read(self, call: _Call) -> Answer:
        target = await self._node.read_object(call.ref, call.actor)
        call.reader.note_open(target)
        items: list[Item] | None = None
        include = call.request.http_request.params or {}
        if call.kind is Kind.MAP and first_value(include.get("Include", "")) == "items":
            items = await self._node.list_items(target, None, True, False, _MOST_INCLUDED)
            await self._node.check_still(target, call.actor)
        return Answer(200, self._render(call, target, with_data=True, items=items))

    async def _create(self, call: _Call) -> Answer:
        text = call.body.context if call.kind is Kind.LIST else call.body.data
        data = None
        if text and call.kind in (Kind.DOCUMENT, Kind.LIST):
            data = self._normalise(call, text)
        outcome = await self._node.create_object(
            call.caller.service,
            _KINDS[call.kind],
            call.body.unique_name,
            data,
            call.body.ttl,
            call.actor,
            call.request_id,
        )
        call.reader.note_open(outcome.object)
        return Answer(201, self._render(call, outcome.object))

    async def _update(self, call: _Call) -> Answer:
        if call.kind is Kind.DOCUMENT:
            data = self._normalise(call, call.body.data) if call.body.data else None
            outcome = await self._node.execute_on_object(
                c.UpdateDocument(
                    call.ref, data, call.body.ttl, _if_match(call), call.actor, call.request_id
                )
            )
        elif call.body.ttl is None:
            raise Refusal(Reason.NOTHING_TO_UPDATE)
        else:
            outcome = await self._node.execute_on_object(
                c.SetObjectTtl(call.ref, call.body.ttl, call.actor, call.request_id)
            )
        return Answer(200, self._render(call, outcome.object))

    async def _remove(self, call: _Call) -> Answer:
        if_match = _if_match(call) if call.kind is Kind.DOCUMENT else None
        await self._node.execute(c.RemoveObject(call.ref, if_match, call.actor, call.request_id))
        return Answer(204, b"")

    async def _read_context(self, call: _Call) -> Answer:
        return Answer(
            200, render.render_context(await self._node.read_object(call.ref, call.actor))
        )

    # Items

    async def _read_items(self, call: _Call) -> Answer:
        try:
            query = parse_page_query(call.kind, call.request.http_request.params)
        except BadQuery as error:
            raise Refusal(_QUERY_REASONS.get(error.name, Reason.BAD_PARAMETER)) from error
        target = await self._node.get_object(call.ref, call.actor)
        call.reader.note_read(target)
        if query.only is not None:
            try:
                _, item = await self._node.read_item(
                    call.ref, self._key(call.kind, query.only), call.actor
                )
            except Refusal as refusal:
                if refusal.reason is not _ITEM_MISSING[call.kind]:
                    raise
                page: Page[Item] = Page([], has_previous=False, has_next=False)
            else:
                page = Page([item], has_previous=False, has_next=False)
            return Answer(200, self._render_items(call, target, page, 1))
        page_size = min(
            query.page_size or self._node.limits.page_default, self._node.limits.page_max
        )
        start = None if query.start is None else self._key(call.kind, query.start)
        page = await self._node.list_items(
            target, start, query.is_inclusive, not query.is_ascending, page_size
        )
        await self._node.check_still(target, call.actor)
        return Answer(200, self._render_items(call, target, page, page_size))

    async def _read_item(self, call: _Call) -> Answer:
        assert call.key is not None
        target, item = await self._node.read_item(call.ref, call.key, call.actor)
        body = render.render_item(self._base, call.caller.service, target, item, with_data=True)
        return Answer(200, body)

    async def _add_item(self, call: _Call) -> Answer:
        data = self._item_data(call)
        command: c.AddListItem | c.AddMapItem
        if call.kind is Kind.LIST:
            command = c.AddListItem(
                call.ref, data, call.body.ttl, None, call.actor, call.request_id
            )
        else:
            command = c.AddMapItem(
                call.ref,
                call.body.key or "",
                data,
                call.body.ttl,
                None,
                call.actor,
                call.request_id,
            )
        outcome = await self._node.execute_on_item(command)
        return Answer(201, self._render_item(call, outcome.object, outcome.item))

    async def _put_item(self, call: _Call) -> Answer:
        assert isinstance(call.key, str)
        outcome = await self._node.execute_on_item(
            c.PutMapItem(
                call.ref,
                call.key,
                self._item_data(call),
                call.body.ttl,
                _if_match(call, may_be_new=True),
                call.actor,
                call.request_id,
            )
        )
        body = self._render_item(call, outcome.object, outcome.item)
        return Answer(201 if outcome.is_added else 200, body)

    async def _update_item(self, call: _Call) -> Answer:
        assert call.key is not None
        data = self._normalise(call, call.body.data) if call.body.data else None
        outcome = await self._node.execute_on_item(
            c.UpdateItem(
                call.ref,
                call.key,
                data,
                call.body.ttl,
                None,
                _if_match(call),
                call.actor,
                call.request_id,
            )
        )
        return Answer(200, self._render_item(call, outcome.object, outcome.item))

    async def _remove_item(self, call: _Call) -> Answer:
        assert call.key is not None
        outcome = await self._node.execute_on_item(
            c.RemoveItem(call.ref, call.key, _if_match(call), call.actor, call.request_id)
        )
        body = render.render_removed_item(
            self._base, call.caller.service, outcome.object, outcome.item, outcome.event
        )
        return Answer(200, body)

    # Messages

    async def _publish(self, call: _Call) -> Answer:
        if not call.body.data:
            raise Refusal(Reason.MESSAGE_DATA_MISSING)
        data = self._normalise(call, call.body.data)
        message = await self._node.publish_message(call.ref, data, call.actor)
        return Answer(201, render.render_message(message))

    # What they share

    def _item_data(self, call: _Call) -> bytes:
        if not call.body.data:
            raise Refusal(_DATA_MISSING[call.kind])
        return self._normalise(call, call.body.data)

    def _normalise(self, call: _Call, text: msgspec.Raw) -> bytes:
        limits = self._node.limits
        limit = limits.message_bytes if call.kind is Kind.STREAM else limits.data_bytes
        return normalise_data(
            bytes(text), limit, limits.data_depth, missing=_DATA_MISSING[call.kind], field="data"
        )

    def _key(self, kind: Kind, text: str) -> ItemKey:
        return int(text) if kind is Kind.LIST else text

    def _render(self, call: _Call, target: Any, **options: Any) -> bytes:
        return render.render_object(self._base, call.caller.service, target, **options)

    def _render_item(self, call: _Call, target: Any, item: Item) -> bytes:
        return render.render_item(self._base, call.caller.service, target, item)

    def _render_items(self, call: _Call, target: Any, page: Page[Item], page_size: int) -> bytes:
        return render.render_items(self._base, call.caller.service, target, page, page_size)


_QUERY_REASONS = {
    "Order": Reason.BAD_ORDER,
    "Bounds": Reason.BAD_BOUNDS,
    "PageSize": Reason.BAD_PAGE_SIZE,
    "Index": Reason.BAD_LIST_INDEX,
    "From": Reason.BAD_LIST_INDEX,
}


def _read_body(request: Request) -> _Body:
    """The body of a change.

    Raises:
        Refusal: BAD_PARAMETER, it is not what the SDKs send; BAD_DATA, it is not JSON.
    """
    if request.http_request.method in ("GET", "DELETE") or not request.payload:
        return _NO_BODY
    try:
        return _decode_body(request.payload)
    except msgspec.ValidationError as error:
        raise Refusal(Reason.BAD_PARAMETER, f"Invalid parameter: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refuse_malformed(request.payload, error, "body") from error


def _if_match(call: _Call, *, may_be_new: bool = False) -> str | None:
    text = call.request.http_request.find_header("If-Match")
    if not text:
        return None
    if may_be_new and text == c.MUST_NOT_EXIST:
        return text
    return parse_if_match(text)
