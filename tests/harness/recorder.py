"""Records the packets on one link, with time, direction, class and IKE header.

IKE headers are parsed by RFC 7296 3.1; those of IKEv1 have the same layout (RFC 2408 3.1).
"""

from __future__ import annotations

import ipaddress
import itertools
import select
import socket
import struct
import time
from collections.abc import Iterable

import msgspec

from linkspan.lab import packet_counter

INSIDE = tuple(ipaddress.ip_network(prefix) for prefix in ("10.0.0.0/8", "fd00::/16"))
IKE_SA_INIT, IKE_AUTH, CREATE_CHILD_SA, INFORMATIONAL = 34, 35, 36, 37
MAIN_MODE, AGGRESSIVE, INFORMATIONAL_V1, QUICK_MODE = 2, 4, 5, 32


class Ike(msgspec.Struct, frozen=True):
    """The header of an IKE message."""

    initiator_spi: int
    responder_spi: int
    version: int
    exchange: int
    flags: int
    message_id: int

    @property
    def initial(self) -> bool:
        """True for the first message of an IKE SA, in which the responder has no SPI yet."""
        return self.responder_spi == 0 and self.message_id == 0


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded packet. `at`: monotonic seconds; `sent`: by the recorded side; `kind` as in `lab.packet_counter`;
    `size`: bytes of the frame."""

    at: float
    sent: bool
    kind: packet_counter.PacketClass
    size: int
    ike: Ike | None
    frame: bytes

    @property
    def spi(self) -> int:
        """The SPI of an ESP packet, in UDP or not (RFC 4303 2.1)."""
        payload = _ip_payload(self.frame)
        return int.from_bytes(payload[8:12] if self.kind == "udp_esp" else payload[:4])


class Recorder(packet_counter.Listener):
    """Records into `packets` during the `with` block.

    `port`: the bridge port of the recorded side. On the side's own interface, kernel ESP would also show decrypted
    packets.
    """

    def __init__(self, namespace: str, port: str) -> None:
        super().__init__(namespace, "recorder")
        self._link = port
        self.packets: list[Packet] = []

    def ike(self, *, sent: bool) -> list[Packet]:
        """Return the IKE messages of one direction."""
        return [packet for packet in list(self.packets) if packet.ike and packet.sent == sent]

    def initiations(self, since: float = 0.0) -> int:
        """Return the number of initial IKE messages to the recorded side, including retransmissions."""
        return sum(packet.ike.initial for packet in self.ike(sent=False) if packet.ike and packet.at >= since)

    def attempts(self) -> int:
        """Return the number of IKE SAs initiated towards the recorded side, without retransmissions."""
        return len({packet.ike.initiator_spi for packet in self.ike(sent=False) if packet.ike and packet.ike.initial})

    def count(self, *kinds: packet_counter.PacketClass, sent: bool | None = None) -> int:
        """Return the number of packets of these classes, of one direction or both."""
        return sum(packet.kind in kinds and sent in (None, packet.sent) for packet in list(self.packets))

    @property
    def esp(self) -> int:
        """The number of ESP and AH packets of both directions, in UDP or not."""
        return self.count("esp", "udp_esp")

    def sent_too_early(self, version: int) -> int:
        """Return the number of packets sent by a new child SA before the other end had installed it; they are lost.

        In IKEv2 the responder uses a new child SA before its response has arrived (RFC 7296 2.8), in IKEv1 the
        initiator, here the other side, before its third message has (RFC 2409 5.5). The other end has installed the SA
        once it sends by it.
        """
        early = version == 2
        esp = [packet for packet in list(self.packets) if packet.kind in ("esp", "udp_esp")]
        spis = {sent: dict.fromkeys(packet.spi for packet in esp if packet.sent == sent) for sent in (True, False)}
        lost = 0
        for early_spi, late_spi in itertools.zip_longest(list(spis[early])[1:], list(spis[not early])[1:]):
            for packet in esp:
                if packet.sent != early and packet.spi == late_spi:
                    break
                lost += packet.sent == early and packet.spi == early_spi
        return lost

    def sent_too_early_by_either(self, pairs: Iterable[tuple[int, int]]) -> int:
        """Return the same for child SAs that were created during the recording, whichever end has responded.

        `pairs`: their SPIs. Of an SA by which only one end has sent nothing is known; it counts as installed.
        """
        esp = [packet.spi for packet in list(self.packets) if packet.kind in ("esp", "udp_esp")]
        early = 0
        for pair in pairs:
            used = [spi for spi in esp if spi in pair]
            early += next((number for number, spi in enumerate(used) if spi != used[0]), 0)
        return early

    @property
    def plaintext(self) -> int:
        """The number of unprotected packets between inside addresses."""
        return self.count("plaintext")

    def _open(self) -> list[socket.socket]:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        raw.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        raw.bind((self._link, 3))
        return [raw]

    def _listen(self) -> None:
        (link,) = self._sockets
        while True:
            ready, _, _ = select.select([link, self._wake[1]], [], [])
            if link in ready:
                frame, address = link.recvfrom(65536)
                self.packets.append(packet(frame, address[2] != socket.PACKET_OUTGOING))
            elif self._wake[1] in ready:
                return


def packet(frame: bytes, sent: bool) -> Packet:
    """Parse a frame."""
    kind = packet_counter.classify(frame, INSIDE)
    header = _ike(frame) if kind == "ike" else None
    return Packet(at=time.monotonic(), sent=sent, kind=kind, size=len(frame), ike=header, frame=frame)


def _ip_payload(frame: bytes) -> bytes:
    ip = frame[14:]
    return ip[40:] if ip[0] >> 4 == 6 else ip[(ip[0] & 15) * 4 :]


def _ike(frame: bytes) -> Ike | None:
    """Parse the IKE header, on UDP 500, or on UDP 4500 after four zero octets (RFC 3948 2.2)."""
    udp = _ip_payload(frame)
    ports, data = struct.unpack_from("!HH", udp), udp[8:]
    if 4500 in ports:
        data = data[4:]
    if len(data) < 28:
        return None
    initiator, responder, _, version, exchange, flags, message = struct.unpack_from("!QQBBBBI", data)
    return Ike(initiator, responder, version >> 4, exchange, flags, message)
