"""Computes status and reason of a connection or service from its desired and observed state.

The status is computed on every read and never stored, so that it cannot become stale. Times are seconds on the
database's clock.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

Status = Literal["ACTIVE", "DOWN", "ERROR", "PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE"]


class Verdict(NamedTuple):
    """The status, its reason in one sentence, and the code of that (`core.diagnosis.causes`); empty without one."""

    status: Status
    reason: str
    code: str = ""


GRACE: Final = 60.0
"""Default of `api.grace`: seconds that a new or changed connection may take to come up before it reads DOWN."""

LEASE: Final = 30.0
"""Default of `api.lease`: seconds after a node's last report until the node counts as lost. The agent reports every
third of it."""

NO_NODE: Final = "no node can run the gateway: start an agent with 'linkspan agent'"


class Node(msgspec.Struct, frozen=True):
    """The node to which an object is assigned; `lease_until`: on the database's clock."""

    name: str
    lease_until: float


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The latest report of an object. `applied_at`: time of the first report of this revision; `ready_at`: when a
    connection last came up or a gateway became ready, None if never. `code`: of the cause, empty without one;
    `code_at`: when it was first reported."""

    revision: int
    state: str
    reason: str
    applied_at: float
    ready_at: float | None
    code: str = ""
    code_at: float | None = None


class StatusInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the status of a connection or service depends on.

    `revision`: node revision of the last change of the object; `changed_at`: its time; `enabled`: the admin state (of a
    connection: together with its service's). `fault`: why it cannot be read from the database, with the remedy. `note`:
    the reason before the first report. `notice`: what its user has to do in time, whatever its status. `last_good`:
    the newest earlier revision that was up, if the present configuration never was.
    """

    deleted: bool
    enabled: bool
    revision: int
    changed_at: float
    node: Node | None
    observed: Observed | None
    fault: str = ""
    note: str = ""
    notice: str = ""
    last_good: int | None = None


def compute(inputs: StatusInputs, now: float, grace: float = GRACE) -> Verdict:
    """Status of a connection or service, its reason and the code of that. `grace`: seconds before it reads DOWN instead
    of PENDING."""
    verdict = _verdict(inputs, now, grace)
    if inputs.last_good is None and not inputs.notice:
        return verdict
    extra = "; ".join(text for text in (_last_good(inputs, verdict), inputs.notice) if text)
    if not extra:
        return verdict
    return verdict._replace(reason=f"{verdict.reason}; {extra}" if verdict.reason else extra)


def _last_good(inputs: StatusInputs, verdict: Verdict) -> str:
    """The sentence that names the revision to return to, once something has failed since; else empty."""
    if inputs.last_good is None or verdict.code in _NO_FAILURE:
        return ""
    return f"revision_number {inputs.last_good} was the last that was up: 'linkspan connection rollback' restores it"


_NO_FAILURE: Final = frozenset(
    {
        "",
        "ADMIN_DISABLED",
        "AGENT_STALE",
        "DEPROVISIONING",
        "EDIT_RENEGOTIATES",
        "NEGOTIATING",
        "NODE_LOST",
        "NODE_MISSING",
        "PROVISIONING",
        "UPDATE_IN_PROGRESS",
    }
)
"""Codes that do not say that a change of the connection has failed."""


def _verdict(inputs: StatusInputs, now: float, grace: float) -> Verdict:
    report = inputs.observed
    if inputs.deleted:
        return Verdict("PENDING_DELETE", "waits for its node to confirm the deletion", "DEPROVISIONING")
    if inputs.fault:
        return Verdict("ERROR", inputs.fault, "CONFIG_INCOMPLETE")
    never = report is None or report.ready_at is None
    pending: Status = "PENDING_CREATE" if never else "PENDING_UPDATE"
    under_way = "PROVISIONING" if never else "UPDATE_IN_PROGRESS"
    if inputs.node is None:
        if now - inputs.changed_at < grace:
            return Verdict(pending, _joined("waits for a node that can run the gateway", inputs.note), under_way)
        return Verdict("DOWN", NO_NODE, "NODE_MISSING")
    if inputs.node.lease_until < now:
        if report is None and now - inputs.changed_at < grace:
            text = _joined(f"waits for node {inputs.node.name}, which is not connected", inputs.note)
            return Verdict(pending, text, under_way)
        return Verdict("DOWN", node_fault(inputs, now), "NODE_LOST")
    if report is None:
        if now - inputs.changed_at < grace:
            return Verdict(pending, inputs.note, under_way)
        return Verdict("DOWN", f"node {inputs.node.name} has not applied it yet", "AGENT_STALE")
    if report.revision < inputs.revision:
        if now - inputs.changed_at < grace:
            return Verdict(pending, report.reason, report.code or under_way)
        late = f"node {inputs.node.name} still runs the previous version"
        verdict = _applied(inputs, report, now, grace, report.reason or late)
        return verdict if report.code else verdict._replace(code="AGENT_STALE")
    return _applied(inputs, report, now, grace, report.reason)


def node_fault(inputs: StatusInputs, now: float) -> str:
    """The reason why no node answers for an object, and what to do; empty if one should."""
    if inputs.node is None:
        return NO_NODE
    if inputs.node.lease_until >= now:
        return ""
    name, report = inputs.node.name, inputs.observed
    carrying = "its tunnels that were up may still carry traffic"
    if report is not None and report.state in ("up", "down"):
        carrying = f"this tunnel was {report.state}, and tunnels that were up may still carry traffic"
    return (
        f"node lost: {name} has sent no report since its lease expired; {carrying}: check on {name} that 'linkspan "
        "agent' runs and reaches the API"
    )


def _joined(reason: str, note: str) -> str:
    return f"{reason}; {note}" if note else reason


def _applied(inputs: StatusInputs, report: Observed, now: float, grace: float, reason: str) -> Verdict:
    match report.state:
        case "error":
            return Verdict("ERROR", report.reason, report.code or "CONFIG_REFUSED_HERE")
        case "up" | "ready" if inputs.enabled:
            return Verdict("ACTIVE", reason, report.code)
        case "disabled" if inputs.enabled:
            return Verdict("DOWN", reason or "admin_state_up is false", "ADMIN_DISABLED")
        case "up" | "ready" | "disabled":
            return Verdict("DOWN", "admin_state_up is false", "ADMIN_DISABLED")
        case _ if report.ready_at is None and now - report.applied_at < grace:
            return Verdict("PENDING_CREATE", reason, report.code or "PROVISIONING")
        case _ if (
            report.ready_at is not None and report.ready_at < report.applied_at and now - report.applied_at < grace
        ):
            return Verdict("PENDING_UPDATE", reason, report.code or "UPDATE_IN_PROGRESS")
        case _:
            return Verdict("DOWN", reason or "the tunnel is not up", report.code or "UNKNOWN")
