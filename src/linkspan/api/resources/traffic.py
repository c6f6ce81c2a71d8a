"""`GET /v2.0/vpn/ipsec-site-connections/{id}/traffic` and `/v2.0/linkspan/traffic`: what connections have carried.

Agents keep the samples, and are asked; the database has none. Whoever may read a connection may read its traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed, described
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import parameter
from linkspan.api.resources.collection import find, not_found
from linkspan.api.resources.node_questions import NodeQuestions
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError
from linkspan.core.schema.operations import REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.state.live_facts import LiveAnswer
from linkspan.core.state.status import node_fault
from linkspan.core.state.traffic import KEPT, STEP, TrafficSample
from linkspan.store.nodes import questions
from linkspan.store.rows.row import Row
from linkspan.store.store import Conflict, Store, Unavailable

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
        return [Route("GET", PATH, self.of_one, operation=_OF_ONE)]

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
