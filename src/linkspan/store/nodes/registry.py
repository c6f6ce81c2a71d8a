"""The nodes: who they are, that they live, and which gateways they may take."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import msgspec
from sqlalchemy import ColumnElement, bindparam, func, insert, select, update

from linkspan.core.state.observed import Hello
from linkspan.store import revisions
from linkspan.store.database.statements import Statement, struct_columns
from linkspan.store.database.tables import GATEWAY, NODE
from linkspan.store.nodes import assignment, tombstones
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Transaction


class NodeRow(TypedDict):
    """A node: `revision` its newest; `lease_until` on the database's clock; the rest as its last hello said."""

    id: str
    name: str
    revision: int
    lease_until: float
    backend: str
    agent_version: str
    charon_version: str


class NodeWithGateways(NodeRow):
    """A node and the number of gateways assigned to it."""

    gateways: int


class _NodeColumns(msgspec.Struct):
    id: str
    name: str
    revision: int
    lease_until: float
    backend: str
    agent_version: str
    charon_version: str

    def row(self) -> NodeRow:
        return NodeRow(
            id=self.id,
            name=self.name,
            revision=self.revision,
            lease_until=self.lease_until,
            backend=self.backend,
            agent_version=self.agent_version,
            charon_version=self.charon_version,
        )


class _GatewayCount(_NodeColumns):
    gateways: int


_columns: Final[dict[str, ColumnElement[Any]]] = {name: NODE.c[name] for name in NodeRow.__annotations__}
_add: Final = Statement(insert(NODE))
_by_token: Final = Statement(
    select(*struct_columns(_NodeColumns, **_columns)).where(NODE.c.token_hash == bindparam("token_hash"))
)
_gateways_of_node = (
    select(func.count())
    .select_from(GATEWAY)
    .where(GATEWAY.c.node_id == NODE.c.id, GATEWAY.c.deleted_at.is_(None))
    .scalar_subquery()
)
_all: Final = Statement(
    select(*struct_columns(_GatewayCount, **_columns, gateways=_gateways_of_node)).order_by(NODE.c.name)
)
_hello: Final = Statement(
    update(NODE)
    .where(NODE.c.id == bindparam("node"))
    .values(
        lease_until=bindparam("until"),
        backend=bindparam("backend"),
        agent_version=bindparam("agent"),
        charon_version=bindparam("charon"),
    )
    .returning(NODE.c.revision)
)


def add_node(tx: Transaction, name: str, token_hash: str) -> NodeRow:
    """Adds a node that may say hello; `token_hash` is the SHA-256 hex digest of its token."""
    node = NodeRow(id=new_id(), name=name, revision=0, lease_until=0.0, backend="", agent_version="", charon_version="")
    tx.run(_add, **node, token_hash=token_hash, created_at=tx.wall)
    return node


def all_nodes(tx: Transaction) -> list[NodeWithGateways]:
    """Every node, by name."""
    nodes = [_GatewayCount(*values) for values in tx.rows(_all)]
    return [NodeWithGateways(**node.row(), gateways=node.gateways) for node in nodes]


def node_by_token(tx: Transaction, token_hash: str) -> NodeRow | None:
    """The node with this token."""
    values = tx.first(_by_token, token_hash=token_hash)
    return None if values is None else _NodeColumns(*values).row()


def hello(tx: Transaction, node_id: str, hello: Hello) -> int:
    """Records what a node says of itself, extends its lease and assigns waiting gateways. Returns its revision."""
    tombstones.purge(tx)
    assignment.assign_waiting(tx, node_id)
    revisions.flush(tx)
    # The node's own row last: whoever stamps locks gateways first and nodes then.
    (revision,) = tx.first(
        _hello,
        node=node_id,
        until=tx.now + tx.lease,
        backend=hello.backend,
        agent=hello.agent_version,
        charon=hello.charon_version,
    )
    return int(revision)
