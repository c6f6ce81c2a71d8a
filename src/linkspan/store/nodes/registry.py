"""The nodes: who they are, that they live, and which gateways they may take."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, func, insert, select, update

from linkspan.core.state.observed import Hello
from linkspan.store import revisions
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import GATEWAY, NODE
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


def add_node(tx: Transaction, name: str, token_hash: str) -> Row:
    """A node that may say hello; `token_hash` is the SHA-256 hex digest of its token."""
    row: Row = {"id": new_id(), "name": name, "revision": 0, "lease_until": 0.0}
    row |= {"backend": "", "agent_version": "", "charon_version": ""}
    tx.run(_add, **row, token_hash=token_hash, created_at=tx.wall)
    return row


def all_nodes(tx: Transaction) -> list[Row]:
    """Every node: id, name, revision, lease_until, backend, agent_version, charon_version, gateways (count)."""
    return [dict(zip((*_NAMES, "gateways"), each, strict=True)) for each in tx.rows(_all)]


def node_by_token(tx: Transaction, token_hash: str) -> Row | None:
    """The node with this token."""
    found = tx.first(_by_token, token_hash=token_hash)
    return None if found is None else dict(zip(_NAMES, found, strict=True))


def hello(tx: Transaction, node_id: str, hello: Hello) -> int:
    """Takes down what the node says of itself, renews its lease, assigns waiting gateways; its revision."""
    tombstones.purge(tx)
    assignment.assign_waiting(tx, node_id)
    revisions.flush(tx)
    # The node's own row last: whoever stamps locks gateways first and nodes then.
    tx.run(
        _hello,
        node=node_id,
        until=tx.now + tx.lease,
        backend=hello.backend,
        agent=hello.agent_version,
        charon=hello.charon_version,
    )
    return int(tx.first(_alive, node=node_id)[0])
