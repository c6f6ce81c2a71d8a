"""Routes that enforce the MTU of every selector pair: a routing table for each local prefix.

The most specific pair wins, as in charon's policies: the one with the most bits in both prefixes together. An ip rule
matches the source only and a table the destination only, so the table of a local prefix repeats the routes of the wider
prefixes around it. Two prefixes are disjoint or nested, so one route decides for all packets to its prefix.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from linkspan.core.addresses import Network
from linkspan.core.ipsec.mtu import PairMtu

T = TypeVar("T")


class Hop(msgspec.Struct, frozen=True):
    """The next hop of a route, "" for a connected network, and its MTU in bytes, 0 for that of the path."""

    next_hop: str
    mtu: int


class _Claim(msgspec.Struct, frozen=True):
    """The claim of a pair on its remote prefix: the length of its local prefix, and the MTU of its route."""

    bits: int
    route: int


class _Prefixes(Generic[T]):
    """A mapping by prefix that can be searched for all prefixes that contain a network."""

    def __init__(self, items: Mapping[Network, T]) -> None:
        self._items = items
        self._lengths = sorted({network.prefixlen for network in items})

    def around(self, network: Network) -> list[tuple[Network, T]]:
        """The items of the prefixes that contain the network or equal it, the widest first."""
        lengths = [length for length in self._lengths if length <= network.prefixlen]
        prefixes = [network.supernet(new_prefix=length) for length in lengths]
        return [(prefix, self._items[prefix]) for prefix in prefixes if prefix in self._items]


def route_tables(mtus: Iterable[PairMtu], routes: Mapping[Network, str]) -> dict[Network, dict[Network, Hop]]:
    """Local prefix -> network -> hop. `routes`: networks and next hops of the gateway, default routes included.

    A local prefix has no table if it would equal that of the next wider prefix. A pair at the limit of its tunnel
    (route 0) has a route only inside a wider pair with another MTU. Raises ValueError for a pair with two IP versions.
    """
    remotes: dict[Network, dict[Network, int]] = {}
    for item in mtus:
        local, remote = ipaddress.ip_network(item.pair.local), ipaddress.ip_network(item.pair.remote)
        if local.version != remote.version:
            raise ValueError(f"{local} and {remote} have different IP versions")
        remotes.setdefault(local, {})[remote] = item.route
    locals_, hops, tables = _Prefixes(remotes), _Prefixes(routes), {}
    for local, own in remotes.items():
        inherited = [(wider, pair) for wider, pairs in locals_.around(local) for pair in pairs.items()]
        with_route = {remote: None for _, (remote, route) in inherited if route}
        routed, owned = _Prefixes(with_route), _Prefixes(own)
        if not any(map(routed.around, own)) and not any(map(owned.around, with_route)):
            continue
        claims = {remote: _Claim(wider.prefixlen, route) for wider, (remote, route) in inherited}
        by_prefix = _Prefixes(claims)
        networks = [network for network in {*claims, *routes} if routed.around(network)]
        tables[local] = {
            network: Hop(hops.around(network)[-1][1], _mtu(by_prefix.around(network))) for network in networks
        }
    return tables


def _mtu(around: Iterable[tuple[Network, _Claim]]) -> int:
    """The MTU of the most specific pair; of two equally specific ones, the one with the longer remote prefix."""
    return max(around, key=lambda item: (item[0].prefixlen + item[1].bits, item[0].prefixlen))[1].route
