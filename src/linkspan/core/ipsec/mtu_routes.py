"""Which routes hold every pair of selectors to its MTU: a table for each local prefix, in it the remote ones. Pure.

The narrowest pair that a packet is of decides, as with charon's policies: the one with the most bits in both prefixes.
A rule knows the source alone, and a table the destination, so the table of a local prefix has what wider ones say too.
Prefixes are disjoint or one is in the other; so what decides for one packet of a class decides for all of them.
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
    """Where a route leads and with which MTU in bytes, 0 for the path's own; `next_hop` is "" towards neighbours."""

    next_hop: str
    mtu: int


class _Claim(msgspec.Struct, frozen=True):
    """What a pair says of its remote prefix: bits of its local one, and the MTU of its route."""

    bits: int
    route: int


class _Prefixes(Generic[T]):
    """What is known of prefixes, to be asked for those around a network."""

    def __init__(self, known: Mapping[Network, T]) -> None:
        self._known = known
        self._lengths = sorted({network.prefixlen for network in known})

    def around(self, network: Network) -> list[tuple[Network, T]]:
        """The known prefixes that the network is or is in, the widest first."""
        lengths = [length for length in self._lengths if length <= network.prefixlen]
        prefixes = [network.supernet(new_prefix=length) for length in lengths]
        return [(prefix, self._known[prefix]) for prefix in prefixes if prefix in self._known]


def route_tables(paths: Iterable[PairMtu], ways: Mapping[Network, str]) -> dict[Network, dict[Network, Hop]]:
    """Local prefix -> network -> hop. `ways`: networks and next hops of the gateway, with those of everything.

    Local prefixes without a table need none: theirs would be that of the next wider one. Pairs at their tunnel's own
    limit (route 0) have a route only inside a wider pair that has another MTU. Raises ValueError for a pair of two
    IP versions.
    """
    remotes: dict[Network, dict[Network, int]] = {}
    for path in paths:
        local, remote = ipaddress.ip_network(path.pair.local), ipaddress.ip_network(path.pair.remote)
        if local.version != remote.version:
            raise ValueError(f"{local} and {remote} are not of one IP version")
        remotes.setdefault(local, {})[remote] = path.route
    locals_, hops, found = _Prefixes(remotes), _Prefixes(ways), {}
    for local, own in remotes.items():
        said = [(wider, pair) for wider, pairs in locals_.around(local) for pair in pairs.items()]
        with_route = {remote: None for _, (remote, route) in said if route}
        routed, owned = _Prefixes(with_route), _Prefixes(own)
        if not any(map(routed.around, own)) and not any(map(owned.around, with_route)):
            continue
        known = {remote: _Claim(wider.prefixlen, route) for wider, (remote, route) in said}
        claims = _Prefixes(known)
        networks = [network for network in {*known, *ways} if routed.around(network)]
        found[local] = {network: Hop(hops.around(network)[-1][1], _mtu(claims.around(network))) for network in networks}
    return found


def _mtu(around: Iterable[tuple[Network, _Claim]]) -> int:
    """What the narrowest pair says; of two that are as narrow, the one with the narrower remote prefix."""
    return max(around, key=lambda one: (one[0].prefixlen + one[1].bits, one[0].prefixlen))[1].route
