"""Links, addresses and routes of the namespace that the calling thread is in: pyroute2, made small and typed.

One socket is opened inside the namespace and closed with it; pyroute2's own way into a namespace forks a helper
process for each socket. Only what the gateway needs is here; every failure is an OSError that says what was asked.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_UP: Final = 1
_NODAD: Final = 0x02
_ONLINK: Final = 4
_SKIP_STATISTICS: Final = 1 << 3
_LINK_SCOPE: Final = 253
_MAIN: Final = 254
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_EVERYTHING: Final = {socket.AF_INET: "0.0.0.0/0", socket.AF_INET6: "::/0"}
PROTOCOL: Final = 76
"""The routes' protocol number that marks them as ours (a free one, see rtnetlink(7))."""


class Link(msgspec.Struct, frozen=True):
    """An interface; `peer` is the index of a veth's other end, `master` that of the bridge, 0 = none; `mtu` bytes."""

    index: int
    name: str
    alias: str
    kind: str
    up: bool
    master: int
    peer: int
    mtu: int


class DefaultRoute(msgspec.Struct, frozen=True):
    """A default route in table main."""

    version: int
    next_hop: str
    link: int
    metric: int
    ours: bool


class MtuRoute(msgspec.Struct, frozen=True):
    """A route with an MTU (bytes) in a table of its own; `next_hop` is "" towards neighbours."""

    table: int
    network: str
    next_hop: str
    link: int
    mtu: int


class PolicyRule(msgspec.Struct, frozen=True, order=True):
    """Packets from one network to another are looked up in a table first (ip-rule(8)); both of one IP version."""

    priority: int
    source: str
    destination: str
    table: int


