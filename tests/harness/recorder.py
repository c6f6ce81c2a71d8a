"""Records every packet that crosses one link, with its time, direction and kind: what a test looks at afterwards.

IKE headers are read as RFC 7296 3.1 has them; IKEv1's are the same octets (RFC 2408 3.1).
"""

from __future__ import annotations

import ipaddress
import itertools
import select
import socket
import struct
import time

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
    def first(self) -> bool:
        """True for the first message of an IKE SA: the responder has no SPI yet."""
        return self.responder_spi == 0 and self.message_id == 0


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One packet. `at`: monotonic seconds; `sent`: by the recorded side; `kind` as in `lab.packet_counter`; `size`: of
    the frame in bytes."""

    at: float
    sent: bool
    kind: packet_counter.PacketClass
    size: int
    ike: Ike | None
    frame: bytes

    @property
    def spi(self) -> int:
        """Of ESP, in UDP or not (RFC 4303 2.1)."""
        behind = _behind_ip(self.frame)
        return int.from_bytes(behind[8:12] if self.kind == "udp_esp" else behind[:4])


class Recorder(packet_counter.Listener):
    """Use it as a `with` block; `packets` grows meanwhile.

    `port` is the bridge's port that the recorded side is plugged into. On the side's own link the kernel's ESP would
    show what it has decrypted too.
    """

    def __init__(self, namespace: str, port: str) -> None:
        super().__init__(namespace, "recorder")
        self._link = port
        self.packets: list[Packet] = []

    def ike(self, *, sent: bool) -> list[Packet]:
        """The IKE messages of one direction."""
        return [packet for packet in list(self.packets) if packet.ike and packet.sent == sent]

    def initiations(self, since: float = 0.0) -> int:
        """Number of messages to the recorded side that initiate an IKE SA, retransmissions included."""
        return sum(one.ike.first for one in self.ike(sent=False) if one.ike and one.at >= since)

    def attempts(self) -> int:
        """Number of IKE SAs initiated towards the recorded side, without retransmissions."""
        return len({one.ike.initiator_spi for one in self.ike(sent=False) if one.ike and one.ike.first})

    def count(self, *kinds: packet_counter.PacketClass, sent: bool | None = None) -> int:
        """How many packets are of these kinds."""
        return sum(one.kind in kinds and sent in (None, one.sent) for one in list(self.packets))

    @property
    def esp(self) -> int:
        """ESP and AH packets of both directions, in UDP or not."""
        return self.count("esp", "udp_esp")

    def overtook(self, version: int) -> int:
        """How many packets left by an SA that came up meanwhile before the other end had it, so that they are lost.

        By IKEv2 the responder sends by a new child before its answer has arrived (RFC 7296 2.8), by IKEv1 the
        initiator, here the other side, before its third message has (RFC 2409 5.5). That the other end has an SA is
        seen when it sends by it.
        """
        early = version == 2
        esp = [one for one in list(self.packets) if one.kind in ("esp", "udp_esp")]
        spis = {sent: dict.fromkeys(one.spi for one in esp if one.sent == sent) for sent in (True, False)}
        found = 0
        for mine, other in itertools.zip_longest(list(spis[early])[1:], list(spis[not early])[1:]):
            for one in esp:
                if one.sent != early and one.spi == other:
                    break
                found += one.sent == early and one.spi == mine
        return found

    @property
    def clear(self) -> int:
        """Packets between inside addresses that nothing protected."""
        return self.count("clear")

    def _open(self) -> list[socket.socket]:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        one.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        one.bind((self._link, 3))
        return [one]

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
    """Classifies a frame."""
    kind = packet_counter.classify(frame, INSIDE)
    header = _ike(frame) if kind == "ike" else None
    return Packet(at=time.monotonic(), sent=sent, kind=kind, size=len(frame), ike=header, frame=frame)


def _behind_ip(frame: bytes) -> bytes:
    ip = frame[14:]
    return ip[40:] if ip[0] >> 4 == 6 else ip[(ip[0] & 15) * 4 :]


def _ike(frame: bytes) -> Ike | None:
    """The header, from UDP 500, or from UDP 4500 behind four zero octets (RFC 3948 2.2)."""
    udp = _behind_ip(frame)
    ports, data = struct.unpack_from("!HH", udp), udp[8:]
    if 4500 in ports:
        data = data[4:]
    if len(data) < 28:
        return None
    initiator, responder, _, version, exchange, flags, message = struct.unpack_from("!QQBBBBI", data)
    return Ike(initiator, responder, version >> 4, exchange, flags, message)
