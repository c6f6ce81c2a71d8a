"""Maps a connection of the API to charon's configuration: IKE connection, children, credentials.

The result holds everything that a driver loads. The name of a child consists of the connection's UUID and a tag: eight
hexadecimal digits of a digest over its configuration. So the names of SAs tell which version of a connection charon
runs, and a restarted agent can compare without a file of its own.

Connections to the same peer share one IKE SA. A responder identifies a peer by addresses and identities only, and it
searches the traffic selectors only among the children of the IKE connection that matched. So the name of an IKE
connection consists of a digest of the peer and a digest of all other IKE attributes, and `with_sibling_children` gives
it the children of all connections to that peer.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from linkspan.core.addresses import canonical_host
from linkspan.core.ipsec import algorithms, capabilities, identities
from linkspan.core.ipsec.capabilities import NodeFault
from linkspan.core.ipsec.selectors import SelectorPair, holds_gateways, pairs
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, IpsecPolicy
from linkspan.core.state.observed import Backend, Capabilities

LAST_RESORT = 3600
"""Seconds after which charon declares an IKEv1 peer dead by itself, for the case that no agent runs. It is longer than
usual DPD timeouts, so that the agent acts first, and much shorter than a day, because charon keeps a timer of that
length for every probe."""
MAX_CHILDREN = 256
"""Default of `agent.children`: child SAs for the pairs of one connection, with a peer that takes one pair in each."""
REKEY_PERCENT = 90
"""An SA is rekeyed at 90 % of its lifetime, less a random tenth so that both ends do not rekey at the same time."""
_PAIR = "p"
"""Start of the tag of a child for one pair; it sorts after the hexadecimal tag of the child for all of them."""


class ChildConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The configuration of a child SA. Times in seconds, 0: charon's default; volumes in bytes, 0: no limit.

    `rank`: how many newer connections for the same traffic are loaded before it; it is no part of a name's digest.
    """

    name: str
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    mode: str
    esp_proposals: tuple[str, ...]
    ah_proposals: tuple[str, ...]
    rekey_time: int
    life_time: int
    rekey_bytes: int
    life_bytes: int
    rank: int = 0


class CertificateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The certificates of an IKE connection, in PEM.

    `chain`: our leaf, then the intermediate ones. `key_id`: of the private key that belongs to it. `issuers`: the CAs
    one of which must be in the peer's chain; `roots`: those that charon has to know beside them, as it accepts no other
    end of a chain. `pins`: if there are any, the peer has one of them. `strict`: without a valid revocation list the
    peer is refused.
    """

    chain: tuple[str, ...]
    key_id: str
    issuers: tuple[str, ...]
    roots: tuple[str, ...]
    pins: tuple[str, ...]
    strict: bool


class PpkConfig(msgspec.Struct, frozen=True):
    """The post-quantum key of an IKE connection, without the key itself (RFC 8784). `ref` changes with the key."""

    id: str
    required: bool
    ref: str


class IkeConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The configuration of an IKE connection and its children. Times in seconds; `dpd_delay` 0: no DPD;
    `dpd_timeout`: charon's own deadline for an IKEv1 peer.

    `peer`: a digest of the addresses and identities by which a responder distinguishes peers; `name` starts with it.
    `certificates`: exactly with `auth` pubkey.
    """

    name: str
    peer: str
    version: int
    aggressive: bool
    local_address: str
    remote_address: str
    local_id: str
    remote_id: str
    auth: str
    proposals: tuple[str, ...]
    dpd_delay: int
    dpd_timeout: int
    rekey_time: int
    over_time: int
    rand_time: int
    children: tuple[ChildConfig, ...]
    certificates: CertificateConfig | None = None
    ppk: PpkConfig | None = None


class SharedKey(msgspec.Struct, frozen=True):
    """A pre-shared key and the identities that it belongs to. `id`: the name of the IKE connection that uses it."""

    id: str
    owners: tuple[str, ...]
    key: Secret


