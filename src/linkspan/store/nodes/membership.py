"""What administrators do with nodes, each with its entry in the audit trail: invite, rotate, revoke, remove."""

from __future__ import annotations

import secrets

from linkspan.core.node_join import join_token
from linkspan.core.secret import hash_token
from linkspan.store import audit, revisions
from linkspan.store.audit import Actor
from linkspan.store.nodes import authority, credentials, registry
from linkspan.store.nodes.registry import NodeWithGateways
from linkspan.store.transaction import Transaction


def invite(tx: Transaction, actor: Actor, name: str, lifetime: float) -> tuple[str, str]:
    """Makes a join token for a node of this name, which is added if there is none; the node's id and the token.

    The token takes the place of one that was not used. What the node has goes on until it has joined.
    """
    node = registry.node_by_name(tx, name)
    if node is None:
        added = registry.add_node(tx, name, secrets.token_hex(32), credentials.ENDED)
        id = added["id"]
        audit.record(tx, actor, "create", "node", id, fields=("name", "join_token"))
    else:
        id = node["id"]
        audit.record(tx, actor, "update", "node", id, fields=("join_token",))
    authority.ensure(tx)
    token = join_token(secrets.token_bytes(32), authority.issuing(tx)[0])
    credentials.add_credential(tx, id, "join", hash_token(token.encode()), tx.wall + lifetime)
    return id, token


def rotate(tx: Transaction, actor: Actor, node: NodeWithGateways) -> bool:
    """Has a node take a new key and certificate at once; False if it has no certificate."""
    if not credentials.mark_due(tx, node["id"]):
        return False
    revisions.wake(tx, node["id"])
    audit.record(tx, actor, "rotate", "node", node["id"], fields=("certificate",))
    return True


def revoke(tx: Transaction, actor: Actor, node: NodeWithGateways) -> None:
    """Ends every credential of a node. It keeps its gateways, which work on, and may join again."""
    credentials.revoke(tx, node["id"])
    audit.record(tx, actor, "revoke", "node", node["id"], fields=("certificate", "join_token", "token"))


def remove(tx: Transaction, actor: Actor, node: NodeWithGateways) -> None:
    """Removes a node."""
    registry.remove_node(tx, node["id"])
    audit.record(tx, actor, "delete", "node", node["id"])


def with_gateways(node: NodeWithGateways) -> str:
    """The reason why a node is not removed."""
    return (
        f"node {node['name']} has {node['gateways']} gateways: switch its machine off first, since two nodes must not "
        "have one gateway, and then force the removal; its gateways go to other nodes"
    )
