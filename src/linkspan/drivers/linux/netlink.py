"""Links, addresses, routes and rules of the calling thread's namespace: a small, typed layer over pyroute2.

The socket is opened on a thread inside the namespace; pyroute2's own support of namespaces forks a helper process for
each socket. Only the requests that gateways need are here; every failure is an OSError that names the request.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import secrets
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from linkspan.drivers.linux import raw_netlink

_UP: Final = 1
_NODAD: Final = 0x02
_ONLINK: Final = 4
_SKIP_STATISTICS: Final = 1 << 3
_LINK_SCOPE: Final = 253
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_VERSION: Final = {family: version for version, family in _FAMILY.items()}
_LOOPBACK: Final = "lo"
_NEW_LINK, _GET_LINK = 16, 18
_MASTER, _EXT_MASK = 10, 29
_SIOCGIFMTU: Final = 0x8921
_INTERFACE_REQUEST: Final = struct.Struct("16si20x")
"""struct ifreq: a name and an integer."""
MAIN: Final = 254
"""The number of table main."""
MAIN_PRIORITY: Final = 32766
"""The priority of the kernel's own rule for table main."""
CHARON: Final = 220
"""The number of charon's table, and the priority of its rule."""
EVERYTHING: Final = {4: "0.0.0.0/0", 6: "::/0"}
"""The prefix of all addresses, by IP version."""
PROTOCOL: Final = 76
"""The protocol number of Linkspan's addresses, routes and rules (unassigned, see rtnetlink(7))."""


class Link(msgspec.Struct, frozen=True):
    """An interface; `peer` is the index of a veth's other end, `master` that of the bridge, 0 = none; `mtu` bytes;
    `address`: its MAC address."""

    index: int
    name: str
    alias: str
    kind: str
    up: bool
    master: int
    peer: int
    mtu: int
    address: str


class DefaultRoute(msgspec.Struct, frozen=True):
    """A default route in table main."""

    version: int
    next_hop: str
    link: int
    metric: int
    ours: bool


class MtuRoute(msgspec.Struct, frozen=True):
    """A route with an MTU (bytes) outside table main; `next_hop` is "" for on-link destinations."""

    table: int
    network: str
    next_hop: str
    link: int
    mtu: int


class TunnelRoute(msgspec.Struct, frozen=True):
    """A route in charon's table; `link` is the name of its interface, "" = none."""

    network: str
    next_hop: str
    link: str
    source: str
    protocol: int


class PolicyRule(msgspec.Struct, frozen=True, order=True):
    """A rule that looks packets from source to destination up in a table (ip-rule(8)); both of one IP version.

    `sent_here`: only packets that the machine itself sends. `port`: only those to this port of this IP
    `protocol`; 0: all.
    """

    priority: int
    source: str
    destination: str
    table: int
    sent_here: bool = False
    protocol: int = 0
    port: int = 0

    def __str__(self) -> str:
        return f"rule {self.priority} from {self.source} to {self.destination}"


