"""The desired state of a node: its gateways and connections at a revision, and the deltas between revisions.

The API writes it and the agent reads it, with the same types. A revision counts per node: every write that affects a
node increments the node's revision and stamps the changed objects with it, in one transaction. So `since=N` returns
every object stamped after N, and a digest over the stamps shows whether the node has the same set. Absence from a
delta never deletes an object; only a tombstone in `gone` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from linkspan.core.secret import Secret

ObjectKind = Literal["gateway", "connection"]
DpdAction = Literal["hold", "clear", "restart", "disabled", "restart-by-peer"]


class IkePolicy(msgspec.Struct, frozen=True):
    """Phase 1, with the API's names and values; `lifetime` in seconds."""

    ike_version: Literal["v1", "v2"]
    phase1_negotiation_mode: Literal["main", "aggressive"]
    encryption_algorithm: str
    auth_algorithm: str
    pfs: str
    lifetime: int


class IpsecPolicy(msgspec.Struct, frozen=True):
    """Phase 2, with the API's names and values; `lifetime` in `lifetime_units`."""

    transform_protocol: Literal["esp", "ah", "ah-esp"]
    encapsulation_mode: Literal["tunnel", "transport"]
    encryption_algorithm: str
    auth_algorithm: str
    pfs: str
    lifetime_units: Literal["seconds", "kilobytes"]
    lifetime: int


class Dpd(msgspec.Struct, frozen=True):
    """Dead peer detection; `interval` and `timeout` in seconds."""

    action: DpdAction
    interval: int
    timeout: int


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as its node needs it: references resolved, traffic selectors computed, host bits masked.

    `enabled`: the admin states of connection and service together; on the node also those of its router and networks.
    `admin_reason`: what these keep from passing, set on the node (`core.state.admin_state`). `psk_ref`: an opaque name
    of the key, which changes with it. `psk_written_at`: when the key was written, in seconds on the database's clock.
    `psk_from`: the uuid of another connection whose later key is used instead, as the node finds
    (`core.ipsec.shared_keys`). `peer_name`: the peer's DNS name, once the node has put an address into its place.
    `fault`: why the API could not read it in full, with the remedy: it is not loaded, and reported as an error.
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
    psk_written_at: float = 0.0
    psk_from: str = ""
    peer_name: str = ""
    ike: IkePolicy
    ipsec: IpsecPolicy
    admin_reason: str = ""
    fault: str = ""


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """The peer of a connection: enough to find connections of a gateway that charon might not distinguish."""

    id: str
    address: str
    identity: str


class OutsideInterface(msgspec.Struct, frozen=True):
    """The interface on the external network: addresses with prefix length, and next hops of the default routes.

    `enabled`: the network's admin state. `mac_address`: that of its ports; "" leaves the kernel's choice.
    """

    network_id: str
    network_name: str
    addresses: tuple[str, ...]
    next_hops: tuple[str, ...]
    enabled: bool = True
    mac_address: str = ""


class InsideInterface(msgspec.Struct, frozen=True):
    """An interface on an internal network: addresses with prefix length, one per subnet; the network's admin state; the
    MAC address of its ports."""

    network_id: str
    addresses: tuple[str, ...]
    enabled: bool = True
    mac_address: str = ""


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A router with VPN services, on its node. `id`: the router's; `generation` fences the assignment to the node;
    `enabled`: the router's admin state."""

    id: str
    revision: int
    generation: int
    outside: OutsideInterface
    inside: tuple[InsideInterface, ...]
    enabled: bool = True


class Gone(msgspec.Struct, frozen=True):
    """A tombstone: the node must remove this object; `gateway_id`: the gateway on which it ran."""

    kind: ObjectKind
    id: str
    revision: int
    gateway_id: str


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """All objects stamped after `since`, and count and digest of all objects that the node then has."""

    since: int
    revision: int
    gateways: tuple[Gateway, ...]
    connections: tuple[Connection, ...]
    gone: tuple[Gone, ...]
    count: int
    digest: str


class NodeState(msgspec.Struct, frozen=True):
    """The desired state of a node at `revision`; keys are ids."""

    revision: int
    gateways: dict[str, Gateway]
    connections: dict[str, Connection]


EMPTY = NodeState(0, {}, {})


class Mismatch(Exception):
    """A delta does not lead to the API's set of objects: the agent must read the full state, and remove nothing."""


def digest(stamps: Iterable[tuple[ObjectKind, str, int]]) -> str:
    """SHA-256 over (kind, id, revision) of every live object, in any order."""
    lines = sorted(f"{kind} {id} {revision}\n" for kind, id, revision in stamps)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def merge(state: NodeState, delta: Delta) -> NodeState:
    """The state after a delta. Raises `Mismatch` if it starts at another revision, or for a wrong count or digest."""
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
        raise Mismatch(
            f"revision {delta.revision} should have {delta.count} objects, but the delta leads to {len(stamps)}"
        )
    return NodeState(delta.revision, gateways, connections)


def encode(delta: Delta) -> bytes:
    """A delta as JSON for its node: the only message that contains secrets in plaintext."""
    return msgspec.json.encode(delta, enc_hook=_reveal)


def decode(body: bytes) -> Delta:
    """The inverse of `encode`. Raises msgspec.ValidationError if the text is not a delta."""
    return msgspec.json.decode(body, type=Delta, dec_hook=_wrap)


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def _wrap(type_: type, value: Any) -> Any:
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(f"cannot decode {type_.__name__}")
