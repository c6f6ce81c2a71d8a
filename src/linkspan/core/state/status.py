"""What is desired and what was observed -> status and reason (the seven values of the attribute table).

Computed whenever it is read and never stored, so that it cannot go stale. Times are seconds on the database's clock.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Status = Literal["ACTIVE", "DOWN", "ERROR", "PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE"]
Verdict = tuple[Status, str]

GRACE: Final = 60.0
"""Default of `api.grace`: seconds that a new or changed connection may take to come up before it reads DOWN."""

LEASE: Final = 30.0
"""Default of `api.lease`: seconds after a node's last report until the node counts as lost. Agents report three times
in that time."""


class Node(msgspec.Struct, frozen=True):
    """The node that an object is assigned to; `lease_until` on the database's clock."""

    name: str
    lease_until: float


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The newest report of an object. `applied_at`: when this revision was first reported; `ready_at`: when it last
    came up (a connection) or became ready (a gateway), None if never."""

    revision: int
    state: str
    reason: str
    applied_at: float
    ready_at: float | None


class StatusInputs(msgspec.Struct, frozen=True, kw_only=True):
    """All that the status of one connection or service follows from.

    `revision`: the node revision at which the object was last changed; `changed_at`: when; `enabled`: its admin state
    (a connection's together with its service's).
    """

    deleted: bool
    enabled: bool
    revision: int
    changed_at: float
    node: Node | None
    observed: Observed | None


def compute(facts: StatusInputs, now: float, grace: float = GRACE) -> Verdict:
    """Status and reason of a connection or a service."""
    seen = facts.observed
    if facts.deleted:
        return "PENDING_DELETE", "waits for its node to confirm that it is gone"
    never = seen is None or seen.ready_at is None
    pending: Status = "PENDING_CREATE" if never else "PENDING_UPDATE"
    if facts.node is None:
        if now - facts.changed_at < grace:
            return pending, "waits for a node that can carry the gateway"
        return "DOWN", "no node can carry the gateway: start an agent with 'linkspan agent'"
    if facts.node.lease_until < now:
        if seen is None and now - facts.changed_at < grace:
            return pending, f"waits for node {facts.node.name}, which is not connected"
        return "DOWN", f"node lost: {facts.node.name} has not been heard of since its lease ended"
    if seen is None or seen.revision < facts.revision:
        if now - facts.changed_at < grace:
            return pending, seen.reason if seen else ""
        if seen is None:
            return "DOWN", f"node {facts.node.name} has not taken it up yet"
        late = f"node {facts.node.name} still runs the version before the last change"
        return _applied(facts, seen, now, grace, seen.reason or late)
    return _applied(facts, seen, now, grace, seen.reason)


def _applied(facts: StatusInputs, seen: Observed, now: float, grace: float, reason: str) -> Verdict:
    match seen.state:
        case "error":
            return "ERROR", seen.reason
        case "up" | "ready" if facts.enabled:
            return "ACTIVE", reason
        case "up" | "ready" | "disabled":
            return "DOWN", "admin_state_up is false"
        case _ if seen.ready_at is None and now - seen.applied_at < grace:
            return "PENDING_CREATE", reason
        case _ if seen.ready_at is not None and seen.ready_at < seen.applied_at and now - seen.applied_at < grace:
            return "PENDING_UPDATE", reason
        case _:
            return "DOWN", reason or "the tunnel is not up"
