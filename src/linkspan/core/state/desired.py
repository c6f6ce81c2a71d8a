"""The desired state of a node: its gateways and connections at a revision, and the deltas between revisions.

The API writes it and the agent reads it, with the same types. A revision counts per node: every write that affects a
node increments the node's revision and stamps the changed objects with it, in one transaction. So `since=N` returns
every object stamped after N, and a digest over the stamps shows whether the node has the same set. Absence from a
delta never deletes an object; only a tombstone in `gone` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from linkspan.core.addresses import address_fault, as_network
from linkspan.core.secret import Secret
from linkspan.core.state.bounds import Counter, Digest, Keyword, Number, ObjectId, OptionalId, Reason, ShortText
from linkspan.core.state.credentials import Certificates, PostQuantumKey, PreviousKey

ObjectKind = Literal["gateway", "connection"]
DpdAction = Literal["hold", "clear", "restart", "disabled", "restart-by-peer"]
_Mac = Annotated[str, Meta(pattern=r"^([0-9a-f]{2}(:[0-9a-f]{2}){5})?\Z")]
_Host = Annotated[str, Meta(pattern=r"^[0-9A-Za-z._:-]{1,253}\Z")]
_LONGEST_KEY: Final = 8192
"""Characters of a secret: the private key of RSA-4096 in PEM has 3,272."""


class IkePolicy(msgspec.Struct, frozen=True):
    """Phase 1, with the API's names and values; `lifetime` in seconds."""

    ike_version: Literal["v1", "v2"]
    phase1_negotiation_mode: Literal["main", "aggressive"]
    encryption_algorithm: Keyword
    auth_algorithm: Keyword
    pfs: Keyword
    lifetime: Counter


class IpsecPolicy(msgspec.Struct, frozen=True):
    """Phase 2, with the API's names and values; `lifetime` in `lifetime_units`."""

    transform_protocol: Literal["esp", "ah", "ah-esp"]
    encapsulation_mode: Literal["tunnel", "transport"]
    encryption_algorithm: Keyword
    auth_algorithm: Keyword
    pfs: Keyword
    lifetime_units: Literal["seconds", "kilobytes"]
    lifetime: Counter


class Dpd(msgspec.Struct, frozen=True):
    """Dead peer detection; `interval` and `timeout` in seconds."""

    action: DpdAction
    interval: Counter
    timeout: Counter


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as its node needs it: references resolved, traffic selectors computed, host bits masked.

    `enabled`: the admin states of connection and service together; on the node also those of its router and networks.
    `admin_reason`: what these keep from passing, set on the node (`core.state.admin_state`). `psk_ref`: an opaque name
    of the key, which changes with it. `psk_written_at`: when the key was written, in seconds on the database's clock.
    `psk_from`: the uuid of another connection whose later key is used instead, as the node finds
    (`core.ipsec.shared_keys`). `previous_psk`: an earlier key that the peer may still have, while the API keeps it; the
    node chooses (`core.tunnel.key_choice`). `peer_name`: the peer's DNS name, once the node has put an address into its
    place. `service_id`, `created_at`: its service, and when it was created, in seconds on the wall clock: of
    connections of one service for the same two ends the newest is in charge (`core.ipsec.succession`). `superseded`:
    the pairs of local and peer network that newer ones carry instead, and `succession`: a sentence about that, as the
    node finds.
    `certificates`: those of `auth_mode` certs, whose connections have no `psk`. `ppk`: a post-quantum key.
    `fault`: why the API could not read it in full, with the remedy: it is not loaded, and reported as an error.
    """

    id: ObjectId
    gateway_id: ObjectId
    revision: Counter
    enabled: bool
    local_address: str
    local_id: ShortText
    peer_address: _Host
    peer_id: ShortText
    local_cidrs: tuple[str, ...]
    peer_cidrs: tuple[str, ...]
    mtu: Number
    initiator: Literal["bi-directional", "response-only"]
    dpd: Dpd
    auth_mode: Literal["psk", "certs"]
    psk: Secret
    psk_ref: ShortText
    psk_written_at: float = 0.0
    psk_from: OptionalId = ""
    previous_psk: PreviousKey | None = None
    certificates: Certificates | None = None
    ppk: PostQuantumKey | None = None
    peer_name: ShortText = ""
    name: ShortText = ""
    service_id: OptionalId = ""
    created_at: float = 0.0
    superseded: tuple[tuple[str, str], ...] = ()
    succession: Reason = ""
    ike: IkePolicy
    ipsec: IpsecPolicy
    admin_reason: Reason = ""
    fault: Reason = ""


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """The peer of a connection: enough to find connections of a gateway that charon might not distinguish."""

    id: str
    address: str
    identity: str


class OutsideInterface(msgspec.Struct, frozen=True):
    """The interface on the external network: addresses with prefix length, and next hops of the default routes.

    `enabled`: the network's admin state. `mac_address`: that of its ports; "" leaves the kernel's choice.
    """

    network_id: OptionalId
    network_name: ShortText
    addresses: tuple[str, ...]
    next_hops: tuple[str, ...]
    enabled: bool = True
    mac_address: _Mac = ""


class InsideInterface(msgspec.Struct, frozen=True):
    """An interface on an internal network: addresses with prefix length, one per subnet; the network's admin state; the
    MAC address of its ports."""

    network_id: ObjectId
    addresses: tuple[str, ...]
    enabled: bool = True
    mac_address: _Mac = ""


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A router with VPN services, on its node. `id`: the router's; `generation` fences the assignment to the node;
    `enabled`: the router's admin state."""

    id: ObjectId
    revision: Counter
    generation: Counter
    outside: OutsideInterface
    inside: tuple[InsideInterface, ...]
    enabled: bool = True


