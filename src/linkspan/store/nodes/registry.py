"""The gateway nodes: their names, their leases, and the gateways that a hello assigns to them. Their credentials are in
`credentials`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict, cast

import msgspec
from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from linkspan.core.state.observed import Capabilities, Hello
from linkspan.store import revisions
from linkspan.store.database.errors import Conflict
from linkspan.store.database.statements import Statement, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import GATEWAY, NODE, NODE_CREDENTIAL
from linkspan.store.nodes import assignment, tombstones
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Transaction


class NodeRow(TypedDict):
    """A node: `revision` its newest; `lease_until` on the lease clock, `created_at` on the wall clock; the rest as its
    last hello said. `holder`: the agent that holds it, None if none ever did or it did not say. `token_expires_at`: see
    `database.tables.NODE`."""

    id: str
    name: str
    revision: int
    lease_until: float
    backend: str
    agent_version: str
    charon_version: str
    holder: str | None
    token_expires_at: float | None
    created_at: float


class NodeWithGateways(NodeRow):
    """A node, the number of gateways assigned to it, its capabilities if it has told them, and the end of its newest
    certificate, None if it has none."""

    gateways: int
    certificate_expires_at: float | None
    capabilities: Capabilities | None


_NODE: Final = tuple(NodeRow.__annotations__)
_capabilities: Final = msgspec.json.Decoder(Capabilities)
columns: Final = [NODE.c[name] for name in _NODE]
"""The columns of `as_node`."""
_add: Final = Statement(insert(NODE))
_by_token: Final = Statement(select(*columns).where(NODE.c.token_hash == bindparam("token_hash")))
_gateways_of_node = (
    select(func.count())
    .select_from(GATEWAY)
    .where(GATEWAY.c.node_id == NODE.c.id, GATEWAY.c.deleted_at.is_(None))
    .scalar_subquery()
)
_certificate_of_node = (
    select(func.max(NODE_CREDENTIAL.c.expires_at))
    .where(NODE_CREDENTIAL.c.node_id == NODE.c.id, NODE_CREDENTIAL.c.kind == "certificate")
    .scalar_subquery()
)
_nodes = select(*columns, _gateways_of_node, _certificate_of_node, NODE.c.capabilities)
_all: Final = Statement(_nodes.order_by(NODE.c.name))
_by_id: Final = Statement(_nodes.where(NODE.c.id == bindparam("id")))
_by_name: Final = Statement(_nodes.where(NODE.c.name == bindparam("name")))
_routers: Final = Statement(
    select(GATEWAY.c.router_id)
    .where(GATEWAY.c.node_id == bindparam("node"), GATEWAY.c.deleted_at.is_(None))
    .order_by(GATEWAY.c.router_id)
)
_remove: Final = Statement(delete(NODE).where(NODE.c.id == bindparam("id")))
_hello: Final = Statement(
    update(NODE)
    .where(
        NODE.c.id == bindparam("node"),
        or_(NODE.c.holder.is_(None), NODE.c.holder == bindparam("holder_"), NODE.c.lease_until < bindparam("now")),
    )
    .values(
        holder=bindparam("holder_"),
        lease_until=bindparam("until"),
        backend=bindparam("backend"),
        agent_version=bindparam("agent"),
        charon_version=bindparam("charon"),
        capabilities=bindparam("capabilities"),
    )
    .returning(NODE.c.revision)
)


@statement
def _renew(count: int) -> Statement:
    mine = NODE.alias("mine")
    # Locked in the order of `revisions.flush`, which may increment some of them at the same time.
    alive = select(mine.c.id).where(in_slots(mine.c.id, "node", count), mine.c.lease_until >= bindparam("now"))
    query = update(NODE).where(NODE.c.id.in_(alive.order_by(mine.c.id).with_for_update()))
    return Statement(query.values(lease_until=bindparam("until")).returning(NODE.c.id))


def renew(tx: Transaction, node_ids: Sequence[str]) -> set[str]:
    """Extends the leases of these nodes in one statement, and returns those that it has extended.

    A lease that has ended is not: what waited for its node has to be completed first (`hello`, `reports.report`).
    """
    nodes = fill_slots("node", list(node_ids))
    rows = tx.rows(_renew(slot_count(list(node_ids))), now=tx.now, until=tx.now + tx.lease, **nodes)
    return {node for (node,) in rows}


def add_node(tx: Transaction, name: str, token_hash: str, token_expires_at: float | None = None) -> NodeRow:
    """Adds a node that may say hello; `token_hash` is the SHA-256 hex digest of its token. Without an end the token
    counts only from the API's own machine (`credentials.by_token`)."""
    node = NodeRow(
        id=new_id(),
        name=name,
        revision=0,
        lease_until=0.0,
        backend="",
        agent_version="",
        charon_version="",
        holder=None,
        token_expires_at=token_expires_at,
        created_at=tx.wall,
    )
    tx.run(_add, **node, capabilities=None, token_hash=token_hash)
    return node


