"""Policy routing that gives each pair of selectors its MTU in the gateway's namespace (ip-rule(8), ip-route(8)).

charon has no option for an MTU, and its routes are its own. So a rule `from LOCAL`, ahead of charon's rule (priority
220), looks up a table of Linkspan's, whose route to REMOTE has `mtu N` without `lock`: the kernel reports N to hosts by
ICMP "fragmentation needed" or "packet too big", and path MTU discovery still applies. There is one table for each local
prefix, because the kernel walks rules linearly for every packet, but looks a route up among any number.
`core.ipsec.mtu_routes` computes the tables.

No state is kept outside the kernel: rules and routes carry Linkspan's protocol number. What stays is not touched, and a
pair that changes has its route replaced. Routes over charon's TUN device disappear with it, so `apply` has to be called
after each start of charon. `drivers.gateway.mss_clamp` sets the MSS of TCP.
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
from linkspan.drivers.linux.nft_tables import TableComparison
from linkspan.drivers.ports import DriverError

_TABLES: Final = 2_190_000
"""Linkspan's routing tables are numbered from the next one on."""
_LAST: Final = 219
"""The priority just before charon's. A rule comes as many places earlier as its prefix has bits: longest first."""
_EVERYTHING: Final[dict[int, Network]] = {4: ipaddress.IPv4Network("0.0.0.0/0"), 6: ipaddress.IPv6Network("::/0")}
T = TypeVar("T")


class PolicyRoutedMtu:
    """The `MtuRouting` of one node; see `drivers.ports`. `namespace` maps a gateway's id to its namespace's name."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._clamped: dict[str, tuple[int, mss_clamp.MssByPair]] = {}
        self._comparison = TableComparison(mss_clamp.NAME, mss_clamp.PURPOSE)

    def outside_mtu(self, gateway_id: str) -> int:
        return self._inside(gateway_id, lambda: netlink.mtu_of(interface_names.OUTSIDE))

    def apply(self, gateway: Gateway, mtus: Iterable[PairMtu]) -> None:
        wanted = frozenset(mtus)
        name = self._namespace(gateway.id)
        self._inside(gateway.id, lambda: self._apply(gateway, name, wanted))

    def restore(self, gateway: Gateway, mtus: Iterable[PairMtu]) -> tuple[str, ...]:
        wanted = frozenset(mtus)
        name = self._namespace(gateway.id)
        sizes = mss_clamp.mss_by_pair(wanted)
        try:
            found = self._comparison.differences(name, mss_clamp.transaction({}, sizes).splitlines())
        except OSError as error:
            raise DriverError(f"the gateway's MTUs cannot be read: {error}") from error
        if found:
            self._inside(gateway.id, lambda: mss_clamp.rebuild(sizes))
        return *found, *self._inside(gateway.id, lambda: self._apply(gateway, name, wanted))

    def current(self, gateway_id: str) -> frozenset[PairMtu]:
        if not netns.exists(self._namespace(gateway_id)):
            return frozenset()
        return self._inside(gateway_id, _read)

    def _inside(self, gateway_id: str, function: Callable[[], T]) -> T:
        try:
            return netns.run_inside(self._namespace(gateway_id), function)
        except (OSError, ValueError) as error:
            raise DriverError(f"the gateway's MTUs cannot be set: {error}") from error

    def _apply(self, gateway: Gateway, name: str, wanted: frozenset[PairMtu]) -> list[str]:
        """Returns the rules and routes that were missing, in words."""
        inode = netns.path(name).stat().st_ino
        known = self._clamped.pop(name, None)
        present = known[1] if known and known[0] == inode else mss_clamp.read_current()
        sizes = mss_clamp.mss_by_pair(wanted)
        mss_clamp.apply(present, sizes)
        self._clamped[name] = inode, sizes
        with netlink.connect() as kernel:
            return self._route(kernel, gateway, wanted)

    def _route(self, kernel: Netlink, gateway: Gateway, wanted: frozenset[PairMtu]) -> list[str]:
        present_rules, present_routes = _present_rules(kernel), kernel.mtu_routes()
        rules, routes = self._wanted(gateway, wanted, present_rules)
        for route in sorted(routes - present_routes, key=_order):
            kernel.put_mtu_route(route)
        for rule in sorted(rules - present_rules):
            kernel.add_rule(rule)
        for rule in sorted(present_rules - rules):
            kernel.delete_rule(rule)
        kept = {(route.table, route.network) for route in routes}
        for route in present_routes - routes:
            if (route.table, route.network) not in kept:
                kernel.delete_mtu_route(route)
        return [
            *map(str, sorted(rules - present_rules)),
            *(f"route to {route.network} with MTU {route.mtu}" for route in routes - present_routes),
        ]

    def _wanted(
        self, gateway: Gateway, mtus: frozenset[PairMtu], present: Iterable[PolicyRule]
    ) -> tuple[set[PolicyRule], set[MtuRoute]]:
        """Return all rules and routes, over charon's TUN device or, with kernel ESP, as table main has them."""
        if not any(mtu.route for mtu in mtus):
            return set(), set()
        user_space = self._backend == "user-space"
        link = netlink.index_of(interface_names.TUN if user_space else interface_names.OUTSIDE)
        tables = mtu_routes.route_tables(
            mtus, dict.fromkeys(_EVERYTHING.values(), "") if user_space else _next_hops(gateway)
        )
        rules = _rules(tables, present)
        return set(rules.values()), {
            MtuRoute(rules[local].table, str(network), hop.next_hop, link, hop.mtu)
            for local, hops in tables.items()
            for network, hop in hops.items()
        }


