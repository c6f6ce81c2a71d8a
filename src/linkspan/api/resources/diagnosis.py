"""`GET /v2.0/vpn/ipsec-site-connections/{id}/diagnosis`: the layers of a connection and the live facts of its node."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed, described
from linkspan.api.http.route import Route
from linkspan.api.resources.both_ends import join_ends
from linkspan.api.resources.collection import find, not_found
from linkspan.api.resources.node_questions import NodeQuestions
from linkspan.core.authorization import policy
from linkspan.core.diagnosis.answer import AnsweredCause, answered
from linkspan.core.diagnosis.layers import Layer, layers, verdict
from linkspan.core.schema.operations import REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION, STATUSES
from linkspan.core.state import status
from linkspan.core.state.live_facts import LiveAnswer, LiveFacts
from linkspan.core.state.status import node_fault
from linkspan.store.nodes import questions
from linkspan.store.rows.row import Row
from linkspan.store.store import Conflict, Store, Unavailable

PATIENCE: Final = 2.5
"""Seconds for which a request waits for its node."""
_NOBODY: Final = "no node answers for it"
PATH: Final = f"/v2.0/{CONNECTION.path}{REQUEST_LINES['diagnose'].path}"


class Diagnoses:
    """Handlers of diagnoses. `grace`: as in `status.compute`."""

    def __init__(self, store: Store, asking: NodeQuestions, grace: float) -> None:
        self._store = store
        self._asking = asking
        self._grace = grace

    def routes(self) -> list[Route]:
        """All paths."""
        return [Route("GET", PATH, self.show, operation=_SHOW)]

    def show(self, request: Request) -> Response:
        """Asks the node of a connection, and answers with what it says; or with what is known without it."""
        row, now = self._row(request)
        inputs = row.status_inputs
        router_id = row.router_id
        if router_id is None or inputs is None or node_fault(inputs, now):
            return self._diagnosis(request, None, _NOBODY)
        try:
            response = self._asking.ask(lambda tx: questions.ask(tx, router_id, row["id"]), PATIENCE, self._answered)
        except (Conflict, Unavailable) as error:
            return self._diagnosis(request, None, f"it cannot be asked, as the database cannot be written: {error}")
        return response or self._diagnosis(request, None, _NOBODY)

    def _row(self, request: Request) -> tuple[Row, float]:
        policy.require(request.caller, "get", CONNECTION)
        with self._store.read() as tx:
            row = find(tx, CONNECTION, request.id, request.caller)
            if row is None:
                raise not_found(CONNECTION, request.id)
            join_ends(tx, [row])
            return row, tx.now

    def _answered(self, request: Request, answer: LiveAnswer | None) -> Response:
        if answer is None:
            return self._diagnosis(request, None, f"it has not answered within {PATIENCE:g} s")
        return self._diagnosis(request, answer.facts, answer.fault)

    def _diagnosis(self, request: Request, facts: LiveFacts | None, fault: str) -> Response:
        # Read again: what the node has reported meanwhile belongs to what it answers.
        row, now = self._row(request)
        inputs = row.status_inputs
        assert inputs is not None
        found = layers(inputs, facts, fault, now)
        shown = status.compute(inputs, now, self._grace)
        first = verdict(found)
        code_at = inputs.observed.code_at if inputs.observed else None
        # The database's clock of leases is not that of the wall.
        since = None if code_at is None else time.time() - max(0.0, now - code_at)
        return ok(
            {
                "diagnosis": {
                    "connection_id": row["id"],
                    "name": row["name"],
                    "status": shown.status,
                    "status_reason": shown.reason,
                    "status_code": shown.code,
                    "last_good_revision": row["last_good_revision"],
                    "cause": answered(shown, first, since, facts),
                    "node": None if inputs.node is None else inputs.node.name,
                    "verdict": first,
                    "layers": found,
                    "live": facts,
                }
            }
        )


# --- OpenAPI ------------------------------------------------------------------------------------------------------

(_LAYER, _LIVE, _CAUSE), _TYPES = msgspec.json.schema_components(
    [Layer, LiveFacts, AnsweredCause], ref_template="#/components/schemas/{name}"
)
# The end of a text is \Z in Python, and $ in ECMA-262.
_COMPONENTS: Final[dict[str, Schema]] = msgspec.json.decode(msgspec.json.encode(_TYPES).replace(rb"\\Z", b"$"))
_NULL: Final[Schema] = {"type": "null"}
_TEXT: Final[Schema] = {"type": "string"}
_DIAGNOSIS: Final[Schema] = closed(
    connection_id=_TEXT,
    name=_TEXT,
    status={"type": "string", "enum": list(STATUSES)},
    status_reason=_TEXT,
    status_code=_TEXT,
    last_good_revision=described({"type": ["integer", "null"]}, CONNECTION["last_good_revision"].help),
    node=described({"type": ["string", "null"]}, "the name of the node that runs the gateway"),
    cause=described({"oneOf": [_CAUSE, _NULL]}, "why it is not as desired; null if it is"),
    verdict=described({"oneOf": [_LAYER, _NULL]}, "the first layer that is not ok"),
    layers={"type": "array", "items": _LAYER},
    live=described({"oneOf": [_LIVE, _NULL]}, "what the node says at this moment; null if it does not answer"),
)
_SHOW: Final = Operation(
    id="diagnose_connection",
    tag="connection",
    summary="why a connection is as it is: its layers, and the live facts of its node",
    description=f"The node is asked, and has {PATIENCE:g} s to answer; without an answer the rest is answered.",
    answer=closed(diagnosis=_DIAGNOSIS),
    schemas=_COMPONENTS,
    refusals=("PolicyNotAuthorized", CONNECTION.not_found),
)
