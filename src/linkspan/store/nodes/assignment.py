"""Assignment of gateways to nodes.

A gateway exists while its router has a service. `generation` counts assignments and never repeats for a router, so that
late reports of a former node do not count. A gateway is assigned once, when a node is alive, and stays assigned when
that node is lost.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.core.state.desired import ObjectKind
from linkspan.store import revisions, timeline
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import GATEWAY, NODE, OBSERVED, TABLES
from linkspan.store.transaction import Transaction

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]

lock_gateway: Final = Statement(
    select(GATEWAY.c.node_id, GATEWAY.c.deleted_at).where(GATEWAY.c.router_id == bindparam("router")).with_for_update()
)
_emptiest: Final = Statement(
    select(NODE.c.id)
    .outerjoin(GATEWAY, and_(GATEWAY.c.node_id == NODE.c.id, GATEWAY.c.deleted_at.is_(None)))
    .where(NODE.c.lease_until >= bindparam("now"))
    .group_by(NODE.c.id, NODE.c.name)
    .order_by(func.count(GATEWAY.c.router_id), NODE.c.name)
    .limit(1)
)
_add: Final = Statement(insert(GATEWAY).values(router_id=bindparam("router"), node_id=bindparam("node"), generation=1))
_assign: Final = Statement(
    update(GATEWAY)
    .where(GATEWAY.c.router_id == bindparam("router"))
    .values(node_id=bindparam("node"), generation=GATEWAY.c.generation + 1, deleted_at=None)
    .returning(GATEWAY.c.generation)
)
_release: Final = Statement(
    update(GATEWAY).where(GATEWAY.c.router_id == bindparam("router")).values(deleted_at=bindparam("now"))
)
_carried: Final = Statement(
    select(_connection.c.id)
    .join(_service, _service.c.id == _connection.c.vpnservice_id)
    .where(_service.c.router_id == bindparam("router"), _connection.c.deleted_at.is_(None))
)
_waiting: Final = Statement(
    select(GATEWAY.c.router_id)
    .where(GATEWAY.c.node_id.is_(None), GATEWAY.c.deleted_at.is_(None))
    .order_by(GATEWAY.c.router_id)
    .with_for_update()
)


def _reset(kind: ObjectKind, ids: Any) -> Statement:
    """Observations of a former node say nothing about the new one, except that the object was up once."""
    return Statement(
        update(OBSERVED)
        .where(OBSERVED.c.kind == kind, OBSERVED.c.object_id.in_(ids))
        .values(
            node_id=bindparam("node"),
            generation=bindparam("generation"),
            revision=0,
            state="down",
            reason="",
            code=None,
            code_at=None,
            effective_mtu=None,
        )
    )


_reset_gateway: Final = _reset("gateway", [bindparam("router")])
_reset_connections: Final = _reset(
    "connection",
    select(_connection.c.id)
    .join(_service, _service.c.id == _connection.c.vpnservice_id)
    .where(_service.c.router_id == bindparam("router")),
)
forget_services: Final = Statement(
    delete(_service).where(_service.c.router_id == bindparam("router"), _service.c.deleted_at.is_not(None))
)
forget_observation: Final = Statement(
    delete(OBSERVED).where(OBSERVED.c.kind == bindparam("kind"), OBSERVED.c.object_id == bindparam("id"))
)


def ensure_gateway(tx: Transaction, router_id: str) -> None:
    """Makes sure that a router with a service has a gateway; call it after inserting the service.

    It goes to the live node with the fewest gateways; without one it waits for a node's hello.
    """
    row = tx.first(lock_gateway, router=router_id)
    if row is None:
        node = _pick(tx)
        # Somebody who added it first makes this a Conflict, by the primary key.
        tx.run(_add, router=router_id, node=node)
        revisions.touch(tx, gateways=(router_id,))
        return
    node, deleted_at = row
    if deleted_at is not None:
        # Services that waited for the gateway to go have nothing to wait for any more.
        tx.run(forget_services, router=router_id)
        # What its former life looked like is no part of the new one: a new service reads PENDING_CREATE.
        tx.run(forget_observation, kind="gateway", id=router_id)
        _assign_to(tx, router_id, node if node is not None and is_alive(tx, node) else _pick(tx))
    elif node is None:
        target = _pick(tx)
        if target is not None:
            _assign_to(tx, router_id, target)


def assign_waiting(tx: Transaction, node_id: str) -> None:
    """Gives every gateway that waits for a node to this one."""
    for (router,) in tx.rows(_waiting):
        _assign_to(tx, router, node_id)


def place_waiting(tx: Transaction) -> None:
    """Gives every gateway that waits for a node to a live one, if there is one."""
    for (router,) in tx.rows(_waiting):
        target = _pick(tx)
        if target is None:
            return
        _assign_to(tx, router, target)


def _assign_to(tx: Transaction, router: str, node: str | None) -> None:
    (generation,) = tx.first(_assign, router=router, node=node)
    connections = [id for (id,) in tx.rows(_carried, router=router)]
    if node is not None:
        for reset in (_reset_gateway, _reset_connections):
            tx.run(reset, router=router, node=node, generation=generation)
        timeline.happened(tx, "move", connections, node)
    revisions.touch(tx, connections=connections, gateways=(router,))


def _pick(tx: Transaction) -> str | None:
    found = tx.first(_emptiest, now=tx.now)
    return None if found is None else str(found[0])


_lease: Final = Statement(select(NODE.c.lease_until).where(NODE.c.id == bindparam("node")))


def is_alive(tx: Transaction, node_id: str) -> bool:
    """True while a node's lease runs."""
    found = tx.first(_lease, node=node_id)
    return found is not None and found[0] >= tx.now


live_services: Final = Statement(
    select(func.count())
    .select_from(_service)
    .where(_service.c.live_router_id == bindparam("router"), _service.c.id != bindparam("except"))
)


def delete_gateway(tx: Transaction, router_id: str, node: str | None, deleted_at: float | None) -> None:
    """Deletes a gateway and leaves its tombstone, if there is still one."""
    tx.live.discard(("gateway", router_id))
    if deleted_at is None:
        tx.run(_release, router=router_id, now=tx.now)
        if node is not None:
            revisions.add_tombstone(tx, node, "gateway", router_id, router_id)
