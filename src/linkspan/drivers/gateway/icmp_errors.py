"""ICMP errors about what a gateway has sent to UDP 500 and 4500: a router or the peer says why nothing is answered.

charon's sockets are not connected, so the kernel does not give such errors to it. A raw socket of the namespace gets a
copy of each.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import time
from typing import Final, NamedTuple

from linkspan.core.diagnosis.codes import Code

KEPT: Final = 20.0
"""Seconds for which an error says something about a peer that is silent: charon retransmits every 15 s at least."""
MOST: Final = 256
"""Errors that one call reads, and peers that are remembered: anybody on the way can send errors."""
_PORTS: Final = (500, 4500)
_UDP: Final = 17
_LARGEST: Final = 2048
_WAITING: Final = 8192
"""Bytes of errors that may wait, in the kernel's reckoning."""
# Linux: ICMP_FILTER with a mask of types to drop; ICMPV6_FILTER with a bit for each type to drop.
_SOL_RAW: Final = 255
_ICMP_FILTER: Final = 1
_ICMPV6_FILTER: Final = 1
_UNREACHABLE: Final = {socket.AF_INET: 3, socket.AF_INET6: 1}
_PORT_UNREACHABLE: Final = {socket.AF_INET: 3, socket.AF_INET6: 4}
_FRAGMENTATION_NEEDED: Final = 4


class IcmpError(NamedTuple):
    """An error about a peer: PEER_PORT_CLOSED or PEER_UNREACHABLE_ICMP, and who has sent it."""

    code: Code
    reporter: str


class IcmpErrors:
    """The errors in one network namespace, that of the thread that makes this. Raises OSError."""

    def __init__(self) -> None:
        self._sockets: list[tuple[socket.AddressFamily, socket.socket]] = []
        self._seen: dict[str, tuple[float, IcmpError]] = {}
        with contextlib.ExitStack() as undo:
            for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
                raw = undo.enter_context(socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol))
                _filter(raw, family)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WAITING)
                self._sockets.append((family, raw))
            undo.pop_all()

    def about(self, peer: str) -> IcmpError | None:
        """The newest error about a peer, if there was one lately."""
        self.read()
        at, error = self._seen.get(str(ipaddress.ip_address(peer)), (0.0, None))
        return error if error and time.monotonic() < at + KEPT else None

    def read(self) -> frozenset[str]:
        """The peers that the errors which have arrived since are about."""
        return frozenset(peer for family, raw in self._sockets for peer in self._read(family, raw))

    def descriptors(self) -> tuple[int, ...]:
        """The descriptors of the sockets, to wait for errors."""
        return tuple(raw.fileno() for _, raw in self._sockets)

    def close(self) -> None:
        """Closes the sockets."""
        for _, raw in self._sockets:
            raw.close()

    def _read(self, family: socket.AddressFamily, raw: socket.socket) -> set[str]:
        peers: set[str] = set()
        for _ in range(MOST):
            try:
                packet, sender = raw.recvfrom(_LARGEST)
            except OSError:
                break  # nothing more
            if (found := parse(family, packet, str(sender[0]))) is None:
                continue
            peer, error = found
            peers.add(peer)
            self._seen.pop(peer, None)
            self._seen[peer] = time.monotonic(), error
            if len(self._seen) > MOST:
                del self._seen[next(iter(self._seen))]
        return peers


def parse(family: socket.AddressFamily, packet: bytes, sender: str) -> tuple[str, IcmpError] | None:
    """The peer that an ICMP error is about, and what it says; None for another packet. IPv4 with its header."""
    try:
        if family == socket.AF_INET:
            packet = packet[(packet[0] & 15) * 4 :]
            type_, code, quoted = packet[0], packet[1], packet[8:]
            header, protocol, peer = (quoted[0] & 15) * 4, quoted[9], quoted[16:20]
        else:
            type_, code, quoted = packet[0], packet[1], packet[8:]
            header, protocol, peer = 40, quoted[6], quoted[24:40]
        (port,) = struct.unpack_from("!H", quoted, header + 2)
        address = ipaddress.ip_address(peer)
    except (IndexError, ValueError, struct.error):
        return None
    if type_ != _UNREACHABLE[family] or protocol != _UDP or port not in _PORTS:
        return None
    if family == socket.AF_INET and code == _FRAGMENTATION_NEEDED:
        return None
    closed = code == _PORT_UNREACHABLE[family]
    return str(address), IcmpError("PEER_PORT_CLOSED" if closed else "PEER_UNREACHABLE_ICMP", sender.partition("%")[0])


def _filter(raw: socket.socket, family: socket.AddressFamily) -> None:
    wanted = _UNREACHABLE[family]
    if family == socket.AF_INET:
        raw.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("I", 0xFFFFFFFF & ~(1 << wanted)))
    else:
        words = [0xFFFFFFFF] * 8
        words[wanted // 32] &= ~(1 << wanted % 32)
        raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("8I", *words))
