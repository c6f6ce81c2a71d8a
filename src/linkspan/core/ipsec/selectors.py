"""Pairs of traffic selectors: the traffic that a connection protects, and that must never pass in plaintext."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from linkspan.core.addresses import as_networks, overlaps
from linkspan.core.state.desired import Connection


class SelectorPair(msgspec.Struct, frozen=True, order=True):
    """Traffic from `local` to `remote` (CIDRs, masked)."""

    local: str
    remote: str


def pairs(connection: Connection) -> frozenset[SelectorPair]:
    """The pairs that a connection carries: those that its attributes name and no newer connection has taken."""
    return named_pairs(connection).difference(SelectorPair(*pair) for pair in connection.superseded)


def named_pairs(connection: Connection) -> frozenset[SelectorPair]:
    """Every local network with every peer network of a connection and the same IP version, host bits masked."""
    local, remote = as_networks(connection.local_cidrs), as_networks(connection.peer_cidrs)
    return frozenset(
        SelectorPair(str(left), str(right)) for left in local for right in remote if left.version == right.version
    )


def selectors_overlap(left: Connection, right: Connection) -> bool:
    """True if a packet can match the selectors of two connections."""
    return _any_overlap(left.local_cidrs, right.local_cidrs) and _any_overlap(left.peer_cidrs, right.peer_cidrs)


def _any_overlap(left: Sequence[str], right: Sequence[str]) -> bool:
    others = as_networks(right)
    return any(overlaps(network, other) for network in as_networks(left) for other in others)


def holds_gateways(pair: SelectorPair, connection: Connection) -> bool:
    """True if a pair contains the addresses of both gateways; a peer's DNS name may be any address."""
    return _within(connection.local_address, pair.local) and _within(connection.peer_address, pair.remote)


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return True