def build(connection: Connection) -> IkeConfig:
    """The configuration of a connection. In IKEv1 each child has one pair of selectors (RFC 2409 5.5).

    Addresses and identities are in their canonical text, so that connections to one peer have one digest of it.
    """
    ike, ppk = connection.ike, connection.ppk
    version = 1 if ike.ike_version == "v1" else 2
    local_id = identities.stored(connection.local_id or connection.local_address).charon()
    config = IkeConfig(
        name="",
        peer="",
        version=version,
        aggressive=version == 1 and ike.phase1_negotiation_mode == "aggressive",
        local_address=canonical_host(connection.local_address),
        remote_address=canonical_host(connection.peer_address),
        local_id=local_id,
        remote_id=identities.stored(connection.peer_id).charon(),
        auth="psk" if connection.auth_mode == "psk" else "pubkey",
        proposals=(algorithms.ike_proposal(ike.encryption_algorithm, ike.auth_algorithm, ike.pfs),),
        dpd_delay=0 if connection.dpd.action == "disabled" else connection.dpd.interval,
        # The agent's deadline is earlier (core.tunnel.dpd), so connections that differ in it can share an IKE SA.
        dpd_timeout=max(LAST_RESORT, 2 * connection.dpd.timeout) if version == 1 else 0,
        rekey_time=ike.lifetime * REKEY_PERCENT // 100,
        over_time=ike.lifetime - ike.lifetime * REKEY_PERCENT // 100,
        rand_time=ike.lifetime // 10,
        children=(),
        certificates=_certificates(connection),
        ppk=PpkConfig(ppk.id, ppk.required, ppk.ref) if ppk else None,
    )
    peer = "peer-" + _digest([version, config.local_address, config.remote_address, config.local_id, config.remote_id])
    name = f"{peer}-{_digest([config, connection.psk_ref])}"
    return msgspec.structs.replace(config, name=name, peer=peer, children=_children(connection, version, name))


def with_sibling_children(config: IkeConfig, siblings: Iterable[IkeConfig]) -> IkeConfig:
    """The same IKE connection with the children of all connections to its peer, ordered by rank and name.

    Of children with equal selectors charon takes the first one for what the peer initiates.
    """
    children = {child.name: child for sibling in (config, *siblings) for child in sibling.children}
    ordered = sorted(children.values(), key=lambda child: (child.rank, child.name))
    return msgspec.structs.replace(config, children=tuple(ordered))


def ranked(config: IkeConfig, rank: int) -> IkeConfig:
    """The same with this rank of its children."""
    if not rank:
        return config
    return msgspec.structs.replace(
        config, children=tuple(msgspec.structs.replace(child, rank=rank) for child in config.children)
    )


def pairs_of(config: IkeConfig) -> tuple[SelectorPair, ...]:
    """The pairs of selectors that the children of one connection are for, in order."""
    found = (SelectorPair(left, right) for child in config.children for left, right in _products(child))
    return tuple(dict.fromkeys(found))


def with_pair_children(config: IkeConfig, limit: int) -> IkeConfig:
    """The same with children for each pair beside the child for all of them, for a peer that takes one pair a child.

    Only IKEv2 has the latter. It stays first, so that charon prefers it for what the peer initiates. `limit`: of the
    pairs that get children of their own. Each gets two: the second one is initiated if the first one is up and carries
    a part of the pair only.

    charon does not initiate a child whose configuration equals that of one that is up in the same IKE SA, whatever its
    name. So the name of a child for a pair depends on the pair and not on the list, and it is the same after an edit of
    the list. And the children are rekeyed a moment before the child for all pairs and before each other, so that their
    configurations differ.
    """
    if config.version == 1:
        return config
    wholes = whole_children(config)
    whole = wholes[0]
    earlier = "rekey_time" if whole.rekey_time else "rekey_bytes"
    parts = (
        msgspec.structs.replace(
            whole,
            name="",
            local_ts=(pair.local,),
            remote_ts=(pair.remote,),
            **{earlier: getattr(whole, earlier) - number},
        )
        for pair in pairs_of(msgspec.structs.replace(config, children=wholes))[:limit]
        for number in (1, 2)
    )
    owner = owner_of(whole.name)
    named = (msgspec.structs.replace(part, name=f"{owner}.{_PAIR}{_digest([config.name, part])}") for part in parts)
    return msgspec.structs.replace(config, children=(*wholes, *named))


def without_pair_children(config: IkeConfig) -> IkeConfig:
    """The inverse of `with_pair_children`."""
    return config if config.version == 1 else msgspec.structs.replace(config, children=whole_children(config))


