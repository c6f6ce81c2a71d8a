"""The limits of a probe of a connection: it sends to its own peer, and to one host behind it through the tunnel. Pure.

A probe is no scanner: outside it goes to the peer's address and to IKE's ports only, inside to one address of the
peer's networks. Inside packets are sent only while a child SA carries them and the leak guard covers their pair, so
that none leaves in plaintext when the tunnel ends meanwhile.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal

import msgspec

from linkspan.core.addresses import Address, Network, address_fault, as_network
from linkspan.core.ipsec.selectors import SelectorPair, holds_gateways, named_pairs, pairs
from linkspan.core.state.desired import Connection, Gateway
from linkspan.core.state.live_facts import CARRYING, LiveFacts

SMALLEST_PREFIX: Final = {4: 8, 6: 32}
"""Bits of a peer network, by IP version, of which a host can be chosen; a wider one has no host that is likelier."""


class InsidePlan(msgspec.Struct, frozen=True):
    """Echo requests through the tunnel, of at most `limit` bytes. `refusal`: why none is sent, in one sentence."""

    source: str = ""
    target: str = ""
    limit: int = 0
    refusal: str = ""


class ProbePlan(msgspec.Struct, frozen=True, kw_only=True):
    """`source`, `peer`: addresses outside; `limit`: bytes of a packet there. `refusal`: why nothing is sent there."""

    source: str
    peer: str
    version: Literal[1, 2]
    limit: int
    inside: InsidePlan
    refusal: str = ""


def refusal(connection: Connection, reason: str) -> str:
    """The reason why a connection cannot be probed at all, in one sentence; empty if it can. `reason`: its tunnel's."""
    if not connection.enabled:
        why = connection.admin_reason or "admin_state_up of the connection or of its service is false"
        return f"a connection that is down by request sends nothing: {why}"
    if address_fault(connection.peer_address):
        return f"the peer's name has no address: {reason or connection.peer_address}"
    return ""


def path_refusal(connection: Connection) -> str:
    """The reason why nothing can be sent to the peer outside the tunnel; empty if something can."""
    if any(holds_gateways(pair, connection) for pair in named_pairs(connection)):
        return "the tunnel covers the addresses of both gateways, so only charon's own packets pass outside it"
    return ""


def inside_plan(
    connection: Connection,
    facts: LiveFacts,
    gateway: Gateway,
    guarded: Collection[SelectorPair],
    others: Iterable[Connection],
    limit: int,
    target: str,
) -> InsidePlan:
    """The echo requests to a host behind the peer. `others`: those of the gateway; `limit`: the effective MTU."""
    own = sorted(pairs(connection))
    if path_refusal(connection):
        return InsidePlan(refusal="the peer itself is behind the tunnel, and its packets are those of the tunnel")
    if not target:
        target = next(_likely_hosts(own), "")
        if not target:
            return InsidePlan(refusal="the peer networks are too wide to choose a host: name one as 'target'")
    host = ipaddress.ip_address(target)
    found = [pair for pair in own if _holds(pair.remote, host)]
    if not found:
        networks = ", ".join(dict.fromkeys(pair.remote for pair in own)) or "none"
        return InsidePlan(target=target, refusal=f"{target} is in none of the peer networks ({networks})")
    for pair in found:
        for source in _own_addresses(gateway, pair.local):
            reason = _reason_against(pair, source, host, facts, guarded, others, connection.id)
            return InsidePlan(str(source), target, limit, reason)
    return InsidePlan(target=target, refusal="the gateway has no address in the local network of that pair")


def _reason_against(
    pair: SelectorPair,
    source: Address,
    target: Address,
    facts: LiveFacts,
    guarded: Collection[SelectorPair],
    others: Iterable[Connection],
    id: str,
) -> str:
    if pair not in guarded:
        return f"the leak guard does not cover {pair.local} to {pair.remote}"
    if not _is_carried(facts, source, target):
        return f"no child SA carries packets from {source} to {target}"
    for other in others:
        if other.id != id and _is_nearer(other, pair, source, target):
            name = other.name or other.id
            return f"packets to {target} are those of another connection, '{name}'"
    return ""


def _is_nearer(connection: Connection, than: SelectorPair, source: Address, target: Address) -> bool:
    bits = _bits(than)
    return any(
        _bits(pair) > bits and _holds(pair.local, source) and _holds(pair.remote, target) for pair in pairs(connection)
    )


def _bits(pair: SelectorPair) -> int:
    return ipaddress.ip_network(pair.local).prefixlen + ipaddress.ip_network(pair.remote).prefixlen


def _likely_hosts(own: Iterable[SelectorPair]) -> Iterator[str]:
    """The first host of the smallest network, where routers are usually found."""
    networks = {ipaddress.ip_network(pair.remote) for pair in own}
    for network in sorted(networks, key=lambda network: (-network.prefixlen, str(network))):
        if network.prefixlen >= SMALLEST_PREFIX[network.version]:
            yield str(_first_host(network))


def _first_host(network: Network) -> Address:
    return network[0] if network.num_addresses <= 2 else network[1]


def _own_addresses(gateway: Gateway, local: str) -> Iterator[Address]:
    for interface in gateway.inside:
        for text in interface.addresses:
            address = ipaddress.ip_interface(text).ip
            if _holds(local, address):
                yield address


def _is_carried(facts: LiveFacts, source: Address, target: Address) -> bool:
    return any(
        child.state in CARRYING
        and any(_holds(selector, source) for selector in child.local_selectors)
        and any(_holds(selector, target) for selector in child.remote_selectors)
        for sa in facts.ike_sas
        for child in sa.children
    )


def _holds(selector: str, address: Address) -> bool:
    """True if a network, or a range in charon's notation, has an address. One with ports carries no echo requests."""
    first, separator, last = selector.partition("..")
    if separator:
        try:
            ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
        except ValueError:
            return False
        return all(end.version == address.version for end in ends) and int(ends[0]) <= int(address) <= int(ends[1])
    network = as_network(selector)
    return network is not None and network.version == address.version and address in network
