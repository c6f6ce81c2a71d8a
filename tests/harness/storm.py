"""A storm of IKE from many sources: requests for an IKE SA with spoofed addresses, on the external network's bridge."""

from __future__ import annotations

import ipaddress
import itertools
import secrets
import socket
import struct
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from linkspan.drivers.linux import netns

_SLICE = 0.01


class IkeStorm:
    """Sends `rate` requests a second to a gateway from the sources in turn, until the block ends.

    `bridge` is in a namespace; `hardware` is the gateway's hardware address. `sent` counts the packets.
    """

    def __init__(
        self,
        namespace: str,
        bridge: str,
        hardware: str,
        target: str,
        sources: Sequence[str],
        rate: int,
        port: int = 500,
    ) -> None:
        self.sent = 0
        self._rate = rate
        self._sources = itertools.cycle(sources)
        self._target = target
        self._port = port
        self._hardware = bytes.fromhex(hardware.replace(":", ""))
        self._wire = netns.run_inside(namespace, lambda: _open(bridge))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> IkeStorm:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._wire.close()

    def _run(self) -> None:
        start = time.monotonic()
        while not self._stop.wait(_SLICE):
            while self.sent < (time.monotonic() - start) * self._rate:
                self._wire.send(self._frame(next(self._sources)))
                self.sent += 1

    def _frame(self, source: str) -> bytes:
        marker = b"" if self._port == 500 else bytes(4)
        return (
            self._hardware + b"\x02\x00\x00\x00\x00\x01" + packet(source, self._target, self._port, marker + request())
        )


def packet(source: str, target: str, port: int, payload: bytes) -> bytes:
    """Return Ethernet type, IP and UDP header, and payload."""
    left, right = ipaddress.ip_address(source), ipaddress.ip_address(target)
    length = 8 + len(payload)
    if left.version == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0, left.packed, right.packed)
        header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
        return b"\x08\x00" + header + struct.pack("!HHHH", port, port, length, 0) + payload
    header = struct.pack("!IHBB16s16s", 6 << 28, length, 17, 64, left.packed, right.packed)
    pseudo = left.packed + right.packed + struct.pack("!IxxxB", length, 17)
    udp = struct.pack("!HHHH", port, port, length, 0)
    checksum = _checksum(pseudo + udp + payload) or 0xFFFF
    return b"\x86\xdd" + header + struct.pack("!HHHH", port, port, length, checksum) + payload


def request() -> bytes:
    """Return an IKE_SA_INIT request (RFC 7296 1.2): AES-CBC-128, HMAC-SHA2-256, MODP 2048."""
    transforms = [(1, 12, b"\x80\x0e\x00\x80"), (2, 5, b""), (3, 12, b""), (4, 14, b"")]
    encoded = b"".join(
        struct.pack("!BxHBxH", 3 if index < 3 else 0, 8 + len(more), kind, number) + more
        for index, (kind, number, more) in enumerate(transforms)
    )
    proposal = struct.pack("!BxHBBBB", 0, 8 + len(encoded), 1, 1, 0, 4) + encoded
    payloads = _payload(34, proposal) + _payload(40, struct.pack("!Hxx", 14) + secrets.token_bytes(256))
    payloads += _payload(0, secrets.token_bytes(32))
    return (
        secrets.token_bytes(8) + bytes(8) + struct.pack("!BBBBII", 33, 0x20, 34, 0x08, 0, 28 + len(payloads)) + payloads
    )


def _payload(following: int, content: bytes) -> bytes:
    return struct.pack("!BxH", following, 4 + len(content)) + content


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _open(bridge: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((bridge, 0))
    return wire
