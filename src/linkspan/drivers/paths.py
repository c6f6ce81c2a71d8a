"""The MTU of every pair of selectors, by policy routing in the gateway's namespace (ip-rule(8), ip-route(8)).

charon has no option for it, and its own routes are not ours to change. So a rule `from LOCAL to REMOTE` ahead of
charon's (priority 220) looks up a table of ours that says `mtu N`, without `lock`: hosts are told "fragmentation
needed" or "packet too big" with N, and what the path teaches still counts. One table for each value, numbered by it:
two connections to one REMOTE cannot meet there, and a connection costs its rules alone. Narrow pairs have their rules
first, as charon's policies do.

The kernel is the only memory: rules and routes carry our protocol number. What stays is not touched, and of a pair
that changes the new rule is there before the old one goes. Routes over charon's TUN device vanish with it; whoever
starts a charon applies again. The MSS of TCP is `drivers.clamp`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from linkspan.core.desired import Gateway
from linkspan.core.mtu import Path, headers
from linkspan.core.observed import Backend
from linkspan.core.selectors import SelectorPair
from linkspan.drivers import clamp, naming, netlink, netns
from linkspan.drivers.netlink import MtuRoute, Netlink, Rule
from linkspan.drivers.ports import DriverError

TABLES: Final = 2_190_000
"""The table of an MTU is this and the MTU, so that `ip rule` can be read."""
_TUN: Final = "ipsec0"
_LAST: Final = 219
"""The priority just before charon's."""
_WIDEST: Final = 38
"""Pairs with no more prefix bits than this share a priority: there are 219 of them, and 257 sums of two lengths."""
T = TypeVar("T")


class RoutedPaths:
    """The `Paths` of one node; see `drivers.ports`. `namespace` gives the name of a gateway's namespace."""

    def __init__(self, backend: Backend, namespace: Callable[[str], str]) -> None:
        self._backend = backend
        self._namespace = namespace
        self._clamped: dict[str, tuple[int, clamp.Sizes]] = {}

    def outside(self, gateway_id: str) -> int:
        return self._inside(gateway_id, lambda: _link(naming.OUTSIDE).mtu)

    def apply(self, gateway: Gateway, paths: Iterable[Path]) -> None:
        wanted = frozenset(paths)
        name = self._namespace(gateway.id)
        self._inside(gateway.id, lambda: self._apply(gateway, name, wanted))

    def current(self, gateway_id: str) -> frozenset[Path]:
        if not netns.exists(self._namespace(gateway_id)):
            return frozenset()
        return self._inside(gateway_id, _read)

    def _inside(self, gateway_id: str, function: Callable[[], T]) -> T:
        try:
            return netns.inside(self._namespace(gateway_id), function)
        except (OSError, ValueError) as error:
            raise DriverError(f"the gateway's MTUs cannot be set: {error}") from error

    def _apply(self, gateway: Gateway, name: str, wanted: frozenset[Path]) -> None:
        inode = netns.path(name).stat().st_ino
        known = self._clamped.pop(name, None)
        present = known[1] if known and known[0] == inode else clamp.read()
        sizes = clamp.sizes(wanted)
        clamp.apply(present, sizes)
        self._clamped[name] = inode, sizes
        with netlink.connect(strict=True) as kernel:
            self._route(kernel, gateway, wanted)

    def _route(self, kernel: Netlink, gateway: Gateway, wanted: frozenset[Path]) -> None:
        rules = {_rule(path) for path in wanted if path.route}
        routes = self._routes(gateway, {path.route for path in wanted if path.route})
        have_rules, have_routes = kernel.rules(), kernel.mtu_routes()
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

    def _routes(self, gateway: Gateway, mtus: set[int]) -> set[MtuRoute]:
        """Every table as it should be: all into the TUN, or as table main does over the outside leg."""
        if not mtus:
            return set()
        if self._backend == "user-space":
            link = _link(_TUN).index
            ways = [("0.0.0.0/0", ""), ("::/0", "")]
        else:
            link = _link(naming.OUTSIDE).index
            ways = _ways(gateway)
        return {MtuRoute(TABLES + mtu, network, hop, link, mtu) for mtu in mtus for network, hop in ways}


def _ways(gateway: Gateway) -> list[tuple[str, str]]:
    """Networks and next hops of the outside leg: in transport mode packets go there as they are routed here."""
    ways = {str(ipaddress.ip_interface(address).network): "" for address in gateway.outside.addresses}
    ways |= {"0.0.0.0/0": "", "::/0": ""}
    for hop in reversed(gateway.outside.next_hops):
        ways["::/0" if ":" in hop else "0.0.0.0/0"] = str(ipaddress.ip_address(hop))
    return list(ways.items())


def _link(name: str) -> netlink.Link:
    with netlink.connect() as kernel:
        link = kernel.link(name)
    if link is None:
        raise OSError(f"there is no link {name}")
    return link


def _rule(path: Path) -> Rule:
    local, remote = ipaddress.ip_network(path.pair.local), ipaddress.ip_network(path.pair.remote)
    if local.version != remote.version:
        raise ValueError(f"{local} and {remote} are not of one IP version")
    narrow = max(0, local.prefixlen + remote.prefixlen - _WIDEST)
    return Rule(_LAST - narrow, str(local), str(remote), TABLES + path.route)


def _order(route: MtuRoute) -> int:
    """Networks before the default route, whose next hop is in one of them."""
    return -ipaddress.ip_network(route.network).prefixlen


def _read() -> frozenset[Path]:
    """The paths of the namespace that the calling thread is in."""
    with netlink.connect() as kernel:
        rules = {SelectorPair(rule.source, rule.destination): rule.table - TABLES for rule in kernel.rules()}
    return frozenset(Path(pair, size + headers(pair), rules.get(pair, 0)) for pair, size in clamp.read().items())
