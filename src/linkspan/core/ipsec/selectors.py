"""Pairs of traffic selectors: what a connection protects, and so what must never pass in clear."""

from __future__ import annotations

import ipaddress

import msgspec

from linkspan.core.addresses import as_network
from linkspan.core.state.desired import Connection


class SelectorPair(msgspec.Struct, frozen=True, order=True):
    """Traffic from `local` to `remote` (CIDRs, masked)."""

    local: str
    remote: str


def pairs(connection: Connection) -> frozenset[SelectorPair]:
    """Every local network with every peer network of a connection, host bits masked, of one IP version each."""
    local = [network for cidr in connection.local_cidrs if (network := as_network(cidr))]
    remote = [network for cidr in connection.peer_cidrs if (network := as_network(cidr))]
    return frozenset(
        SelectorPair(str(ours), str(theirs)) for ours in local for theirs in remote if ours.version == theirs.version
    )


def holds_gateways(pair: SelectorPair, connection: Connection) -> bool:
    """Whether a pair covers what the two gateways themselves send to each other; a peer's name may be any address."""
    return _within(connection.local_address, pair.local) and _within(connection.peer_address, pair.remote)


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return True
