"""The events that a request asks for, and those that its caller may see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.api.resources.collection import find, not_found
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError
from linkspan.core.schema import list_query
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.state.timeline import KINDS, TimelineEvent, as_seen_by
from linkspan.store import timeline
from linkspan.store.timeline import NEWEST, EventPage, Selection
from linkspan.store.transaction import Transaction

RULE: Final = "get_event"
"""The rule for events of all connections."""
LAST_EVENT_ID: Final = b"last-event-id"
FILTERS_OF_ALL: Final = ("connection_id", "project_id")
"""Filters of events of all connections, besides those of one."""

Visible = Callable[[TimelineEvent], TimelineEvent | None]


class EventQuery(msgspec.Struct, frozen=True):
    """The events that a request asks for, `limit` at most at a time. `is_empty`: its caller can see none of them."""

    selection: Selection
    limit: int
    visible: Visible
    is_empty: bool = False


def parse(request: Request, page: int, *, of_all: bool) -> EventQuery:
    """The query of a request. `of_all`: events of all connections, and not of the one that its path names. `page`: the
    most events in one answer. Raises ApiError."""
    values: dict[str, list[str]] = {}
    for name, value in request.parameters():
        known = name in _PARSERS or name in ("limit", "kind") or (of_all and name in FILTERS_OF_ALL)
        if not known or "\x00" in value:
            raise ApiError("HTTPBadRequest", f"'{name}' is not a parameter here, or has a value that no event has")
        values.setdefault(name, []).append(value)
    kinds = frozenset(values.get("kind", ()))
    if unknown := kinds - {*KINDS}:
        raise ApiError("HTTPBadRequest", f"kind is one of {', '.join(KINDS)}, and not '{min(unknown)}'")
    limit = list_query.page_limit(values.get("limit"), page)
    last = request.header(LAST_EVENT_ID)
    if last is not None:
        values["after"] = [last.decode("latin-1").strip()]
    numbers = {name: parser(name, values[name][-1]) for name, parser in _PARSERS.items() if name in values}
    selection = Selection(
        kinds=kinds,
        after=max(numbers.get("after", 0), numbers.get("since", 1) - 1),
        before=min(numbers.get("marker", NEWEST), numbers.get("until", NEWEST)),
        ascending="after" in numbers,
    )
    if not of_all:
        return _of_one(request, selection, limit)
    return _of_all(
        request.caller, selection, limit, {name: values[name][-1] for name in FILTERS_OF_ALL if name in values}
    )


def _of_one(request: Request, selection: Selection, limit: int) -> EventQuery:
    caller = request.caller
    policy.require(caller, "get", CONNECTION)
    selection = msgspec.structs.replace(selection, connection_id=request.id.lower())
    sees_all = policy.scope(caller, "get", CONNECTION) == "all"
    return EventQuery(selection, limit, _everything if sees_all else _own(caller))


def _of_all(caller: Caller, selection: Selection, limit: int, wanted: dict[str, str]) -> EventQuery:
    scope = caller.policy.scope(caller, RULE)
    if scope == "nothing":
        raise ApiError("PolicyNotAuthorized", f"rule:{RULE} is disallowed by policy")
    visible: Visible = _everything if scope == "all" else _own(caller)
    if scope == "by row":
        own = visible

        def visible(event: TimelineEvent) -> TimelineEvent | None:
            return own(event) if caller.policy.allows(caller, RULE, {"project_id": event.project_id}) else None

    project_id = wanted.get("project_id", caller.project_id if scope == "own" else None)
    connection_id = wanted.get("connection_id")
    chosen = msgspec.structs.replace(selection, project_id=project_id, connection_id=connection_id)
    is_empty = scope == "own" and project_id != caller.project_id
    return EventQuery(chosen, limit, visible, is_empty)


def _everything(event: TimelineEvent) -> TimelineEvent | None:
    return event


def _own(caller: Caller) -> Visible:
    return lambda event: as_seen_by(event, caller.project_id)


def require_connection(tx: Transaction, request: Request) -> None:
    """Raises ApiError, the 404 of a connection that the caller of a request may not read."""
    if find(tx, CONNECTION, request.id, request.caller) is None:
        raise not_found(CONNECTION, request.id)


def read(tx: Transaction, query: EventQuery) -> EventPage:
    """The first events of a query, as its caller sees them."""
    if query.is_empty:
        return EventPage([], None)
    page = timeline.page(tx, query.selection, query.limit)
    return EventPage(_seen(page.events, query.visible), page.next)


def _seen(events: Iterable[TimelineEvent], visible: Visible) -> list[TimelineEvent]:
    return [event for event in map(visible, events) if event is not None]


def _place(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError("HTTPBadRequest", f"{name} is the id of an event, and not '{text[:64]}'")
    return int(text)


def _time(name: str, text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
        seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        message = f"{name} is a time such as 2026-11-29T14:00:00Z, and not '{text[:64]}'"
        raise ApiError("HTTPBadRequest", message) from None
    return max(0, timeline.number_at(seconds))


_PARSERS: Final[dict[str, Callable[[str, str], int]]] = {
    "marker": _place,
    "after": _place,
    "since": _time,
    "until": _time,
}
