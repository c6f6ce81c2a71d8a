"""The credentials of nodes: certificates, one-time join tokens, and the token that a node may have instead.

Each request of a node is looked up here, so that a credential ends at once when its row does. A certificate that a node
uses for the first time ends those before it, and the node's token.
"""

from __future__ import annotations

import secrets
from typing import Final, Literal

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import NODE, NODE_CREDENTIAL
from linkspan.store.nodes import registry
from linkspan.store.nodes.registry import NodeRow
from linkspan.store.transaction import Transaction

ENDED: Final = 0.0
"""The end of the token of a node that has none."""
_CREDENTIAL: Final = NODE_CREDENTIAL.c


class NodeCaller(msgspec.Struct, frozen=True):
    """The node that a request is from. `certificate`: the hash of its certificate, empty if it has a token;
    `confirmed`: it has used the certificate before; `due`: it is to renew it at once."""

    node: NodeRow
    certificate: str = ""
    confirmed: bool = True
    due: bool = False


_add: Final = Statement(insert(NODE_CREDENTIAL))
_by_certificate: Final = Statement(
    select(_CREDENTIAL.confirmed, _CREDENTIAL.due, *registry.columns)
    .join(NODE, NODE.c.id == _CREDENTIAL.node_id)
    .where(
        _CREDENTIAL.hash == bindparam("hash"),
        _CREDENTIAL.kind == "certificate",
        _CREDENTIAL.expires_at > bindparam("now"),
    )
)
_take: Final = Statement(
    delete(NODE_CREDENTIAL)
    .where(_CREDENTIAL.hash == bindparam("hash"), _CREDENTIAL.kind == "join", _CREDENTIAL.expires_at > bindparam("now"))
    .returning(_CREDENTIAL.node_id)
)
_purge: Final = Statement(delete(NODE_CREDENTIAL).where(_CREDENTIAL.expires_at <= bindparam("now")))
_mine: Final = _CREDENTIAL.node_id == bindparam("node")
_drop_unused: Final = Statement(
    delete(NODE_CREDENTIAL).where(_mine, _CREDENTIAL.kind == bindparam("kind"), _CREDENTIAL.confirmed.is_(False))
)
_confirm: Final = Statement(
    update(NODE_CREDENTIAL).where(_CREDENTIAL.hash == bindparam("hash_")).values(confirmed=True)
)
_supersede: Final = Statement(
    delete(NODE_CREDENTIAL).where(_mine, _CREDENTIAL.kind == "certificate", _CREDENTIAL.hash != bindparam("hash"))
)
_end: Final = Statement(delete(NODE_CREDENTIAL).where(_mine))
_set_token: Final = Statement(
    update(NODE)
    .where(NODE.c.id == bindparam("node"))
    .values(token_hash=bindparam("hash"), token_expires_at=bindparam("ends"))
)
_mark_due: Final = Statement(update(NODE_CREDENTIAL).where(_mine, _CREDENTIAL.kind == "certificate").values(due=True))


def by_certificate(tx: Transaction, certificate_hash: str) -> NodeCaller | None:
    """The node of a certificate that has neither expired nor been revoked or replaced."""
    row = tx.first(_by_certificate, hash=certificate_hash, now=tx.wall)
    if row is None:
        return None
    return NodeCaller(registry.as_node(row[2:]), certificate_hash, bool(row[0]), bool(row[1]))


def by_token(tx: Transaction, token_hash: str, *, is_local: bool) -> NodeCaller | None:
    """The node of a token that has not ended. One without an end counts only from the API's own machine."""
    node = registry.node_by_token(tx, token_hash)
    if node is None:
        return None
    ends = node["token_expires_at"]
    valid = is_local if ends is None else ends > tx.wall
    return NodeCaller(node) if valid else None


def confirm(tx: Transaction, caller: NodeCaller) -> None:
    """A node has used its newest certificate: what it had before ends."""
    node = caller.node["id"]
    tx.run(_supersede, node=node, hash=caller.certificate)
    tx.run(_confirm, hash_=caller.certificate)
    end_token(tx, node)


def add_credential(
    tx: Transaction, node_id: str, kind: Literal["join", "certificate"], digest: str, expires_at: float
) -> None:
    """Adds a credential, known by its SHA-256 (in hexadecimal), in the place of an unused one of its kind.
    Removes all that have expired."""
    now = tx.wall
    tx.run(_purge, now=now)
    tx.run(_drop_unused, node=node_id, kind=kind)
    tx.run(
        _add, hash=digest, node_id=node_id, kind=kind, issued_at=now, expires_at=expires_at, confirmed=False, due=False
    )


def take_join_token(tx: Transaction, token_hash: str) -> str | None:
    """Uses a join token up; the id of its node, None if it is unknown, used or expired."""
    row = tx.first(_take, hash=token_hash, now=tx.wall)
    return None if row is None else str(row[0])


def mark_due(tx: Transaction, node_id: str) -> int:
    """Has a node renew its certificates; how many it has."""
    return tx.run(_mark_due, node=node_id)


def revoke(tx: Transaction, node_id: str) -> None:
    """Ends everything by which a node is known."""
    tx.run(_end, node=node_id)
    end_token(tx, node_id)


def end_token(tx: Transaction, node_id: str) -> None:
    """Ends a node's token."""
    tx.run(_set_token, node=node_id, hash=secrets.token_hex(32), ends=ENDED)


def set_token(tx: Transaction, node_id: str, token_hash: str, expires_at: float | None) -> None:
    """Gives a node another token."""
    tx.run(_set_token, node=node_id, hash=token_hash, ends=expires_at)
