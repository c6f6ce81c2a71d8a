"""An isolated part of this machine for one test: an instance with a unique name and a namespace for its bridges.

Everything is removed at the end, also after a failure. Only processes inside these namespaces are signalled.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from linkspan.core.secret import Secret
from linkspan.core.state.desired import (
    Connection,
    Dpd,
    Gateway,
    IkePolicy,
    InsideInterface,
    IpsecPolicy,
    OutsideInterface,
)
from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.linux import interface_names, netlink, netns
from linkspan.drivers.local import LocalDrivers, sweep

OUTSIDE = "11111111-0000-4000-8000-000000000000"


class Machine:
    """One instance; `home` is the namespace of its bridges."""

    def __init__(self, state: Path) -> None:
        self.instance = f"t{secrets.token_hex(3)}"
        self.home = f"lst-{self.instance}"
        self.state = state
        self.charons: list[StrongswanCharon] = []
        self.files: list[Path] = []

    def drivers(self, node: str = "node-a", deadline: float = 1.0) -> LocalDrivers:
        """Return new drivers, as a restarted agent would create them."""
        return _Drivers(self, node, deadline)


class _Drivers(LocalDrivers):
    """Drivers that record their charons, whose sessions are closed at the end of the test."""

    def __init__(self, machine: Machine, node: str, deadline: float) -> None:
        super().__init__(machine.instance, node, machine.state / node, machine.home, deadline=deadline)
        self._machine = machine

    def charon(self, gateway: Gateway) -> StrongswanCharon:
        charon = super().charon(gateway)
        self._machine.charons.append(charon)
        return charon


@contextmanager
def isolated_machine(state: Path) -> Iterator[Machine]:
    """Provide an isolated part of the machine; remove everything of it afterwards."""
    machine = Machine(state)
    try:
        netns.create(machine.home, lambda: None)
        yield machine
    finally:
        for charon in machine.charons:
            charon.detach()
        sweep(machine.instance)
        netns.delete(machine.home)
        for directory in machine.files:
            shutil.rmtree(directory, ignore_errors=True)


def gateway(number: int, *, inside: int = 1, next_hops: tuple[str, ...] = ()) -> Gateway:
    """Return gateway N: 203.0.113.N and 2001:db8:ff::N outside, 10.N.x.1 and 2001:db8:N:x::1 inside."""
    return Gateway(
        id=f"{number}0e8400e-e29b-41d4-a716-446655440000",
        revision=1,
        generation=1,
        outside=OutsideInterface(OUTSIDE, "public", (f"203.0.113.{number}/24", f"2001:db8:ff::{number}/64"), next_hops),
        inside=tuple(
            InsideInterface(
                inside_network(number, index), (f"10.{number}.{index}.1/24", f"2001:db8:{number}:{index}::1/64")
            )
            for index in range(inside)
        ),
    )


def inside_network(number: int, index: int = 0) -> str:
    """Return the id of an inside network of gateway N."""
    return f"{number:04x}{index:04x}-0000-4000-8000-000000000000"


def connection(number: int, peer: int, **changes: object) -> Connection:
    """Return the connection of gateway N to gateway M, IPv4 outside and inside."""
    base = Connection(
        id=f"{number:04x}{peer:04x}-e29b-41d4-a716-446655440000",
        gateway_id=gateway(number).id,
        revision=1,
        enabled=True,
        local_address=f"203.0.113.{number}",
        local_id="",
        peer_address=f"203.0.113.{peer}",
        peer_id=f"203.0.113.{peer}",
        local_cidrs=(f"10.{number}.0.0/24",),
        peer_cidrs=(f"10.{peer}.0.0/24",),
        mtu=1500,
        initiator="bi-directional",
        dpd=Dpd("hold", 30, 120),
        auth_mode="psk",
        psk=Secret("open sesame"),
        psk_ref="1",
        ike=IkePolicy("v2", "main", "aes-128", "sha256", "group14", 3600),
        ipsec=IpsecPolicy("esp", "tunnel", "aes-128", "sha256", "group14", "seconds", 3600),
    )
    return msgspec.structs.replace(base, **changes)


class EventLog:
    """The events that a charon delivered, with a method to wait for one."""

    def __init__(self) -> None:
        self.all: list[CharonEvent] = []
        self._news = threading.Condition()

    def __call__(self, event: CharonEvent) -> None:
        with self._news:
            self.all.append(event)
            self._news.notify_all()

    def wait(self, wanted: Callable[[CharonEvent], bool], seconds: float = 10.0) -> CharonEvent:
        """Return the first wanted event, which may have arrived before the call."""
        with self._news:
            assert self._news.wait_for(lambda: any(map(wanted, self.all)), seconds), f"not in {self.all}"
            return next(filter(wanted, self.all))


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition is true; fail after this time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition was not true within {seconds} s"
        time.sleep(0.01)


def run(namespace: str, *command: str) -> str:
    """Return the output of a command in a namespace; the command may fail."""
    whole = ["ip", "netns", "exec", namespace, *command]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def ping(namespace: str, target: str, source: str = "", count: int = 3) -> int:
    """Ping and return the number of answers."""
    binding = ["-I", source] if source else []
    out = run(namespace, "ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", *binding, target)
    return out.count("bytes from")


def host(machine: Machine, name: str, network: str, number: int, index: int = 0) -> str:
    """Create a host on an inside network of gateway N (10.N.x.10); return its namespace."""
    addresses = (f"10.{number}.{index}.10/24", f"2001:db8:{number}:{index}::10/64")
    return attach(machine, name, network, addresses, (f"10.{number}.{index}.1", f"2001:db8:{number}:{index}::1"))


def attach(machine: Machine, name: str, network: str, addresses: tuple[str, ...], hops: tuple[str, ...]) -> str:
    """Create a host on a network that has a bridge, with these addresses and next hops; return its namespace."""
    namespace = f"{interface_names.namespace_prefix(machine.instance)}{name}"
    netns.create(namespace, lambda: None)
    port = f"h{secrets.token_hex(4)}"
    home_fd = os.open(netns.path(machine.home), os.O_RDONLY)

    def inside() -> None:
        with netlink.connect() as kernel:
            netlink.sysctl("ipv6/conf/default/accept_dad", "0")
            kernel.add_veth("eth0", port, home_fd)
            link = kernel.links()["eth0"]
            for address in addresses:
                kernel.add_address(link, address)
            kernel.change(link, state="up")
            for hop in hops:
                kernel.put_route(netlink.DefaultRoute(6 if ":" in hop else 4, hop, link.index, 100, True))

    def outside() -> None:
        with netlink.connect() as kernel:
            links = kernel.links()
            kernel.change(
                links[port], master=links[interface_names.bridge(machine.instance, network)].index, state="up"
            )

    try:
        netns.run_inside(namespace, inside)
        netns.run_inside(machine.home, outside)
    finally:
        os.close(home_fd)
    return namespace


class WireCounter:
    """Counts the packets on a link: `plaintext` between inside networks, `esp` (in UDP or not)."""

    def __init__(self, namespace: str, link: str) -> None:
        self._socket = netns.run_inside(namespace, lambda: self._open(link))
        self.plaintext = 0
        self.esp = 0

    def _open(self, link: str) -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.bind((link, 0))
        raw.setblocking(False)
        return raw

    def close(self) -> None:
        self._socket.close()

    def read(self) -> WireCounter:
        """Count the packets since the last call; return the counter itself."""
        while True:
            try:
                self._count(self._socket.recv(65536))
            except BlockingIOError:
                return self

    def _count(self, frame: bytes) -> None:
        kind = struct.unpack("!H", frame[12:14])[0]
        packet = frame[14:]
        if kind == 0x0800:
            inner, protocol, payload = packet[12] == 10, packet[9], packet[(packet[0] & 15) * 4 :]
        elif kind == 0x86DD:
            # The inside networks of the tests are 2001:db8:N:…, the outside network is 2001:db8:ff:….
            inner = packet[8:12] == b"\x20\x01\x0d\xb8" and packet[12:14] != b"\x00\xff"
            protocol, payload = packet[6], packet[40:]
        else:
            return
        self.plaintext += inner
        self.esp += not inner and (protocol in (50, 51) or _esp_in_udp(protocol, payload))


def _esp_in_udp(protocol: int, payload: bytes) -> bool:
    return protocol == 17 and payload[2:4] == b"\x11\x94" and len(payload) > 12 and payload[8:12] != bytes(4)
