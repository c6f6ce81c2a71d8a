"""Counts the packets on the wire between the gateways, to show that no traffic of the sites is in plaintext.

`classify` is pure and reads one Ethernet frame. `PacketCounter` listens on every port of a bridge and counts each frame
once, where it enters the bridge. A packet between two inside prefixes counts as plaintext whatever it contains: the
gateways' own outside addresses are not in these prefixes. Packets that the kernel could not deliver in time are
counted as drops, so that a count of 0 is reliable only if `drops` is 0.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from linkspan.core.addresses import Address, Network
from linkspan.drivers.linux import netlink, netns

PacketClass = Literal["esp", "udp_esp", "ike", "plaintext", "other"]

_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_VLAN: Final = frozenset({0x8100, 0x88A8})
_UDP: Final = 17
_ESP: Final = 50
_AH: Final = 51
_FRAGMENT: Final = 44
_EXTENSIONS: Final = frozenset({0, 43, 60})  # hop-by-hop, routing, destination options (RFC 8200 4.1)
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_ALL_PROTOCOLS: Final = 0x0003
_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 16 << 20


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of packets by class; `drops`: packets that the kernel could not deliver."""

    esp: int = 0
    udp_esp: int = 0
    ike: int = 0
    plaintext: int = 0
    other: int = 0
    drops: int = 0

    @property
    def protected(self) -> int:
        """The number of ESP and AH packets, in UDP or not."""
        return self.esp + self.udp_esp


def classify(frame: bytes, inside: Sequence[Network]) -> PacketClass:
    """Return the class of an Ethernet frame. `inside`: the sites' prefixes. A truncated frame is `other`."""
    try:
        return _classify(frame, inside)
    except (struct.error, IndexError, ValueError):
        return "other"


def _classify(frame: bytes, inside: Sequence[Network]) -> PacketClass:
    kind, start = _ethertype(frame)
    if kind == _IPV4:
        source, destination, protocol, payload = _ipv4(frame[start:])
    elif kind == _IPV6:
        source, destination, protocol, payload = _ipv6(frame[start:])
    else:
        return "other"
    if _within(source, inside) and _within(destination, inside):
        return "plaintext"
    if protocol in {_ESP, _AH}:
        return "esp"
    return _udp(payload) if protocol == _UDP and payload else "other"


def _ethertype(frame: bytes) -> tuple[int, int]:
    start = 12
    while (kind := struct.unpack_from("!H", frame, start)[0]) in _VLAN:
        start += 4
    return kind, start + 2


def _ipv4(packet: bytes) -> tuple[Address, Address, int, bytes]:
    if packet[0] >> 4 != 4:
        raise ValueError("not IPv4")
    header = (packet[0] & 0x0F) * 4
    length, _, fragment, _, protocol = struct.unpack_from("!HHHBB", packet, 2)
    source, destination = ipaddress.IPv4Address(packet[12:16]), ipaddress.IPv4Address(packet[16:20])
    # Only the first fragment has the upper-layer header.
    payload = packet[header:length] if not fragment & 0x1FFF else b""
    return source, destination, protocol, payload


def _ipv6(packet: bytes) -> tuple[Address, Address, int, bytes]:
    if packet[0] >> 4 != 6:
        raise ValueError("not IPv6")
    length, following = struct.unpack_from("!HB", packet, 4)
    source, destination = ipaddress.IPv6Address(packet[8:24]), ipaddress.IPv6Address(packet[24:40])
    payload = packet[40 : 40 + length]
    while following in _EXTENSIONS or following == _FRAGMENT:
        if following == _FRAGMENT and struct.unpack_from("!H", payload, 2)[0] >> 3:
            return source, destination, payload[0], b""
        size = 8 if following == _FRAGMENT else (payload[1] + 1) * 8
        following, payload = payload[0], payload[size:]
    return source, destination, following, payload


def _udp(datagram: bytes) -> PacketClass:
    source, destination, length = struct.unpack_from("!HHH", datagram)
    if 4500 in {source, destination}:
        data = datagram[8:length]
        # RFC 3948 2: four zero octets mark IKE, a single octet 0xFF is a keepalive, all else starts with an SPI.
        return "ike" if data == b"\xff" or data[:4] == b"\0\0\0\0" else "udp_esp"
    return "ike" if 500 in {source, destination} else "other"


def _within(address: Address, inside: Sequence[Network]) -> bool:
    return any(address in network for network in inside)


class Listener:
    """Packet sockets inside a namespace, and a thread that reads them while a `with` block runs.

    A subclass opens the sockets in `_open`, which runs inside the namespace, and reads them in `_listen` until
    `_wake[1]` is readable.
    """

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace = namespace
        self._sockets: list[socket.socket] = []
        self._wake: tuple[socket.socket, ...] = ()
        self._thread = threading.Thread(target=self._listen, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._sockets = netns.run_inside(self._namespace, self._open)
        self._wake = socket.socketpair()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake[0].send(b"x")
        self._thread.join()
        for opened in (*self._sockets, *self._wake):
            opened.close()

    def _open(self) -> list[socket.socket]:
        raise NotImplementedError

    def _listen(self) -> None:
        raise NotImplementedError


class PacketCounter(Listener):
    """Counts the packets that enter a bridge during the `with` block. `namespace`: the bridge's.

    Ports that join the bridge later are not counted.
    """

    def __init__(self, namespace: str, bridge: str, inside: Iterable[str]) -> None:
        super().__init__(namespace, "wire")
        self._bridge = bridge
        self._inside = [ipaddress.ip_network(prefix) for prefix in inside]
        self._counts: dict[str, int] = dict.fromkeys(PacketClass.__args__, 0)  # type: ignore[attr-defined] # of a Literal
        self._drops = 0

    @property
    def tally(self) -> Tally:
        """The counts so far; complete after the `with` block."""
        return Tally(**self._counts, drops=self._drops)

    def _open(self) -> list[socket.socket]:
        with netlink.connect() as kernel:
            bridge = kernel.link(self._bridge)
            if bridge is None:
                raise OSError(f"there is no bridge {self._bridge} in {self._namespace or 'this namespace'}")
            ports = sorted(kernel.links(master=bridge.index))
        return [_packet_socket(port) for port in ports]

    def _listen(self) -> None:
        stop = self._wake[1]
        ending = False
        while not ending:
            ready, _, _ = select.select([*self._sockets, stop], [], [])
            ending = stop in ready
            for port in self._sockets:
                self._drain(port)
        for port in self._sockets:
            self._drops += struct.unpack("II", port.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]

    def _drain(self, port: socket.socket) -> None:
        while True:
            try:
                frame, address = port.recvfrom(256)
            except BlockingIOError:
                return
            # An outgoing packet was counted at the port where it entered.
            if address[2] != socket.PACKET_OUTGOING:
                self._counts[classify(frame, self._inside)] += 1


def _packet_socket(port: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    raw.setblocking(False)
    # Bound last: before that a socket without a protocol receives nothing.
    raw.bind((port, _ALL_PROTOCOLS))
    return raw
