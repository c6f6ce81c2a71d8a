"""Reports of nodes.

A report counts only for objects assigned to this node at this generation, and only up to a revision that exists. An
older report never replaces a newer one. A report without news writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import and_, bindparam, select, update

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.desired import ObjectKind
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Report
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement, upsert
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE, OBSERVED, TABLES
from linkspan.store.nodes import tombstones
from linkspan.store.transaction import Transaction, Values

_alive: Final = Statement(select(NODE.c.revision, NODE.c.lease_until).where(NODE.c.id == bindparam("node")))
_renew: Final = Statement(update(NODE).where(NODE.c.id == bindparam("node")).values(lease_until=bindparam("until")))

_SEEN = (
    CHANGE.c.object_id,
    CHANGE.c.revision,
    CHANGE.c.deleted,
    GATEWAY.c.node_id,
    GATEWAY.c.generation,
    OBSERVED.c.node_id,
    OBSERVED.c.generation,
    OBSERVED.c.revision,
    OBSERVED.c.state,
    OBSERVED.c.reason,
    OBSERVED.c.effective_mtu,
    OBSERVED.c.applied_at,
    OBSERVED.c.ready_at,
)


@statement
def _known(kind: ObjectKind, count: int) -> Statement:
    source: Any = CHANGE
    if kind == "connection":
        connection, service = TABLES[CONNECTION.name], TABLES[SERVICE.name]
        source = source.outerjoin(connection, connection.c.id == CHANGE.c.object_id)
        source = source.outerjoin(service, service.c.id == connection.c.vpnservice_id)
        source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == service.c.router_id)
    else:
        source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == CHANGE.c.object_id)
    source = source.outerjoin(
        OBSERVED, and_(OBSERVED.c.kind == CHANGE.c.kind, OBSERVED.c.object_id == CHANGE.c.object_id)
    )
    made = select(*_SEEN).select_from(source)
    return Statement(
        made.where(
            CHANGE.c.node_id == bindparam("node"),
            CHANGE.c.kind == kind,
            in_slots(CHANGE.c.object_id, "id", count),
        )
    )


_observe: Final = upsert(OBSERVED, "kind", "object_id")

Reported = GatewayReport | ConnectionReport


READY: Final = frozenset({"up", "ready"})
"""States in which an object does what it is for."""


def report(tx: Transaction, node_id: str, report: Report) -> None:
    """Records what a node observed, extends its lease, and releases what it confirms as gone.

    Reports about objects that are not (or no longer) assigned to the node at that generation are dropped.
    """
    found = tx.first(_alive, node=node_id)
    if found is None:
        return
    revision, lease_until = found
    if lease_until < tx.now:
        tombstones.purge(tx)
    for kind, objects in _batches(report):
        rows = [
            row
            for said, known in _matched(tx, node_id, kind, objects)
            if said.revision <= revision
            for row in _take(tx, node_id, kind, said, known)
        ]
        tx.many(_observe, rows)
    # Last, as in `hello`.
    tx.run(_renew, node=node_id, until=tx.now + tx.lease)


def _batches(report: Report) -> Iterator[tuple[ObjectKind, Sequence[Reported]]]:
    # Connections first: a gateway's "gone" lets its services go.
    yield "connection", report.connections
    yield "gateway", report.gateways


def _matched(
    tx: Transaction, node_id: str, kind: ObjectKind, objects: Sequence[Reported]
) -> Iterator[tuple[Reported, Any]]:
    newest = {each.id: each for each in objects}
    for ids in chunks(newest):
        for known in tx.rows(_known(kind, slot_count(ids)), node=node_id, **fill_slots("id", ids)):
            yield newest[known[0]], known


def _take(tx: Transaction, node_id: str, kind: ObjectKind, said: Reported, known: Any) -> Iterator[Values]:
    """The row to keep for a report, if it counts."""
    _, stamped, deleted, holder, generation, seen_by, seen_as, revision, *last, applied_at, ready_at = known
    state = last[0]
    if said.state == "gone":
        # A connection's id is used once: its tombstone alone says that it may go. A router's can come back.
        if deleted and said.revision >= stamped and (kind == "connection" or said.generation == generation):
            tombstones.confirm_gone(tx, kind, said.id)
        return
    if deleted or holder != node_id or said.generation != generation:
        return
    mine = seen_by == node_id and seen_as == generation
    mtu = said.effective_mtu if isinstance(said, ConnectionReport) else None
    says = [said.state, said.reason, mtu]
    if mine and (said.revision < revision or (said.revision == revision and says == last)):
        return
    newly = not mine or revision < stamped <= said.revision
    if said.state in READY and (newly or ready_at is None or state not in READY):
        ready_at = tx.now
    yield {
        "kind": kind,
        "object_id": said.id,
        "node_id": node_id,
        "generation": generation,
        "revision": said.revision,
        "state": said.state,
        "reason": said.reason,
        "effective_mtu": mtu,
        "applied_at": tx.now if newly else applied_at,
        "ready_at": ready_at,
    }
