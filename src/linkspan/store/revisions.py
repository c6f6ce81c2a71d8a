"""Revisions: every write that affects a node increments that node's revision and stamps what it touched with it.

Both happen in the writing transaction, once per node, at its end: so the node's row is held for a moment only, nodes
are locked in one order, and a revision is never visible before a smaller one of the same node. A change row says
the newest stamp of one object; "everything after N" is then `revision > N`. Rows of service and gateway are share-
locked while a stamp depends on them: a gateway cannot get or lose its node unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, case, cast, select, true, update
from sqlalchemy.dialects.postgresql import insert

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.desired import ObjectKind
from linkspan.store.database.errors import Conflict
from linkspan.store.database.statements import (
    Statement,
    chunks,
    encode_json,
    fill_slots,
    in_slots,
    json_elements,
    overwriting,
    slot_count,
    statement,
    upsert,
)
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE, TABLES
from linkspan.store.transaction import Transaction

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]


def touch(tx: Transaction, *, connections: Iterable[str] = (), gateways: Iterable[str] = ()) -> None:
    """Says that the nodes of these live objects have to take them up anew (gateways by router id).

    Each node's revision goes up once per transaction. Unassigned gateways are stamped when they are assigned. Nothing
    is written before `flush`.
    """
    touched: set[tuple[ObjectKind, str]] = {("connection", id) for id in connections}
    touched.update(("gateway", id) for id in gateways)
    tx.touched |= touched
    tx.live |= touched


def add_tombstone(tx: Transaction, node_id: str, kind: ObjectKind, id: str, gateway_id: str) -> None:
    """Leaves a tombstone: the node has to remove this object of this gateway."""
    tx.live.discard((kind, id))
    tx.touched.add((kind, id))
    tx.dead.add((node_id, kind, id, gateway_id))


@statement
def _assigned_connections(count: int) -> Statement:
    source = _connection.join(_service, _service.c.id == _connection.c.vpnservice_id)
    source = source.join(GATEWAY, GATEWAY.c.router_id == _service.c.router_id)
    columns = (
        _connection.c.id,
        _connection.c.deleted_at,
        _service.c.deleted_at.label("service_deleted_at"),
        GATEWAY.c.router_id,
        GATEWAY.c.node_id,
        GATEWAY.c.deleted_at.label("gateway_deleted_at"),
    )
    query = select(*columns).select_from(source).where(in_slots(_connection.c.id, "id", count))
    return Statement(query.with_for_update(read=True, of=[_service, GATEWAY]))


@statement
def _assigned_gateways(count: int) -> Statement:
    query = select(GATEWAY.c.router_id, GATEWAY.c.node_id, GATEWAY.c.deleted_at)
    return Statement(query.where(in_slots(GATEWAY.c.router_id, "id", count)).with_for_update(read=True))


@statement
def _lock_nodes(count: int) -> Statement:
    return Statement(select(NODE.c.id).where(in_slots(NODE.c.id, "id", count)).order_by(NODE.c.id).with_for_update())


@statement
def _increment(count: int) -> Statement:
    increment = update(NODE).where(in_slots(NODE.c.id, "id", count)).values(revision=NODE.c.revision + 1)
    return Statement(increment.returning(NODE.c.id, NODE.c.revision))


def _write_stamps() -> Statement:
    """INSERT of stamps given as a JSON list of [node, kind, object, gateway, revision, deleted]; overwrites."""
    stamps, field = json_elements(bindparam("stamps"))
    columns: dict[str, ColumnElement[Any]] = {
        "node_id": field(0, CHANGE.c.node_id.type),
        "kind": field(1, CHANGE.c.kind.type),
        "object_id": field(2, CHANGE.c.object_id.type),
        "gateway_id": field(3, CHANGE.c.gateway_id.type),
        "revision": field(4, CHANGE.c.revision.type),
        "deleted": field(5, CHANGE.c.deleted.type),
        "at": cast(bindparam("now"), CHANGE.c.at.type),
        "settled": case((field(5, CHANGE.c.deleted.type), true())),
    }
    # SQLite cannot parse ON CONFLICT behind a SELECT without WHERE (lang_upsert.html, "Parsing Ambiguity").
    source = select(*columns.values()).select_from(stamps).where(true())
    return Statement(overwriting(insert(CHANGE).from_select(list(columns), source), "node_id", "kind", "object_id"))


_stamps: Final = _write_stamps()
_stamp: Final = upsert(CHANGE, "node_id", "kind", "object_id")


def flush(tx: Transaction) -> None:
    """Writes the stamps that are due. Raises `Conflict` if a touched connection has lost its service meanwhile."""
    if not tx.live and not tx.dead:
        return
    stamps = dict.fromkeys(tx.dead, True) | dict.fromkeys(_assigned(tx), False)
    tx.live.clear()
    tx.dead.clear()
    _increment_revisions(tx, sorted({node for node, *_ in stamps} - tx.revisions.keys()))
    rows = [
        (node, kind, id, gateway, tx.revisions[node], deleted)
        for (node, kind, id, gateway), deleted in stamps.items()
        if node in tx.revisions
    ]
    if len(rows) == 1:
        # The usual number: as JSON it would cost SQLite twice as much.
        node, kind, id, gateway, revision, deleted = rows[0]
        tx.run(
            _stamp,
            node_id=node,
            kind=kind,
            object_id=id,
            gateway_id=gateway,
            revision=revision,
            deleted=deleted,
            at=tx.now,
            settled=deleted or None,
        )
    elif rows:
        tx.run(_stamps, stamps=encode_json(rows), now=tx.now)


def wake(tx: Transaction, node_id: str) -> None:
    """Has a node read its desired state, in which nothing has changed."""
    _increment_revisions(tx, [node_id])


def _increment_revisions(tx: Transaction, nodes: list[str]) -> None:
    for ids in chunks(nodes):
        slots = fill_slots("id", ids)
        if len(ids) > 1:
            # UPDATE locks rows in any order: two transactions that increment the same nodes would deadlock.
            tx.rows(_lock_nodes(slot_count(ids)), **slots)
        tx.revisions |= dict(tx.rows(_increment(slot_count(ids)), **slots))


def _assigned(tx: Transaction) -> list[tuple[str, ObjectKind, str, str]]:
    """(node, kind, id, gateway) of the touched objects that are assigned to a node."""
    assigned: list[tuple[str, ObjectKind, str, str]] = []
    for ids in chunks(sorted(id for kind, id in tx.live if kind == "connection")):
        for id, deleted_at, service_deleted_at, router, node, gateway_deleted_at in tx.rows(
            _assigned_connections(slot_count(ids)), **fill_slots("id", ids)
        ):
            if deleted_at is not None:
                continue
            if service_deleted_at is not None or gateway_deleted_at is not None:
                raise Conflict(f"the service of connection {id} was deleted meanwhile")
            if node is not None:
                assigned.append((node, "connection", id, router))
    for ids in chunks(sorted(id for kind, id in tx.live if kind == "gateway")):
        for id, node, deleted_at in tx.rows(_assigned_gateways(slot_count(ids)), **fill_slots("id", ids)):
            if node is not None and deleted_at is None:
                assigned.append((node, "gateway", id, id))
    return assigned


def join_changes(kind: ObjectKind, source: Any, object_id: Any) -> Any:
    """Narrows a FROM to the live objects of `node` whose stamp is newer than `since`."""
    return source.join(
        CHANGE,
        and_(
            CHANGE.c.node_id == bindparam("node"),
            CHANGE.c.kind == kind,
            CHANGE.c.object_id == object_id,
            CHANGE.c.revision > bindparam("since"),
            CHANGE.c.deleted.is_(False),
        ),
    )
