"""Deletion of services and connections: complete when the node that holds them confirms it, or is lost.

A tombstone is stamped first and kept; the row stays readable until the node confirms, or its lease ends. Rows are
locked in one order: connection or service, then gateway, then (at the end of the transaction) node.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, select, update

from linkspan.core.schema.resources import CONNECTION, SERVICE, Resource
from linkspan.core.state.desired import ObjectKind
from linkspan.store import revisions
from linkspan.store.database import commit_markers
from linkspan.store.database.errors import Conflict
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE, RELEASED, TABLES
from linkspan.store.nodes import assignment
from linkspan.store.transaction import KEEP_TOMBSTONES, Transaction

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]

_going_connection: Final = Statement(
    select(_connection.c.deleted_at, GATEWAY.c.node_id, GATEWAY.c.router_id)
    .join(_service, _service.c.id == _connection.c.vpnservice_id)
    .join(GATEWAY, GATEWAY.c.router_id == _service.c.router_id)
    .where(_connection.c.id == bindparam("id"))
    # The gateway too: it must not get its node, with this connection in it, in between.
    .with_for_update(of=[_connection, GATEWAY])
)
_going_service: Final = Statement(
    select(_service.c.deleted_at, _service.c.router_id).where(_service.c.id == bindparam("id")).with_for_update()
)
_used: Final = Statement(select(_connection.c.id).where(_connection.c.live_vpnservice_id == bindparam("id")).limit(1))


def soft_delete(tx: Transaction, resource: Resource, id: str) -> bool:
    """Deletes a connection or service and stamps the tombstone; nothing else has to be touched or released.

    True: it is gone at once (no live node holds it). False: it reads PENDING_DELETE until its node confirms, or
    the node's lease ends. The last service of a router takes the gateway with it. Raises `Conflict` while the
    service has live connections.
    """
    match resource.name:
        case CONNECTION.name:
            return _delete_connection(tx, id)
        case SERVICE.name:
            return _delete_service(tx, id)
        case other:
            raise ValueError(f"a {other} is removed, not deleted softly")


def _delete_connection(tx: Transaction, id: str) -> bool:
    tx.live.discard(("connection", id))
    row = tx.first(_going_connection, id=id)
    deleted_at, node, router = (None, None, "") if row is None else row
    if deleted_at is None and node is not None:
        revisions.add_tombstone(tx, node, "connection", id, router)
    return _go(tx, CONNECTION, "connection", id, node, deleted_at)


def _delete_service(tx: Transaction, id: str) -> bool:
    row = tx.first(_going_service, id=id)
    if row is None:
        return True
    deleted_at, router = row
    if tx.first(_used, id=id) is not None:
        raise Conflict(f"service {id} has connections")
    gateway = tx.first(assignment.lock_gateway, router=router)
    node = None
    if gateway is not None and not tx.first(assignment.live_services, router=router, **{"except": id})[0]:
        node, gateway_deleted_at = gateway
        assignment.delete_gateway(tx, router, node, gateway_deleted_at)
    return _go(tx, SERVICE, "", id, node, deleted_at)


_mark: Final = {
    resource.name: Statement(
        update(TABLES[resource.name])
        .where(TABLES[resource.name].c.id == bindparam("id_"))
        .values(
            deleted_at=bindparam("now"),
            holder_id=bindparam("node"),
            **dict.fromkeys(RELEASED.get(resource.name, ())),
        )
    )
    for resource in (CONNECTION, SERVICE)
}
_forget: Final = {
    resource.name: Statement(delete(TABLES[resource.name]).where(TABLES[resource.name].c.id == bindparam("id")))
    for resource in (CONNECTION, SERVICE)
}


def _go(tx: Transaction, resource: Resource, kind: str, id: str, node: str | None, deleted_at: float | None) -> bool:
    if node is not None and assignment.is_alive(tx, node):
        if deleted_at is None:
            tx.run(_mark[resource.name], id_=id, now=tx.now, node=node)
        return False
    tx.run(_forget[resource.name], id=id)
    if kind:
        tx.run(assignment.forget_observation, kind=kind, id=id)
    return True


_unassign: Final = Statement(
    update(GATEWAY)
    .where(GATEWAY.c.router_id == bindparam("router"), GATEWAY.c.deleted_at.is_not(None))
    .values(node_id=None)
)


def confirm_gone(tx: Transaction, kind: ObjectKind, id: str) -> None:
    """A node confirmed a tombstone: the softly deleted rows go, the tombstone stays."""
    if kind == "connection":
        tx.run(_forget_held, id=id)
    else:
        tx.run(assignment.forget_services, router=id)
        tx.run(_unassign, router=id)
    tx.run(assignment.forget_observation, kind=kind, id=id)


_forget_held: Final = Statement(
    delete(_connection).where(_connection.c.id == bindparam("id"), _connection.c.deleted_at.is_not(None))
)
_lapsed = select(NODE.c.id).where(NODE.c.lease_until < bindparam("now"))
_purges: Final = (
    *(
        Statement(
            delete(table).where(
                table.c.deleted_at.is_not(None), table.c.holder_id.is_(None) | table.c.holder_id.in_(_lapsed)
            )
        )
        for table in (_connection, _service)
    ),
    Statement(delete(CHANGE).where(CHANGE.c.deleted, CHANGE.c.at < bindparam("old"))),
    Statement(delete(GATEWAY).where(GATEWAY.c.deleted_at < bindparam("old"))),
    commit_markers.purge,
)


def purge(tx: Transaction) -> None:
    """Completes deletions whose node was lost, and removes tombstones and markers that nobody can need. Called before a
    lease is extended."""
    for each in _purges:
        tx.run(each, now=tx.now, old=tx.now - KEEP_TOMBSTONES)