def whole_children(config: IkeConfig) -> tuple[ChildConfig, ...]:
    """The children that together are for all pairs: one, unless other connections have taken some of its pairs."""
    return tuple(child for child in config.children if not is_pair_child(child.name))


def is_pair_child(name: str) -> bool:
    """True if a child is one of those that `with_pair_children` adds."""
    return name.partition(".")[2].startswith(_PAIR)


def same_version(one: IkeConfig, other: IkeConfig) -> bool:
    """True if two configurations of a connection differ at most in additional children for single pairs."""
    return without_pair_children(one) == without_pair_children(other)


def same_but_names(one: IkeConfig, other: IkeConfig) -> bool:
    """True if two configurations of a connection differ at most in a pre-shared key, and in what `same_version` lets
    differ."""
    return _nameless(without_pair_children(one)) == _nameless(without_pair_children(other))


def _nameless(config: IkeConfig) -> IkeConfig:
    children = tuple(msgspec.structs.replace(child, name="") for child in config.children)
    return msgspec.structs.replace(config, name="", children=children)


def without_rekey(config: IkeConfig) -> IkeConfig:
    """The same without rekeying, for a response-only end of IKEv1.

    IKEv1 rekeys with a new IKE SA, which such an end must not initiate; IKEv2 rekeys inside the existing IKE SA
    (RFC 7296 1.3.2). Without rekeying, charon does not delete the IKE SA at its lifetime either:
    `core.tunnel.sa_expiry` does. Existing SAs keep their times.
    """
    return msgspec.structs.replace(config, rekey_time=0, over_time=config.rekey_time + config.over_time, rand_time=0)


def shared_key(connection: Connection, config: IkeConfig) -> SharedKey:
    """The pre-shared key of a connection for the two identities in its configuration."""
    return SharedKey(config.name, (config.local_id, config.remote_id), connection.psk)


def owner_of(name: str) -> str:
    """The owner of an SA by its name: the connection's UUID for a child's name, else the IKE connection's name."""
    return name.partition(".")[0]


def peer_of(name: str) -> str:
    """The peer digest in the name of an IKE connection."""
    return name.rpartition("-")[0]


def unsupported(connection: Connection, backend: Backend, node: Capabilities | None = None) -> str:
    """The reason that a node cannot run the connection, as `fault_of`; empty if it can."""
    return fault_of(connection, backend, node).text


def fault_of(connection: Connection, backend: Backend, node: Capabilities | None = None) -> NodeFault:
    """The reason that a node with this backend cannot run the connection, with the remedy.

    Without `node` its strongSwan counts as complete.
    """
    if connection.fault:
        return NodeFault(connection.fault, "CONFIG_INCOMPLETE")
    ipsec = connection.ipsec
    for attribute, text in (("peer_id", connection.peer_id), ("local_id", connection.local_id)):
        if fault := identities.length_fault(identities.stored(text)):
            return NodeFault(f"{attribute} cannot be used: {fault}")
    if fault := _authentication_fault(connection):
        return NodeFault(fault)
    if ipsec.transform_protocol == "ah-esp":
        return NodeFault("ah-esp is not possible: strongSwan would negotiate ESP only; set transform_protocol to esp")
    if backend == "user-space" and ipsec.transform_protocol == "ah":
        text = "AH needs the kernel's IPsec, and this node has only user-space ESP; set transform_protocol to esp"
        return NodeFault(text, "KERNEL_LACKS_FEATURE")
    if backend == "user-space" and ipsec.encapsulation_mode == "transport":
        text = (
            "transport mode needs the kernel's IPsec, and this node has only user-space ESP; "
            "set encapsulation_mode to tunnel"
        )
        return NodeFault(text, "KERNEL_LACKS_FEATURE")
    between_hosts = any(holds_gateways(pair, connection) for pair in pairs(connection))
    if ipsec.encapsulation_mode == "transport" and not between_hosts:
        # A security gateway uses tunnel mode for forwarded packets (RFC 4301 4.1).
        return NodeFault(
            "transport mode protects only traffic between the gateways, not between networks; "
            "set encapsulation_mode to tunnel"
        )
    return capabilities.missing(connection, node) if node else NodeFault()