class Netlink:
    """Requests to the kernel; make it with `connect`."""

    def __init__(self, socket: Any) -> None:
        self._ip = socket

    def links(self, master: int = 0) -> dict[str, Link]:
        """All links by name, or the ports of one bridge."""
        only = {"master": master} if master else {}
        messages = self._ask("list links", "link", "dump", ext_mask=_SKIP_STATISTICS, **only)
        return {link.name: link for link in map(_link, messages) if not master or link.master == master}

    def link(self, name: str) -> Link | None:
        """One link by name; None if there is none."""
        return self._find(ifname=name)

    def link_at(self, index: int) -> Link | None:
        """One link by index; None if there is none."""
        return self._find(index=index)

    def add_bridge(self, name: str) -> None:
        """Make a bridge. FileExistsError if the name is taken."""
        self._ask(f"make bridge {name}", "link", "add", ifname=name, kind="bridge")

    def add_veth(self, name: str, peer: str, peer_namespace: int) -> None:
        """Make a pair of links, the peer in the namespace of a file descriptor. FileExistsError if a name is taken."""
        other = {"ifname": peer, "net_ns_fd": peer_namespace}
        self._ask(f"make link {name} to {peer}", "link", "add", ifname=name, kind="veth", peer=other)

    def change(self, link: Link, **what: Any) -> None:
        """Change attributes of a link: `state`, `master`, `ifalias`."""
        self._ask(f"change link {link.name}", "link", "set", index=link.index, **what)

    def delete(self, link: Link) -> None:
        """Remove a link. No error if it is gone."""
        try:
            self._ask(f"remove link {link.name}", "link", "del", index=link.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def addresses(self) -> dict[int, set[str]]:
        """Addresses with prefix length by link, without the link-local ones that the kernel makes."""
        found: dict[int, set[str]] = {}
        for message in self._ask("list addresses", "addr", "dump"):
            if message["family"] == socket.AF_INET6 and message["scope"] == _LINK_SCOPE:
                continue
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            found.setdefault(message["index"], set()).add(f"{address}/{message['prefixlen']}")
        return found

    def add_address(self, link: Link, address: str) -> None:
        """Add an address with prefix length, usable at once: an IPv6 one waits for no duplicate detection."""
        interface = ipaddress.ip_interface(address)
        flags = {"flags": _NODAD} if interface.version == 6 else {}
        self._address(link, interface, "add", **flags)

    def delete_address(self, link: Link, address: str) -> None:
        """Remove an address with prefix length."""
        self._address(link, ipaddress.ip_interface(address), "del")

    def default_routes(self) -> list[DefaultRoute]:
        """The default routes of both IP versions in table main."""
        found = []
        for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
            for message in self._ask("list routes", "route", "dump", family=family, table=_MAIN):
                if message["dst_len"] or message.get_attr("RTA_TABLE") != _MAIN:
                    continue
                hop, link = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_OIF") or 0
                metric = message.get_attr("RTA_PRIORITY") or 0
                found.append(DefaultRoute(version, hop or "", link, metric, message["proto"] == PROTOCOL))
        return found

    def put_route(self, route: DefaultRoute) -> None:
        """Add a default route or replace that of its metric, without a gap.

        The next hop counts as on-link, whether an address of ours covers it or not.
        """
        self._route(route, "replace", flags=_ONLINK, proto=PROTOCOL)

    def delete_route(self, route: DefaultRoute) -> None:
        """Remove a default route."""
        self._route(route, "del")

    def mtu_routes(self) -> set[MtuRoute]:
        """Our routes outside table main."""
        found = set()
        for family, everything in _EVERYTHING.items():
            for message in self._ask("list routes", "route", "dump", family=family, proto=PROTOCOL):
                table = message.get_attr("RTA_TABLE")
                if message["proto"] != PROTOCOL or table == _MAIN:
                    continue
                network = _network(message.get_attr("RTA_DST"), message["dst_len"], everything)
                metrics = message.get_attr("RTA_METRICS")
                mtu = (metrics.get_attr("RTAX_MTU") if metrics else 0) or 0
                hop, link = message.get_attr("RTA_GATEWAY") or "", message.get_attr("RTA_OIF") or 0
                found.add(MtuRoute(table, network, hop, link, mtu))
        return found

    def put_mtu_route(self, route: MtuRoute) -> None:
        """Add a route, or replace the one to its network in its table, without a gap; a next hop counts as on-link."""
        metrics = {"mtu": route.mtu}
        self._mtu_route(
            route, "replace", proto=PROTOCOL, metrics=metrics, **({"flags": _ONLINK} if route.next_hop else {})
        )

    def delete_mtu_route(self, route: MtuRoute) -> None:
        """Remove a route."""
        self._mtu_route(route, "del")

    def rules(self) -> set[PolicyRule]:
        """Our rules."""
        return {
            PolicyRule(
                message.get_attr("FRA_PRIORITY"),
                _network(message.get_attr("FRA_SRC"), message["src_len"], everything),
                _network(message.get_attr("FRA_DST"), message["dst_len"], everything),
                message.get_attr("FRA_TABLE"),
            )
            for family, everything in _EVERYTHING.items()
            for message in self._ask("list rules", "rule", "dump", family=family)
            if message.get_attr("FRA_PROTOCOL") == PROTOCOL
        }

    def add_rule(self, rule: PolicyRule) -> None:
        """Add a rule behind others of its priority. FileExistsError if it is there."""
        self._rule(rule, "add")

    def delete_rule(self, rule: PolicyRule) -> None:
        """Remove a rule of ours."""
        self._rule(rule, "del")

    def _rule(self, rule: PolicyRule, verb: str) -> None:
        source, destination = map(ipaddress.ip_network, (rule.source, rule.destination))
        self._ask(
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
        )

    def _mtu_route(self, route: MtuRoute, verb: str, **more: Any) -> None:
        network = ipaddress.ip_network(route.network)
        to = {"dst": "default" if network.prefixlen == 0 else route.network}
        hop = {"gateway": route.next_hop} if route.next_hop else {}
        what = {"family": _FAMILY[network.version], "oif": route.link, "table": route.table}
        self._ask(f"{verb} route to {network} in table {route.table}", "route", verb, **to, **what, **hop, **more)

    def _find(self, **which: Any) -> Link | None:
        try:
            return _link(self._ask(f"find link {which}", "link", "get", ext_mask=_SKIP_STATISTICS, **which)[0])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def _address(self, link: Link, interface: Any, verb: str, **more: Any) -> None:
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        self._ask(
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
        what = {"family": family, "dst": "default", "oif": route.link, "priority": route.metric, "table": _MAIN}
        self._ask(f"{verb} default route via {route.next_hop}", "route", verb, **what, **hop, **more)

    def _ask(self, what: str, command: str, *arguments: str, **attributes: Any) -> list[Any]:
        try:
            return list(getattr(self._ip, command)(*arguments, **attributes))
        except NetlinkError as error:
            raise OSError(error.code, f"cannot {what}: {os.strerror(error.code)}") from error


@contextmanager
def connect(strict: bool = False) -> Iterator[Netlink]:
    """A socket in the namespace of the calling thread. Use and leave it on that thread.

    `strict`: the kernel itself picks the routes that a dump asks for, instead of sending all of charon's too.
    """
    ip = IPRoute(strict_check=strict)
    try:
        yield Netlink(ip)
    finally:
        ip.close()


def sysctl(key: str, value: str) -> None:
    """Set a value under /proc/sys/net, written only if it differs; a key that this kernel lacks is passed over."""
    file = Path("/proc/sys/net", key)
    try:
        if file.read_text().strip() != value:
            file.write_text(value)
    except FileNotFoundError:
        return


def _network(address: str | None, length: int, everything: str) -> str:
    return f"{address}/{length}" if address else everything


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
    )
