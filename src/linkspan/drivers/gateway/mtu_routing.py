"""The MTU of every pair of selectors, by policy routing in the gateway's namespace (ip-rule(8), ip-route(8)).

charon has no option for it, and its own routes are not ours to change. So a rule `from LOCAL` ahead of charon's
(priority 220) looks up a table of ours, where the route to REMOTE says `mtu N`, without `lock`: hosts are told
"fragmentation needed" or "packet too big" with N, and what the path teaches still counts. A table for each local
prefix: the kernel walks rules one by one for every packet, and finds a route among any number at once. What is in the
tables is `core.ipsec.mtu_routes`.

The kernel is the only memory: rules and routes carry our protocol number. What stays is not touched, and a pair that
changes has its route replaced. Routes over charon's TUN device vanish with it; whoever starts a charon applies again.
The MSS of TCP is `drivers.gateway.mss_clamp`.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from linkspan.core.addresses import Network
from linkspan.core.ipsec import mtu_routes
from linkspan.core.ipsec.mtu import PairMtu, headers
from linkspan.core.state.desired import Gateway
from linkspan.core.state.observed import Backend
from linkspan.drivers.gateway import mss_clamp
from linkspan.drivers.linux import interface_names, netlink, netns
from linkspan.drivers.linux.netlink import MtuRoute, Netlink, PolicyRule
from linkspan.drivers.ports import DriverError

_TABLES: Final = 2_190_000
"""Our tables have the numbers behind this one."""
_TUN: Final = "ipsec0"
_LAST: Final = 219
"""The priority just before charon's. A local prefix comes as many before it as it has bits: narrow ones first."""
_EVERYTHING: Final[dict[int, Network]] = {4: ipaddress.IPv4Network("0.0.0.0/0"), 6: ipaddress.IPv6Network("::/0")}
T = TypeVar("T")


class PolicyRoutedMtu:
    """The `Paths` of one node; see `drivers.ports`. `namespace` gives the name of a gateway's namespace."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._clamped: dict[str, tuple[int, mss_clamp.Sizes]] = {}

    def outside(self, gateway_id: str) -> int:
        return self._inside(gateway_id, lambda: _link(interface_names.OUTSIDE).mtu)

    def apply(self, gateway: Gateway, paths: Iterable[PairMtu]) -> None:
        wanted = frozenset(paths)
        name = self._namespace(gateway.id)
        self._inside(gateway.id, lambda: self._apply(gateway, name, wanted))

    def current(self, gateway_id: str) -> frozenset[PairMtu]:
        if not netns.exists(self._namespace(gateway_id)):
            return frozenset()
        return self._inside(gateway_id, _read)

    def _inside(self, gateway_id: str, function: Callable[[], T]) -> T:
        try:
            return netns.run_inside(self._namespace(gateway_id), function)
        except (OSError, ValueError) as error:
            raise DriverError(f"the gateway's MTUs cannot be set: {error}") from error

    def _apply(self, gateway: Gateway, name: str, wanted: frozenset[PairMtu]) -> None:
        inode = netns.path(name).stat().st_ino
        known = self._clamped.pop(name, None)
        present = known[1] if known and known[0] == inode else mss_clamp.read()
        sizes = mss_clamp.sizes(wanted)
        mss_clamp.apply(present, sizes)
        self._clamped[name] = inode, sizes
        with netlink.connect(strict=True) as kernel:
            self._route(kernel, gateway, wanted)

    def _route(self, kernel: Netlink, gateway: Gateway, wanted: frozenset[PairMtu]) -> None:
        have_rules, have_routes = kernel.rules(), kernel.mtu_routes()
        rules, routes = self._wanted(gateway, wanted, have_rules)
        for route in sorted(routes - have_routes, key=_order):
            kernel.put_mtu_route(route)
        for rule in sorted(rules - have_rules):
            kernel.add_rule(rule)
        for rule in sorted(have_rules - rules):
            kernel.delete_rule(rule)
        kept = {(route.table, route.network) for route in routes}
        for route in have_routes - routes:
            if (route.table, route.network) not in kept:
                kernel.delete_mtu_route(route)

    def _wanted(
        self, gateway: Gateway, paths: frozenset[PairMtu], present: Iterable[PolicyRule]
    ) -> tuple[set[PolicyRule], set[MtuRoute]]:
        """All rules and routes as they should be, in the tables that there are: into the TUN, or as table main does."""
        if not any(path.route for path in paths):
            return set(), set()
        user_space = self._backend == "user-space"
        link = _link(_TUN if user_space else interface_names.OUTSIDE).index
        tables = mtu_routes.route_tables(
            paths, dict.fromkeys(_EVERYTHING.values(), "") if user_space else _ways(gateway)
        )
        rules = _rules(tables, present)
        return set(rules.values()), {
            MtuRoute(rules[local].table, str(network), hop.next_hop, link, hop.mtu)
            for local, hops in tables.items()
            for network, hop in hops.items()
        }


def _ways(gateway: Gateway) -> dict[Network, str]:
    """Networks and next hops of the outside leg: in transport mode packets go there as they are routed here."""
    ways: dict[Network, str] = dict.fromkeys(_EVERYTHING.values(), "")
    for hop in reversed(gateway.outside.next_hops):
        address = ipaddress.ip_address(hop)
        ways[_EVERYTHING[address.version]] = str(address)
    return ways | {ipaddress.ip_interface(address).network: "" for address in gateway.outside.addresses}


def _link(name: str) -> netlink.Link:
    with netlink.connect() as kernel:
        link = kernel.link(name)
    if link is None:
        raise OSError(f"there is no link {name}")
    return link


def _rules(locals_: Iterable[Network], present: Iterable[PolicyRule]) -> dict[Network, PolicyRule]:
    """A rule for each local prefix: that which there is, or one with the number of a table that no rule names."""
    there = set(present)
    free = itertools.filterfalse({rule.table for rule in there}.__contains__, itertools.count(_TABLES + 1))
    kept = {rule.source: rule for rule in there if rule == _rule(ipaddress.ip_network(rule.source), rule.table)}
    return {local: kept.get(str(local)) or _rule(local, next(free)) for local in sorted(locals_, key=str)}


def _rule(local: Network, table: int) -> PolicyRule:
    return PolicyRule(_LAST - local.prefixlen, str(local), str(_EVERYTHING[local.version]), table)


def _order(route: MtuRoute) -> int:
    """Networks before the default route, whose next hop is in one of them."""
    return -ipaddress.ip_network(route.network).prefixlen


def _read() -> frozenset[PairMtu]:
    """The paths of the namespace that the calling thread is in."""
    with netlink.connect() as kernel:
        tables = {rule.source: rule.table for rule in kernel.rules()}
        routes = {(route.table, route.network): route.mtu for route in kernel.mtu_routes()}
    return frozenset(
        PairMtu(pair, size + headers(pair), routes.get((tables.get(pair.local, 0), pair.remote), 0))
        for pair, size in mss_clamp.read().items()
    )