def all_nodes(tx: Transaction) -> list[NodeWithGateways]:
    """Every node, by name."""
    return [_with_gateways(row) for row in tx.rows(_all)]


def node_by_id(tx: Transaction, id: str) -> NodeWithGateways | None:
    """The node with this id."""
    row = tx.first(_by_id, id=id)
    return None if row is None else _with_gateways(row)


def node_by_name(tx: Transaction, name: str) -> NodeWithGateways | None:
    """The node with this name."""
    row = tx.first(_by_name, name=name)
    return None if row is None else _with_gateways(row)


def routers_of(tx: Transaction, node_id: str) -> list[str]:
    """The ids of the routers whose gateways are assigned to a node, in their order."""
    return [router for (router,) in tx.rows(_routers, node=node_id)]


def _with_gateways(row: Sequence[Any]) -> NodeWithGateways:
    *node, gateways, certificate, text = row
    return NodeWithGateways(
        **as_node(node),
        gateways=gateways,
        certificate_expires_at=certificate,
        capabilities=_capabilities.decode(text) if text else None,
    )


def credential_of(node: NodeWithGateways, wall: float) -> tuple[str, float | None]:
    """The kind of the credential by which a node is known, and its end: a certificate, a token (None: without an end),
    or "none"."""
    certificate, token = node["certificate_expires_at"], node["token_expires_at"]
    if certificate is not None and certificate > wall:
        return "certificate", certificate
    return ("token", token) if token is None or token > wall else ("none", None)


def remove_node(tx: Transaction, id: str) -> None:
    """Removes a node with its credentials. Its gateways go to live nodes, or wait for one."""
    tx.run(_remove, id=id)
    assignment.place_waiting(tx)


def node_by_token(tx: Transaction, token_hash: str) -> NodeRow | None:
    """The node with this token."""
    values = tx.first(_by_token, token_hash=token_hash)
    return None if values is None else as_node(values)


def as_node(values: Sequence[Any]) -> NodeRow:
    """A node out of the values of `columns`."""
    return cast("NodeRow", dict(zip(_NODE, values, strict=True)))


def is_held_elsewhere(tx: Transaction, node: NodeRow, holder: str | None) -> bool:
    """True if another agent than this one holds a node, and its lease has not ended."""
    return node["holder"] not in (None, holder) and node["lease_until"] >= tx.now


def hello(tx: Transaction, node_id: str, hello: Hello, holder: str | None = None) -> int:
    """Records what a node says of itself, extends its lease and assigns waiting gateways. Returns its revision.

    The agent that says so holds the node from now on. Raises `Conflict` if another one got it first.
    """
    tombstones.purge(tx)
    assignment.assign_waiting(tx, node_id)
    revisions.flush(tx)
    # The node's own row last: whoever stamps locks gateways first and nodes then.
    found = tx.first(
        _hello,
        node=node_id,
        holder_=holder,
        now=tx.now,
        until=tx.now + tx.lease,
        backend=hello.backend,
        agent=hello.agent_version,
        charon=hello.charon_version,
        capabilities=msgspec.json.encode(hello.capabilities).decode() if hello.capabilities else None,
    )
    if found is None:
        raise Conflict(f"another agent holds node {node_id}")
    return int(found[0])
