"""A gateway's network namespace on this machine: legs, addresses, default routes, forwarding.

The kernel is the only memory: a namespace and its ports carry marks that say whose they are, so an agent that starts
anew finds its own, and several agents of one instance share the machine. What stays the same is not touched: a second
apply sends no change to the kernel, an address that stays is never removed for a moment. A new namespace forwards
nothing to the outside before the guard has been applied once (`seal`).

It refuses to touch what it did not make: bridges of the operator get ports and lose them, nothing else.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from linkspan.core.state.desired import Gateway
from linkspan.drivers.linux import interface_names, netlink, netns, process
from linkspan.drivers.linux.netlink import DefaultRoute, Link, Netlink
from linkspan.drivers.ports import DriverError

_FIRST_METRIC: Final = 100
_SYSCTL_GLOBAL: Final = (("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1"))
_SYSCTL_LINK: Final = (
    ("ipv4/conf/{}/rp_filter", "0"),  # a tunnel's inner packets arrive where no route leads back
    ("ipv4/conf/{}/accept_redirects", "0"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv4/conf/{}/promote_secondaries", "1"),  # removing one address of a subnet keeps its others
    ("ipv4/conf/{}/arp_notify", "1"),  # a gateway that has moved here tells its neighbours
    ("ipv6/conf/{}/forwarding", "1"),
    ("ipv6/conf/{}/accept_ra", "0"),
    ("ipv6/conf/{}/accept_redirects", "0"),
    ("ipv6/conf/{}/accept_dad", "0"),  # an address is usable at once
    ("ipv6/conf/{}/ndisc_notify", "1"),
)


class _Leg(msgspec.Struct, frozen=True):
    """One leg as it should be; `ours`: the bridge is made and removed by us."""

    name: str
    port: str
    bridge: str
    ours: bool
    addresses: frozenset[str]


class NetworkNamespaces:
    """The `Namespaces` of one node; see `drivers.ports`.

    `bridges_in` names the namespace of the bridges ("" = the agent's own). `bridges` maps a network's name or id to
    a bridge that exists. `seal` runs inside a new namespace before it has a name.
    """

    def __init__(
        self,
        instance: str,
        node: str,
        bridges_in: str = netns.HERE,
        bridges: Mapping[str, str] | None = None,
        seal: Callable[[], None] = lambda: None,
    ) -> None:
        self._instance = interface_names.check_instance(instance)
        self._node = node
        self._bridges_in = bridges_in
        self._bridges = dict(bridges or {})
        self._seal = seal

    def name(self, gateway_id: str) -> str:
        """The name of a gateway's namespace, as in `ip netns`."""
        return interface_names.namespace(self._instance, self._node, gateway_id)

    def apply(self, gateway: Gateway) -> None:
        name, mark = self.name(gateway.id), self._mark(gateway.id)
        try:
            legs = self._legs(gateway)
            if not netns.exists(name):
                netns.create(name, lambda: self._prepare(mark))
            netns.run_inside(name, lambda: self._inside(gateway, legs, mark))
        except (OSError, ValueError) as error:
            raise DriverError(f"the gateway's network cannot be made: {error}") from error

    def remove(self, gateway_id: str) -> None:
        name = self.name(gateway_id)
        if not netns.exists(name):
            return
        try:
            ports = {self._port(gateway_id, leg.name) for leg in netns.run_inside(name, _veths)}
            netns.run_inside(self._bridges_in, lambda: self._release(ports))
            process.terminate(netns.processes(name))
            netns.delete(name)
        except OSError as error:
            raise DriverError(f"the gateway's network cannot be removed: {error}") from error

    def present(self) -> frozenset[str]:
        prefix = interface_names.namespace_prefix(self._instance)
        found = set()
        for name in netns.names():
            mark = read_owner(name) if name.startswith(prefix) else None
            if mark and (mark.instance, mark.node) == (self._instance, self._node):
                found.add(mark.gateway)
        return frozenset(found)

    def _mark(self, gateway_id: str) -> str:
        return interface_names.OwnerMark(self._instance, self._node, gateway_id).text()

    def _port(self, gateway_id: str, leg: str) -> str:
        return interface_names.port(self._instance, self._node, gateway_id, leg)

    def _legs(self, gateway: Gateway) -> tuple[_Leg, ...]:
        outside = gateway.outside
        wanted = [(interface_names.OUTSIDE, outside.network_id, outside.network_name, outside.addresses)]
        wanted += [
            (interface_names.inside_leg(leg.network_id), leg.network_id, "", leg.addresses) for leg in gateway.inside
        ]
        if len({name for name, *_ in wanted}) < len(wanted):
            raise ValueError("two inside networks have ids with the same first eight digits")
        return tuple(self._leg(gateway.id, *what) for what in wanted)

    def _leg(self, gateway: str, name: str, network: str, network_name: str, addresses: Collection[str]) -> _Leg:
        mapped = self._bridges.get(network_name) or self._bridges.get(network)
        bridge = mapped or interface_names.bridge(self._instance, network)
        normal = frozenset(str(ipaddress.ip_interface(address)) for address in addresses)
        return _Leg(name, self._port(gateway, name), bridge, not mapped, normal)

    def _prepare(self, mark: str) -> None:
        self._seal()
        for key, value in _SYSCTL_GLOBAL:
            netlink.sysctl(key, value)
        _link_sysctls("all", "default")
        with netlink.connect() as kernel:
            _apply_loopback(kernel, kernel.links()["lo"], mark)

    def _inside(self, gateway: Gateway, legs: tuple[_Leg, ...], mark: str) -> None:
        with netlink.connect() as kernel:
            have = kernel.links()
            _apply_loopback(kernel, have["lo"], mark)
            for key, value in _SYSCTL_GLOBAL:
                netlink.sysctl(key, value)
            _link_sysctls("all", "default")
            stale = {link.name for link in have.values() if link.kind == "veth"} - {leg.name for leg in legs}
            if stale:
                ports = {self._port(gateway.id, name) for name in stale}
                netns.run_inside(self._bridges_in, lambda: self._release(ports))
            have = self._connect_legs(kernel, have, legs, mark)
            _apply_addresses(kernel, have, legs)
            _apply_routes(kernel, have[interface_names.OUTSIDE], gateway.outside.next_hops)

    def _connect_legs(
        self, kernel: Netlink, have: dict[str, Link], legs: tuple[_Leg, ...], mark: str
    ) -> dict[str, Link]:
        broken = netns.run_inside(self._bridges_in, lambda: self._attach(have, legs, mark))
        if not broken:
            return have
        home = os.open(netns.path(self._bridges_in), os.O_RDONLY | os.O_CLOEXEC)
        try:
            for leg in broken:
                if leg.name in have:
                    kernel.delete(have[leg.name])
                kernel.add_veth(leg.name, leg.port, home)
        finally:
            os.close(home)
        made = kernel.links()
        if netns.run_inside(self._bridges_in, lambda: self._attach(made, broken, mark)):
            raise OSError("a leg and its port lost each other")
        return made

    def _attach(self, have: Mapping[str, Link], legs: tuple[_Leg, ...], mark: str) -> tuple[_Leg, ...]:
        """Put the legs' ports on their bridges; hands back the legs that have no port yet."""
        broken, left = [], set()
        with netlink.connect() as kernel:
            for leg in legs:
                port, link = kernel.link(leg.port), have.get(leg.name)
                if port is None or link is None or link.peer != port.index:
                    if port is not None:
                        _check_owner(port, mark)
                        kernel.delete(port)
                    broken.append(leg)
                    continue
                if port.alias != mark:
                    netlink.sysctl(f"ipv6/conf/{port.name}/disable_ipv6", "1")
                    kernel.change(port, ifalias=mark)
                bridge = kernel.link(leg.bridge)
                if bridge is None or port.master != bridge.index:
                    left.add(port.master)
                    self._join(kernel, port, leg)
                if not port.up:
                    kernel.change(port, state="up")
            self._drop_bridges(kernel, left)
        return tuple(broken)

    def _join(self, kernel: Netlink, port: Link, leg: _Leg) -> None:
        with netns.machine_lock():
            bridge = kernel.link(leg.bridge)
            if bridge is None and not leg.ours:
                raise OSError(f"there is no bridge {leg.bridge}: see the agent's settings")
            if bridge is None:
                kernel.add_bridge(leg.bridge)
                bridge = kernel.link(leg.bridge)
                assert bridge is not None
            if leg.ours and not bridge.up:
                # The host takes no part in its tenants' networks: no address, not even a link-local one.
                netlink.sysctl(f"ipv6/conf/{bridge.name}/disable_ipv6", "1")
                kernel.change(bridge, ifalias=interface_names.OwnerMark(self._instance, "", "").text(), state="up")
            kernel.change(port, master=bridge.index)

    def _release(self, ports: Collection[str]) -> None:
        """Remove ports (their legs go with them), and the bridges of ours that they leave empty."""
        with netlink.connect() as kernel:
            links = [link for link in map(kernel.link, ports) if link]
            for link in links:
                kernel.delete(link)
            self._drop_bridges(kernel, {link.master for link in links})

    def _drop_bridges(self, kernel: Netlink, indices: Collection[int]) -> None:
        prefix = interface_names.link_prefixes(self._instance)[0]
        for index in set(indices) - {0}:
            with netns.machine_lock():
                bridge = kernel.link_at(index)
                mark = interface_names.read_mark(bridge.alias) if bridge else None
                if not bridge or not mark or mark.instance != self._instance or not bridge.name.startswith(prefix):
                    continue
                if not kernel.links(master=index):
                    kernel.delete(bridge)


def read_owner(name: str) -> interface_names.OwnerMark | None:
    """Whose namespace this is; None if it carries no mark or is gone."""

    def read() -> str:
        with netlink.connect() as kernel:
            link = kernel.link("lo")
            return link.alias if link else ""

    try:
        return interface_names.read_mark(netns.run_inside(name, read))
    except OSError:
        return None


def _veths() -> list[Link]:
    with netlink.connect() as kernel:
        return [link for link in kernel.links().values() if link.kind == "veth"]


def _check_owner(port: Link, mark: str) -> None:
    if port.alias not in ("", mark):
        raise OSError(f"the name {port.name} is taken by {port.alias}")


def _link_sysctls(*links: str) -> None:
    for link in links:
        for key, value in _SYSCTL_LINK:
            netlink.sysctl(key.format(link), value)


def _apply_loopback(kernel: Netlink, loopback: Link, mark: str) -> None:
    if loopback.alias != mark:
        kernel.change(loopback, ifalias=mark)
    if not loopback.up:
        kernel.change(loopback, state="up")


def _apply_addresses(kernel: Netlink, have: Mapping[str, Link], legs: tuple[_Leg, ...]) -> None:
    present = kernel.addresses()
    for leg in legs:
        link = have[leg.name]
        _link_sysctls(leg.name)
        now = present.get(link.index, set())
        stale = now - leg.addresses
        # IPv6 knows an address once, whatever its prefix length: such a one has to go first, all others go last.
        hosts = {address.partition("/")[0] for address in leg.addresses}
        first = {address for address in stale if address.partition("/")[0] in hosts}
        for address in sorted(first):
            kernel.delete_address(link, address)
        for address in sorted(leg.addresses - now):
            kernel.add_address(link, address)
        for address in sorted(stale - first):
            kernel.delete_address(link, address)
        if not link.up:
            kernel.change(link, state="up")


def _apply_routes(kernel: Netlink, outside: Link, next_hops: tuple[str, ...]) -> None:
    hops = [ipaddress.ip_address(hop) for hop in next_hops]
    wanted = {
        DefaultRoute(hop.version, str(hop), outside.index, _FIRST_METRIC + number, True)
        for number, hop in enumerate(hops)
    }
    now = set(kernel.default_routes())
    for route in wanted - now:
        kernel.put_route(route)
    slots = {(route.version, route.metric) for route in wanted}
    for route in now - wanted:
        if (route.version, route.metric) not in slots:
            kernel.delete_route(route)
