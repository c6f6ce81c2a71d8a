"""Revisions: every write that affects a node increments that node's revision and stamps what it touched with it.

Both happen in the writing transaction, once per node, at its end: so the node's row is held for a moment only, nodes
are locked in one order, and a revision is never visible before a smaller one of the same node. A change row says
the newest stamp of one object; "everything after N" is then `revision > N`. Rows of service and gateway are share-
locked while a stamp depends on them: a gateway cannot get or lose its node unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import and_, bindparam, select, update

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.desired import ObjectKind
from linkspan.store.database.errors import Conflict
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement, upsert
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE, TABLES
from linkspan.store.transaction import Transaction

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]


def touch(tx: Transaction, *, connections: Iterable[str] = (), gateways: Iterable[str] = ()) -> None:
    """Says that the nodes of these live objects have to take them up anew (gateways by router id).

    Each node's revision goes up once per transaction. Unassigned gateways are stamped when they are assigned.
     Nothing is written before `flush`."""
    tx.live.update(("connection", id) for id in connections)
    tx.live.update(("gateway", id) for id in gateways)


def add_tombstone(tx: Transaction, node_id: str, kind: ObjectKind, id: str, gateway_id: str) -> None:
    """Leaves a tombstone: the node has to remove this object of this gateway."""
    tx.live.discard((kind, id))
    tx.dead.add((node_id, kind, id, gateway_id))


@statement
def _carriers(count: int) -> Statement:
    source = _connection.join(_service, _service.c.id == _connection.c.vpnservice_id)
    source = source.join(GATEWAY, GATEWAY.c.router_id == _service.c.router_id)
    columns = (
        _connection.c.id,
        _connection.c.deleted_at,
        _service.c.deleted_at,
        GATEWAY.c.router_id,
        GATEWAY.c.node_id,
        GATEWAY.c.deleted_at,
    )
    made = select(*columns).select_from(source).where(in_slots(_connection.c.id, "id", count))
    return Statement(made.with_for_update(read=True, of=[_service, GATEWAY]))


@statement
def _gateways(count: int) -> Statement:
    made = select(GATEWAY.c.router_id, GATEWAY.c.node_id, GATEWAY.c.deleted_at)
    return Statement(made.where(in_slots(GATEWAY.c.router_id, "id", count)).with_for_update(read=True))


_increment: Final = Statement(
    update(NODE).where(NODE.c.id == bindparam("node")).values(revision=NODE.c.revision + 1).returning(NODE.c.revision)
)
_stamp: Final = upsert(CHANGE, "node_id", "kind", "object_id")


def flush(tx: Transaction) -> None:
    """Writes the stamps that are due. Raises `Conflict` if a touched connection has lost its service meanwhile."""
    if not tx.live and not tx.dead:
        return
    stamps = dict.fromkeys(tx.dead, True) | dict.fromkeys(_assigned(tx), False)
    tx.live.clear()
    tx.dead.clear()
    for node in sorted({stamp[0] for stamp in stamps} - tx.revisions.keys()):
        found = tx.first(_increment, node=node)
        if found is not None:
            tx.revisions[node] = found[0]
    rows: list[dict[str, Any]] = [
        {
            "node_id": node,
            "kind": kind,
            "object_id": id,
            "gateway_id": gateway,
            "revision": tx.revisions[node],
            "deleted": deleted,
            "at": tx.now,
        }
        for (node, kind, id, gateway), deleted in stamps.items()
        if node in tx.revisions
    ]
    tx.many(_stamp, rows)


def _assigned(tx: Transaction) -> list[tuple[str, ObjectKind, str, str]]:
    """(node, kind, id, gateway) of the touched objects that some node carries."""
    made: list[tuple[str, ObjectKind, str, str]] = []
    for ids in chunks(sorted(id for kind, id in tx.live if kind == "connection")):
        for id, deleted, service_deleted, gateway, node, gateway_deleted in tx.rows(
            _carriers(slot_count(ids)), **fill_slots("id", ids)
        ):
            if deleted is not None:
                continue
            if service_deleted is not None or gateway_deleted is not None:
                raise Conflict(f"the service of connection {id} was deleted meanwhile")
            if node is not None:
                made.append((node, "connection", id, gateway))
    for ids in chunks(sorted(id for kind, id in tx.live if kind == "gateway")):
        for id, node, deleted in tx.rows(_gateways(slot_count(ids)), **fill_slots("id", ids)):
            if node is not None and deleted is None:
                made.append((node, "gateway", id, id))
    return made


def stamped(kind: ObjectKind, source: Any, object_id: Any) -> Any:
    """Narrows a FROM to the live objects of `node` that were stamped after `since`."""
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
