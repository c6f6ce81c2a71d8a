"""What a node should run: gateways and connections at a revision, and how a delta changes them.

The API writes it, the agent reads it; both use these types. A revision counts per node: every write that affects a
node increments that node's revision and stamps the objects it touched with it, in one transaction. So `since=N` is
"every object stamped after N", and a digest over the stamps tells whether a node holds the same set.
Absence never deletes: an object goes only when a delta names it in `gone`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from linkspan.core.secret import Secret

ObjectKind = Literal["gateway", "connection"]


class IkePolicy(msgspec.Struct, frozen=True):
    """Phase 1 in the API's words; `lifetime` in seconds."""

    ike_version: Literal["v1", "v2"]
    phase1_negotiation_mode: Literal["main", "aggressive"]
    encryption_algorithm: str
    auth_algorithm: str
    pfs: str
    lifetime: int


class IpsecPolicy(msgspec.Struct, frozen=True):
    """Phase 2 in the API's words; `lifetime` in `lifetime_units`."""

    transform_protocol: Literal["esp", "ah", "ah-esp"]
    encapsulation_mode: Literal["tunnel", "transport"]
    encryption_algorithm: str
    auth_algorithm: str
    pfs: str
    lifetime_units: Literal["seconds", "kilobytes"]
    lifetime: int


class Dpd(msgspec.Struct, frozen=True):
    """Dead peer detection; `interval` and `timeout` in seconds."""

    action: Literal["hold", "clear", "restart", "disabled", "restart-by-peer"]
    interval: int
    timeout: int


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One connection as its gateway's node needs it: references resolved, selectors computed, host bits masked.

    `enabled` is the admin state of connection and service together. `psk_ref` names the
    key without telling it: another key, another name.
    """

    id: str
    gateway_id: str
    revision: int
    enabled: bool
    local_address: str
    local_id: str
    peer_address: str
    peer_id: str
    local_cidrs: tuple[str, ...]
    peer_cidrs: tuple[str, ...]
    mtu: int
    initiator: Literal["bi-directional", "response-only"]
    dpd: Dpd
    auth_mode: Literal["psk", "certs"]
    psk: Secret
    psk_ref: str
    ike: IkePolicy
    ipsec: IpsecPolicy


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """With whom a connection is: enough to see which connections of one gateway might not be told apart."""

    id: str
    address: str
    identity: str


class OutsideInterface(msgspec.Struct, frozen=True):
    """The leg on the external network: interface addresses with prefix length, and the default routes' next hops."""

    network_id: str
    network_name: str
    addresses: tuple[str, ...]
    next_hops: tuple[str, ...]


class InsideInterface(msgspec.Struct, frozen=True):
    """A leg on an internal network: interface addresses with prefix length, one per subnet."""

    network_id: str
    addresses: tuple[str, ...]


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """What a router is on a node. `id` is the router's; `generation` fences the assignment to this node."""

    id: str
    revision: int
    generation: int
    outside: OutsideInterface
    inside: tuple[InsideInterface, ...]


class Gone(msgspec.Struct, frozen=True):
    """A tombstone: this object is to be removed from the node; `gateway_id` is where it ran."""

    kind: ObjectKind
    id: str
    revision: int
    gateway_id: str


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """Everything stamped after `since`, and count and digest of what the node then holds."""

    since: int
    revision: int
    gateways: tuple[Gateway, ...]
    connections: tuple[Connection, ...]
    gone: tuple[Gone, ...]
    count: int
    digest: str


class NodeState(msgspec.Struct, frozen=True):
    """What a node should run at `revision`; keys are ids."""

    revision: int
    gateways: dict[str, Gateway]
    connections: dict[str, Connection]


EMPTY = NodeState(0, {}, {})


class Mismatch(Exception):
    """A delta does not lead to the set that the API counted: read everything again, remove nothing."""


def digest(stamps: Iterable[tuple[ObjectKind, str, int]]) -> str:
    """SHA-256 over (kind, id, revision) of every live object, in any order."""
    lines = sorted(f"{kind} {id} {revision}\n" for kind, id, revision in stamps)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def merge(state: NodeState, delta: Delta) -> NodeState:
    """The state after a delta. Raises `Mismatch` if it starts elsewhere or its count or digest do not come out."""
    if delta.since not in (0, state.revision):
        raise Mismatch(f"the delta starts at revision {delta.since}, this node is at {state.revision}")
    base = state if delta.since else EMPTY
    gateways = base.gateways | {gateway.id: gateway for gateway in delta.gateways}
    connections = base.connections | {connection.id: connection for connection in delta.connections}
    for gone in delta.gone:
        (gateways if gone.kind == "gateway" else connections).pop(gone.id, None)
    stamps: list[tuple[ObjectKind, str, int]] = [("gateway", g.id, g.revision) for g in gateways.values()]
    stamps += [("connection", c.id, c.revision) for c in connections.values()]
    if len(stamps) != delta.count or digest(stamps) != delta.digest:
        raise Mismatch(f"revision {delta.revision} should hold {delta.count} objects, this makes {len(stamps)}")
    return NodeState(delta.revision, gateways, connections)


def encode(delta: Delta) -> bytes:
    """JSON for the node that the connections are assigned to: the one place where secrets leave in clear."""
    return msgspec.json.encode(delta, enc_hook=_reveal)


def decode(body: bytes) -> Delta:
    """The inverse of `encode`. Raises msgspec.ValidationError on anything that is not a delta."""
    return msgspec.json.decode(body, type=Delta, dec_hook=_wrap)


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def _wrap(type_: type, value: Any) -> Any:
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(f"cannot decode {type_.__name__}")
