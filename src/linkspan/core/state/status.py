"""Computes status and reason of a connection or service from its desired and observed state.

The status is computed on every read and never stored, so that it cannot become stale. Times are seconds on the
database's clock.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Status = Literal["ACTIVE", "DOWN", "ERROR", "PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE"]
Verdict = tuple[Status, str]

GRACE: Final = 60.0
"""Default of `api.grace`: seconds that a new or changed connection may take to come up before it reads DOWN."""

LEASE: Final = 30.0
"""Default of `api.lease`: seconds after a node's last report until the node counts as lost. The agent reports every
third of it."""


class Node(msgspec.Struct, frozen=True):
    """The node to which an object is assigned; `lease_until`: on the database's clock."""

    name: str
    lease_until: float


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The latest report of an object. `applied_at`: time of the first report of this revision; `ready_at`: when a
    connection last came up or a gateway became ready, None if never."""

    revision: int
    state: str
    reason: str
    applied_at: float
    ready_at: float | None


class StatusInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the status of a connection or service depends on.

    `revision`: node revision of the last change of the object; `changed_at`: its time; `enabled`: the admin state (of a
    connection: together with its service's). `fault`: why it cannot be read from the database, with the remedy.
    """

    deleted: bool
    enabled: bool
    revision: int
    changed_at: float
    node: Node | None
    observed: Observed | None
    fault: str = ""


def compute(inputs: StatusInputs, now: float, grace: float = GRACE) -> Verdict:
    """Status and reason of a connection or service. `grace`: seconds before it reads DOWN instead of PENDING."""
    report = inputs.observed
    if inputs.deleted:
        return "PENDING_DELETE", "waits for its node to confirm the deletion"
    if inputs.fault:
        return "ERROR", inputs.fault
    never = report is None or report.ready_at is None
    pending: Status = "PENDING_CREATE" if never else "PENDING_UPDATE"
    if inputs.node is None:
        if now - inputs.changed_at < grace:
            return pending, "waits for a node that can run the gateway"
        return "DOWN", "no node can run the gateway: start an agent with 'linkspan agent'"
    if inputs.node.lease_until < now:
        if report is None and now - inputs.changed_at < grace:
            return pending, f"waits for node {inputs.node.name}, which is not connected"
        return "DOWN", f"node lost: {inputs.node.name} has sent no report since its lease expired"
    if report is None or report.revision < inputs.revision:
        if now - inputs.changed_at < grace:
            return pending, report.reason if report else ""
        if report is None:
            return "DOWN", f"node {inputs.node.name} has not applied it yet"
        late = f"node {inputs.node.name} still runs the previous version"
        return _applied(inputs, report, now, grace, report.reason or late)
    return _applied(inputs, report, now, grace, report.reason)


def _applied(inputs: StatusInputs, report: Observed, now: float, grace: float, reason: str) -> Verdict:
    match report.state:
        case "error":
            return "ERROR", report.reason
        case "up" | "ready" if inputs.enabled:
            return "ACTIVE", reason
        case "disabled" if inputs.enabled:
            return "DOWN", reason or "admin_state_up is false"
        case "up" | "ready" | "disabled":
            return "DOWN", "admin_state_up is false"
        case _ if report.ready_at is None and now - report.applied_at < grace:
            return "PENDING_CREATE", reason
        case _ if (
            report.ready_at is not None and report.ready_at < report.applied_at and now - report.applied_at < grace
        ):
            return "PENDING_UPDATE", reason
        case _:
            return "DOWN", reason or "the tunnel is not up"
