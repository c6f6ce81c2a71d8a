"""A gateway's network namespace on this machine: interfaces, addresses, default routes, rules, forwarding.

No state is kept outside the kernel: a namespace and its bridge ports carry owner marks, so a restarted agent finds its
own, and several agents of an instance can share the machine. What stays is not touched: a second `apply` sends no
change to the kernel, and an address that stays is never removed temporarily. A new namespace forwards nothing before
the leak guard is applied for the first time (`seal`). A namespace that has lost its name, but still runs, gets it back:
a descriptor is kept of each.

Only what this module created is changed or removed: operators' bridges gain and lose ports, nothing else, and their own
interfaces, addresses and routes in a namespace stay.
"""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from linkspan.core.state.desired import Gateway, InsideInterface, OutsideInterface
from linkspan.drivers.gateway import main_routing, outside_path
from linkspan.drivers.gateway.batches import Batches
from linkspan.drivers.gateway.icmp_errors import IcmpError
from linkspan.drivers.linux import interface_names, netlink, netns, process
from linkspan.drivers.linux.netlink import DefaultRoute, Link, Netlink
from linkspan.drivers.ports import NAMESPACE, DriverError, PathFault

_log = structlog.get_logger("drivers.gateway")
_FIRST_METRIC: Final = 100
_OWN_LINK: Final = re.compile(f"{interface_names.OUTSIDE}|{interface_names.INSIDE}[0-9a-f]{{8}}")
"""The names of a gateway's interfaces."""
_SYSCTL_GLOBAL: Final = (("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1"))
_SYSCTL_LINK: Final = (
    ("ipv4/conf/{}/rp_filter", "0"),  # a tunnel's inner packets arrive on an interface without a route back
    ("ipv4/conf/{}/arp_ignore", "1"),  # no interface answers for an address of another one, as in IPv6
    ("ipv4/conf/{}/arp_announce", "2"),  # and none asks with one
    ("ipv4/conf/{}/proxy_arp", "0"),
    ("ipv4/conf/{}/accept_redirects", "0"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv4/conf/{}/promote_secondaries", "1"),  # removing one address of a subnet keeps its others
    ("ipv4/conf/{}/arp_notify", "1"),  # a gateway that moved to this node announces its addresses
    ("ipv6/conf/{}/forwarding", "1"),
    ("ipv6/conf/{}/proxy_ndp", "0"),
    ("ipv6/conf/{}/accept_ra", "0"),
    ("ipv6/conf/{}/accept_redirects", "0"),
    ("ipv6/conf/{}/accept_dad", "0"),  # addresses are usable at once
    ("ipv6/conf/{}/ndisc_notify", "1"),
)


_UNRESOLVED: Final = "8192"
"""Bytes that may wait for the resolution of one neighbour's address: by default, those for one absent neighbour fill
the send buffer of a socket, and so stop everything that charon sends (`drivers.gateway.ike_limit`)."""
_SYSCTL_OUTSIDE: Final = (
    (f"ipv4/neigh/{interface_names.OUTSIDE}/unres_qlen_bytes", _UNRESOLVED),
    (f"ipv6/neigh/{interface_names.OUTSIDE}/unres_qlen_bytes", _UNRESOLVED),
)


class _Interface(msgspec.Struct, frozen=True):
    """The wanted state of one interface; `own_bridge`: this module creates and removes the bridge; `mac`: "" leaves the
    kernel's choice."""

    name: str
    port: str
    bridge: str
    own_bridge: bool
    addresses: frozenset[str]
    mac: str


class NetworkNamespaces:
    """The `Namespaces` of one node; see `drivers.ports`.

    `bridges_in`: the namespace of the bridges ("" = the agent's own). `bridges` maps a network's name or id to an
    existing bridge. `seal` runs inside a new namespace before it has a name. `owner` returns the uid of the user
    namespace that a new namespace, of this name, belongs to; None for the machine's own. `icmp_error` returns the
    newest ICMP error in a gateway about a peer.
    """

    def __init__(
        self,
        instance: str,
        node: str,
        bridges_in: str = netns.CURRENT,
        bridges: Mapping[str, str] | None = None,
        seal: Callable[[], None] = lambda: None,
        owner: Callable[[str], int | None] = lambda _name: None,
        icmp_error: Callable[[str, str], IcmpError | None] = lambda _gateway, _peer: None,
    ) -> None:
        self._instance = interface_names.check_instance(instance)
        self._node = node
        self._bridges_in = bridges_in
        self._bridges = dict(bridges or {})
        self._seal = seal
        self._owner = owner
        self._icmp_error = icmp_error
        self._held: dict[str, int] = {}
        self._ends: Batches[str] = Batches(lambda names: process.terminate(netns.processes(*names)))
        self._releases: Batches[str] = Batches(lambda ports: netns.run_inside(bridges_in, lambda: self._release(ports)))

    def name(self, gateway_id: str) -> str:
        """Return the name of a gateway's namespace, as in `ip netns`."""
        return interface_names.namespace(self._instance, self._node, gateway_id)

    def apply(self, gateway: Gateway) -> tuple[str, ...]:
        name, mark = self.name(gateway.id), self._mark(gateway.id)
        missing = [*self.reattach(gateway.id)]
        try:
            interfaces = self._interfaces(gateway)
            if self.is_outdated(gateway.id):
                _log.warning("the namespace of an earlier version is made anew", gateway=gateway.id, namespace=name)
                self.remove(gateway.id)
            if not netns.exists(name):
                netns.create(name, lambda: self._prepare(mark), self._owner(name))
                missing.append(NAMESPACE)
            if gateway.id not in self._held:
                self._held[gateway.id] = netns.hold(name)
            netns.run_inside(name, lambda: self._apply_inside(gateway, interfaces, mark, missing))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise DriverError(f"the gateway's network cannot be set up: {error}") from error
        return tuple(missing)

    def reattach(self, gateway_id: str) -> tuple[str, ...]:
        fd = self._held.get(gateway_id)
        try:
            return ("the name of the namespace",) if fd and netns.attach(self.name(gateway_id), fd) else ()
        except OSError as error:
            raise DriverError(f"the gateway's namespace cannot get its name back: {error}") from error

    def remove(self, gateway_id: str) -> None:
        name = self.name(gateway_id)
        self.reattach(gateway_id)
        # What is open in a namespace keeps it.
        if fd := self._held.pop(gateway_id, None):
            os.close(fd)
        if not netns.exists(name):
            return
        try:
            ports = {self._port(gateway_id, veth.name) for veth in netns.run_inside(name, _veths)}
            self._releases.run(ports)
            self._ends.run([name])
            netns.delete(name)
        except OSError as error:
            raise DriverError(f"the gateway's network cannot be removed: {error}") from error

    def present(self) -> frozenset[str]:
        prefix = interface_names.namespace_prefix(self._instance)
        gateways = set()
        for name in netns.names():
            mark = read_owner(name) if name.startswith(prefix) else None
            if mark and (mark.instance, mark.node) == (self._instance, self._node):
                gateways.add(mark.gateway)
        return frozenset(gateways)

    def is_outdated(self, gateway_id: str) -> bool:
        name = self.name(gateway_id)
        if self._owner(name) is None or not netns.exists(name) or netns.has_owner(name):
            return False
        return not any(process.executable(pid).startswith("charon") for pid in netns.processes(name))

    def path_fault(self, gateway_id: str, local: str, peer: str) -> PathFault | None:
        name = self.name(gateway_id)
        try:
            if fault := netns.run_inside(name, lambda: outside_path.local_fault(local, peer)):
                return PathFault(fault)
        except OSError:
            return None
        error = self._icmp_error(gateway_id, peer)
        return PathFault(*error) if error else None

    def _mark(self, gateway_id: str) -> str:
        return interface_names.OwnerMark(self._instance, self._node, gateway_id).text()

    def _port(self, gateway_id: str, interface: str) -> str:
        return interface_names.bridge_port(self._instance, self._node, gateway_id, interface)

    def _interfaces(self, gateway: Gateway) -> tuple[_Interface, ...]:
        outside = gateway.outside
        wanted = {interface_names.inside_interface(inside.network_id): inside for inside in gateway.inside}
        if len(wanted) < len(gateway.inside):
            raise ValueError("two inside networks have ids with the same first eight digits")
        return (
            self._interface(gateway.id, interface_names.OUTSIDE, outside, outside.network_name),
            *(self._interface(gateway.id, name, inside) for name, inside in wanted.items()),
        )

    def _interface(
        self, gateway: str, name: str, wanted: OutsideInterface | InsideInterface, network_name: str = ""
    ) -> _Interface:
        mapped = self._bridges.get(network_name) or self._bridges.get(wanted.network_id)
        bridge = mapped or interface_names.bridge(self._instance, wanted.network_id)
        addresses = frozenset(str(ipaddress.ip_interface(address)) for address in wanted.addresses)
        if zones := [repr(address) for address in addresses if "%" in address]:
            raise ValueError(f"an address has an IPv6 zone: {', '.join(zones)}")
        return _Interface(name, self._port(gateway, name), bridge, not mapped, addresses, wanted.mac_address)

    def _prepare(self, mark: str) -> None:
        self._seal()
        for key, value in _SYSCTL_GLOBAL:
            netlink.sysctl(key, value)
        _link_sysctls("all", "default")
        with netlink.connect() as kernel:
            _apply_loopback(kernel, kernel.links()["lo"], mark)

    def _apply_inside(
        self, gateway: Gateway, interfaces: tuple[_Interface, ...], mark: str, missing: list[str]
    ) -> None:
        """Add what is missing, and its descriptions to `missing`."""
        with netlink.connect() as kernel:
            links = kernel.links()
            missing += _apply_loopback(kernel, links["lo"], mark)
            missing += [_described(key) for key, value in _SYSCTL_GLOBAL if netlink.sysctl(key, value)]
            missing += _link_sysctls("all", "default")
            veths = {link.name for link in links.values() if link.kind == "veth" and _OWN_LINK.fullmatch(link.name)}
            stale = veths - {interface.name for interface in interfaces}
            if stale:
                ports = {self._port(gateway.id, name) for name in stale}
                netns.run_inside(self._bridges_in, lambda: self._release(ports))
            links = self._connect(kernel, links, interfaces, mark, missing)
            missing += _limit_unresolved()
            missing += _apply_addresses(kernel, links, interfaces)
            missing += main_routing.apply(kernel, gateway)
            missing += _apply_routes(kernel, links[interface_names.OUTSIDE], gateway.outside.next_hops)

    def _connect(
        self,
        kernel: Netlink,
        links: dict[str, Link],
        interfaces: tuple[_Interface, ...],
        mark: str,
        missing: list[str],
    ) -> dict[str, Link]:
        broken = netns.run_inside(self._bridges_in, lambda: self._attach(links, interfaces, mark, missing))
        if not broken:
            return links
        missing += [f"interface {interface.name}" for interface in broken]
        bridges_fd = os.open(netns.path(self._bridges_in), os.O_RDONLY | os.O_CLOEXEC)
        try:
            for interface in broken:
                if interface.name in links:
                    kernel.delete(links[interface.name])
                kernel.add_veth(interface.name, interface.port, bridges_fd, interface.mac)
        finally:
            os.close(bridges_fd)
        new_links = kernel.links()
        if netns.run_inside(self._bridges_in, lambda: self._attach(new_links, broken, mark, [])):
            raise OSError("an interface of the gateway and its bridge port are not peers")
        return new_links

    def _attach(
        self, links: Mapping[str, Link], interfaces: tuple[_Interface, ...], mark: str, missing: list[str]
    ) -> tuple[_Interface, ...]:
        """Attach the interfaces' ports to their bridges; return the interfaces that have no port yet."""
        broken, former_bridges = [], set()
        with netlink.connect() as kernel:
            for interface in interfaces:
                port, link = kernel.link(interface.port), links.get(interface.name)
                if port is None or link is None or link.peer != port.index:
                    if port is not None:
                        _check_owner(port, mark)
                        kernel.delete(port)
                    broken.append(interface)
                    continue
                if port.alias != mark:
                    netlink.sysctl(f"ipv6/conf/{port.name}/disable_ipv6", "1")
                    kernel.change(port, ifalias=mark)
                bridge = kernel.link(interface.bridge)
                is_attached = bridge is not None and port.master == bridge.index
                if not is_attached:
                    former_bridges.add(port.master)
                if not is_attached or (interface.own_bridge and bridge and not bridge.up):
                    self._join(kernel, port, interface)
                    missing.append(f"bridge {interface.bridge} of {interface.name}")
                if not port.up:
                    kernel.change(port, state="up")
                    missing.append(f"bridge port {port.name} of {interface.name} up")
            self._drop_bridges(kernel, former_bridges)
        return tuple(broken)

    def _join(self, kernel: Netlink, port: Link, interface: _Interface) -> None:
        with netns.machine_lock():
            bridge = kernel.link(interface.bridge)
            if bridge is None and not interface.own_bridge:
                raise OSError(f"there is no bridge {interface.bridge}: see the agent's settings")
            if bridge is None:
                kernel.add_bridge(interface.bridge)
                bridge = kernel.link(interface.bridge)
                assert bridge is not None
            if interface.own_bridge and not bridge.up:
                # The host has no address in its tenants' networks, not even a link-local one.
                netlink.sysctl(f"ipv6/conf/{bridge.name}/disable_ipv6", "1")
                kernel.change(bridge, ifalias=interface_names.OwnerMark(self._instance, "", "").text(), state="up")
            kernel.change(port, master=bridge.index)

    def _release(self, ports: Collection[str]) -> None:
        """Remove ports, with them the gateway's interfaces, and own bridges that have no port left."""
        with netlink.connect() as kernel:
            links = [link for link in map(kernel.link, ports) if link]
            kernel.delete_all(links)
            self._drop_bridges(kernel, {link.master for link in links})

    def _drop_bridges(self, kernel: Netlink, indices: Collection[int]) -> None:
        candidates = [bridge for index in set(indices) - {0} if (bridge := self._own_bridge(kernel, index))]
        if candidates:
            with netns.machine_lock():
                kernel.delete_all([bridge for bridge in candidates if not netlink.has_ports(bridge.index)])

    def _own_bridge(self, kernel: Netlink, index: int) -> Link | None:
        bridge = kernel.link_at(index)
        mark = interface_names.read_mark(bridge.alias) if bridge else None
        is_own = mark is not None and mark.instance == self._instance
        prefix = interface_names.link_prefixes(self._instance)[0]
        return bridge if bridge and is_own and bridge.name.startswith(prefix) else None


def read_owner(name: str) -> interface_names.OwnerMark | None:
    """Return the owner mark of a namespace; None if it carries none or is gone."""

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
        raise OSError(f"the interface name {port.name} is in use by {port.alias}")


def _described(key: str) -> str:
    return f"sysctl net.{key.replace('/', '.')}"


def _limit_unresolved() -> list[str]:
    """Apply `_UNRESOLVED`. Return what was missing."""
    missing = [_described(key) for key, value in _SYSCTL_OUTSIDE if netlink.sysctl(key, value)]
    if not Path("/proc/sys/net", _SYSCTL_OUTSIDE[0][0]).exists():
        # Kernels before 6.1 hide it in the namespace of another user, and ip(8) counts in packets.
        for table in ("arp_cache", "ndisc_cache"):
            command = ["ip", "ntable", "change", "name", table, "dev", interface_names.OUTSIDE, "queue", "3"]
            subprocess.run(command, check=True, capture_output=True, timeout=10)
    return missing


def _link_sysctls(*links: str) -> list[str]:
    return [
        _described(key.format(link))
        for link in links
        for key, value in _SYSCTL_LINK
        if netlink.sysctl(key.format(link), value)
    ]


def _apply_loopback(kernel: Netlink, loopback: Link, mark: str) -> list[str]:
    if loopback.alias != mark:
        kernel.change(loopback, ifalias=mark)
    if loopback.up:
        return []
    kernel.change(loopback, state="up")
    return ["interface lo up"]


def _apply_addresses(kernel: Netlink, links: Mapping[str, Link], interfaces: tuple[_Interface, ...]) -> list[str]:
    missing: list[str] = []
    present = kernel.addresses()
    for interface in interfaces:
        link = links[interface.name]
        missing += _link_sysctls(interface.name)
        if interface.mac not in ("", link.address):
            kernel.change(link, address=interface.mac)
            missing.append(f"MAC address {interface.mac} of {interface.name}")
        now = present.get(link.index, {})
        stale = {address for address, is_ours in now.items() if is_ours} - interface.addresses
        # The kernel keeps an IPv6 address once, whatever its prefix length: to change the length, delete it first. All
        # other addresses are deleted last.
        hosts = {address.partition("/")[0] for address in interface.addresses}
        first = {address for address in now.keys() - interface.addresses if address.partition("/")[0] in hosts}
        for address in sorted(first):
            kernel.delete_address(link, address)
        for address in sorted(interface.addresses - now.keys()):
            kernel.add_address(link, address)
            missing.append(f"address {address} on {interface.name}")
        for address in sorted(stale - first):
            kernel.delete_address(link, address)
        if not link.up:
            kernel.change(link, state="up")
            missing.append(f"interface {interface.name} up")
    return missing


def _apply_routes(kernel: Netlink, outside: Link, next_hops: tuple[str, ...]) -> list[str]:
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
        if route.ours and (route.version, route.metric) not in slots:
            kernel.delete_route(route)
    return [f"default route via {route.next_hop}" for route in wanted - now]
