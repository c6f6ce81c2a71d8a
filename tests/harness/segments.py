"""TCP between two namespaces: the MSS that a host receives, and transfers of data."""

from __future__ import annotations

import socket
import struct
import threading
import time

from linkspan.drivers.linux import netns

_SYN = 0x02
_MSS = 2
_TCP = 6


class Syns:
    """Records the MSS of every SYN and SYN-ACK that arrives at a host's eth0 during the `with` block."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._sizes: list[int] = []

    def __enter__(self) -> Syns:
        self._socket = netns.run_inside(self._namespace, self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def sizes(self) -> list[int]:
        """The MSS values so far, in order; 0 for a SYN without the option."""
        while True:
            try:
                frame, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                return list(self._sizes)
            if address[2] != socket.PACKET_OUTGOING:
                self._sizes += syn_sizes(frame)

    @staticmethod
    def _open() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.bind(("eth0", 0))
        raw.setblocking(False)
        return raw


def syn_sizes(frame: bytes) -> list[int]:
    """Return the MSS of an Ethernet frame with a SYN (RFC 9293 3.2) as a list; empty for any other frame."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    packet = frame[14:]
    if kind == 0x0800 and packet[9] == _TCP:
        segment = packet[(packet[0] & 15) * 4 :]
    elif kind == 0x86DD and packet[6] == _TCP:
        segment = packet[40:]
    else:
        return []
    if not segment[13] & _SYN:
        return []
    options = segment[20 : (segment[12] >> 4) * 4]
    while options and options[0]:
        if options[0] == 1:
            options = options[1:]
        elif options[0] == _MSS:
            return [struct.unpack_from("!H", options, 2)[0]]
        else:
            options = options[options[1] :]
    return [0]


def transfer(source: str, destination: str, address: str, size: int, seconds: float) -> int:
    """Send `size` bytes to an address in another namespace; return the number received within `seconds`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = netns.run_inside(destination, lambda: socket.create_server((address, 0), family=family))
    port = server.getsockname()[1]
    with server, netns.run_inside(source, lambda: socket.create_connection((address, port), 10.0)) as sender:
        receiver, _ = server.accept()
        with receiver:
            sender.settimeout(seconds)
            sending = threading.Thread(target=_send, args=(sender, size), daemon=True)
            sending.start()
            received = _receive(receiver, size, time.monotonic() + seconds)
            # Close with RST, so that undelivered data is not retransmitted.
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sender.shutdown(socket.SHUT_RDWR)
            sending.join()
    return received


def _send(sender: socket.socket, size: int) -> None:
    try:
        sender.sendall(bytes(size))
    except OSError:
        return


def _receive(receiver: socket.socket, size: int, end: float) -> int:
    received = 0
    while received < size and (left := end - time.monotonic()) > 0:
        receiver.settimeout(left)
        try:
            chunk = receiver.recv(65536)
        except TimeoutError:
            break
        if not chunk:
            break
        received += len(chunk)
    return received