class Netlink:
    """Requests to the kernel; created by `connect`."""

    def __init__(self, socket: Any) -> None:
        self._ip = socket

    def links(self, master: int = 0) -> dict[str, Link]:
        """Return all links by name, or the ports of one bridge."""
        condition = {"master": master} if master else {}
        messages = self._request("list links", "link", "dump", ext_mask=_SKIP_STATISTICS, **condition)
        return {link.name: link for link in map(_link, messages) if not master or link.master == master}

    def link(self, name: str) -> Link | None:
        """Return a link by name, or None."""
        return self._find(ifname=name)

    def link_at(self, index: int) -> Link | None:
        """Return a link by index, or None."""
        return self._find(index=index)

    def add_bridge(self, name: str) -> None:
        """Create a bridge. Raises FileExistsError if the name is in use."""
        self._request(f"create bridge {name}", "link", "add", ifname=name, kind="bridge")

    def add_veth(self, name: str, peer: str, peer_namespace: int, mac: str = "") -> None:
        """Create a veth pair, the peer in the namespace of a file descriptor. Raises FileExistsError.

        The kernel chooses the MAC address if none is given. One that is made anew with the same is found at once.
        """
        other = {"ifname": peer, "net_ns_fd": peer_namespace}
        own = {"address": mac} if mac else {}
        self._request(
            f"create link {name} with peer {peer}", "link", "add", ifname=name, kind="veth", peer=other, **own
        )

    def change(self, link: Link, **attributes: Any) -> None:
        """Change attributes of a link: `state`, `master`, `ifalias`, `address`."""
        self._request(f"change link {link.name}", "link", "set", index=link.index, **attributes)

    def delete(self, link: Link) -> None:
        """Remove a link. No error if it does not exist."""
        try:
            self._request(f"remove link {link.name}", "link", "del", index=link.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def delete_all(self, links: Collection[Link]) -> None:
        """Remove links in one request, which the kernel does for many in the time of one. No error for those that do
        not exist.

        A request names one link or a group (ip-link(8)), so they get a group of their own before.
        """
        if len(links) < 2:
            for link in links:
                self.delete(link)
            return
        group = secrets.randbits(32) | 1 << 31
        marked = [self._mark(link, group) for link in links]
        if any(marked):
            self._request(f"remove {len(links)} links", "link", "del", group=group)

    def _mark(self, link: Link, group: int) -> bool:
        try:
            self.change(link, group=group)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return False
        return True

    def addresses(self) -> dict[int, dict[str, bool]]:
        """Return addresses with prefix length by link index, each with whether it is Linkspan's.

        IPv6 link-local addresses are left out.
        """
        addresses: dict[int, dict[str, bool]] = {}
        for message in self._request("list addresses", "addr", "dump"):
            if message["family"] == socket.AF_INET6 and message["scope"] == _LINK_SCOPE:
                continue
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            is_ours = message.get_attr("IFA_PROTO") == PROTOCOL
            addresses.setdefault(message["index"], {})[f"{address}/{message['prefixlen']}"] = is_ours
        return addresses

    def add_address(self, link: Link, address: str) -> None:
        """Add an address with prefix length, usable at once: without IPv6 duplicate address detection."""
        interface = ipaddress.ip_interface(address)
        flags = {"flags": _NODAD} if interface.version == 6 else {}
        self._address(link, interface, "add", proto=PROTOCOL, **flags)

    def delete_address(self, link: Link, address: str) -> None:
        """Remove an address with prefix length."""
        self._address(link, ipaddress.ip_interface(address), "del")

    def default_routes(self) -> list[DefaultRoute]:
        """Return the default routes of both IP versions in table main."""
        routes = []
        for version, message in self._dump("route", table=MAIN):
            if message["dst_len"] or message.get_attr("RTA_TABLE") != MAIN:
                continue
            hop, link = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_OIF") or 0
            metric = message.get_attr("RTA_PRIORITY") or 0
            routes.append(DefaultRoute(version, hop or "", link, metric, message["proto"] == PROTOCOL))
        return routes

    def put_route(self, route: DefaultRoute) -> None:
        """Add a default route or atomically replace the one with the same metric.

        The next hop counts as on-link, also if no local address covers it.
        """
        self._route(route, "replace", flags=_ONLINK, proto=PROTOCOL)

    def delete_route(self, route: DefaultRoute) -> None:
        """Remove a default route."""
        self._route(route, "del")

    def mtu_routes(self) -> set[MtuRoute]:
        """Return Linkspan's routes outside table main."""
        routes = set()
        for version, message in self._dump("route", proto=PROTOCOL):
            table = message.get_attr("RTA_TABLE")
            if message["proto"] != PROTOCOL or table == MAIN:
                continue
            network = _network(message.get_attr("RTA_DST"), message["dst_len"], EVERYTHING[version])
            metrics = message.get_attr("RTA_METRICS")
            mtu = (metrics.get_attr("RTAX_MTU") if metrics else 0) or 0
            hop, link = message.get_attr("RTA_GATEWAY") or "", message.get_attr("RTA_OIF") or 0
            routes.add(MtuRoute(table, network, hop, link, mtu))
        return routes

    def put_mtu_route(self, route: MtuRoute) -> None:
        """Add a route or atomically replace the one to its network in its table; the next hop counts as on-link."""
        metrics = {"mtu": route.mtu}
        self._mtu_route(
            route, "replace", proto=PROTOCOL, metrics=metrics, **({"flags": _ONLINK} if route.next_hop else {})
        )

    def delete_mtu_route(self, route: MtuRoute) -> None:
        """Remove a route outside table main."""
        self._mtu_route(route, "del")

    def tunnel_routes(self) -> dict[str, TunnelRoute]:
        """Return the routes in charon's table by their network."""
        names = {link.index: link.name for link in self.links().values()}
        routes = {}
        for version, message in self._dump("route", table=CHARON):
            if message.get_attr("RTA_TABLE") != CHARON:
                continue
            network = _network(message.get_attr("RTA_DST"), message["dst_len"], EVERYTHING[version])
            hop, source = message.get_attr("RTA_GATEWAY") or "", message.get_attr("RTA_PREFSRC") or ""
            link = names.get(message.get_attr("RTA_OIF") or 0, "")
            routes[network] = TunnelRoute(network, hop, link, source, message["proto"])
        return routes

    def put_tunnel_route(self, route: TunnelRoute, links: dict[str, Link]) -> bool:
        """Add a route to charon's table; return whether its interface exists and the kernel takes it."""
        network = ipaddress.ip_network(route.network)
        link = links.get(route.link)
        if link is None:
            return False
        attributes: dict[str, Any] = {"gateway": route.next_hop, "flags": _ONLINK} if route.next_hop else {}
        attributes |= {"prefsrc": route.source} if route.source else {}
        to = {"dst": "default" if network.prefixlen == 0 else route.network}
        common = {"family": _FAMILY[network.version], "oif": link.index, "table": CHARON, "proto": route.protocol}
        try:
            self._request(f"add route to {network} in table {CHARON}", "route", "replace", **to, **common, **attributes)
        except OSError:
            return False
        return True

    def restore_rules(self, priority: int, table: int) -> list[str]:
        """Add a rule that looks everything up in a table, where it is missing. Returns what was missing, in words."""
        present = {version for version, rule in self._dump("rule") if (rule.get_attr("FRA_PRIORITY") or 0) == priority}
        missing = []
        for version in sorted(EVERYTHING.keys() - present):
            everything = EVERYTHING[version]
            self._request("add a rule", "rule", "add", family=_FAMILY[version], priority=priority, table=table)
            missing.append(str(PolicyRule(priority, everything, everything, table)))
        return missing

    def rules(self) -> set[PolicyRule]:
        """Return Linkspan's rules."""
        return {
            _rule(message, EVERYTHING[version])
            for version, message in self._dump("rule")
            if message.get_attr("FRA_PROTOCOL") == PROTOCOL
        }

    def add_rule(self, rule: PolicyRule) -> None:
        """Add a rule after others of its priority. Raises FileExistsError if it exists."""
        self._rule(rule, "add")

    def delete_rule(self, rule: PolicyRule) -> None:
        """Remove one of Linkspan's rules."""
        self._rule(rule, "del")

    def _rule(self, rule: PolicyRule, verb: str) -> None:
        source, destination = map(ipaddress.ip_network, (rule.source, rule.destination))
        conditions: dict[str, Any] = {"iifname": _LOOPBACK} if rule.sent_here else {}
        conditions |= {"ip_proto": rule.protocol, "dport_range": f"{rule.port}:{rule.port}"} if rule.port else {}
        self._request(
            f"{verb} rule from {source} to {destination}",
            "rule",
            verb,
            family=_FAMILY[source.version],
            src=str(source.network_address),
            src_len=source.prefixlen,
            dst=str(destination.network_address),
            dst_len=destination.prefixlen,
            priority=rule.priority,
            table=rule.table,
            protocol=PROTOCOL,
            **conditions,
        )

    def _mtu_route(self, route: MtuRoute, verb: str, **more: Any) -> None:
        network = ipaddress.ip_network(route.network)
        to = {"dst": "default" if network.prefixlen == 0 else route.network}
        hop = {"gateway": route.next_hop} if route.next_hop else {}
        common = {"family": _FAMILY[network.version], "oif": route.link, "table": route.table}
        self._request(f"{verb} route to {network} in table {route.table}", "route", verb, **to, **common, **hop, **more)

    def _find(self, **key: Any) -> Link | None:
        try:
            return _link(self._request(f"find link {key}", "link", "get", ext_mask=_SKIP_STATISTICS, **key)[0])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def _address(self, link: Link, interface: Any, verb: str, **more: Any) -> None:
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        self._request(
            f"{verb} address {interface} on {link.name}",
            "addr",
            verb,
            index=link.index,
            family=family,
            address=str(interface.ip),
            prefixlen=interface.network.prefixlen,
            **more,
        )

    def _route(self, route: DefaultRoute, verb: str, **more: Any) -> None:
        family = socket.AF_INET if route.version == 4 else socket.AF_INET6
        hop = {"gateway": route.next_hop} if route.next_hop else {}
        common = {"family": family, "dst": "default", "oif": route.link, "priority": route.metric, "table": MAIN}
        self._request(f"{verb} default route via {route.next_hop}", "route", verb, **common, **hop, **more)

    def _dump(self, kind: str, **condition: Any) -> Iterator[tuple[int, Any]]:
        """Yield the routes or rules of both IP versions, each with its version.

        One request for all families: each costs a millisecond, however little it lists.
        """
        for message in self._request(f"list {kind}s", kind, "dump", family=socket.AF_UNSPEC, **condition):
            if version := _VERSION.get(message["family"]):
                yield version, message

    def _request(self, action: str, command: str, *arguments: str, **attributes: Any) -> list[Any]:
        try:
            return list(getattr(self._ip, command)(*arguments, **attributes))
        except NetlinkError as error:
            raise OSError(error.code, f"cannot {action}: {os.strerror(error.code)}") from error


@contextmanager
def connect() -> Iterator[Netlink]:
    """Open a socket in the calling thread's namespace. Use and leave it on that thread.

    The kernel filters dumps, so that it does not send all of charon's routes too (NETLINK_GET_STRICT_CHK).
    """
    ip = IPRoute(strict_check=True)
    try:
        yield Netlink(ip)
    finally:
        ip.close()


def has_ports(bridge: int) -> bool:
    """Return whether the bridge with this index has ports, whatever their number, from the first that the kernel lists.

    In the calling thread's namespace. Raises OSError.
    """
    attribute = struct.pack("=HHI", 8, _MASTER, bridge) + struct.pack("=HHI", 8, _EXT_MASK, _SKIP_STATISTICS)
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0) + attribute
    with raw_netlink.connect(socket.NETLINK_ROUTE) as kernel:
        kernel.send(raw_netlink.message(_GET_LINK, raw_netlink.REQUEST_DUMP, body))
        answer = kernel.recv(raw_netlink.RECEIVED)
    if raw_netlink.kind_of(answer) == raw_netlink.ERROR and (code := raw_netlink.error_number(answer)):
        raise OSError(code, f"list ports of bridge {bridge}: {os.strerror(code)}")
    return raw_netlink.kind_of(answer) == _NEW_LINK


