"""`GET /v2.0/vpn/ipsec-site-connections/{id}/traffic` and `/v2.0/linkspan/traffic`: what connections have carried.

Agents keep the samples, and are asked; the database has none. Whoever may read a connection may read its traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import ID, Operation, Schema, closed, described
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import parameter
from linkspan.api.resources.collection import find, not_found, visible
from linkspan.api.resources.node_questions import Asked, NodeQuestions
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError
from linkspan.core.schema.attribute_types import is_uuid
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.operations import NEWEST_TRAFFIC, REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.state.live_facts import LiveAnswer
from linkspan.core.state.status import node_fault
from linkspan.core.state.traffic import KEPT, MOST_CONNECTIONS, STEP, TrafficSample
from linkspan.store.nodes import questions
from linkspan.store.rows.row import Row
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.transaction import Transaction

PATIENCE: Final = 2.5
"""Seconds for which a request waits for its nodes."""
PATH: Final = f"/v2.0/{CONNECTION.path}{REQUEST_LINES['traffic'].path}"
_LATEST: Final = 1e11
_FIELDS: Final = TrafficSample.__struct_fields__
_NOBODY: Final = "no node runs the gateway of the connection"
_OLDER: Final = "the agent of the node is older than traffic is: update it"
_UNKNOWN: Final = f"its agent has not sampled the connection yet: it does so every {STEP:g} s"


class TrafficSamples:
    """Handlers of the traffic of connections."""

    def __init__(self, store: Store, asking: NodeQuestions) -> None:
        self._store = store
        self._asking = asking

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", PATH, self.of_one, operation=_OF_ONE),
            Route("GET", NEWEST_TRAFFIC, self.of_many, operation=_OF_MANY),
        ]

    def of_one(self, request: Request) -> Response:
        """Asks the node of a connection for its samples."""
        policy.require(request.caller, "get", CONNECTION)
        since = _since(_values(request, "since"))
        row, fault = self._row(request)
        router_id = row.router_id
        if fault or router_id is None:
            return _series(row, fault or _NOBODY, ())
        connections = [(router_id, str(row["id"]))]
        try:
            response = self._asking.ask_all(
                lambda tx: questions.ask_traffic(tx, connections, since), PATIENCE, self._answered
            )
        except (Conflict, Unavailable) as error:
            return _series(row, _not_asked(error), ())
        return response or _series(row, _NOBODY, ())

    def of_many(self, request: Request) -> Response:
        """Asks the nodes of some connections for their newest samples, each node once."""
        policy.require(request.caller, "get", CONNECTION)
        ids = _connection_ids(_values(request, "connection_id"))
        rows, faults = self._rows(request, ids)
        asked = {
            str(row["id"]): row.router_id for row in rows if row.router_id is not None and not faults[str(row["id"])]
        }
        by_answer: list[tuple[str, ...]] = []

        def write(tx: Transaction) -> list[Asked]:
            found = questions.ask_traffic(tx, ((router_id, id) for id, router_id in asked.items()))
            by_answer[:] = [
                tuple(id for _, id in question.traffic.connections) for _, question in found if question.traffic
            ]
            return found

        def answered(again: Request, answers: Sequence[LiveAnswer | None]) -> Response:
            pairs = zip(by_answer, answers, strict=True)
            return self._newest(again, ids, {id: answer for of, answer in pairs for id in of})

        try:
            response = self._asking.ask_all(write, PATIENCE, answered)
        except (Conflict, Unavailable) as error:
            return _listed([(row, faults[str(row["id"])] or _not_asked(error), None) for row in rows])
        return response or _listed([(row, faults[str(row["id"])] or _NOBODY, None) for row in rows])

    def _newest(self, request: Request, ids: tuple[str, ...], answers: Mapping[str, LiveAnswer | None]) -> Response:
        rows, faults = self._rows(request, ids)
        shown: list[tuple[Row, str, TrafficSample | None]] = []
        for row in rows:
            id = str(row["id"])
            found, fault = _samples(row, answers[id]) if id in answers else ((), faults[id] or _NOBODY)
            shown.append((row, fault or ("" if found else _UNKNOWN), found[-1] if found else None))
        return _listed(shown)

    def _rows(self, request: Request, ids: tuple[str, ...]) -> tuple[list[Row], dict[str, str]]:
        """Those of these connections that the caller may read, and why no node answers for each of them."""
        with self._store.read() as tx:
            rows = list(visible(tx, CONNECTION, _without_psk(ids), request.caller))
            return rows, {str(row["id"]): _node_fault(row, tx.now) for row in rows}

    def _row(self, request: Request) -> tuple[Row, str]:
        """The connection of a request, and why no node answers for it."""
        with self._store.read() as tx:
            row = find(tx, CONNECTION, request.id, request.caller)
            if row is None:
                raise not_found(CONNECTION, request.id)
            return row, _node_fault(row, tx.now)

    def _answered(self, request: Request, answers: Sequence[LiveAnswer | None]) -> Response:
        # It may have been deleted meanwhile.
        row, _ = self._row(request)
        found, fault = _samples(row, answers[0])
        return _series(row, fault, found)


def _node_fault(row: Row, now: float) -> str:
    inputs = row.status_inputs
    return _NOBODY if inputs is None else node_fault(inputs, now)


def _not_asked(error: Exception) -> str:
    return f"the node cannot be asked, as the database cannot be written: {error}"


def _samples(row: Row, answer: LiveAnswer | None) -> tuple[Sequence[TrafficSample], str]:
    """The samples of a connection in the answer of its node, and the reason why there are none."""
    if answer is None:
        return (), f"node {_node(row) or 'of the gateway'} has not answered within {PATIENCE:g} s"
    if answer.traffic is None:
        return (), answer.fault or _OLDER
    found = next((traffic.samples for traffic in answer.traffic if traffic.connection_id == row["id"]), None)
    return ((), _UNKNOWN) if found is None else (found, "")


def _node(row: Row) -> str | None:
    inputs = row.status_inputs
    return inputs.node.name if inputs and inputs.node else None


def _series(row: Row, fault: str, found: Sequence[TrafficSample]) -> Response:
    columns = {name: [getattr(sample, name) for sample in found] for name in _FIELDS}
    return ok({"traffic": {**_head(row, fault), "name": row["name"], **columns}})


def _listed(shown: Iterable[tuple[Row, str, TrafficSample | None]]) -> Response:
    """The newest sample of each connection; nulls where there is none."""
    return ok(
        {
            "traffic": [
                {**_head(row, fault), **{name: getattr(sample, name, None) for name in _FIELDS}}
                for row, fault, sample in shown
            ]
        }
    )


def _head(row: Row, fault: str) -> dict[str, Any]:
    return {"connection_id": row["id"], "node": _node(row), "fault": fault}


def _values(request: Request, *known: str) -> dict[str, list[str]]:
    """The parameters of a request by name. Raises ApiError for any that is not known."""
    values: dict[str, list[str]] = {}
    for name, value in request.parameters():
        if name not in known:
            raise ApiError("HTTPBadRequest", f"'{name}' is not a parameter here, which has: {', '.join(known)}")
        values.setdefault(name, []).append(value)
    return values


def _without_psk(ids: tuple[str, ...]) -> Query:
    """A query for connections whose keys nobody has to open."""
    return Query(filters={"id": ids}, fields=("id", "name"))


def _connection_ids(values: Mapping[str, list[str]]) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(id.lower() for id in values.get("connection_id", ())))
    if not 0 < len(ids) <= MOST_CONNECTIONS or not all(map(is_uuid, ids)):
        message = f"connection_id has to be the id of a connection, and be there 1 to {MOST_CONNECTIONS} times"
        raise ApiError("HTTPBadRequest", message)
    return ids


def _since(values: dict[str, list[str]]) -> float:
    text = values.get("since", ["0"])[-1]
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else _epoch(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= _LATEST:
        message = (
            f"since is a time such as 2026-11-29T14:00:00Z or seconds since 1970 such as 1795960800, not '{text[:64]}'"
        )
        raise ApiError("HTTPBadRequest", message)
    return seconds


def _epoch(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


# --- OpenAPI ------------------------------------------------------------------------------------------------------

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "number"}
_COUNT: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
_MEANINGS: Final[dict[str, tuple[Schema, str]]] = {
    "at": (_NUMBER, "the end of the sample, by the node's clock, in seconds since 1970"),
    "seconds": (_NUMBER, f"its length, about {STEP:g}; divide the amounts by it for rates"),
    "in_bytes": (_COUNT, "bytes from the peer in these seconds, as charon counts them inside ESP; null: a gap"),
    "out_bytes": (_COUNT, "bytes to the peer"),
    "in_packets": (_COUNT, "packets from the peer"),
    "out_packets": (_COUNT, "packets to the peer"),
    "rtt_ms": (
        {"type": ["number", "null"]},
        "milliseconds of the newest round trip between the gateways, null if none was measured",
    ),
}
_HEAD: Final[dict[str, Schema]] = {
    "connection_id": _TEXT,
    "node": described({"type": ["string", "null"]}, "the name of the node that runs the gateway"),
    "fault": described(_TEXT, "why there are no samples, in one sentence; empty if there are"),
}
_OF_ONE: Final = Operation(
    id="connection_traffic",
    tag="connection",
    summary="what a connection has carried in the last hour, in samples of ten seconds",
    description=(
        f"The node is asked, whose agent keeps {KEPT} samples in memory, and has {PATIENCE:g} s to answer; without an "
        "answer `fault` says why. The arrays are equally long, the oldest sample first. A sample begins where the one "
        "before it has ended; nulls are a gap, in which the agent could not look, as charon did not run."
    ),
    parameters=(
        parameter(
            "since",
            {"oneOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}]},
            "only samples that end after this time: ISO 8601, or seconds since 1970 as in `at`",
        ),
    ),
    answer=closed(
        traffic=closed(
            **_HEAD,
            name=_TEXT,
            **{name: described({"type": "array", "items": schema}, text) for name, (schema, text) in _MEANINGS.items()},
        )
    ),
    refusals=("PolicyNotAuthorized", "HTTPBadRequest", CONNECTION.not_found),
)
_NULLABLE: Final[dict[str, Schema]] = {
    "at": {"type": ["number", "null"]},
    "seconds": {"type": ["number", "null"]},
}
_OF_MANY: Final = Operation(
    id="newest_traffic",
    tag="connection",
    path_ids={},
    summary=f"the newest sample of up to {MOST_CONNECTIONS} connections",
    description=(
        "Each of their nodes is asked once. Connections that the caller may not read are left out. `rtt_ms` is the "
        "newest one of the last minute. Where `fault` is not empty, the rest is null."
    ),
    parameters=(
        parameter(
            "connection_id",
            {"type": "array", "items": ID, "minItems": 1, "maxItems": MOST_CONNECTIONS},
            "give it once for each connection",
            required=True,
        ),
    ),
    answer=closed(
        traffic={
            "type": "array",
            "items": closed(
                **_HEAD,
                **{name: described(_NULLABLE.get(name, schema), text) for name, (schema, text) in _MEANINGS.items()},
            ),
        }
    ),
    refusals=("PolicyNotAuthorized", "HTTPBadRequest"),
)
