"""Reports of nodes.

A report counts only for objects assigned to this node at this generation, and only up to a revision that exists. An
older report never replaces a newer one. A report without news writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, exists, false, null, select, true, update

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.desired import ObjectKind
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Report, with_bounded_reason
from linkspan.store import timeline
from linkspan.store.database.statements import (
    Statement,
    chunks,
    fill_slots,
    in_slots,
    slot_count,
    statement,
    struct_columns,
    upsert,
)
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE, OBSERVED, PREVIOUS_KEY, TABLES
from linkspan.store.nodes import tombstones
from linkspan.store.transaction import Transaction, Values

_alive: Final = Statement(select(NODE.c.revision, NODE.c.lease_until).where(NODE.c.id == bindparam("node")))
_renew: Final = Statement(update(NODE).where(NODE.c.id == bindparam("node")).values(lease_until=bindparam("until")))


class _Recorded(msgspec.Struct):
    """The record of an object that a node reports: its stamp, its assignment, and its last report."""

    object_id: str
    stamp: int
    deleted: bool
    settled: bool | None
    node_id: str | None
    generation: int | None
    observed_by: str | None
    observed_generation: int
    observed_revision: int
    state: str
    reason: str
    effective_mtu: int | None
    applied_at: float
    ready_at: float | None
    code: str | None
    code_at: float | None
    good_revision: int | None
    configured_revision: int | None
    rotates: bool


_columns: Final[dict[str, ColumnElement[Any]]] = {
    "object_id": CHANGE.c.object_id,
    "stamp": CHANGE.c.revision,
    "deleted": CHANGE.c.deleted,
    "settled": CHANGE.c.settled,
    "node_id": GATEWAY.c.node_id,
    "generation": GATEWAY.c.generation,
    "observed_by": OBSERVED.c.node_id,
    "observed_generation": OBSERVED.c.generation,
    "observed_revision": OBSERVED.c.revision,
    "state": OBSERVED.c.state,
    "reason": OBSERVED.c.reason,
    "effective_mtu": OBSERVED.c.effective_mtu,
    "applied_at": OBSERVED.c.applied_at,
    "ready_at": OBSERVED.c.ready_at,
    "code": OBSERVED.c.code,
    "code_at": OBSERVED.c.code_at,
    "good_revision": OBSERVED.c.good_revision,
}


@statement
def _recorded(kind: ObjectKind, count: int) -> Statement:
    source: Any = CHANGE
    configured: ColumnElement[Any] = null()
    rotates: ColumnElement[Any] = false()
    if kind == "connection":
        connection, service = TABLES[CONNECTION.name], TABLES[SERVICE.name]
        source = source.outerjoin(connection, connection.c.id == CHANGE.c.object_id)
        source = source.outerjoin(service, service.c.id == connection.c.vpnservice_id)
        source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == service.c.router_id)
        configured = connection.c.configured_revision
        rotates = exists().where(PREVIOUS_KEY.c.id == CHANGE.c.object_id)
    else:
        source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == CHANGE.c.object_id)
    source = source.outerjoin(
        OBSERVED, and_(OBSERVED.c.kind == CHANGE.c.kind, OBSERVED.c.object_id == CHANGE.c.object_id)
    )
    columns = struct_columns(_Recorded, **_columns, configured_revision=configured, rotates=rotates)
    query = select(*columns).select_from(source)
    return Statement(
        query.where(
            CHANGE.c.node_id == bindparam("node"),
            CHANGE.c.kind == kind,
            in_slots(CHANGE.c.object_id, "id", count),
        )
    )


_observe: Final = upsert(OBSERVED, "kind", "object_id")


@statement
def _settle(settled: bool | None, count: int) -> Statement:
    query = update(CHANGE).where(in_slots(CHANGE.c.object_id, "id", count), CHANGE.c.kind == bindparam("of_kind"))
    return Statement(query.where(CHANGE.c.node_id == bindparam("node")).values(settled=true() if settled else null()))


Reported = GatewayReport | ConnectionReport


READY: Final = frozenset({"up", "ready"})
"""States in which an object does what it is for."""


def report(tx: Transaction, node_id: str, report: Report) -> None:
    """Records what a node observed and what happened there, extends its lease, releases what it confirms as gone.

    Reports about objects that are not (or no longer) assigned to the node at that generation are dropped.
    """
    found = tx.first(_alive, node=node_id)
    if found is None:
        return
    revision, lease_until = found
    if lease_until < tx.now:
        tombstones.purge(tx)
    # Before a report that a connection is gone, which removes it.
    timeline.report(tx, node_id, report.events)
    for kind, objects in _batches(report):
        settled: dict[str, bool | None] = {}
        rows = [
            row
            for reported, recorded in _matched(tx, node_id, kind, [with_bounded_reason(entry) for entry in objects])
            if reported.revision <= revision
            for row in _take(tx, node_id, kind, reported, recorded, settled)
        ]
        tx.many(_observe, rows)
        _record_settled(tx, node_id, kind, settled)
    # Last, as in `hello`.
    tx.run(_renew, node=node_id, until=tx.now + tx.lease)


def _record_settled(tx: Transaction, node_id: str, kind: ObjectKind, settled: Mapping[str, bool | None]) -> None:
    """Marks the stamps that are settled now, and those that are not any more."""
    for value in (True, None):
        for ids in chunks(id for id, now in settled.items() if now is value):
            tx.run(_settle(value, slot_count(ids)), node=node_id, of_kind=kind, **fill_slots("id", ids))


def _batches(report: Report) -> Iterator[tuple[ObjectKind, Sequence[Reported]]]:
    # Connections first: a gateway's "gone" lets its services go.
    yield "connection", report.connections
    yield "gateway", report.gateways


def _matched(
    tx: Transaction, node_id: str, kind: ObjectKind, objects: Sequence[Reported]
) -> Iterator[tuple[Reported, _Recorded]]:
    newest = {reported.id: reported for reported in objects}
    for ids in chunks(newest):
        for values in tx.rows(_recorded(kind, slot_count(ids)), node=node_id, **fill_slots("id", ids)):
            recorded = _Recorded(*values)
            yield newest[recorded.object_id], recorded


def _take(
    tx: Transaction,
    node_id: str,
    kind: ObjectKind,
    reported: Reported,
    recorded: _Recorded,
    settled: dict[str, bool | None],
) -> Iterator[Values]:
    """The row to keep for a report, if it counts. Adds to `settled` whether its stamp is now, if that changes."""
    if reported.state == "gone":
        # A connection's id is used once: its tombstone alone says that it may go. A router's can come back.
        same_gateway = kind == "connection" or reported.generation == recorded.generation
        if recorded.deleted and reported.revision >= recorded.stamp and same_gateway:
            tombstones.confirm_gone(tx, kind, reported.id)
        return
    if recorded.deleted or recorded.node_id != node_id or reported.generation != recorded.generation:
        return
    is_first = recorded.observed_by != node_id or recorded.observed_generation != recorded.generation
    effective_mtu, code = None, None
    if isinstance(reported, ConnectionReport):
        effective_mtu, code = reported.effective_mtu, reported.code or None
    is_settled = True if reported.state in READY and reported.revision >= recorded.stamp else None
    # While the key before a changed one is kept, the tunnel may be up with that one.
    good = recorded.configured_revision if is_settled and not recorded.rotates else recorded.good_revision
    if not is_first and reported.revision <= recorded.observed_revision:
        last = (recorded.state, recorded.reason, recorded.effective_mtu, recorded.code, recorded.good_revision)
        newest = (reported.state, reported.reason, effective_mtu, code, good)
        if reported.revision < recorded.observed_revision or newest == last:
            return
    is_new = is_first or recorded.observed_revision < recorded.stamp <= reported.revision
    ready_at = recorded.ready_at
    if reported.state in READY and (is_new or ready_at is None or recorded.state not in READY):
        ready_at = tx.now
    if is_settled != (recorded.settled or None):
        settled[reported.id] = is_settled
    yield {
        "kind": kind,
        "object_id": reported.id,
        "node_id": node_id,
        "generation": recorded.generation,
        "revision": reported.revision,
        "state": reported.state,
        "reason": reported.reason,
        "effective_mtu": effective_mtu,
        "code": code,
        "code_at": _code_at(tx, recorded, code, is_first),
        "applied_at": tx.now if is_new else recorded.applied_at,
        "ready_at": ready_at,
        "good_revision": good,
    }


def _code_at(tx: Transaction, recorded: _Recorded, code: str | None, is_first: bool) -> float | None:
    """The time since when a code is reported; None without one."""
    if code is None:
        return None
    return recorded.code_at if code == recorded.code and not is_first else tx.now
