"""Revisions: every write that affects a node increments that node's revision and stamps what it touched with it.

Both happen in the writing transaction, once per node, at its end: so the node's row is held for a moment only, nodes
are locked in one order, and a revision is never visible before a smaller one of the same node. A change row says
the newest stamp of one object; "everything after N" is then `revision > N`. Rows of service and gateway are share-
locked while a stamp depends on them: a gateway cannot get or lose its node unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, case, cast, or_, select, true, update
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
def _users(reference: str) -> Statement:
    query = select(_connection.c.id, _connection.c.vpnservice_id)
    query = query.where(_connection.c[f"live_{reference}"] == bindparam("id"))
    # In one order: edits of two policies of the same connections would deadlock.
    return _place_of(query.order_by(_connection.c.id).with_for_update().subquery("users"))


@statement
def _placed(count: int) -> Statement:
    query = select(_connection.c.id, _connection.c.vpnservice_id).where(in_slots(_connection.c.id, "id", count))
    return _place_of(query.where(_connection.c.deleted_at.is_(None)).subquery("live"))


def _place_of(connections: Any) -> Statement:
    """Ids, gateways and nodes of connections; and whether the service or the gateway is deleted."""
    source = connections.join(_service, _service.c.id == connections.c.vpnservice_id)
    source = source.join(GATEWAY, GATEWAY.c.router_id == _service.c.router_id)
    gone = or_(_service.c.deleted_at.is_not(None), GATEWAY.c.deleted_at.is_not(None))
    query = select(connections.c.id, GATEWAY.c.router_id, GATEWAY.c.node_id, gone).select_from(source)
    return Statement(query.with_for_update(read=True, of=[_service, GATEWAY]))


def touch_users(tx: Transaction, reference: str, id: str) -> list[str]:
    """As `touch`, for the live connections that reference a policy; returns their ids. They are locked from here on,
    and their services and gateways cannot go. Raises `Conflict` if one has gone already."""
    users = _places(tx.rows(_users(reference), id=id))
    tx.places |= users
    touch(tx, connections=users)
    return sorted(users)


@statement
def _assigned_gateways(count: int) -> Statement:
    query = select(GATEWAY.c.router_id, GATEWAY.c.node_id, GATEWAY.c.deleted_at)
    return Statement(query.where(in_slots(GATEWAY.c.router_id, "id", count)).with_for_update(read=True))


@statement
def _increment(count: int) -> Statement:
    wanted: Any = in_slots(NODE.c.id, "id", count)
    if count > 1:
        # UPDATE locks rows in any order: two transactions that increment the same nodes would deadlock.
        node = NODE.alias("locked")
        locked = select(node.c.id).where(in_slots(node.c.id, "id", count)).order_by(node.c.id).with_for_update()
        wanted = NODE.c.id.in_(locked)
    increment = update(NODE).where(wanted).values(revision=NODE.c.revision + 1)
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
        tx.revisions |= dict(tx.rows(_increment(slot_count(ids)), **fill_slots("id", ids)))


def _assigned(tx: Transaction) -> list[tuple[str, ObjectKind, str, str]]:
    """(node, kind, id, gateway) of the touched objects that are assigned to a node."""
    connections = {id for kind, id in tx.live if kind == "connection"}
    places = {id: place for id, place in tx.places.items() if id in connections}
    for ids in chunks(sorted(connections - places.keys())):
        places |= _places(tx.rows(_placed(slot_count(ids)), **fill_slots("id", ids)))
    assigned: list[tuple[str, ObjectKind, str, str]] = [
        (node, "connection", id, router) for id, (router, node) in places.items() if node is not None
    ]
    for ids in chunks(sorted(id for kind, id in tx.live if kind == "gateway")):
        for id, node, deleted_at in tx.rows(_assigned_gateways(slot_count(ids)), **fill_slots("id", ids)):
            if node is not None and deleted_at is None:
                assigned.append((node, "gateway", id, id))
    return assigned


def _places(rows: Iterable[Any]) -> dict[str, tuple[str, str | None]]:
    """The gateways and nodes of connections by id. They cannot change until the transaction ends."""
    places = {}
    for id, router, node, gone in rows:
        if gone:
            raise Conflict(f"the service of connection {id} was deleted meanwhile")
        places[id] = (router, node)
    return places


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
