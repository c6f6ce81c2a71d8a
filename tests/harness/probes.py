"""Packets with any addresses, and a look-out for them: where they arrive, and what quotes them.

Each probe has a payload of its own. An ICMP error quotes it, encryption hides it.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from linkspan.drivers.linux import interface_names, netns
from linkspan.lab import packet_counter
from tests.harness.world import World, until

NEAR: Final = ("10.1.0.10", "fd00:1::10")
FAR: Final = ("10.2.0.10", "fd00:2::10")
ABSENT: Final = "10.1.0.99"
STRANGER: Final = ("198.51.100.1", "2001:db8:ffff::1")
"""The next hop of the gateways."""
FOREIGN: Final = ("192.0.2.7", "2001:db8:77::7")
INSIDE: Final = ("10.1.0.20", "fd00:1::20")
OWN_INSIDE: Final = ("10.1.0.1", "fd00:1::1")
_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_ALL: Final = 0x0003
_NEIGHBOURS: Final = frozenset({131, 132, 135, 136, 143})
"""Types of ICMPv6: reports of multicast groups, and neighbour discovery without routers."""
_BUFFER: Final = 4 << 20
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58
PORT: Final = 7777


def mac(namespace: str, interface: str) -> bytes:
    """Return the MAC address of an interface."""
    command = ["ip", "-j", "link", "show", interface]
    text = netns.run_inside(namespace, lambda: subprocess.run(command, capture_output=True, check=True).stdout)
    return bytes.fromhex(json.loads(text)[0]["address"].replace(":", ""))


def datagram(
    source: str, destination: str, payload: bytes, hops: int = 64, protocol: int = UDP, port: int = PORT
) -> bytes:
    """Return an IP packet with a UDP datagram, a TCP SYN, or another protocol's payload; `port`: that of the source."""
    left, right = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if protocol == UDP:
        body = struct.pack("!HHHH", port, PORT, 8 + len(payload), 0) + payload
    elif protocol == TCP:
        body = struct.pack("!HHIIBBHHH", port, PORT, 1, 0, 5 << 4, 2, 1024, 0, 0) + payload
    else:
        body = payload
    pseudo = left.packed + right.packed + struct.pack("!IHH", len(body), 0, protocol)
    at = {UDP: 6, TCP: 16, ICMP: 2, ICMPV6: 2}.get(protocol)
    if at is not None:
        pseudo = pseudo if protocol != ICMP else b""
        body = body[:at] + struct.pack("!H", _checksum(pseudo + body) or 0xFFFF) + body[at + 2 :]
    if left.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, hops) + left.packed + right.packed + body
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0x4000, hops, protocol, 0, left.packed, right.packed
    )
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + body


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


_ARRIVALS: Final = f"""
add table inet probes
add counter inet probes arrived
add chain inet probes arrivals {{ type filter hook prerouting priority -10; }}
flush chain inet probes arrivals
add rule inet probes arrivals udp dport {PORT} counter name arrived
"""


class Arrivals:
    """Counts the probes that arrive in a namespace, before its own rules decide on them."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._nft("-f", "-", text=_ARRIVALS)

    def _nft(self, *arguments: str, text: str = "") -> str:
        def run() -> str:
            return subprocess.run(["nft", *arguments], input=text, capture_output=True, text=True, check=True).stdout

        return netns.run_inside(self._namespace, run)

    def count(self) -> int:
        """Return their number so far."""
        return packets(self._nft("list", "counters", "table", "inet", "probes"))


def packets(listing: str) -> int:
    """Return the sum of the packets in a listing of counters of nft."""
    return sum(map(int, re.findall(r"packets (\d+) bytes", listing)))


class Wire:
    """An interface of a namespace: sends frames by it, and sees what passes it. Closed at the end of a `with` block.

    `incoming`: see only what enters at the interface, which at a bridge's port is what its peer sends.
    """

    def __init__(self, namespace: str, interface: str, incoming: bool = False) -> None:
        self._incoming = incoming
        self._seen: list[bytes] = []
        self._socket = netns.run_inside(namespace, lambda: self._open(interface))

    def _open(self, interface: str) -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        raw.setblocking(False)
        raw.bind((interface, _ALL))
        return raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def send(self, target: bytes, packet: bytes, kind: int = 0) -> None:
        """Send a packet to a MAC address; `kind`: its type where it is no IP packet."""
        kind = kind or (_IPV4 if packet[0] >> 4 == 4 else _IPV6)
        self._socket.send(target + b"\x02links" + struct.pack("!H", kind) + packet)

    def frames(self) -> list[bytes]:
        """Return all frames since the beginning or the last `forget`."""
        while True:
            try:
                frame, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                return self._seen
            if address[2] != socket.PACKET_OUTGOING or not self._incoming:
                self._seen.append(frame)

    def forget(self) -> None:
        """Forget the frames so far."""
        self.frames()
        self._seen = []

    def has(self, text: bytes) -> bool:
        """True if a frame contains this text."""
        return any(text in frame for frame in self.frames())

    def has_datagram(self, text: bytes) -> bool:
        """True if a frame is a datagram with this text; an ICMP error that quotes one is none."""
        return any(text in frame and (frame[23] if frame[12] == 8 else frame[20]) == UDP for frame in self.frames())


def is_plain(frame: bytes) -> bool:
    """True for an IP packet that is no IKE, no ESP or AH, no neighbour discovery and no report of multicast groups."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind not in (_IPV4, _IPV6) or packet_counter.classify(frame, ()) != "other":
        return False
    following, start = (frame[20], 54) if kind == _IPV6 else (0, 0)
    if kind == _IPV6 and following == 0:  # hop-by-hop options, which reports have
        following, start = frame[54], 54 + (frame[55] + 1) * 8
    return following != ICMPV6 or frame[start] not in _NEIGHBOURS


