"""The agent's side: who a node is, that it lives, and what it reports.

A report counts only for what is assigned to this node at this generation and only up to a revision that exists, and
an older one never replaces a newer one. Writes nothing for a report that says what is already known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, insert, select, update

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.desired import ObjectKind
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.store import revisions
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement, upsert
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE, OBSERVED, TABLES
from linkspan.store.nodes import assignment, tombstones
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Row, Transaction

_COLUMNS = (
    NODE.c.id,
    NODE.c.name,
    NODE.c.revision,
    NODE.c.lease_until,
    NODE.c.backend,
    NODE.c.agent_version,
    NODE.c.charon_version,
)
_NAMES: Final = tuple(column.name for column in _COLUMNS)
_add: Final = Statement(insert(NODE))
_by_token: Final = Statement(select(*_COLUMNS).where(NODE.c.token_hash == bindparam("token_hash")))
_all: Final = Statement(
    select(
        *_COLUMNS,
        select(func.count())
        .select_from(GATEWAY)
        .where(GATEWAY.c.node_id == NODE.c.id, GATEWAY.c.deleted_at.is_(None))
        .scalar_subquery(),
    ).order_by(NODE.c.name)
)
_alive: Final = Statement(select(NODE.c.revision, NODE.c.lease_until).where(NODE.c.id == bindparam("node")))
_renew: Final = Statement(update(NODE).where(NODE.c.id == bindparam("node")).values(lease_until=bindparam("until")))
_hello: Final = Statement(
    update(NODE)
    .where(NODE.c.id == bindparam("node"))
    .values(
        lease_until=bindparam("until"),
        backend=bindparam("backend"),
        agent_version=bindparam("agent"),
        charon_version=bindparam("charon"),
    )
)


def add(work: Transaction, name: str, token_hash: str) -> Row:
    """See `store.Tx.add_node`."""
    row: Row = {"id": new_id(), "name": name, "revision": 0, "lease_until": 0.0}
    row |= {"backend": "", "agent_version": "", "charon_version": ""}
    work.run(_add, **row, token_hash=token_hash, created_at=work.wall)
    return row


def all(work: Transaction) -> list[Row]:  # noqa: A001 - read as nodes.all
    """See `store.Tx.nodes`."""
    return [dict(zip((*_NAMES, "gateways"), each, strict=True)) for each in work.rows(_all)]


def by_token(work: Transaction, token_hash: str) -> Row | None:
    """See `store.Tx.node_by_token`."""
    found = work.first(_by_token, token_hash=token_hash)
    return None if found is None else dict(zip(_NAMES, found, strict=True))


def hello(work: Transaction, node_id: str, hello: Hello) -> int:
    """See `store.Tx.hello`."""
    tombstones.purge(work)
    assignment.assign_waiting(work, node_id)
    revisions.flush(work)
    # The node's own row last: whoever stamps locks gateways first and nodes then.
    work.run(
        _hello,
        node=node_id,
        until=work.now + work.lease,
        backend=hello.backend,
        agent=hello.agent_version,
        charon=hello.charon_version,
    )
    return int(work.first(_alive, node=node_id)[0])


# --- reports ------------------------------------------------------------------------------------------------------

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


def report(work: Transaction, node_id: str, report: Report) -> None:
    """See `store.Tx.report`."""
    found = work.first(_alive, node=node_id)
    if found is None:
        return
    revision, lease_until = found
    if lease_until < work.now:
        tombstones.purge(work)
    for kind, objects in _batches(report):
        rows = [
            row
            for said, known in _matched(work, node_id, kind, objects)
            if said.revision <= revision
            for row in _take(work, node_id, kind, said, known)
        ]
        work.many(_observe, rows)
    # Last, as in `hello`.
    work.run(_renew, node=node_id, until=work.now + work.lease)


def _batches(report: Report) -> Iterator[tuple[ObjectKind, Sequence[Reported]]]:
    # Connections first: a gateway's "gone" lets its services go.
    yield "connection", report.connections
    yield "gateway", report.gateways


def _matched(
    work: Transaction, node_id: str, kind: ObjectKind, objects: Sequence[Reported]
) -> Iterator[tuple[Reported, Any]]:
    newest = {each.id: each for each in objects}
    for ids in chunks(newest):
        for known in work.rows(_known(kind, slot_count(ids)), node=node_id, **fill_slots("id", ids)):
            yield newest[known[0]], known


def _take(work: Transaction, node_id: str, kind: ObjectKind, said: Reported, known: Any) -> Iterator[Row]:
    """The row to keep for a report, if it counts."""
    _, stamped, deleted, holder, generation, seen_by, seen_as, revision, *last, applied_at, ready_at = known
    state = last[0]
    if said.state == "gone":
        # A connection's id is used once: its tombstone alone says that it may go. A router's can come back.
        if deleted and said.revision >= stamped and (kind == "connection" or said.generation == generation):
            tombstones.confirm_gone(work, kind, said.id)
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
        ready_at = work.now
    yield {
        "kind": kind,
        "object_id": said.id,
        "node_id": node_id,
        "generation": generation,
        "revision": said.revision,
        "state": said.state,
        "reason": said.reason,
        "effective_mtu": mtu,
        "applied_at": work.now if newly else applied_at,
        "ready_at": ready_at,
    }