class Gone(msgspec.Struct, frozen=True):
    """A tombstone: the node must remove this object; `gateway_id`: the gateway on which it ran."""

    kind: ObjectKind
    id: ObjectId
    revision: Counter
    gateway_id: ObjectId


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """All objects stamped after `since`, and count and digest of all objects that the node then has."""

    since: Counter
    revision: Counter
    gateways: tuple[Gateway, ...]
    connections: tuple[Connection, ...]
    gone: tuple[Gone, ...]
    count: Counter
    digest: Digest


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
    """The inverse of `encode`. Raises msgspec.DecodeError if the text is not a delta, or a value is not what its type
    says: an id becomes part of a path here, and an address part of a rule."""
    try:
        delta = msgspec.json.decode(body, type=Delta, dec_hook=_wrap)
    except RecursionError:
        raise msgspec.DecodeError("the text is nested too deep") from None
    if fault := next(_address_faults(delta), ""):
        raise msgspec.ValidationError(fault)
    return delta


def _address_faults(delta: Delta) -> Iterator[str]:
    """A sentence for each address or network that is none, or has another text than its own."""
    for gateway in delta.gateways:
        outside = gateway.outside
        for address in (*outside.addresses, *(each for inside in gateway.inside for each in inside.addresses)):
            host, _, _ = address.partition("/")
            if fault := address_fault(host) or ("" if as_network(address) else "has no prefix length"):
                yield f"gateway {gateway.id}: '{address}' {fault}"
        yield from (
            f"gateway {gateway.id}: '{hop}' {fault}" for hop in outside.next_hops if (fault := address_fault(hop))
        )
    for connection in delta.connections:
        if connection.local_address and (fault := address_fault(connection.local_address)):
            yield f"connection {connection.id}: '{connection.local_address}' {fault}"
        for cidr in (*connection.local_cidrs, *connection.peer_cidrs):
            if as_network(cidr) is None:
                yield f"connection {connection.id}: '{cidr}' is not a network"


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def _wrap(type_: type, value: Any) -> Any:
    if type_ is Secret:
        if not isinstance(value, str) or len(value) > _LONGEST_KEY:
            # msgspec makes a ValidationError of it, without the value.
            raise ValueError(f"a key is a text of at most {_LONGEST_KEY} characters")
        return Secret(value)
    raise NotImplementedError(f"cannot decode {type_.__name__}")
