"""The network of the laboratory: a namespace for the bridges (the fabric), and one for each host.

Everything carries the instance's names and owner marks, so that `linkspan sweep` finds it after a crash. A host has
addresses and default routes, and no VPN configuration.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import subprocess
from collections.abc import Sequence
from typing import Final

import msgspec

from linkspan.drivers.linux import interface_names, netlink, netns
from linkspan.drivers.linux.netlink import DefaultRoute

_INTERFACE: Final = "eth0"
_TIMES: Final = re.compile(r"^\S+ +:((?: (?:[\d.]+|-))+)$", re.MULTILINE)


class LabError(Exception):
    """The laboratory could not be built, or the demonstration failed; the message is one line with the reason."""


class Host(msgspec.Struct, frozen=True):
    """A host on a site's network; addresses with prefix length."""

    name: str
    namespace: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]


class Ping(msgspec.Struct, frozen=True):
    """The result of a series of pings. `milliseconds`: the mean round trip, 0 without an answer; `lost`: the numbers of
    the unanswered pings, from 0."""

    source: str
    destination: str
    sent: int
    milliseconds: float
    lost: tuple[int, ...] = ()

    @property
    def received(self) -> int:
        """The number of answered pings."""
        return self.sent - len(self.lost)

    @property
    def loss(self) -> float:
        """Unanswered pings in per cent."""
        return 100.0 * len(self.lost) / self.sent if self.sent else 100.0


def fabric_namespace(instance: str) -> str:
    """Return the name of the namespace of an instance's bridges."""
    return f"{interface_names.namespace_prefix(instance)}fabric"


def host_namespace(instance: str, name: str) -> str:
    """Return the name of a host's namespace."""
    return f"{interface_names.namespace_prefix(instance)}host-{name}"


def make_fabric(instance: str) -> str:
    """Create the namespace of the bridges if it does not exist; return its name."""
    name = fabric_namespace(instance)
    if not netns.exists(name):
        netns.create(name, _enable_loopback)
    return name


def links(instance: str) -> frozenset[str]:
    """Return the names of the links in the fabric: bridges and their ports."""

    def read() -> frozenset[str]:
        with netlink.connect() as kernel:
            return frozenset(kernel.links())

    return netns.run_inside(fabric_namespace(instance), read)


def make_host(instance: str, name: str, network_id: str, addresses: Sequence[str], gateways: Sequence[str]) -> Host:
    """Create a host and attach it to the bridge of a network in the fabric; a host that is attached stays as it is.

    The bridge exists once a gateway has an interface on that network. Raises LabError, OSError.
    """
    namespace, fabric = host_namespace(instance, name), fabric_namespace(instance)
    port, bridge = _port(instance, name), interface_names.bridge(instance, network_id)
    if bridge not in links(instance):
        raise LabError(f"host {name} has no bridge to attach to: no gateway has an interface on its network yet")
    host = Host(name, namespace, tuple(addresses), tuple(gateways))
    if netns.exists(namespace):
        if netns.run_inside(fabric, lambda: _is_attached(port, bridge)):
            netns.run_inside(namespace, lambda: _route(gateways))
            return host
        remove(instance, name)
    home = os.open(netns.path(fabric), os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.create(namespace, lambda: _configure(port, home, addresses))
    finally:
        os.close(home)
    netns.run_inside(fabric, lambda: _attach(port, bridge, interface_names.OwnerMark(instance, "lab", name).text()))
    # Routes come last: the kernel drops the routes of a link without carrier.
    netns.run_inside(namespace, lambda: _route(gateways))
    return host


def remove(instance: str, name: str) -> None:
    """Remove a host. No error if it does not exist."""

    def delete_port() -> None:
        with netlink.connect() as kernel:
            link = kernel.link(_port(instance, name))
            if link is not None:
                kernel.delete(link)

    # The link goes first: the kernel removes a namespace later, and the name must be free at once.
    netns.run_inside(fabric_namespace(instance), delete_port)
    netns.delete(host_namespace(instance, name))


def _port(instance: str, name: str) -> str:
    return interface_names.bridge_port(instance, "lab", name, _INTERFACE)


def _enable_loopback() -> None:
    with netlink.connect() as kernel:
        kernel.change(kernel.links()["lo"], state="up")


def _configure(port: str, home: int, addresses: Sequence[str]) -> None:
    _enable_loopback()
    with netlink.connect() as kernel:
        kernel.add_veth(_INTERFACE, port, home)
        link = kernel.links()[_INTERFACE]
        netlink.sysctl(f"ipv6/conf/{_INTERFACE}/accept_ra", "0")
        for address in addresses:
            kernel.add_address(link, address)
        kernel.change(link, state="up")


def _attach(port: str, bridge_name: str, mark: str) -> None:
    netlink.sysctl(f"ipv6/conf/{port}/disable_ipv6", "1")
    with netlink.connect() as kernel:
        bridge, link = kernel.link(bridge_name), kernel.link(port)
        if bridge is None or link is None:
            raise LabError(f"the bridge {bridge_name} was removed while a host was attached to it")
        kernel.change(link, ifalias=mark, master=bridge.index, state="up")


def _is_attached(port: str, bridge_name: str) -> bool:
    with netlink.connect() as kernel:
        bridge, link = kernel.link(bridge_name), kernel.link(port)
        return bridge is not None and link is not None and link.master == bridge.index


def _route(gateways: Sequence[str]) -> None:
    with netlink.connect() as kernel:
        link = kernel.links()[_INTERFACE]
        for gateway in gateways:
            version = ipaddress.ip_address(gateway).version
            kernel.put_route(DefaultRoute(version, gateway, link.index, 1024, True))


def ping(namespace: str, destination: str, count: int = 10, interval: float = 0.1, timeout: int = 2) -> Ping:
    """Ping from inside a namespace; `interval` and `timeout` (for each answer) in seconds. Raises LabError.

    Uses fping, which waits `timeout` for every answer. ping (iputils) waits for the last answers no longer than an
    interval or two round trips, and so reports answers as lost that a busy machine only delays.
    """
    # No minimum between two packets (-i): fping would sleep after each one, and never catch up on a busy machine.
    pace = ["-p", f"{interval * 1000:g}", "-i", "0", "-t", str(timeout * 1000)]
    command = ["fping", "-q", "-C", str(count), *pace, destination]
    patience = count * interval + timeout + 10

    def send() -> subprocess.CompletedProcess[str]:
        _probe(namespace, destination)
        return subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)

    try:
        done = netns.run_inside(namespace, send)
    except subprocess.TimeoutExpired:
        raise LabError(f"ping to {destination} did not end within {patience:.0f} s") from None
    return parse_ping(namespace, destination, done.stderr)


def _probe(source: str, destination: str) -> None:
    """Raise LabError if there is no route, which fping does not report."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 1))  # UDP: connecting sends nothing
        except OSError as error:
            words = os.strerror(error.errno or 0).lower()
            raise LabError(f"ping from {source} to {destination} could not send: {words}") from None


def parse_ping(source: str, destination: str, output: str) -> Ping:
    """Parse fping's output: round trips in ms, - for a lost ping. Raises LabError if it could not send."""
    match = _TIMES.search(output)
    if match is None:
        message = output.strip().rpartition("\n")[2] or "fping reported nothing"
        raise LabError(f"ping from {source} to {destination} could not send: {message}")
    times = match[1].split()
    lost = tuple(number for number, time in enumerate(times) if time == "-")
    answered = [float(time) for time in times if time != "-"]
    mean = sum(answered) / len(answered) if answered else 0.0
    return Ping(source, destination, len(times), mean, lost)
