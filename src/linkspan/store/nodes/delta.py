"""What a node has to run, as deltas: stamps select; `legs` and `resolve` make the objects.

Five statements whatever the number of objects. Count and digest cover every live stamp of the node, so that a node
can tell whether it holds the same set. Refuses to leave out tombstones: also a node that starts anew hears of them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select

from linkspan.core.state import desired
from linkspan.core.state.desired import Delta, Gone
from linkspan.store import revisions
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE
from linkspan.store.nodes import connection_state, gateway_state
from linkspan.store.transaction import Transaction

_node: Final = Statement(select(NODE.c.revision).where(NODE.c.id == bindparam("node")))
_stamps: Final = Statement(
    select(CHANGE.c.kind, CHANGE.c.object_id, CHANGE.c.revision, CHANGE.c.deleted, CHANGE.c.gateway_id).where(
        CHANGE.c.node_id == bindparam("node")
    )
)
_owner: Final = Statement(
    select(GATEWAY.c.generation).where(
        GATEWAY.c.router_id == bindparam("gateway"),
        GATEWAY.c.node_id == bindparam("node"),
        GATEWAY.c.deleted_at.is_(None),
    )
)


def delta_since(work: Transaction, node_id: str, since: int) -> Delta:
    """See `store.Tx.desired`."""
    revisions.flush(work)
    found = work.first(_node, node=node_id)
    if found is None:
        raise KeyError(f"node {node_id} is not there")
    revision = int(found[0])
    start = since if 0 < since <= revision else 0
    stamps = work.rows(_stamps, node=node_id)
    live = [(kind, id, stamp) for kind, id, stamp, deleted, _ in stamps if not deleted]
    fresh = {kind for kind, _, stamp in live if stamp > start}
    addresses = work.rows(gateway_state.interface_rows(False), node=node_id, since=start) if "gateway" in fresh else ()
    bodies = (
        work.rows(connection_state.connection_rows(True, False), node=node_id, since=start)
        if "connection" in fresh
        else ()
    )
    return Delta(
        since=start,
        revision=revision,
        gateways=gateway_state.gateways(addresses),
        connections=connection_state.connections(work, bodies),
        gone=tuple(
            Gone(kind, id, stamp, gateway) for kind, id, stamp, deleted, gateway in stamps if deleted and stamp > start
        ),
        count=len(live),
        digest=desired.digest(live),
    )


def one_gateway(work: Transaction, node_id: str, gateway_id: str) -> Delta | None:
    """See `store.Tx.gateway_state`."""
    revisions.flush(work)
    if work.first(_owner, node=node_id, gateway=gateway_id) is None:
        return None
    where = {"node": node_id, "gateway": gateway_id, "since": 0}
    revision = int(work.first(_node, **where)[0])
    gateways = gateway_state.gateways(work.rows(gateway_state.interface_rows(True), **where))
    connections = connection_state.connections(work, work.rows(connection_state.connection_rows(True, True), **where))
    stamps: list[tuple[desired.ObjectKind, str, int]] = [("gateway", each.id, each.revision) for each in gateways]
    stamps += [("connection", each.id, each.revision) for each in connections]
    return Delta(
        since=0,
        revision=revision,
        gateways=gateways,
        connections=connections,
        gone=(),
        count=len(stamps),
        digest=desired.digest(stamps),
    )
