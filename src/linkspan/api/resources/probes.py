"""`POST /v2.0/vpn/ipsec-site-connections/{id}/probe`: the node of a connection sends packets, and says what came back.

Whoever may change a connection may probe it, since that sends packets to the peer; each connection once in some
seconds, whichever process is asked. What may be sent is decided on the node (`core.ipsec.probe_plan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan.api.http import body
from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Schema, closed, described
from linkspan.api.http.route import Route
from linkspan.api.resources.collection import Collection, Context, Hooks, find_live
from linkspan.api.resources.node_questions import Asked, NodeQuestions
from linkspan.core.addresses import address_fault
from linkspan.core.diagnosis.findings import ProbeFinding, findings
from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema import examples
from linkspan.core.schema.operations import REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.state.live_facts import LiveAnswer
from linkspan.core.state.probes import ProbeRequest, ProbeResult
from linkspan.core.state.status import node_fault
from linkspan.store.nodes import questions
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

PATIENCE: Final = 12.0
"""Seconds for which a request waits for its node: more than a probe takes."""
PAUSE: Final = 10.0
"""Seconds between two probes of a connection."""
PATH: Final = f"/v2.0/{CONNECTION.path}{REQUEST_LINES['probe'].path}"
_ENVELOPE: Final = "probe"


class ConnectionCollection(Collection):
    """IPsec site connections, which can be probed."""

    def __init__(self, hooks: Hooks, context: Context, asking: NodeQuestions) -> None:
        super().__init__(hooks, context)
        self._asking = asking

    def routes(self) -> list[Route]:
        operation = self.crud().action(
            "probe",
            "what passes between the gateways, and to a host behind the peer",
            _BODY,
            examples.PROBE,
            closed(probe=_PROBE),
        )
        described_operation = msgspec.structs.replace(operation, schemas=_COMPONENTS, description=_DESCRIPTION)
        return [*super().routes(), Route("POST", PATH, self.probe, operation=described_operation)]

    def probe(self, request: Request) -> Response:
        """Has the node of a connection probe its peer, and answers with the findings."""
        wanted = self._wanted(request)
        refused: list[tuple[Row, str]] = []

        def write(tx: Transaction) -> Asked | None:
            row = self._owned(tx, request, "update")
            wait = PAUSE - (PAUSE if (since := questions.since_last_probe(tx, row["id"])) is None else since)
            if wait > 0:
                text = f"The connection was probed less than {PAUSE:g} s ago: try again in {wait:.0f} s"
                raise ApiError("TooManyRequests", text, wait=wait)
            inputs = row.status_inputs
            assert inputs is not None
            fault = node_fault(inputs, tx.now)
            asked = None if fault or row.router_id is None else questions.ask(tx, row.router_id, row["id"], wanted)
            if asked is None:
                refused.append((row, fault or "no node runs the gateway of the connection"))
                return None
            self._audit(tx, request, "probe", row)
            return asked

        response = self._asking.ask(write, PATIENCE, self._answered)
        if response is not None:
            return response
        row, fault = refused[-1]
        return _shown(row, fault, None)

    def _wanted(self, request: Request) -> ProbeRequest:
        self._require_any(request, "update")
        whole: Mapping[str, Any] = body.json_object(request.body)
        if extra := sorted(set(whole) - {_ENVELOPE}):
            raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(extra)}'")
        raw = whole.get(_ENVELOPE)
        if not isinstance(raw, dict):
            raise ApiError("HTTPBadRequest", f"Unable to find '{_ENVELOPE}' in request body")
        if extra := sorted(set(raw) - {"target"}):
            raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(extra)}'")
        target = raw.get("target")
        if target is None:
            return ProbeRequest()
        if fault := address_fault(target):
            raise invalid("target", f"'{str(target)[:64]}' {fault}")
        return ProbeRequest(target)

    def _answered(self, request: Request, answer: LiveAnswer | None) -> Response:
        with self._store.read() as tx:
            # It may have been deleted meanwhile.
            row = find_live(tx, CONNECTION, request.id, request.caller)
        if answer is None:
            node = row.status_inputs.node.name if row.status_inputs and row.status_inputs.node else "of the gateway"
            return _shown(row, f"node {node} has not answered within {PATIENCE:g} s", None)
        return _shown(row, answer.fault, answer)


def _shown(row: Row, fault: str, answer: LiveAnswer | None) -> Response:
    inputs = row.status_inputs
    facts = answer.facts if answer else None
    result = None if facts is None or fault else facts.probe
    if facts is not None and result is None and not fault:
        fault = "the agent of the node is older than probes are: update it"
    return ok(
        {
            _ENVELOPE: {
                "connection_id": row["id"],
                "name": row["name"],
                "node": inputs.node.name if inputs and inputs.node else None,
                "fault": fault,
                "findings": findings(result, facts) if result is not None and facts is not None else (),
                "result": result,
            }
        }
    )


# --- OpenAPI ------------------------------------------------------------------------------------------------------

(_FINDING, _RESULT), _TYPES = msgspec.json.schema_components(
    [ProbeFinding, ProbeResult], ref_template="#/components/schemas/{name}"
)
# The end of a text is \Z in Python, and $ in ECMA-262.
_COMPONENTS: Final[dict[str, Schema]] = msgspec.json.decode(msgspec.json.encode(_TYPES).replace(rb"\\Z", b"$"))
_DESCRIPTION: Final = (
    "IKE messages to UDP 500 and 4500 of the peer, echo requests to it and, through the tunnel while it is up, to a "
    f"host behind it, also to find the largest packet that passes. It takes up to {PATIENCE:g} s; a connection can be "
    f"probed every {PAUSE:g} s. Without an answer of the node, `fault` says why."
)
_NULL: Final[Schema] = {"type": "null"}
_TEXT: Final[Schema] = {"type": "string"}
_TARGET: Final = described(
    {"type": ["string", "null"], "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, _NULL]},
    "an address in a network of the peer; without it the first host of the smallest one",
)
_BODY: Final[Schema] = {
    "type": "object",
    "properties": {
        _ENVELOPE: {"type": "object", "properties": {"target": _TARGET}, "additionalProperties": False},
    },
    "required": [_ENVELOPE],
    "additionalProperties": False,
}
_PROBE: Final[Schema] = closed(
    connection_id=_TEXT,
    name=_TEXT,
    node=described({"type": ["string", "null"]}, "the name of the node that runs the gateway"),
    fault=described(_TEXT, "why nothing was probed; empty if something was"),
    findings={"type": "array", "items": _FINDING},
    result=described({"oneOf": [_RESULT, _NULL]}, "what came back"),
)
