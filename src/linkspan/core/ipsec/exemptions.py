"""Traffic between a gateway's attached networks, which wider traffic selectors must not take into a tunnel. Pure.

A connection may have a default route or a supernet as its peer network. The networks attached to the same router, the
connection's own local network among them, stay reachable beside it. `drivers.gateway.main_routing` does the same for
charon's routes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from linkspan.core.addresses import Network, contains
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway

_ON_LINK: Final[tuple[Network, ...]] = (ipaddress.IPv6Network("fe80::/10"), ipaddress.IPv6Network("ff00::/8"))
"""Destinations of neighbour discovery (RFC 4861), without which IPv6 hosts and their gateway do not find each other."""


def attached_networks(gateway: Gateway) -> frozenset[Network]:
    """The networks on the gateway's inside interfaces. The external network is not one: peers' networks may hold it."""
    return frozenset(
        ipaddress.ip_interface(address).network for interface in gateway.inside for address in interface.addresses
    )


def exempt_pairs(gateway: Gateway, pairs: Iterable[SelectorPair]) -> frozenset[SelectorPair]:
    """For each pair whose remote prefix is wider than an attached network: its local prefix with that network."""
    attached = (*attached_networks(gateway), *_ON_LINK)
    return frozenset(
        SelectorPair(pair.local, str(network))
        for pair in pairs
        for network in attached
        if network != (remote := ipaddress.ip_network(pair.remote)) and contains(remote, network)
    )