class SiteProbes:
    """Sends packets at the left site, in both directions, and looks out for them."""

    def __init__(self, world: World) -> None:
        self.world, self.name = world, world.gateway("left")
        links = json.loads(world.inside(self.name, "ip", "-j", "address"))
        out, inside = (
            next(link for link in links if link["ifname"].startswith(prefix))
            for prefix in (interface_names.OUTSIDE, interface_names.INSIDE)
        )
        self.own = tuple(
            next(info["local"] for info in out["addr_info"] if info["family"] == family and info["scope"] == "global")
            for family in ("inet", "inet6")
        )
        self.interface = inside["ifname"]
        fabric = world.lab["fabric"]
        ports = json.loads(world.inside(fabric, "ip", "-j", "link"))
        port = next(link["ifname"] for link in ports if link["ifindex"] == out["link_index"])
        self.out_mac, self.in_mac = (bytes.fromhex(link["address"].replace(":", "")) for link in (out, inside))
        self.stranger = Wire(fabric, world.lab["internet"]["bridge"])
        self.arrivals = Arrivals(self.name)
        self.near = Wire(world.host("left"), "eth0")
        self.out = Wire(fabric, port, incoming=True)

    def close(self) -> None:
        for wire in (self.stranger, self.near, self.out):
            wire.__exit__()

    def send(self, text: bytes) -> int:
        """Send packets in both directions, none of which may pass. Returns their number."""
        own = self.own
        inward = [(source, NEAR) for source in (STRANGER, FOREIGN, FAR, INSIDE, OWN_INSIDE)]
        outward = [(source, STRANGER) for source in (NEAR, FOREIGN, own, FAR, OWN_INSIDE)] + [(own, FAR)]
        for wire, target, ends in ((self.stranger, self.out_mac, inward), (self.near, self.in_mac, outward)):
            for source, destination in ends:
                for v in (0, 1):
                    wire.send(target, datagram(source[v], destination[v], text))
        return 2 * (len(inward) + len(outward))

    @contextmanager
    def flood(self) -> Iterator[bytes]:
        """Send packets all the time during the block; yields their payload."""
        text, end = secrets.token_bytes(16), threading.Event()

        def send() -> None:
            while not end.wait(0.001):
                self.send(text)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield text
        finally:
            end.set()
            thread.join()

    def open(self) -> None:
        """Take the guard's rules out, for the control."""
        for chain in ("outbound", "forward", "inbound"):
            self.world.inside(self.name, "nft", "flush", "chain", "inet", "linkspan", chain)
            self.world.inside(self.name, "nft", f"add chain inet linkspan {chain} {{ policy accept; }}")

    def ask_often(self, times: int) -> None:
        """Set how often the gateway asks for an absent host inside before it gives up; it asks once a second."""
        self.world.inside(self.name, "sysctl", "-q", "-w", f"net.ipv4.neigh.{self.interface}.mcast_solicit={times}")

    def drops(self) -> int:
        """The number of packets that the guard has kept from leaving."""
        return packets(self.world.inside(self.name, "nft", "list", "counter", "inet", "linkspan", "dropped_out"))

    def assert_nothing_passes(self, state: str) -> None:
        before, text = self.arrivals.count(), secrets.token_bytes(16)
        number = self.send(text)
        until(
            lambda: self.arrivals.count() == before + number, 10.0, lambda: f"{state}: {self.arrivals.count() - before}"
        )
        assert not self.near.has_datagram(text), f"{state}: in"
        assert not self.out.has(text), f"{state}: out"
        plain = [frame.hex() for frame in self.out.frames() if is_plain(frame)]
        assert not plain, state
        print(f"{state}: {number} packets, none in plaintext")