def _next_hops(gateway: Gateway) -> dict[Network, str]:
    """Return networks and next hops of the outside interface; packets in transport mode leave by these routes."""
    next_hops: dict[Network, str] = dict.fromkeys(_EVERYTHING.values(), "")
    for hop in reversed(gateway.outside.next_hops):
        address = ipaddress.ip_address(hop)
        next_hops[_EVERYTHING[address.version]] = str(address)
    return next_hops | {ipaddress.ip_interface(address).network: "" for address in gateway.outside.addresses}


def _rules(locals_: Iterable[Network], present: Iterable[PolicyRule]) -> dict[Network, PolicyRule]:
    """Return a rule for each local prefix: the present one, or a new one with an unused table number."""
    rules = set(present)
    free = itertools.filterfalse({rule.table for rule in rules}.__contains__, itertools.count(_TABLES + 1))
    kept = {rule.source: rule for rule in rules if rule == _rule(ipaddress.ip_network(rule.source), rule.table)}
    return {local: kept.get(str(local)) or _rule(local, next(free)) for local in sorted(locals_, key=str)}


def _rule(local: Network, table: int) -> PolicyRule:
    return PolicyRule(_LAST - local.prefixlen, str(local), str(_EVERYTHING[local.version]), table)


def _present_rules(kernel: Netlink) -> set[PolicyRule]:
    """Return the rules with Linkspan's tables; those of `drivers.gateway.main_routing` look up table main."""
    return {rule for rule in kernel.rules() if rule.table > _TABLES}


def _order(route: MtuRoute) -> int:
    """Sort networks before the default route, whose next hop is in one of them."""
    return -ipaddress.ip_network(route.network).prefixlen


def _read() -> frozenset[PairMtu]:
    """Read the MTUs of the calling thread's namespace."""
    with netlink.connect() as kernel:
        tables = {rule.source: rule.table for rule in _present_rules(kernel)}
        routes = {(route.table, route.network): route.mtu for route in kernel.mtu_routes()}
    return frozenset(
        PairMtu(pair, size + headers(pair), routes.get((tables.get(pair.local, 0), pair.remote), 0))
        for pair, size in mss_clamp.read_current().items()
    )
