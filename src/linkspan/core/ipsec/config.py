"""A connection as IKE and ESP understand it: the one mapping from the API's attributes to what charon is told.

Pure: the result says everything that a driver has to load. A child carries its connection's uuid and a tag, eight
hexadecimal digits of a digest over everything charon was told. So charon itself remembers which version of a
connection it runs, and an agent that starts anew can compare without a file of its own.

Connections to one peer share its IKE SA: a responder knows a peer by addresses and identities alone, and looks for
the traffic selectors only among the children of the one IKE connection that it found by them. So the IKE connection is
named by a digest of the peer and one of everything else on the IKE level, and `joined` gives it the children of all
connections to that peer.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Iterable

import msgspec

from linkspan.core.ipsec import algorithms, identities
from linkspan.core.ipsec.selectors import holds_gateways, pairs
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, IpsecPolicy
from linkspan.core.state.observed import Backend

LAST_RESORT = 3600
"""Seconds after which charon itself gives up an IKEv1 peer, for when no agent runs. Later than any usual deadline of
ours, and not a day: charon keeps a timer that long for every question that it asks."""
REKEY_PERCENT = 90
"""A key is replaced at 90 % of its lifetime, less a random tenth so that both ends do not rekey at once."""


class ChildConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One child SA; times in seconds, 0 = charon's default; volumes in bytes, 0 = none."""

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


class IkeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One IKE connection and its children; times in seconds, `dpd_delay` 0 = no DPD, `dpd_timeout` is charon's own
    deadline for an IKEv1 peer.

    `peer` is what a responder tells peers by, as a digest; `name` begins with it.
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


class SharedKey(msgspec.Struct, frozen=True):
    """A pre-shared key and the identities that it is for; `id` is the name of the IKE connection that uses it."""

    id: str
    owners: tuple[str, ...]
    key: Secret


def build(connection: Connection) -> IkeConfig:
    """What charon is told about a connection. IKEv1 carries one pair of selectors a child (RFC 2409 5.5)."""
    ike = connection.ike
    version = 1 if ike.ike_version == "v1" else 2
    local_id = identities.parse(connection.local_id or connection.local_address).charon()
    config = IkeConfig(
        name="",
        peer="",
        version=version,
        aggressive=version == 1 and ike.phase1_negotiation_mode == "aggressive",
        local_address=connection.local_address,
        remote_address=connection.peer_address,
        local_id=local_id,
        remote_id=identities.parse(connection.peer_id).charon(),
        auth="psk" if connection.auth_mode == "psk" else "pubkey",
        proposals=(algorithms.ike_proposal(ike.encryption_algorithm, ike.auth_algorithm, ike.pfs),),
        dpd_delay=0 if connection.dpd.action == "disabled" else connection.dpd.interval,
        # The agent's deadline comes first (core.tunnel.dpd); so connections that differ in it can share their IKE SA.
        dpd_timeout=max(LAST_RESORT, 2 * connection.dpd.timeout) if version == 1 else 0,
        rekey_time=ike.lifetime * REKEY_PERCENT // 100,
        over_time=ike.lifetime - ike.lifetime * REKEY_PERCENT // 100,
        rand_time=ike.lifetime // 10,
        children=(),
    )
    peer = "peer-" + _digest([version, config.local_address, config.remote_address, config.local_id, config.remote_id])
    name = f"{peer}-{_digest([config, connection.psk_ref])}"
    return msgspec.structs.replace(config, name=name, peer=peer, children=_children(connection, version, name))


def with_sibling_children(config: IkeConfig, siblings: Iterable[IkeConfig]) -> IkeConfig:
    """The same IKE connection with the children of all connections to its peer, in a stable order."""
    children = {child.name: child for one in (config, *siblings) for child in one.children}
    return msgspec.structs.replace(config, children=tuple(children[name] for name in sorted(children)))


def without_rekey(config: IkeConfig) -> IkeConfig:
    """The same for an end that never begins: by IKEv1 a renewal is a new IKE SA that this end would begin.

    By IKEv2 it happens inside the one that is there (RFC 7296 1.3.2). Charon does not end an IKE SA either that it is
    not to renew (`core.tunnel.sa_expiry`). One that it has made already keeps its times.
    """
    return msgspec.structs.replace(config, rekey_time=0, over_time=config.rekey_time + config.over_time, rand_time=0)


def shared_key(connection: Connection, config: IkeConfig) -> SharedKey:
    """The pre-shared key of a connection, owned by the two identities of its configuration."""
    return SharedKey(config.name, (config.local_id, config.remote_id), connection.psk)


def owner_of(name: str) -> str:
    """What a name that charon reports is about: a connection's uuid if it is a child's, else the IKE connection."""
    return name.partition(".")[0]


def peer_of(name: str) -> str:
    """The peer in the name of an IKE connection."""
    return name.rpartition("-")[0]


def unsupported(connection: Connection, backend: Backend) -> str:
    """Why this node cannot run the connection, in one sentence; empty if it can (dataplane: two backends)."""
    ipsec = connection.ipsec
    if connection.auth_mode == "certs":
        return "certificates are not available yet: set auth_mode to psk"
    if ipsec.transform_protocol == "ah-esp":
        return "ah-esp is not possible: strongSwan would negotiate ESP only; set transform_protocol to esp"
    if backend == "user-space" and ipsec.transform_protocol == "ah":
        return "AH needs the kernel's IPsec, and this node has only user-space ESP; set transform_protocol to esp"
    if backend == "user-space" and ipsec.encapsulation_mode == "transport":
        return "transport mode needs the kernel's IPsec, and this node has only user-space ESP; set tunnel"
    between_hosts = any(holds_gateways(pair, connection) for pair in pairs(connection))
    if ipsec.encapsulation_mode == "transport" and not between_hosts:
        # RFC 4301 4.1: a security gateway uses tunnel mode for what it forwards.
        return "transport mode is for what the gateways send themselves, not for networks behind them; set tunnel"
    return ""


def _children(connection: Connection, version: int, name: str) -> tuple[ChildConfig, ...]:
    local = tuple(_masked(cidr) for cidr in connection.local_cidrs)
    remote = tuple(_masked(cidr) for cidr in connection.peer_cidrs)
    pairs = [(local, remote)] if version == 2 else [((left,), (right,)) for left in local for right in remote]
    children = [_child(connection.ipsec, left, right) for left, right in pairs]
    tag = f"{connection.id}.{_digest([name, children])}"
    return tuple(
        msgspec.structs.replace(child, name=tag if len(children) == 1 else f"{tag}-{number}")
        for number, child in enumerate(children, 1)
    )


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


@functools.lru_cache(maxsize=4096)
def _masked(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr, strict=False))


def _digest(what: object) -> str:
    return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:8]
