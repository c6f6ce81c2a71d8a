"""The desired state of a node, as deltas: stamps select the objects, `gateway_state` and `connection_state` build them.

Five statements whatever the number of objects. Count and digest cover every live stamp of the node, so that it can tell
whether it holds the same set. Tombstones are never left out: also a node that starts anew reads them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select

from linkspan.core.state import desired
from linkspan.core.state.desired import Delta, Gone
from linkspan.store import revisions
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import CHANGE, NODE
from linkspan.store.nodes import connection_state, gateway_state
from linkspan.store.transaction import Transaction

_node: Final = Statement(select(NODE.c.revision).where(NODE.c.id == bindparam("node")))
_stamps: Final = Statement(
    select(CHANGE.c.kind, CHANGE.c.object_id, CHANGE.c.revision, CHANGE.c.deleted, CHANGE.c.gateway_id).where(
        CHANGE.c.node_id == bindparam("node")
    )
)


def desired_since(tx: Transaction, node_id: str, since: int) -> Delta:
    """Everything stamped after `since`; everything if it is 0, unknown or newer than the node's revision."""
    revisions.flush(tx)
    found = tx.first(_node, node=node_id)
    if found is None:
        raise KeyError(f"node {node_id} is not there")
    revision = int(found[0])
    start = since if 0 < since <= revision else 0
    stamps = tx.rows(_stamps, node=node_id)
    live = [(kind, id, stamp) for kind, id, stamp, deleted, _ in stamps if not deleted]
    fresh = {kind for kind, _, stamp in live if stamp > start}
    interfaces = tx.rows(gateway_state.interface_rows, node=node_id, since=start) if "gateway" in fresh else ()
    connections = tx.rows(connection_state.connection_rows, node=node_id, since=start) if "connection" in fresh else ()
    return Delta(
        since=start,
        revision=revision,
        gateways=gateway_state.gateways(interfaces),
        connections=connection_state.connections(tx, connections),
        gone=tuple(
            Gone(kind, id, stamp, gateway) for kind, id, stamp, deleted, gateway in stamps if deleted and stamp > start
        ),
        count=len(live),
        digest=desired.digest(live),
    )
