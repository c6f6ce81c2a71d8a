"""The machine's side of the laboratory: a namespace for the bridges, and one for each host.

Everything carries the instance's names and marks, so that `linkspan sweep` finds it after any crash. Hosts know
nothing of VPN: an address, a default route, no more.
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
    """The laboratory could not be built, or the proof failed; one line that says what."""


class Host(msgspec.Struct, frozen=True):
    """A host on a site's network; addresses with prefix length."""

    name: str
    namespace: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]


class Ping(msgspec.Struct, frozen=True):
    """The outcome of a series of pings; `milliseconds` is the mean round trip, 0 without an answer, and `lost` says
    which were not answered, counted from 0."""

    source: str
    destination: str
    sent: int
    milliseconds: float
    lost: tuple[int, ...] = ()

    @property
    def received(self) -> int:
        """How many were answered."""
        return self.sent - len(self.lost)

    @property
    def loss(self) -> float:
        """Lost packets in per cent."""
        return 100.0 * len(self.lost) / self.sent if self.sent else 100.0


def fabric_namespace(instance: str) -> str:
    """The name of the namespace that holds an instance's bridges."""
    return f"{interface_names.namespace_prefix(instance)}fabric"


def host_namespace(instance: str, name: str) -> str:
    """The name of a host's namespace."""
    return f"{interface_names.namespace_prefix(instance)}host-{name}"


def make_fabric(instance: str) -> str:
    """Make the namespace of the bridges; its name. Nothing happens if it is there."""
    name = fabric_namespace(instance)
    if not netns.exists(name):
        netns.create(name, _quiet)
    return name


def links(instance: str) -> frozenset[str]:
    """Names of the links in the fabric: bridges and their ports."""

    def read() -> frozenset[str]:
        with netlink.connect() as kernel:
            return frozenset(kernel.links())

    return netns.run_inside(fabric_namespace(instance), read)


def make_host(instance: str, name: str, network_id: str, addresses: Sequence[str], gateways: Sequence[str]) -> Host:
    """Make a host and plug it into the bridge of a network in the fabric. Raises LabError, OSError.

    The bridge is there once a gateway has a leg on that network.
    """
    namespace, fabric = host_namespace(instance, name), fabric_namespace(instance)
    port, bridge = _port(instance, name), interface_names.bridge(instance, network_id)
    if bridge not in links(instance):
        raise LabError(f"host {name} has nothing to be plugged into: no gateway has a leg on its network yet")
    home = os.open(netns.path(fabric), os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.create(namespace, lambda: _furnish(port, home, addresses))
    finally:
        os.close(home)
    netns.run_inside(fabric, lambda: _plug(port, bridge, interface_names.OwnerMark(instance, "lab", name).text()))
    # Routes last: the kernel drops those of a link that is not yet connected.
    netns.run_inside(namespace, lambda: _route(gateways))
    return Host(name, namespace, tuple(addresses), tuple(gateways))


def remove(instance: str, name: str) -> None:
    """Remove a host. Nothing happens if there is none."""

    def unplug() -> None:
        with netlink.connect() as kernel:
            link = kernel.link(_port(instance, name))
            if link is not None:
                kernel.delete(link)

    # First, because the kernel takes its time with a namespace, and the name should be free at once.
    netns.run_inside(fabric_namespace(instance), unplug)
    netns.delete(host_namespace(instance, name))


def _port(instance: str, name: str) -> str:
    return interface_names.port(instance, "lab", name, _INTERFACE)


def _quiet() -> None:
    with netlink.connect() as kernel:
        kernel.change(kernel.links()["lo"], state="up")


def _furnish(port: str, home: int, addresses: Sequence[str]) -> None:
    _quiet()
    with netlink.connect() as kernel:
        kernel.add_veth(_INTERFACE, port, home)
        link = kernel.links()[_INTERFACE]
        netlink.sysctl(f"ipv6/conf/{_INTERFACE}/accept_ra", "0")
        for address in addresses:
            kernel.add_address(link, address)
        kernel.change(link, state="up")


def _plug(port: str, bridge_name: str, mark: str) -> None:
    netlink.sysctl(f"ipv6/conf/{port}/disable_ipv6", "1")
    with netlink.connect() as kernel:
        bridge, link = kernel.link(bridge_name), kernel.link(port)
        if bridge is None or link is None:
            raise LabError(f"the bridge {bridge_name} went away while a host was plugged into it")
        kernel.change(link, ifalias=mark, master=bridge.index, state="up")


def _route(gateways: Sequence[str]) -> None:
    with netlink.connect() as kernel:
        link = kernel.links()[_INTERFACE]
        for gateway in gateways:
            version = ipaddress.ip_address(gateway).version
            kernel.put_route(DefaultRoute(version, gateway, link.index, 1024, True))


def ping(namespace: str, destination: str, count: int = 10, interval: float = 0.1, timeout: int = 2) -> Ping:
    """Ping from inside a namespace; `interval` and `timeout` (for each answer) in seconds. Raises LabError.

    By fping, which waits `timeout` for every answer: ping (iputils) waits for the last ones no longer than an interval
    or two round trips, and calls lost what a busy machine only delays.
    """
    pace = ["-p", f"{interval * 1000:g}", "-i", "1", "-t", str(timeout * 1000)]
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
    """Raises LabError where there is no route, of which fping says nothing."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 1))  # of UDP: nothing is sent
        except OSError as error:
            words = os.strerror(error.errno or 0).lower()
            raise LabError(f"ping from {source} to {destination} could not send: {words}") from None


def parse_ping(source: str, destination: str, output: str) -> Ping:
    """What fping reported: the round trips in ms, with - for what was lost. Raises LabError if it did not even send."""
    found = _TIMES.search(output)
    if found is None:
        words = output.strip().rpartition("\n")[2] or "it said nothing"
        raise LabError(f"ping from {source} to {destination} could not send: {words}")
    times = found[1].split()
    lost = tuple(number for number, time in enumerate(times) if time == "-")
    answered = [float(time) for time in times if time != "-"]
    mean = sum(answered) / len(answered) if answered else 0.0
    return Ping(source, destination, len(times), mean, lost)