def _authentication_fault(connection: Connection) -> str:
    """The reason that the credentials of a connection cannot work, with the remedy; empty if they can.

    The API refuses the same. Here it counts again, because charon says nothing and does without.
    """
    is_v1 = connection.ike.ike_version == "v1"
    if connection.auth_mode == "certs" and connection.certificates is None:
        return "auth_mode is certs and there is no certificate: set local_certificate_id and trust_anchor_id"
    if connection.certificates and not (connection.certificates.anchor.issuers and connection.certificates.local.chain):
        # charon would take any certificate of any CA that it has ever been given.
        return "the certificates are incomplete: set local_certificate_id and trust_anchor_id again"
    if connection.ppk and connection.ppk.required and is_v1:
        return "a post-quantum preshared key needs IKEv2 (RFC 8784): set ike_version to v2, or ppk_required to false"
    return ""


def _certificates(connection: Connection) -> CertificateConfig | None:
    if connection.auth_mode != "certs" or connection.certificates is None:
        return None
    local, anchor = connection.certificates.local, connection.certificates.anchor
    return CertificateConfig(
        chain=local.chain,
        key_id=local.key_id,
        issuers=anchor.issuers,
        roots=tuple(root for root in anchor.roots if root not in anchor.issuers),
        pins=connection.certificates.peer_certificates,
        strict=anchor.revocation == "strict",
    )


def _children(connection: Connection, version: int, name: str) -> tuple[ChildConfig, ...]:
    children = [_child(connection.ipsec, left, right) for left, right in _selectors(connection, version)]
    tag = f"{connection.id}.{_digest([name, children])}"
    return tuple(
        msgspec.structs.replace(child, name=tag if len(children) == 1 else f"{tag}-{number}")
        for number, child in enumerate(children, 1)
    )


def _selectors(connection: Connection, version: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The local and remote selectors of each child: one for all in IKEv2, one for each pair in IKEv1.

    Without the pairs that newer connections have taken, networks that have the same ones on the other side share a
    child. Both ends of a tunnel make the same children, whichever side that is.
    """
    local = tuple(_masked(cidr) for cidr in connection.local_cidrs)
    remote = tuple(_masked(cidr) for cidr in connection.peer_cidrs)
    taken = frozenset(connection.superseded)
    if version == 1:
        return [((left,), (right,)) for left in local for right in remote if (left, right) not in taken]
    if not taken:
        return [(local, remote)]
    pairs = [(left, right) for left in local for right in remote if (":" in left) == (":" in right)]
    kept = [pair for pair in pairs if pair not in taken]
    by_local = _grouped(kept)
    by_remote = [(left, right) for right, left in _grouped([(right, left) for left, right in kept])]
    return min(by_local, by_remote, key=lambda blocks: (len(blocks), sorted(sorted(block) for block in blocks)))


def _grouped(pairs: list[tuple[str, str]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The pairs as products: networks that are first in pairs with the same second ones are together."""
    seconds: dict[str, list[str]] = {}
    for first, second in pairs:
        seconds.setdefault(first, []).append(second)
    together: dict[tuple[str, ...], list[str]] = {}
    for first, others in seconds.items():
        together.setdefault(tuple(others), []).append(first)
    return [(tuple(firsts), others) for others, firsts in together.items()]


def _child(policy: IpsecPolicy, local: tuple[str, ...], remote: tuple[str, ...]) -> ChildConfig:
    seconds = policy.lifetime if policy.lifetime_units == "seconds" else 0
    volume = policy.lifetime * 1024 if policy.lifetime_units == "kilobytes" else 0
    ah = policy.transform_protocol == "ah"
    return ChildConfig(
        name="",
        local_ts=local,
        remote_ts=remote,
        mode=policy.encapsulation_mode,
        esp_proposals=()
        if ah
        else (algorithms.esp_proposal(policy.encryption_algorithm, policy.auth_algorithm, policy.pfs),),
        ah_proposals=(algorithms.ah_proposal(policy.auth_algorithm, policy.pfs),) if ah else (),
        rekey_time=seconds * REKEY_PERCENT // 100,
        life_time=seconds,
        rekey_bytes=volume * REKEY_PERCENT // 100,
        life_bytes=volume,
    )


def _products(child: ChildConfig) -> Iterator[tuple[str, str]]:
    """Every local selector with every remote one of the same IP version."""
    for left in child.local_ts:
        for right in child.remote_ts:
            if (":" in left) == (":" in right):
                yield left, right


@functools.lru_cache(maxsize=4096)
def _masked(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr, strict=False))


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:8]