def index_of(name: str) -> int:
    """Return the index of an interface. Raises OSError without it."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise OSError(error.errno, f"find link {name}: {error.strerror}") from error


def mtu_of(name: str) -> int:
    """Return the MTU of an interface in bytes (netdevice(7)). Raises OSError without it.

    One request, where a netlink socket needs 2 ms to be opened and closed.
    """
    request = _INTERFACE_REQUEST.pack(name.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, request)
        except OSError as error:
            raise OSError(error.errno, f"find link {name}: {error.strerror}") from error
    size: int = _INTERFACE_REQUEST.unpack(answer)[1]
    return size


def sysctl(key: str, value: str) -> bool:
    """Write a value under /proc/sys/net; return whether it differed. A key that the kernel does not have is ignored."""
    file = Path("/proc/sys/net", key)
    try:
        if file.read_text().strip() == value:
            return False
        file.write_text(value)
    except FileNotFoundError:
        return False
    return True


def _network(address: str | None, length: int, everything: str) -> str:
    return f"{address}/{length}" if address else everything


def _rule(message: Any, everything: str) -> PolicyRule:
    return PolicyRule(
        message.get_attr("FRA_PRIORITY"),
        _network(message.get_attr("FRA_SRC"), message["src_len"], everything),
        _network(message.get_attr("FRA_DST"), message["dst_len"], everything),
        message.get_attr("FRA_TABLE"),
        message.get_attr("FRA_IIFNAME") == _LOOPBACK,
        message.get_attr("FRA_IP_PROTO") or 0,
        int((message.get_attr("FRA_DPORT_RANGE") or "0").partition(":")[0]),
    )


def _link(message: Any) -> Link:
    information = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        alias=message.get_attr("IFLA_IFALIAS") or "",
        kind=(information.get_attr("IFLA_INFO_KIND") or "") if information else "",
        up=bool(message["flags"] & _UP),
        master=message.get_attr("IFLA_MASTER") or 0,
        peer=message.get_attr("IFLA_LINK") or 0,
        mtu=message.get_attr("IFLA_MTU"),
        address=message.get_attr("IFLA_ADDRESS") or "",
    )
