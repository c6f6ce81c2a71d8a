"""`/v2.0/vpn/ipsec-site-connections/{id}/events` and `/v2.0/linkspan/events`: what happened to connections.

Admins read all events, others those of their project.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, get_type_hints
from urllib.parse import urlencode

import msgspec

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import parameter
from linkspan.api.resources import timeline_query
from linkspan.api.resources.timeline_query import FILTERS_OF_ALL
from linkspan.api.resources.timeline_stream import EventStreams
from linkspan.core.schema import list_query
from linkspan.core.schema.operations import REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.state.timeline import KINDS, MEANINGS, Edit, TimelineEvent
from linkspan.store.store import Store

PATH: Final = "/v2.0/linkspan/events"
OF_ONE: Final = f"/v2.0/{CONNECTION.path}{REQUEST_LINES['list_events'].path}"


class Timeline:
    """Handlers of the timeline. `page`: largest number of events in one answer."""

    def __init__(self, store: Store, notifier: Notifier, page: int = list_query.PAGE) -> None:
        self._store = store
        self._page = page
        self._streams = EventStreams(store, notifier, shown)

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", OF_ONE, self.of_one, stream=self._streams.of_one, operation=_OF_ONE),
            Route("GET", PATH, self.of_all, stream=self._streams.of_all, operation=_OF_ALL),
        ]

    def of_one(self, request: Request) -> Response:
        """A page of the events of a connection."""
        return self._answer(request, of_all=False)

    def of_all(self, request: Request) -> Response:
        """A page of the events of all connections that the caller may see."""
        return self._answer(request, of_all=True)

    def _answer(self, request: Request, *, of_all: bool) -> Response:
        query = timeline_query.parse(request, self._page, of_all=of_all)
        with self._store.read() as tx:
            if not of_all:
                timeline_query.require_connection(tx, request)
            page = timeline_query.read(tx, query)
        answer: dict[str, Any] = {"events": [shown(event) for event in page.events]}
        if page.next is not None:
            answer["events_links"] = [{"rel": "next", "href": _next(request, query.selection.ascending, page.next)}]
        return ok(answer)


def _next(request: Request, ascending: bool, number: int) -> str:
    name = "after" if ascending else "marker"
    kept = [pair for pair in request.parameters() if pair[0] != name]
    return f"{request.base}{request.path}?{urlencode([*kept, (name, str(number))])}"


def shown(event: TimelineEvent) -> dict[str, Any]:
    """An event as JSON has it."""
    values = msgspec.structs.asdict(event)
    return values | {"at": _text(event.at), "recorded_at": _text(event.recorded_at)}


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- OpenAPI ------------------------------------------------------------------------------------------------------


def _help(struct: type[msgspec.Struct]) -> dict[str, str]:
    hints = get_type_hints(struct, include_extras=True)
    return {name: str(hint.__metadata__[0].description) for name, hint in hints.items()}


_TEXT: Final[Schema] = {"type": "string"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_EDIT: Final = closed(
    **{
        name: described({"type": "array", "items": _TEXT} if name == "fields" else _TEXT, help)
        for name, help in _help(Edit).items()
    }
)
_TYPES: Final[dict[str, Schema]] = {
    "kind": {"type": "string", "enum": list(KINDS)},
    "at": _TIME,
    "recorded_at": _TIME,
    "revision": {"oneOf": [_EDIT, {"type": "null"}]},
}
_EVENT: Final = closed(
    **{name: described(_TYPES.get(name, _TEXT), help) for name, help in _help(TimelineEvent).items()}
)
_WANTED: Final[Schema] = {"type": "string", "pattern": r"^[^\x00]*$"}
_ID: Final[Schema] = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_PARAMETERS: Final = (
    parameter("limit", {"type": "integer", "minimum": 0}, "the most events in the answer"),
    parameter("marker", _ID, "the id of the last event of the page before"),
    parameter("after", _ID, "the id of the last event that is known: what follows it, the oldest event first"),
    parameter("Last-Event-ID", _ID, "as after", place="header"),
    parameter("kind", {"type": "array", "items": {"enum": list(KINDS)}}, "only events of these kinds"),
    parameter("since", _TIME, "only events that were recorded then or later"),
    parameter("until", _TIME, "only events that were recorded before"),
)
_KINDS: Final = "; ".join(f"{kind}: {meaning}" for kind, meaning in MEANINGS.items())
_ANSWER: Final[Schema] = {
    **closed(events={"type": "array", "items": ref("Event")}, events_links={"type": "array", "items": ref("Link")}),
    "required": ["events"],
}
_DESCRIPTION: Final = (
    "The newest event comes first, with 'after' the oldest one. The link is there when there may be more. "
    "With `Accept: text/event-stream` the answer is a stream of server-sent events: what follows 'after' or "
    f"Last-Event-ID, without both what is new. {_KINDS}."
)


_REFUSALS: Final = ("PolicyNotAuthorized", "BadRequest", "HTTPBadRequest")
_SHARED: Final[dict[str, Any]] = {
    "tag": "timeline",
    "description": _DESCRIPTION,
    "answer": _ANSWER,
    "streams": True,
    "schemas": {"Event": _EVENT},
}
_OF_ONE: Final = Operation(
    id="list_connection_events",
    parameters=_PARAMETERS,
    summary="what happened to a connection: revisions, ups and downs with their causes, rekeys, moves",
    refusals=(*_REFUSALS, CONNECTION.not_found),
    **_SHARED,
)
_OF_ALL: Final = Operation(
    id="list_events",
    parameters=(
        *_PARAMETERS,
        *(parameter(name, _WANTED, f"filter: {_help(TimelineEvent)[name]}") for name in FILTERS_OF_ALL),
    ),
    summary="what happened to all connections of a project; admins read those of every project",
    refusals=_REFUSALS,
    **_SHARED,
)
